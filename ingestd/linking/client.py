"""What a provider's OAuth client can do: one small interface, whoever speaks behind it.

Two stand behind it: `oauth.OAuthClient` speaks as the RFCs say, `entra.MsalClient` lets
Microsoft's own library speak. A setting of the provider chooses (`oauth.client`).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from config.providers import RevokeForm, TokenAuthMethod, UserinfoAuth
from ingestd.linking.errors import (
    AdminBlocked,
    ClientRejected,
    CodeRefused,
    ConsentNeeded,
    GrantRevoked,
    LinkingError,
    MailboxNotNamed,
)
from ingestd.linking.flow import Flow
from ingestd.linking.identity import Identity
from ingestd.linking.tokens import TokenSet
from ingestd.records import GrantRecord


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Our application at one provider."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    client_certificate: str | None = field(default=None, repr=False)
    """In place of a secret: certificate and private key, as PEM."""
    token_auth_method: TokenAuthMethod = "client_secret_basic"  # noqa: S105
    scopes: tuple[str, ...] = ()
    scopes_needed: tuple[str, ...] = ()
    """Those without which a grant is refused; where empty, all of `scopes` that name access to mail."""
    extra_authorize_params: Mapping[str, str] = field(default_factory=dict)
    address_claim: str = "email"
    subject_claim: str | None = None
    """None: the first of the usual ones."""
    userinfo_auth: UserinfoAuth = "Bearer"
    revoke_form: RevokeForm = "rfc7009"
    opens: Callable[[str, str], bool] = lambda _address, _account_id: False
    """Whether application permissions may be used for a mailbox, by an account."""


class Revocation(enum.StrEnum):
    """The outcome of a revocation."""

    REVOKED = "revoked"
    """The provider says that the token is dead, now or before."""
    UNSUPPORTED = "unsupported"
    """The provider has no revocation: only the owner can remove us, on the provider's page."""
    NOTHING = "nothing_to_revoke"
    """There is no grant: our application's own permissions open the mailbox, and only an administrator ends those."""
    FAILED = "failed"
    """Not known; try again later."""


class Pending(enum.Enum):
    """A device code that nobody has decided about (RFC 8628 §3.5)."""

    WAIT = enum.auto()
    SLOW_DOWN = enum.auto()
    """Wait five seconds longer from now on."""


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What the owner types in on another machine, and what we ask with meanwhile (RFC 8628 §3.2)."""

    user_code: str = field(repr=False)
    address: str
    """Where the owner types it in."""
    expires_seconds: float
    interval_seconds: float
    memory: Mapping[str, Any] = field(repr=False)
    """What the client asks with; opaque to everybody else."""


class ProviderClient(Protocol):
    """One application at one provider. Holds no tokens; may be shared by tasks.

    Single flight for refreshes is the caller's business. Every method that asks
    the provider raises TokenEndpointBusy and TokenEndpointDown besides what it says.
    """

    async def authorize(self, flow: Flow, *, login_hint: str | None = None) -> tuple[str, Flow]:
        """Return where to send the owner's browser, and the flow as it is to be remembered until the callback."""
        ...

    async def exchange(self, flow: Flow, code: str, iss: str | None) -> TokenSet:
        """Exchange the callback's code; then call `require_all` on what came. `iss` is the callback's (RFC 9207).

        Raises CallbackRejected, CodeRefused, ConsentNeeded, AdminBlocked, ClientRejected, IdentityUnproved.
        """
        ...

    async def start_device(self) -> DeviceCode:
        """Ask for a device code. Raises NoDeviceCode, ClientRejected."""
        ...

    async def ask_device(self, code: DeviceCode) -> TokenSet | Pending:
        """Ask once whether the owner has consented. Raises as `exchange`; CodeRefused where the time is over."""
        ...

    async def refresh(self, grant: GrantRecord, scopes: Sequence[str] | None = None) -> TokenSet:
        """Get a new access token, with `scopes` one for those of the granted ones (RFC 6749 §6).

        Where the answer holds a refresh token, store it before using anything. For a mailbox that application
        permissions open, one is got with our secret (RFC 6749 §4.4), if the configuration names the mailbox still.

        Raises GrantRevoked, ConsentNeeded, AdminBlocked, ClientRejected, MailboxNotNamed.
        """
        ...

    def require_all(self, tokens: TokenSet) -> None:
        """Raise PartialConsent where the exchange gave less than was asked for."""
        ...

    async def identity(self, tokens: TokenSet, flow: Flow | None) -> Identity:
        """Return who consented. `flow` is that of the callback, None where there was none (device code, refresh).

        Raises IdentityUnproved.
        """
        ...

    def home(self) -> str:
        """Return the issuer of the directory in which application permissions open mailboxes."""
        ...

    async def holder(self, access_token: str) -> str | None:
        """Return the subject that a living access token belongs to; None where the provider has nobody to ask.

        Raises TokenDead, IdentityUnproved.
        """
        ...

    async def revoke(self, grant: GrantRecord) -> Revocation:
        """End a grant at the provider. Never raises for what the provider does."""
        ...


def as_of_application(error: LinkingError) -> LinkingError:
    """Return what a refusal means where nobody consents, so that no grant, code or owner is to blame for it."""
    if isinstance(error, CodeRefused | GrantRevoked):
        return ClientRejected(str(error))
    return AdminBlocked(str(error)) if isinstance(error, ConsentNeeded) else error


def require_named(config: ClientConfig, grant: GrantRecord) -> None:
    """Raise MailboxNotNamed where the configuration does not name a mailbox that application permissions open."""
    if not config.opens(grant.application_mailbox, grant.application_account):
        raise MailboxNotNamed("the configuration does not name the mailbox (oauth.mailboxes)")
