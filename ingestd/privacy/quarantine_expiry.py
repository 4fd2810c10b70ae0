"""The retention of the quarantine: what nobody has decided on is dropped once it is older than it is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import Connection

from ingestd.inbound.replay import drop_quarantined
from ingestd.keys import KeyRing
from ingestd.privacy.disconnect import Pause
from storage import accounts, expiry, quarantine
from storage.accounts import AccountStatus
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import Conflict, KeyDestroyed, NotFound
from storage.messages import BLOB
from storage.quarantine import Quarantined
from storage.sealing import DataKey

log = structlog.get_logger()

_DROPPED_MAX = 10_000
"""Of one account, in one run; what one run does not reach, the next one does."""
_PAGE = 50


@dataclass(frozen=True, slots=True)
class QuarantineRetention:
    """`days` returns for how long a message waits for a person; None: for ever."""

    content: Database
    blobs: Blobs
    keys: KeyRing
    days: Callable[[], int | None]

    async def run(self, at: datetime) -> int:
        """Drop what is too old at this time; return how many messages. Raises StorageUnavailable, OSError."""
        days, total = self.days(), 0
        if days is None:
            return 0
        for account in await self.content.read(None, accounts.list_accounts):
            if account.status is not AccountStatus.ACTIVE or account.held_since is not None:
                continue
            if count := await self._sweep(account.account_id, at - timedelta(days=days)):
                log.info("retention.quarantine_dropped", account_id=account.account_id, messages=count)
                total += count
        return total

    async def _sweep(self, account_id: UUID, before: datetime) -> int:
        count, after = 0, None
        while count < _DROPPED_MAX:
            # In the order in which they came: behind the first young one there are no old ones.
            page = await self.content.read(account_id, quarantine.list_quarantined, after=after, limit=_PAGE)
            for row in page:
                if row.created_at >= before:
                    return count
                count += await self._drop(row)
                after = row.quarantine_id
            if len(page) < _PAGE:
                return count
        return count

    async def _drop(self, row: Quarantined) -> bool:
        """Return whether it was dropped, and nobody had decided on it meanwhile."""
        pause = Pause()
        try:
            key = await self.keys.mailbox(row.account_id, row.mailbox_id)
            dropped = await self.content.transaction(row.account_id, drop_expired, key, row.quarantine_id)
        except (Conflict, KeyDestroyed, NotFound):
            return False
        if dropped and row.raw_place == BLOB:
            # A crash before this leaves an orphan, which is swept.
            await asyncio.to_thread(self.blobs.delete, row.account_id, row.mailbox_id, row.quarantine_id)
        await pause.wait()
        return dropped


def drop_expired(conn: Connection, account_id: UUID, key: DataKey, quarantine_id: UUID) -> bool:
    """Drop a message, unless its account is suspended or held by now. Raises Conflict, NotFound."""
    if expiry.is_kept(conn, account_id):
        return False
    drop_quarantined(conn, account_id, key, quarantine_id, "expired")
    return True
