"""Whose mailbox a grant opens, by the provider's own answers. Pure."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from ingestd.linking.errors import IdentityUnproved

CLOCK_SKEW_SECONDS: Final = 120
SUBJECT_CHARS_MAX: Final = 255
ADDRESS_CHARS_MAX: Final = 320

# The last ones are for providers without OpenID Connect (Yandex: `id`).
_SUBJECT_CLAIMS: Final = ("sub", "id", "user_id")
_ADDRESS: Final = re.compile(r"[^\s@\x00-\x1f\x7f<>,;:\"\\]+@[^\s@\x00-\x1f\x7f<>,;:\"\\]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who consented. The pair of issuer and subject is the stable name; an address can change hands."""

    subject: str = field(repr=False)
    address: str = field(repr=False)
    """As the provider writes it."""
    issuer: str


def id_token_claims(
    id_token: str, *, client_id: str, issuer: str | None, nonce: str | None, now: datetime
) -> Mapping[str, Any]:
    """Return the claims of an ID token that came straight from the token endpoint.

    Checked: iss, aud, azp, exp and, where given, nonce (OpenID Connect Core
    §3.1.3.7). The signature is not: TLS to the token endpoint proves the sender
    (§3.1.3.7, 6), and nobody else may hand us an ID token. Raises IdentityUnproved.
    """
    claims = _claims(id_token)
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if client_id not in audiences or claims.get("azp", client_id) != client_id:
        raise IdentityUnproved("the ID token is for another client")
    if len(audiences) > 1 and "azp" not in claims:
        raise IdentityUnproved("the ID token is for several clients")
    if issuer is not None and claims.get("iss") != issuer:
        raise IdentityUnproved("the ID token is from another issuer")
    expires = claims.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        raise IdentityUnproved("the ID token does not say when it ends")
    if not expires > now.timestamp() - CLOCK_SKEW_SECONDS:
        raise IdentityUnproved("the ID token has ended")
    if nonce is not None and not _same(claims.get("nonce"), nonce):
        raise IdentityUnproved("the ID token is not of this linking")
    return claims


def identity_of(
    answer: Mapping[str, Any],
    claims: Mapping[str, Any] | None,
    *,
    address_claim: str,
    issuer: str,
    subject_claim: str | None = None,
) -> Identity:
    """Make one identity of the provider's answer (userinfo or introspection) and, second, of the ID token's claims.

    `subject_claim` says which claim of the answer names the owner, where it is not a usual one.
    Raises IdentityUnproved where they contradict each other (OpenID Connect Core
    §5.3.2), or where the subject or a confirmed address is missing.
    """
    claims = claims or {}
    said, claimed = subject_of(answer, subject_claim), subject_of(claims)
    # Of an answer without `sub` nobody promises that its own id is the ID token's subject.
    if "sub" in answer and claimed is not None and subject_of(answer, "sub") != claimed:
        raise IdentityUnproved("the ID token and the provider's answer name different subjects")
    subject = said or claimed
    if subject is None:
        raise IdentityUnproved("the provider names no subject")
    source = answer if address_claim in answer else claims
    address = source.get(address_claim)
    if not isinstance(address, str) or len(address) > ADDRESS_CHARS_MAX or not _ADDRESS.fullmatch(address):
        raise IdentityUnproved("the provider names no address")
    # An address that the user typed in and never confirmed is somebody else's for all we know (§5.7).
    if address_claim == "email" and source.get("email_verified", True) in {False, "false"}:
        raise IdentityUnproved("the provider has not confirmed the address")
    return Identity(subject, address, issuer)


def is_address(text: str) -> bool:
    """Tell whether a text is a mailbox's address, that can stand in the path of a URL.

    >>> is_address("support@example.com"), is_address("support"), is_address("support@example.com/inbox")
    (True, False, False)
    """
    return len(text) <= ADDRESS_CHARS_MAX and _ADDRESS.fullmatch(text) is not None and not set(text) & set("/?#%")


def _claims(id_token: str) -> Mapping[str, Any]:
    parts = id_token.split(".")
    if len(parts) != 3:
        raise IdentityUnproved("the ID token cannot be read")
    try:
        claims = json.loads(base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        raise IdentityUnproved("the ID token cannot be read") from None
    if not isinstance(claims, dict):
        raise IdentityUnproved("the ID token cannot be read")
    return claims


def subject_of(answer: Mapping[str, Any], claim: str | None = None) -> str | None:
    """Return the subject that an answer names, by `claim` or else by the first of the usual ones.

    >>> subject_of({"id": 1000034426}), subject_of({"sub": "s", "username": "u"}, "username"), subject_of({})
    ('1000034426', 'u', None)
    """
    for name in (claim,) if claim else _SUBJECT_CLAIMS:
        value = answer.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and 0 < len(value) <= SUBJECT_CHARS_MAX:
            return value
    return None


def _same(given: object, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())
