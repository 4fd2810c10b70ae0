"""What a person asks for when linking a mailbox, and what waits for its owner then."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from ingestd.linking.client import DeviceCode
from storage.flows import Flow


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """What a person asks for when linking a mailbox."""

    provider: str
    mailbox_id: UUID | None = None
    """The mailbox to link again; None for a new one."""
    start_from: str = "now"
    start_days: int = 0
    name: str = ""
    """The name that replies come from."""
    addresses: tuple[str, ...] = ()
    """Aliases of the mailbox."""
    shared: str = ""
    """The address of a shared mailbox, which who consents may open; empty: his own mailbox is linked."""
    mailbox: str = ""
    """The address of a mailbox that application permissions open, where the provider is for those."""


@dataclass(frozen=True, slots=True)
class StartedLink:
    flow_id: UUID
    mailbox_id: UUID
    address: str
    """Where the mailbox's owner goes with a browser; good once, and for a limited time. "" where a repeated request
    comes when it was used, and where application permissions have linked it already."""
    expires_at: datetime
    repeated: bool = False
    """The same request had been made before: this is its linking."""


@dataclass(frozen=True, slots=True)
class StartedDevice:
    """A linking that waits for its owner to type in a code; this process alone can finish it."""

    flow: Flow = field(repr=False)
    code: DeviceCode

    @property
    def mailbox_id(self) -> UUID:
        return self.flow.mailbox_id


@dataclass(frozen=True, slots=True)
class StartedPasting:
    """A linking that waits for the address that its owner's browser was sent to; this process alone can finish it."""

    mailbox_id: UUID
    address: str
    """Where the owner consents, at the provider."""
    redirect_uri: str
    """What the pasted address begins with."""
    state: str = field(repr=False)
    secret: str = field(repr=False)
    """Stands for the browser's cookie."""


class LinkRefused(Exception):
    """The linking cannot go on. `reason` is a fixed word; the owner begins again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
