"""One mailbox, one task: wait, read, commit, again.

A failure is this mailbox's alone. What it means is decided in `states`, written into the
mailbox's state with a reason and since when, and tried again after a jittered, growing
pause; the cursor in the database is where reading goes on, so nothing is lost and the
server is never marked.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from connectors.base import AuthError, Batch, ConnectorError, CursorInvalid, PermanentError, RateLimited, Reader
from ingestd.inbound.ahead import Ahead, Ready
from ingestd.inbound.commit import Committed, commit_batch
from ingestd.inbound.edits import MailboxEdits
from ingestd.inbound.folders import note_missing
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.parser import ParserUnavailable
from ingestd.inbound.states import (
    COURSES,
    Pace,
    Streak,
    change_state,
    must_ask,
    note_failure,
    note_repair,
    pause_after,
)
from ingestd.inbound.taking import ReaderTools, Taker
from ingestd.records import CursorRecord, FoldersRecord
from storage import mailboxes
from storage.errors import CursorMoved, FenceLost, KeyDestroyed, StorageUnavailable
from storage.leases import Held
from storage.mailboxes import MailboxState

log = structlog.get_logger()

WhyRefused = Callable[[], Awaitable[ConnectorError]]
"""Asks the provider what it means that its mail server refused a fresh token."""

_NOTE_SECONDS = 300.0
"""How often an idle mailbox's last reading is written down: each time would be a write a poll for nothing."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where reading stands."""

    sequence: int
    """The number of the next batch."""
    cursor: str | None
    """The connector's."""


@dataclass(slots=True)
class _Repair:
    """A reading anew, because the cursor had lost its meaning."""

    whole: bool
    """Everything is read anew; else the connector says of which batches that is true."""
    recovered: int = 0
    known: int = 0


