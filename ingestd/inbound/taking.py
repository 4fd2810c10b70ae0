"""Taking a batch in: from fetched messages to sealed ones, and the figures of what became of them.

Shared by the reading of new mail and the backfill, which commit under cursors of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from config import Inbound
from connectors.base import RawMessage
from ingestd.inbound.commit import Committed
from ingestd.inbound.intake import MailboxContext, Prepared, Read, identities, read_batch, seal_batch
from ingestd.inbound.parser import ParserPool
from ingestd.telemetry.metrics import Metrics
from storage import accounts, messages
from storage.blobs import Blobs
from storage.database import Database
from storage.leases import Held
from storage.outbox import ReplyStatus

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReaderTools:
    """What all mailboxes of a process share."""

    content: Database
    blobs: Blobs
    parser: ParserPool
    metrics: Metrics
    settings: Inbound
    blob_bytes_min: int
    batches: asyncio.Semaphore
    """Batches in memory at once."""


class Taker:
    """Prepares the batches of one held mailbox, and counts them."""

    def __init__(self, held: Held, context: MailboxContext, tools: ReaderTools) -> None:
        self._held = held
        self._context = context
        self._tools = tools
        self._log = log.bind(mailbox_id=str(held.mailbox_id), fence=held.fence)

    async def prepare(self, fetched: Sequence[RawMessage], *, live: bool) -> tuple[list[Prepared], list[Read]]:
        """Parse and identify; seal those that are not known yet. What is not `live` waits for what is.

        Returns the new ones, ready to be written, and those that are known.
        """
        # Asked for each batch: from the moment on when it is wanted, no number is stored.
        masked = bool(fetched) and await self._tools.content.read(self._held.account_id, accounts.masks_cards)
        reads = await read_batch(self._tools.parser, self._context, fetched, live=live, masked=masked)
        known = await self._tools.content.read(
            self._held.account_id,
            messages.known_identities,
            self._held.mailbox_id,
            identities(reads),
        )
        new = await seal_batch(self._tools.blobs, self._context, reads, known, self._tools.blob_bytes_min)
        return new, [read for read in reads if read.is_among(known)]

    def count(self, fetched: Sequence[RawMessage], committed: Committed, seconds: float, *, live: bool) -> None:
        """Count a committed batch; how old mail was says something of us only where it is `live`."""
        metrics = self._tools.metrics
        metrics.batch_committed(seconds)
        lags = [max(0.0, (datetime.now(UTC) - message.received_at).total_seconds()) for message in fetched]
        for kind in committed.kinds:
            metrics.message_taken(kind.value, lag_seconds=min(lags) if live else None)
        for reason in committed.quarantined:
            metrics.message_quarantined(reason)
            self._log.warning("message.quarantined", reason=reason)
        for limit in committed.muted:
            metrics.message_muted(limit)
        if committed.muted:
            self._log.warning("message.muted", messages=len(committed.muted), reason=committed.muted[0])
        metrics.tickets_opened(committed.tickets)
        for reply_id in committed.bounced:
            metrics.reply_changed(ReplyStatus.BOUNCED.value)
            self._log.warning("reply.bounced", message_id=str(reply_id))
        if fetched:
            self._log.info(
                "mailbox.batch_committed",
                messages=len(committed.kinds),
                tickets=committed.tickets,
                quarantined=len(committed.quarantined),
                duplicates=len(fetched) - len(committed.kinds) - len(committed.quarantined),
                duration_seconds=round(seconds, 3),
            )
