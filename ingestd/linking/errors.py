"""What can go wrong with a grant, typed by what the caller does next.

The texts are ours: an endpoint's name, a status, an error code out of the
RFCs' own lists. They never hold a token, a code, an address or the provider's free text.
"""

from __future__ import annotations

from collections.abc import Sequence


class LinkingError(Exception):
    """Something about a mailbox's OAuth failed."""


class GrantRevoked(LinkingError):
    """The token endpoint says that the refresh token is dead. Stop, and ask the owner to link again."""


class ConsentNeeded(LinkingError):
    """The provider wants the owner: consent or a second factor. Ask the owner to link again."""


class AdminBlocked(LinkingError):
    """An administrator of the owner's organisation must allow our application, or the account. The owner cannot."""


class ClientRejected(LinkingError):
    """The provider refuses our application or our request. The operator must fix the configuration."""


class EndpointsInvalid(LinkingError):
    """The issuer's metadata cannot be used. The operator must fix the configuration."""


class ProviderDown(LinkingError):
    """An endpoint could not be asked or did not make sense. Try again later; nothing is known about the grant."""


class TokenEndpointDown(ProviderDown):
    """An endpoint, as a rule the token endpoint, could not be asked or did not make sense. Try again later.

    After a lost answer the refresh token may be used up (RFC 9700 §4.14.2): the
    next refresh tells.
    """


class TokenEndpointBusy(ProviderDown):
    """The provider asks us to wait. Try again after `retry_after` seconds, not before."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RequestNotSent(TokenEndpointDown):
    """No connection came about, so the provider saw nothing: repeating is safe."""


class CodeRefused(LinkingError):
    """The authorization code is too old, used, or not ours. Let the owner begin the linking again."""


class PartialConsent(LinkingError):
    """The owner did not consent to all that is needed. Revoke what was granted, and say what is missing."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(f"not granted: {' '.join(missing)}")
        self.missing = tuple(missing)


class MailboxNotNamed(LinkingError):
    """The configuration does not name a mailbox that application permissions are to open. The operator must add it."""


class NotLinkable(LinkingError):
    """The configuration does not allow what is asked for. `reason` is a fixed word; the operator must change it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MailboxDenied(LinkingError):
    """Microsoft does not let the user, or our application, into the mailbox. An administrator must allow it."""


class MailboxUnknown(LinkingError):
    """There is no such mailbox, or none that Microsoft Graph reaches."""


class IdentityUnproved(LinkingError):
    """The provider's answers do not prove whose mailbox it is. Do not link it."""


class TokenDead(IdentityUnproved):
    """The provider says that the access token is dead. Nothing is said about the grant."""


class NoDeviceCode(LinkingError):
    """The provider gives no device codes, or not to our application. Link with a browser, or by pasting."""


class CallbackRejected(LinkingError):
    """The callback does not come from the provider that was asked (RFC 9207). Let the owner begin again."""


def reason_of(error: LinkingError) -> str:
    """Return the fixed word for what went wrong.

    >>> reason_of(PartialConsent(["mail"]))
    'partial_consent'
    """
    if isinstance(error, NotLinkable):
        return error.reason
    return _REASONS.get(type(error).__name__, "provider_unavailable")


_REASONS = {
    "GrantRevoked": "grant_revoked",
    "TokenEndpointBusy": "throttled",
    "PartialConsent": "partial_consent",
    "MailboxNotNamed": "mailbox_not_named",
    "MailboxDenied": "mailbox_denied",
    "MailboxUnknown": "mailbox_unknown",
    "IdentityUnproved": "identity_unproved",
    "TokenDead": "identity_unproved",
    "NoDeviceCode": "no_device_code",
    "AdminBlocked": "admin_blocked",
    "CallbackRejected": "callback_rejected",
    "CodeRefused": "code_refused",
    "ConsentNeeded": "consent_refused",
    "ClientRejected": "client_rejected",
    "EndpointsInvalid": "client_rejected",
}
