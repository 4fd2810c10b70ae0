"""What is forgotten because of its age: requests that were answered, files that no reply took, events, deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from storage import accounts, deliveries, events, outbox, requests, uploads, webhooks
from storage.database import Database

_IDEMPOTENCY_AGE = timedelta(hours=24)
_ROWS = 100
"""Of one transaction: mail waits behind each on SQLite."""
_UPLOADS = 4
"""They are large, and SQLite overwrites what it deletes."""
_PAUSE_SECONDS = 0.02
"""After each chunk of events: there can be hundreds of thousands an hour."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Forgets in small transactions; what one run does not reach, the next one does."""

    content: Database
    event_days: Callable[[], int]
    """How long events are kept."""
    delivery_days: Callable[[], int]
    """How long a delivery that is done is kept."""

    async def sweep(self, at: datetime) -> None:
        """Forget what is too old at this time. Raises StorageUnavailable."""
        for forget in (outbox.forget_requests, requests.forget_old):
            while await self.content.transaction(None, forget, at - _IDEMPOTENCY_AGE, _ROWS):
                pass
        while await self.content.transaction(None, uploads.forget_old, at, _UPLOADS):
            pass
        await self._sweep_deliveries(at - timedelta(days=self.delivery_days()))
        await self._sweep_events(at - timedelta(days=self.event_days()))

    async def _sweep_deliveries(self, before: datetime) -> None:
        for one in await self.content.read(None, webhooks.list_all):
            arguments = (one.webhook_id, before, _ROWS)
            while await self.content.transaction(one.account_id, deliveries.forget_old, *arguments):
                pass
        for one in await self.content.read(None, webhooks.list_deleted):
            while await self.content.transaction(one.account_id, deliveries.delete_chunk, one.webhook_id, _ROWS):
                pass
            await self.content.transaction(one.account_id, webhooks.delete_deleted, one.webhook_id)

    async def _sweep_events(self, before: datetime) -> None:
        for one in await self.content.read(None, accounts.list_accounts):
            gone = _ROWS
            while gone == _ROWS:
                gone = await self.content.transaction(one.account_id, events.forget_old, before, _ROWS)
                await asyncio.sleep(_PAUSE_SECONDS)
