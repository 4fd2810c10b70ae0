"""A mailbox that this process works on, and the tasks that do it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from storage.leases import Held


class MailboxWork(Protocol):
    """A mailbox that this process holds: reading it, its old mail, and its outbox."""

    async def read(self) -> None:
        """Read until cancelled, or until there is nothing more to do without a person."""
        ...

    async def backfill(self) -> None:
        """Read old mail until cancelled, or until there is nothing more to do."""
        ...

    def edit_due(self) -> None:
        """Others have made edits due: do them soon."""
        ...

    async def send_due(self) -> None: ...

    async def push_due(self) -> None:
        """Look at what the provider told, and have it go on to tell of news."""
        ...

    def stop_sending(self) -> None:
        """Begin no step more, and keep a mail back that can still be kept back."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Running:
    held: Held
    work: MailboxWork
    reading: asyncio.Task[None]
    sending: asyncio.Task[None] | None = None
    backfilling: asyncio.Task[None] | None = None
    pushing: asyncio.Task[None] | None = None

    def is_sending(self) -> bool:
        return self.sending is not None and not self.sending.done()

    def is_busy(self) -> bool:
        return self.is_sending() or (self.backfilling is not None and not self.backfilling.done())
