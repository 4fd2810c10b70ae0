"""One mailbox, one task: wait, read, commit, again.

A failure is this mailbox's alone. It is written into the mailbox's state with what is
wrong and since when, and tried again after a jittered, growing pause; the cursor in the
database is where reading goes on, so nothing is lost and the server is never marked.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
import tenacity

from config import Inbound
from connectors.base import (
    AuthError,
    Batch,
    ConnectorError,
    PermanentError,
    RateLimited,
    Reader,
)
from ingestd.inbound.commit import Committed, commit_batch
from ingestd.inbound.intake import MailboxContext, Prepared, read_batch, seal_batch
from ingestd.inbound.parser import ParserPool, ParserUnavailable
from ingestd.inbound.states import NEEDS_LINKING, change_state
from ingestd.records import CursorRecord
from ingestd.telemetry.metrics import Metrics
from storage import mailboxes, messages
from storage.blobs import FolderBlobs
from storage.database import Database
from storage.errors import CursorMoved, FenceLost, KeyDestroyed, StorageUnavailable
from storage.leases import Held
from storage.mailboxes import MailboxState

log = structlog.get_logger()

_NOTE_SECONDS = 300.0
"""How often an idle mailbox's last reading is written down: each time would be a write a poll for nothing."""
_RETRIED = (ConnectorError, StorageUnavailable, CursorMoved, ParserUnavailable)


@dataclass(frozen=True, slots=True)
class ReaderTools:
    """What all mailboxes of a process share."""

    content: Database
    blobs: FolderBlobs
    parser: ParserPool
    metrics: Metrics
    settings: Inbound
    blob_bytes_min: int
    batches: asyncio.Semaphore
    """Batches in memory at once."""


class MailboxReader:
    """Reads one held mailbox until it is cancelled, loses its fence, or needs a person."""

    def __init__(self, held: Held, context: MailboxContext, reader: Reader, tools: ReaderTools) -> None:
        self._held = held
        self._context = context
        self._reader = reader
        self._tools = tools
        self._healthy = False
        self._noted_at = 0.0
        self._log = log.bind(mailbox_id=str(held.mailbox_id), fence=held.fence)

    async def run(self) -> None:
        """Return when the mailbox is no longer ours, or waits for a person."""
        try:
            while await self._read_until_quiet():
                pass
        except (FenceLost, KeyDestroyed):
            self._log.info("mailbox.lost")
        finally:
            await self._reader.close()

    async def _read_until_quiet(self) -> bool:
        """Read to the end, then wait for something new; return False where only a person can help."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_can_retry),
            wait=self._pause,
            before_sleep=self._note_failure,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await self._catch_up()
                    await self._note_success()
                    await self._reader.wait(self._tools.settings.poll_seconds)
        except PermanentError as error:
            await self._set_state(MailboxState.REAUTH_REQUIRED, error)
            return False
        return True

    async def _catch_up(self) -> None:
        mailbox = await self._tools.content.read(self._held.account_id, mailboxes.get_mailbox, self._held.mailbox_id)
        sequence, cursor = mailbox.cursor_sequence, None
        if mailbox.cursor_sealed is not None:
            place = CursorRecord.place(self._held.mailbox_id)
            cursor = self._context.key.open_record(place, mailbox.cursor_sealed, CursorRecord).cursor
        async with contextlib.aclosing(self._reader.changes(cursor)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                async with self._tools.batches:
                    await self._commit(batch, sequence)
                sequence += 1

    async def _commit(self, batch: Batch, cursor_sequence: int) -> None:
        """Take one batch in. Only after its commit does the connector go on."""
        started = time.monotonic()
        prepared = await self._prepare(batch)
        committed = await self._tools.content.transaction(
            self._held.account_id,
            commit_batch,
            self._context,
            prepared,
            fence=self._held.fence,
            cursor_sequence=cursor_sequence,
            cursor=batch.cursor,
        )
        self._count(batch, committed, time.monotonic() - started)

    async def _prepare(self, batch: Batch) -> list[Prepared]:
        reads = await read_batch(self._tools.parser, self._context, batch.messages)
        known = await self._tools.content.read(
            self._held.account_id,
            messages.known_identities,
            self._held.mailbox_id,
            [read.identity_key for read in reads],
        )
        return await seal_batch(self._tools.blobs, self._context, reads, known, self._tools.blob_bytes_min)

    def _count(self, batch: Batch, committed: Committed, seconds: float) -> None:
        metrics = self._tools.metrics
        metrics.batch_committed(seconds)
        lags = [max(0.0, (datetime.now(UTC) - message.received_at).total_seconds()) for message in batch.messages]
        for kind in committed.kinds:
            metrics.message_taken(kind.value, lag_seconds=min(lags))
        for reason in committed.quarantined:
            metrics.message_quarantined(reason)
            self._log.warning("message.quarantined", reason=reason)
        metrics.tickets_opened(committed.tickets)
        if batch.messages:
            self._log.info(
                "mailbox.batch_committed",
                messages=len(committed.kinds),
                tickets=committed.tickets,
                quarantined=len(committed.quarantined),
                duplicates=len(batch.messages) - len(committed.kinds) - len(committed.quarantined),
                duration_seconds=round(seconds, 3),
            )

    async def _note_success(self) -> None:
        if self._healthy:
            if time.monotonic() - self._noted_at < _NOTE_SECONDS:
                return
            self._noted_at = time.monotonic()
            await self._tools.content.transaction(
                self._held.account_id, mailboxes.mark_read_through, self._held.mailbox_id, fence=self._held.fence
            )
            return
        await self._set_state(MailboxState.ACTIVE, None)
        self._healthy, self._noted_at = True, time.monotonic()

    async def _note_failure(self, state: tenacity.RetryCallState) -> None:
        assert state.outcome is not None
        error = state.outcome.exception()
        assert error is not None
        self._healthy = False
        pause = state.next_action.sleep if state.next_action else 0.0
        self._log.warning(
            "mailbox.read_failed", exc_info=error, attempt=state.attempt_number, delay_seconds=round(pause, 1)
        )
        if isinstance(error, ConnectorError):
            self._tools.metrics.mailbox_failed(error.trouble.value)
            blocked = isinstance(error, PermanentError)
            with contextlib.suppress(StorageUnavailable):
                await self._set_state(MailboxState.BLOCKED if blocked else MailboxState.FAILING, error)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None
        error, backoff = state.outcome.exception(), self._tools.settings.backoff
        if isinstance(error, PermanentError):
            return backoff.max_seconds  # nothing will change before a person acts
        grown: Callable[[tenacity.RetryCallState], float] = tenacity.wait_random_exponential(
            multiplier=backoff.initial_seconds, max=backoff.max_seconds, min=backoff.initial_seconds / 2
        )
        pause = grown(state)
        return max(pause, error.retry_after) if isinstance(error, RateLimited) else pause

    async def _set_state(self, state: MailboxState, error: ConnectorError | None) -> None:
        changed = await self._tools.content.transaction(
            self._held.account_id,
            change_state,
            self._held.mailbox_id,
            fence=self._held.fence,
            state=state,
            trouble=error.trouble if error else None,
            reason=str(error) if error else None,
        )
        if changed:
            self._log.info("mailbox.state_changed", state=state.value, trouble=error.trouble.value if error else "none")


def _can_retry(error: BaseException) -> bool:
    if isinstance(error, PermanentError):
        return error.trouble not in NEEDS_LINKING
    return isinstance(error, (*_RETRIED, AuthError))
