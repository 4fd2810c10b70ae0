"""The retention of messages: solved tickets are deleted once they are older than their account keeps them, spam and
what is in the trash once it is older than the operator keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from ingestd.privacy.disconnect import CHUNK_ROWS, Pause, compact
from storage import accounts, expiry
from storage.accounts import Account, AccountStatus
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import NotFound
from storage.tickets import TicketStatus

log = structlog.get_logger()

_TICKETS_MAX = 10_000
"""Of one account, in one run; what one run does not reach, the next one does."""
_PAGE = 50
_CLOSED = TicketStatus.CLOSED


@dataclass(frozen=True, slots=True)
class MessageRetention:
    """`default_days` returns what holds for accounts of which nothing else was said; None: they keep everything."""

    content: Database
    blobs: Blobs
    default_days: Callable[[], int | None]
    spam_days: Callable[[], int | None] = lambda: None
    """Returns for how long spam, and what is in the trash, is kept; None: for ever."""

    async def run(self, at: datetime) -> int:
        """Delete what is too old at this time; return how many tickets. Raises StorageUnavailable, OSError."""
        total = 0
        days = self.spam_days()
        spam = None if days is None else at - timedelta(days=days)
        for account in await self.content.read(None, accounts.list_accounts):
            if account.status is not AccountStatus.ACTIVE or account.held_since is not None:
                continue
            kept = {_CLOSED: self.kept_since(account, at), TicketStatus.SPAM: spam, TicketStatus.DELETED: spam}
            count = 0
            for status, before in kept.items():
                if before is not None:
                    count += await self._sweep(account.account_id, before, status)
            if count:
                log.info("retention.tickets_deleted", account_id=account.account_id, tickets=count)
                total += count
        if total:
            await compact(self.content, truncate_rounds=0)
        return total

    def kept_since(self, account: Account, at: datetime) -> datetime | None:
        """Return the time from before which solved tickets are deleted; None where they are kept."""
        days = self.default_days() if account.solved_days is None else account.solved_days
        return None if days is None else at - timedelta(days=days)

    async def _sweep(self, account_id: UUID, before: datetime, status: TicketStatus) -> int:
        count = 0
        while count < _TICKETS_MAX:
            found = await self.content.read(account_id, expiry.list_expired, before, _PAGE, status)
            gone = [await self._delete(account_id, one, before, status) for one in found]
            count += sum(gone)
            if not any(gone):
                break
        return count

    async def _delete(
        self, account_id: UUID, ticket_id: UUID, before: datetime, status: TicketStatus = _CLOSED
    ) -> bool:
        """Return whether the ticket is gone, and not opened again meanwhile."""
        while True:
            pause = Pause()
            try:
                deleted = await self.content.transaction(
                    account_id, expiry.delete_some, ticket_id, before, CHUNK_ROWS, status
                )
            except NotFound:
                return False  # its mailbox is being forgotten
            if deleted is None:
                return False
            for mailbox_id, owner_id in deleted.blobs:
                # A crash before this leaves orphans, which are swept.
                await asyncio.to_thread(self.blobs.delete, account_id, mailbox_id, owner_id)
            await pause.wait()
            if deleted.done:
                return True
