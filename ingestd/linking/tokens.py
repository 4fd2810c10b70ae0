"""What the token endpoint says: tokens, or a verdict. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from ingestd.linking.aadsts import MEANINGS, Meaning, number_of
from ingestd.linking.errors import (
    AdminBlocked,
    ClientRejected,
    CodeRefused,
    ConsentNeeded,
    GrantRevoked,
    LinkingError,
    PartialConsent,
    TokenEndpointDown,
)

TOKEN_CHARS_MAX: Final = 16 * 1024
LIFE_SECONDS_MAX: Final = 366 * 24 * 3600

# RFC 6749 appendix A.12. A token goes into SASL responses and headers: no control character may come with it.
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")

# What the mail scopes are not: providers rename these in their answers or leave them
# out (Google: email → …/auth/userinfo.email; Microsoft: no offline_access). What they
# give is looked at itself: the ID token, the address, the refresh token.
UNCHECKED_SCOPES: Final = frozenset({"openid", "email", "profile", "address", "phone", "offline_access"})

_OWNER_IS_WANTED: Final = frozenset(
    {"interaction_required", "login_required", "consent_required", "account_selection_required"}
    # The owner's no to a device code (RFC 8628 §3.5); Microsoft has its own word for it.
    | {"access_denied", "authorization_declined"}
)
# Microsoft says invalid_grant and tells the reason beside it: a number, or a suberror.
_OWNER_SUBERRORS: Final = frozenset({"consent_required", "basic_action", "additional_action", "message_only"})
# Google's session control: the grant lives, and works again once its owner has signed in.
_OWNER_SUBTYPES: Final = frozenset({"invalid_rapt", "rapt_required"})
_CODE_IS_OLD: Final = frozenset({"expired_token", "code_expired", "bad_verification_code"})
_OPERATOR_IS_WANTED: Final = frozenset(
    {"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_request"}
)


@dataclass(frozen=True, slots=True)
class TokenSet:
    """One answer of the token endpoint."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    """None after a refresh means that the old one stays good; any other replaces it, and the old one is dead."""
    expires_at: datetime | None
    """When the access token ends, aware, UTC; None where the provider does not tell."""
    scopes: tuple[str, ...] | None
    """What was granted; None means as asked for (RFC 6749 §5.1)."""
    id_token: str | None = field(default=None, repr=False)
    refresh_ends_at: datetime | None = None
    """When the refresh token ends, however often it is used; None where the provider tells no end."""


def read_tokens(document: Mapping[str, Any] | None, now: datetime) -> TokenSet:
    """Read a successful answer (RFC 6749 §5.1). Raises TokenEndpointDown where it is none."""
    document = document or {}
    access_token = _token(document.get("access_token"))
    kind = document.get("token_type", "Bearer")
    if access_token is None or not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenEndpointDown("token: no bearer token in the answer")
    scope = document.get("scope")
    return TokenSet(
        access_token=access_token,
        refresh_token=_token(document.get("refresh_token")),
        expires_at=_expiry(document.get("expires_in"), now),
        scopes=tuple(scope.split()) if isinstance(scope, str) and scope.strip() else None,
        id_token=_token(document.get("id_token")),
        # Google says it for applications in Testing, and where the owner gave access for a limited time.
        refresh_ends_at=_expiry(document.get("refresh_token_expires_in"), now),
    )


def verdict(status: int, document: Mapping[str, Any] | None, *, refreshing: bool) -> LinkingError:
    """Return what a refusal (4xx) means (RFC 6749 §5.2). Only invalid_grant to a refresh means a dead grant.

    Where Microsoft's number says more than the word, the number counts.

    >>> type(verdict(400, {"error": "invalid_grant"}, refreshing=True)).__name__
    'GrantRevoked'
    >>> type(verdict(403, None, refreshing=True)).__name__
    'TokenEndpointDown'
    """
    document = document or {}
    error = document.get("error")
    if not isinstance(error, str):
        return TokenEndpointDown(f"token: status {status} without a verdict")
    number = number_of(document)
    if number is not None and number in MEANINGS:
        return _by_number(number, refreshing=refreshing)
    if error in _OWNER_IS_WANTED or (
        error == "invalid_grant"
        and (
            _is_one_of(document.get("suberror"), _OWNER_SUBERRORS)
            or _is_one_of(document.get("error_subtype"), _OWNER_SUBTYPES)
        )
    ):
        return ConsentNeeded("token: the owner must consent or sign in again")
    if error in _CODE_IS_OLD:
        return CodeRefused(f"token: {error}")
    if error == "invalid_grant":
        return GrantRevoked("token: invalid_grant") if refreshing else CodeRefused("token: invalid_grant")
    if error in _OPERATOR_IS_WANTED:
        return ClientRejected(f"token: {error}")
    # temporarily_unavailable, server_error, and words that no RFC knows: no verdict about the grant.
    return TokenEndpointDown(f"token: status {status} with an unknown error")


def missing_scopes(asked: Sequence[str], tokens: TokenSet) -> tuple[str, ...]:
    """Return the scopes that were asked for and not granted.

    The scopes of OpenID Connect are left out, but without a refresh token
    `offline_access` counts as missing: a mailbox cannot be kept without one.

    >>> missing_scopes(["openid", "mail"], TokenSet("a", "r", None, ("openid",)))
    ('mail',)
    """
    missing = lacking(asked, asked if tokens.scopes is None else tokens.scopes)
    return (*missing, *(() if tokens.refresh_token else ("offline_access",)))


def lacking(asked: Sequence[str], granted: Sequence[str], *, by_permission: bool = False) -> tuple[str, ...]:
    """Return which scopes for mail were asked for and are not granted; `by_permission` as Microsoft spells them.

    >>> lacking(["openid", "mail", "send"], ["mail"])
    ('send',)
    >>> lacking(["Mail.Send"], ["https://graph.microsoft.com/mail.send"], by_permission=True)
    ()
    """
    spelled = permission_of if by_permission else str
    have = {spelled(scope) for scope in granted}
    return tuple(scope for scope in asked if spelled(scope) not in have and scope not in UNCHECKED_SCOPES)


def permission_of(scope: str) -> str:
    """Return a permission's own name, as Microsoft's answers may spell its resource differently.

    >>> permission_of("https://outlook.office.com/SMTP.Send") == permission_of("https://outlook.office365.com/smtp.send")
    True
    """
    return scope.rpartition("/")[2].lower()


def require_scopes(asked: Sequence[str], tokens: TokenSet) -> None:
    """Raise PartialConsent where the first exchange did not give all that was asked for."""
    if missing := missing_scopes(asked, tokens):
        raise PartialConsent(missing)


def _is_one_of(value: object, words: frozenset[str]) -> bool:
    return isinstance(value, str) and value in words


def _by_number(number: int, *, refreshing: bool) -> LinkingError:
    text = f"token: AADSTS{number}"
    match MEANINGS[number]:
        case Meaning.GRANT_ENDED:
            return GrantRevoked(text) if refreshing else CodeRefused(text)
        case Meaning.OWNER:
            return ConsentNeeded(text)
        case Meaning.ADMIN:
            return AdminBlocked(text)
        case Meaning.OPERATOR:
            return ClientRejected(text)


def _token(value: object) -> str | None:
    if isinstance(value, str) and len(value) <= TOKEN_CHARS_MAX and _VISIBLE.fullmatch(value):
        return value
    return None


def _expiry(seconds: object, now: datetime) -> datetime | None:
    # Some send the number as text.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | str):
        return None
    try:
        life = float(seconds)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(life) or life <= 0:
        return None
    return now + timedelta(seconds=min(life, LIFE_SECONDS_MAX))
