"""What the HTTP side needs of the daemon. The composition root gives it; nothing here knows how it is done."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from ingestd.api.backend import Backend


class LinkOutcome(enum.StrEnum):
    """How the linking of a mailbox ended, as its page says it."""

    LINKED = "linked"
    DENIED = "denied"
    """The person, or the provider for them, said no."""
    EXPIRED = "expired"
    """The link is unknown, used up or too old."""
    OTHER_BROWSER = "other_browser"
    """The answer came to another browser than the one that began (RFC 9700 §4.7: login CSRF)."""
    WRONG_MAILBOX = "wrong_mailbox"
    """Another mailbox was signed in to than the one that this link is for."""
    ALREADY_LINKED = "already_linked"
    CONSENT_OR_MFA = "consent_or_mfa"
    """The provider wants another consent or a second factor."""
    ADMIN_BLOCKED = "admin_blocked"
    """The organisation's administrator must allow the application."""
    PROTOCOL_DISABLED = "protocol_disabled"
    """The mailbox has no IMAP or SMTP switched on."""
    SCOPE_MISSING = "scope_missing"
    """A permission was not granted (a box was not ticked)."""
    ELSEWHERE = "elsewhere"
    """Its data would be kept elsewhere than the account is pinned to."""
    UNAVAILABLE = "unavailable"
    """The provider or our database cannot be asked right now."""
    FAILED = "failed"


class LinkRefused(Exception):
    """The link cannot be opened; `outcome` says why. Show its page; do not send the browser anywhere."""

    def __init__(self, outcome: LinkOutcome) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class LinkResult:
    """How a linking ended."""

    outcome: LinkOutcome
    mailbox: str = ""
    """The address that was signed in to, for its owner's eyes: only its page shows it. "" where it is not known."""


class LinkingEdge(Protocol):
    """The two steps of OAuth that a browser takes. `browser` is the secret of the browser's cookie."""

    async def open(self, state: str, browser: str) -> str:
        """Bind the flow to this browser and return the provider's authorize URL. Raises LinkRefused.

        May be called again for the same flow, with another secret: mail scanners and
        impatient people open a link more than once.
        """
        ...

    async def complete(
        self, *, state: str, browser: str, code: str | None, error: str | None, iss: str | None
    ) -> LinkResult:
        """Finish the flow. `browser` is "" where no cookie came, `iss` is RFC 9207's. Raises LinkRefused."""
        ...


class NotificationsEdge(Protocol):
    """What providers post to our public address."""

    async def take(self, mailbox_id: UUID, body: bytes) -> None:
        """Note what a post tells of a mailbox; what is forged is nothing. Raises StorageUnavailable."""
        ...


class HealthEdge(Protocol):
    def livez(self) -> tuple[bool, Mapping[str, str]]: ...

    def readyz(self) -> tuple[bool, Mapping[str, str]]: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost."""

    body_bytes_max: int = 48 * 1024 * 1024
    query_bytes_max: int = 8 * 1024
    """An authorization code of Microsoft's is about 2 kB."""
    header_bytes_max: int = 16 * 1024
    request_seconds_max: float = 60.0
    requests_max: int = 200
    """At the same time; more get 503. Those that stay are not counted (`Line.stay`)."""


@dataclass(frozen=True, slots=True)
class Edge:
    """All that `create_app` is given."""

    health: HealthEdge
    metrics: Callable[[], bytes] | None
    """Renders Prometheus' text format; None: /metrics is not served."""
    linking: LinkingEdge
    public_url: str
    """Where browsers reach us; decides whether cookies are Secure, and their path."""
    link_seconds: int = 600
    """How long a person may take at the provider: the life of the cookie."""
    limits: Limits = Limits()
    notifications: NotificationsEdge | None = None
    """None: nothing is taken from providers."""
    notifications_per_second_max: float = 100.0
    cors_origins: tuple[str, ...] = ()
    """Whose pages may call the API from a browser."""
    backend: Backend | None = None
    """What the API's routes call; None: only health, metrics and linking are served."""


class ListenFailed(Exception):
    """The HTTP side cannot listen. Change api.listen_host or api.listen_port, or stop what has the port."""


class PortInUse(ListenFailed):
    """Another program listens on this port."""