class MailboxReader:
    """Reads one held mailbox until it is cancelled, loses its fence, or needs a person."""

    def __init__(
        self,
        held: Held,
        context: MailboxContext,
        reader: Reader,
        tools: ReaderTools,
        why_refused: WhyRefused,
        *,
        folders: FoldersRecord | None = None,
    ) -> None:
        """`folders` are those of the reader's plan, in its order."""
        self._held = held
        self._context = context
        self._reader = reader
        self._tools = tools
        self._why_refused = why_refused
        self._taker = Taker(held, context, tools)
        self._connection = asyncio.Lock()
        """Of the reader, which is one: edits wait for what is being fetched."""
        self._edits = MailboxEdits(held, context, reader, tools.content, tools.settings, self._connection)
        self._folders = tuple(folders.since) if folders else ()
        self._missing = folders.missing if folders else ()
        self.caught_up = asyncio.Event()
        """Set while new mail can be read and has been: then its old mail may be."""
        self._edits_wait = True
        """Whether edits may be waiting: who makes one wakes us."""
        self._healthy = False
        self._waited_out = False
        self._noted_at = 0.0
        self._streak = Streak()
        self._attempts = 0
        """Failures since a whole round went well: a server that always ends our waiting is not asked at once each
        time, although reading works."""
        self._repair: _Repair | None = None
        self._reached: _Place | None = None
        """Where the last round came to an end: nobody else moves the cursor of what we hold, so a poll need not ask."""
        self._log = log.bind(mailbox_id=str(held.mailbox_id), fence=held.fence)

    async def run(self) -> None:
        """Return when the mailbox is no longer ours, or waits for a person."""
        try:
            while await self._round():
                pass
        except (FenceLost, KeyDestroyed):
            self._log.info("mailbox.lost")
        finally:
            await self._reader.close()

    def wake(self) -> None:
        """Look for edits that are due; what is under way goes on first."""
        self._edits_wait = True
        self._reader.wake()

    async def _round(self) -> bool:
        """Read to the end and wait for something new; after a failure, pause. Return False where only a new
        linking helps."""
        try:
            await self._wait_out_throttle()
            await self._catch_up()
            await self._note_success()
            await self._note_folders()
            self.caught_up.set()
            edit_in = await self._edit()
            # Those that poll do so by themselves, in between.
            poll = max(self._tools.settings.poll_seconds, self._tools.settings.idle_poll_seconds)
            await self._reader.wait(poll if edit_in is None else min(poll, edit_in))
            self._attempts = 0
        except ConnectorError as error:
            return await self._connector_failed(error)
        except (StorageUnavailable, CursorMoved, ParserUnavailable) as error:
            # Ours, not the mailbox's: its state stays as it is.
            self._healthy = False
            self.caught_up.clear()
            await self._pause(error)
        return True

    async def _edit(self) -> float | None:
        """Do the edits that are due; return in how many seconds more are, None where none waits."""
        if not self._edits_wait:
            return None
        self._edits_wait = False  # before it is looked: who wakes us meanwhile is heard
        edit_in: float | None = 0.0
        try:
            edit_in = await self._edits.run_due()
        finally:
            self._edits_wait = self._edits_wait or edit_in is not None
        return edit_in

    # -- reading -----------------------------------------------------------------------------------

    async def _wait_out_throttle(self) -> None:
        """What the provider asked of the last worker holds for this one, too."""
        if self._waited_out:
            return
        rest = await self._tools.content.read(self._held.account_id, mailboxes.retry_in, self._held.mailbox_id)
        await asyncio.sleep(rest.total_seconds())
        self._waited_out = True

    async def _catch_up(self) -> None:
        place, self._reached = self._reached or await self._place(), None
        try:
            reached = await self._take_changes(place)
        except CursorInvalid as error:
            # From the linking on, then: what we have is known by its identity, what we lack comes in.
            self._log.warning("mailbox.read_failed", exc_info=error, attempt=self._attempts + 1, delay_seconds=0.0)
            self._repair = _Repair(whole=True)
            place = await self._place()
            reached = await self._take_changes(_Place(place.sequence, None))
        if self._repair is not None:
            await self._end_repair(self._repair)
        self._reached = reached

    async def _place(self) -> _Place:
        mailbox = await self._tools.content.read(self._held.account_id, mailboxes.get_mailbox, self._held.mailbox_id)
        cursor = None
        if mailbox.cursor_sealed is not None:
            place = CursorRecord.place(self._held.mailbox_id)
            cursor = self._context.key.open_record(place, mailbox.cursor_sealed, CursorRecord).cursor
        return _Place(mailbox.cursor_sequence, cursor)

    async def _take_changes(self, place: _Place) -> _Place:
        """Take batch after batch in; what was not committed at a failure is read again. Return where that led."""
        async with contextlib.aclosing(self._reader.changes(place.cursor)) as batches:  # type: ignore[type-var]
            ahead = Ahead(batches, self._prepare, self._connection, reads_ahead=self._reader.reads_ahead)
            async with contextlib.aclosing(ahead):
                while (ready := await ahead.next()) is not None:
                    try:
                        await self._commit(ready, place.sequence)
                    finally:
                        ready.release()
                    place = _Place(place.sequence + 1, ready.batch.cursor)
                    # While a folder is read anew, what is to be edited may lie in what is still to come.
                    if self._repair is None:
                        await self._edits.run_due()
        return place

    async def _prepare(self, batch: Batch) -> Ready:
        """Parse a batch that was fetched."""
        with contextlib.ExitStack() as held:
            held.callback(batch.hold.release)
            await self._tools.batches.acquire()
            held.callback(self._tools.batches.release)
            started = time.monotonic()
            new, seen = await self._taker.prepare(batch.messages, live=True)
            return Ready(batch, new, seen, time.monotonic() - started, held.pop_all().close)

    async def _commit(self, ready: Ready, cursor_sequence: int) -> None:
        """Write one batch."""
        started = time.monotonic()
        batch = ready.batch
        committed = await self._tools.content.transaction(
            self._held.account_id,
            commit_batch,
            self._context,
            ready.new,
            fence=self._held.fence,
            cursor_sequence=cursor_sequence,
            cursor=batch.cursor,
            seen=ready.seen,
        )
        self._edits_wait = True
        self._count_repaired(batch, committed)
        seconds = ready.seconds + time.monotonic() - started
        self._taker.count(batch.messages, committed, seconds, live=self._repair is None)

    # -- reading anew ------------------------------------------------------------------------------

    def _count_repaired(self, batch: Batch, committed: Committed) -> None:
        if batch.recovering and self._repair is None:
            self._repair = _Repair(whole=False)
        if self._repair is not None and (batch.recovering or self._repair.whole):
            new = len(committed.kinds) + len(committed.quarantined)
            self._repair.recovered += new
            self._repair.known += len(batch.messages) - new

    async def _end_repair(self, repair: _Repair) -> None:
        await self._tools.content.transaction(
            self._held.account_id,
            note_repair,
            self._held.mailbox_id,
            fence=self._held.fence,
            recovered=repair.recovered,
        )
        self._repair = None
        self._log.warning("mailbox.cursor_repaired", recovered=repair.recovered, duplicates=repair.known)

    # -- how it went -------------------------------------------------------------------------------

    async def _note_success(self) -> None:
        self._streak = Streak()
        if self._healthy:
            if time.monotonic() - self._noted_at < _NOTE_SECONDS:
                return
            self._noted_at = time.monotonic()
            await self._tools.content.transaction(
                self._held.account_id, mailboxes.mark_read_through, self._held.mailbox_id, fence=self._held.fence
            )
            return
        changed = await self._tools.content.transaction(
            self._held.account_id,
            change_state,
            self._held.mailbox_id,
            fence=self._held.fence,
            state=MailboxState.ACTIVE,
        )
        self._healthy, self._noted_at = True, time.monotonic()
        if changed:
            self._log.info("mailbox.state_changed", state=MailboxState.ACTIVE.value, trouble="none")

    async def _note_folders(self) -> None:
        """Tell of the folders that are not there; the others were read all the same."""
        missing = tuple(self._folders[at] for at in self._reader.missing_folders())
        if missing == self._missing:
            return
        news = await self._tools.content.transaction(
            self._held.account_id, note_missing, self._held, self._context.key, missing
        )
        self._missing = missing
        if news and missing:
            self._log.warning("mailbox.folders_missing", count=len(missing))
        elif news:
            self._log.info("mailbox.folders_found")

    async def _connector_failed(self, error: ConnectorError) -> bool:
        """Find out what a failure means, write it down, and pause; return False where only a new linking helps."""
        self._healthy = False
        self.caught_up.clear()
        self._streak = self._streak.refused(error)
        if must_ask(error, self._streak, self._tools.settings.suspicions_max):
            answer = await self._why_refused()
            if isinstance(error, AuthError) or isinstance(answer, PermanentError):
                error = answer
        self._streak = self._streak.judged(error)
        self._tools.metrics.mailbox_failed(error.trouble.value)
        needs_linking = COURSES[error.trouble].pace is Pace.NEVER
        pause = self._next_pause(error)
        try:
            state = await self._tools.content.transaction(
                self._held.account_id,
                note_failure,
                self._held.mailbox_id,
                fence=self._held.fence,
                streak=self._streak,
                error=error,
                retry_in=timedelta(seconds=pause),
            )
        except StorageUnavailable:
            state = None
            needs_linking = False  # said again after the pause, and written then
        if state is not None:
            self._log.info("mailbox.state_changed", state=state.value, trouble=error.trouble.value)
        if needs_linking:
            self._log.warning("mailbox.read_failed", exc_info=error, attempt=self._attempts, delay_seconds=0.0)
            return False
        # A connection that stands idle through the pause is one that the server may have closed behind us.
        await self._reader.close()
        await self._sleep(error, pause)
        return True

    async def _pause(self, error: Exception) -> None:
        await self._sleep(error, self._next_pause(error))

    def _next_pause(self, error: Exception) -> float:
        self._attempts += 1
        return pause_after(
            self._streak,
            error,
            self._attempts,
            self._tools.settings.backoff,
            blocked_seconds=self._tools.settings.blocked_retry_seconds,
            jitter=random.random(),  # noqa: S311  (jitter, not a secret)
        )

    async def _sleep(self, error: Exception, seconds: float) -> None:
        if isinstance(error, RateLimited):
            self._log.warning("mailbox.throttled", retry_after_seconds=round(seconds, 1))
        else:
            self._log.warning(
                "mailbox.read_failed", exc_info=error, attempt=self._attempts, delay_seconds=round(seconds, 1)
            )
        await asyncio.sleep(seconds)
