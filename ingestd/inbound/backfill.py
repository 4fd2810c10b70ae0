"""Old mail: what was in a mailbox before it was linked, read beside new mail and never before it.

It has a connection and a cursor of its own and goes on after a crash from the batch that was committed last.
New mail is not delayed: few mailboxes at a time are read so (`slots`), their batches take no place among those
of new mail, and the parser serves them last. Nobody is answered: what comes in is announced as imported, opens
no closed ticket again, and nothing is done in the mailbox.

It waits while new mail cannot be read: what is wrong with the mailbox is found out, and told, there. What goes
wrong here alone is this backfill's: it pauses, and the mailbox stays active.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass
from datetime import timedelta

import structlog

from config import Backfill
from connectors.base import ConnectorError, HistoryBatch, HistoryPlan, RateLimited, Reader
from ingestd.inbound import backfill_steps
from ingestd.inbound.commit import commit_history
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.parser import ParserUnavailable
from ingestd.inbound.states import backoff_seconds
from ingestd.inbound.taking import ReaderTools, Taker
from ingestd.records import HistoryRecord
from storage import backfills
from storage.backfills import BackfillStatus
from storage.errors import CursorMoved, FenceLost, KeyDestroyed, NotFound, StorageUnavailable
from storage.leases import Held

log = structlog.get_logger()

_FORGET_ROWS = 500
"""Remembered references that are deleted in one transaction, at the end."""


@dataclass(frozen=True, slots=True)
class BackfillTools:
    """What the backfills of a process share."""

    reading: ReaderTools
    settings: Backfill
    slots: asyncio.Semaphore
    """Backfills that read at the same time."""


class MailboxBackfill:
    """Reads the old mail of one held mailbox, where that is asked for."""

    def __init__(
        self, held: Held, context: MailboxContext, reader: Reader, caught_up: asyncio.Event, tools: BackfillTools
    ) -> None:
        """`caught_up` is set while new mail can be read, and has been. (A connector needs that order: mail with an
        old date that comes between the two beginnings would be nobody's.)"""
        self._held = held
        self._context = context
        self._reader = reader
        self._caught_up = caught_up
        self._tools = tools
        self._taker = Taker(held, context, tools.reading)
        self._sequence = 0
        self._failures = 0
        """In a row, without a batch in between."""
        self._refused = 0
        """Those of them that were the server's; a wish that we wait is none."""
        self._reading_since = 0.0
        """When the reading of the next batch began: after the batch before, or after a wait for whatever it was."""
        self._log = log.bind(mailbox_id=str(held.mailbox_id), fence=held.fence)

    async def run(self) -> None:
        """Return when there is nothing to do: all is read, it was stopped or given up, or the mailbox is not ours."""
        self._failures = self._refused = 0
        try:
            await self._wait_out_pause()
            while await self._attempt():
                pass
        except (FenceLost, KeyDestroyed, NotFound):
            self._log.info("mailbox.lost")
        finally:
            await self._reader.close()

    async def _wait_out_pause(self) -> None:
        """What a provider asked of the last worker holds for this one, too."""
        rest = await self._tools.reading.content.read(self._held.account_id, backfills.retry_in, self._held.mailbox_id)
        await asyncio.sleep(rest.total_seconds())

    async def _attempt(self) -> bool:
        """Read as far as it goes; after a failure, pause. Return whether there may be more to do."""
        await self._caught_up.wait()
        try:
            async with self._tools.slots:
                await self._read()
        except ConnectorError as error:
            await self._reader.close()
            return await self._connector_failed(error)
        except (StorageUnavailable, CursorMoved, ParserUnavailable) as error:
            await self._reader.close()
            await self._sleep(error, self._next_pause(error))
            return True
        return False

    async def _read(self) -> None:
        account_id, mailbox_id = self._held.account_id, self._held.mailbox_id
        content = self._tools.reading.content
        found = await content.read(account_id, backfills.get_backfill, mailbox_id)
        self._sequence = found.cursor_sequence
        if found.status is not BackfillStatus.RUNNING:
            return
        self._reading_since = time.monotonic()
        cursor = None
        if found.cursor_sealed is not None:
            place = HistoryRecord.place(mailbox_id)
            cursor = self._context.key.open_record(place, found.cursor_sealed, HistoryRecord).cursor
        self._log.info("backfill.started", messages=found.seen)
        plan = HistoryPlan(before=found.before, since=found.since, newest_first=found.newest_first)
        async with contextlib.aclosing(self._reader.history(plan, cursor)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                await self._commit(batch)
        while not await content.transaction(
            account_id,
            backfill_steps.end_backfill,
            mailbox_id,
            fence=self._held.fence,
            cursor_sequence=self._sequence,
            rows_max=_FORGET_ROWS,
        ):
            pass
        self._log.info("backfill.ended", status=BackfillStatus.DONE.value)

    async def _commit(self, batch: HistoryBatch) -> None:
        """Take one batch in. Only after its commit does the connector go on."""
        fetched_at = time.monotonic()
        prepared, _ = await self._taker.prepare(batch.messages, live=False)
        committed = await self._tools.reading.content.transaction(
            self._held.account_id,
            commit_history,
            self._context,
            prepared,
            fence=self._held.fence,
            cursor_sequence=self._sequence,
            batch=batch,
            seconds=time.monotonic() - self._reading_since,
            ticket_status=self._tools.settings.ticket_status,
        )
        self._sequence += 1
        self._failures = self._refused = 0
        self._reading_since = time.monotonic()
        self._taker.count(batch.messages, committed, self._reading_since - fetched_at, live=False)

    async def _connector_failed(self, error: ConnectorError) -> bool:
        """Write down why it pauses, and pause; return False where it is given up."""
        if not isinstance(error, RateLimited):
            self._refused += 1
        pause = self._next_pause(error)
        content, account_id, mailbox_id = self._tools.reading.content, self._held.account_id, self._held.mailbox_id
        self._tools.reading.metrics.mailbox_failed(error.trouble.value)
        try:
            if self._refused >= self._tools.settings.attempts_max:
                await content.transaction(
                    account_id,
                    backfill_steps.give_up,
                    mailbox_id,
                    fence=self._held.fence,
                    cursor_sequence=self._sequence,
                    trouble=error.trouble,
                )
                self._log.warning("backfill.ended", status=BackfillStatus.FAILED.value, trouble=error.trouble.value)
                return False
            await content.transaction(
                account_id,
                backfill_steps.note_trouble,
                mailbox_id,
                fence=self._held.fence,
                trouble=error.trouble,
                retry_in=timedelta(seconds=pause),
            )
        except (StorageUnavailable, CursorMoved):
            pass  # found out at the next attempt
        await self._sleep(error, pause)
        return True

    def _next_pause(self, error: Exception) -> float:
        self._failures += 1
        jitter = random.random()  # noqa: S311  (jitter, not a secret)
        pause = backoff_seconds(self._tools.settings.backoff, self._failures, jitter)
        return max(pause, error.retry_after) if isinstance(error, RateLimited) else pause

    async def _sleep(self, error: Exception, seconds: float) -> None:
        self._log.warning("backfill.failed", exc_info=error, attempt=self._failures, delay_seconds=round(seconds, 1))
        await asyncio.sleep(seconds)
