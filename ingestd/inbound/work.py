"""The work on one held mailbox: its reader, its backfill and its outbox, over the process's shared tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ingestd.inbound.backfill import MailboxBackfill
from ingestd.inbound.push import MailboxPush
from ingestd.inbound.reader import MailboxReader
from ingestd.outbound.sender import MailboxOutbox


@dataclass(frozen=True, slots=True)
class HeldMailbox:
    """What the supervisor runs."""

    reader: MailboxReader
    history: MailboxBackfill
    outbox: MailboxOutbox
    push: MailboxPush | None
    """None where nobody is asked to tell of news."""
    forget: Callable[[], None]
    """Drops the key and the tokens' bookkeeping: another process may have been told to destroy them."""

    async def read(self) -> None:
        await self.reader.run()

    def edit_due(self) -> None:
        self.reader.wake()

    async def backfill(self) -> None:
        await self.history.run()

    async def send_due(self) -> None:
        await self.outbox.run_due()

    async def push_due(self) -> None:
        if self.push is not None:
            await self.push.run_due()

    def stop_sending(self) -> None:
        self.outbox.stop()

    async def close(self) -> None:
        await self.outbox.close()
        self.forget()
