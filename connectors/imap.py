"""Reading a mailbox by IMAP.

Reading goes folder by folder and UID by UID, by a cursor of our own and never by
flags: a message that somebody opened is read all the same. Waiting is IDLE on the
first folder with a slow poll beneath it for the others, or the poll alone.

When a folder's UIDs come to mean other messages, its cursor is not invalid for the
caller: the folder is yielded again (see imap_cursor.start), and the caller, who keeps
one message only once, gets nothing lost and nothing twice.

UIDNEXT tells whether a folder has anything new, in the answer to SELECT that is needed in
any case. Where the server has CONDSTORE, HIGHESTMODSEQ tells in the same answer whether the
folder is still the one that was read (see imap_changed).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from connectors.base import (
    Batch,
    ConnectorError,
    Edit,
    Fingerprint,
    HistoryBatch,
    HistoryPlan,
    PermanentError,
    RawMessage,
    ReadPlan,
    TemporaryError,
    TokenSource,
    Whereabouts,
)
from connectors.imap_access import ImapAccess
from connectors.imap_aside import ask_again, is_crowded, put_aside, require_others
from connectors.imap_changed import highest_seen, where_to_go_on
from connectors.imap_claims import claimed_history
from connectors.imap_connection import Connection
from connectors.imap_cursor import FolderCursor, Locator, format_cursor, parse_cursor, start
from connectors.imap_edit import edit_messages
from connectors.imap_fetch import Window, group, of_time, search_window, weight_of
from connectors.imap_find import find_message
from connectors.imap_fingerprints import fingerprints_of
from connectors.imap_folders import role_of
from connectors.imap_history import parse_history, read_history
from connectors.imap_idle import Woken, wait_in_idle
from connectors.imap_session import FolderMissing, ImapSession, ImapTools, Selected


class ImapReader:
    """A `Reader` over IMAP, on one connection.

    Raises ValueError for a plan that names a role we do not know.
    """

    reads_ahead: Final = True

    def __init__(self, access: ImapAccess, token_source: TokenSource, tools: ImapTools, plan: ReadPlan) -> None:
        for entry in plan.folders:
            role_of(entry)
        self._access = access
        self._plan = plan
        self._connection = Connection(
            access, token_source, tools, message_bytes_max=plan.message_bytes_max, readonly=plan.readonly
        )
        self._read_upto: dict[str, FolderCursor] = {}
        self._polled_at = time.monotonic()
        self._first_share = random.uniform(0.1, 1.0)  # noqa: S311 (not a secret)
        """Of the first interval: what thousands of mailboxes do, once begun together, is spread from then on."""
        self._stirred = False
        """Whether the last reading found messages."""
        self._missing: Sequence[int] = ()
        self._woken = asyncio.Event()
        self._idling: asyncio.Future[Woken] | None = None

    async def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
        """Yield what is new, folder by folder in the plan's order; see `Reader.changes`."""
        state = parse_cursor(cursor)
        self._polled_at, self._stirred = time.monotonic(), False
        failed: ConnectorError | None = None
        done: set[str] = set()
        missing: set[int] = set()
        # The folder that IDLE watches comes last, so that it stays selected.
        for position, entry in reversed(list(enumerate(self._plan.folders))):
            try:
                folder = await self._connection.find(entry)
                if folder is None:
                    missing.add(position)
                elif folder not in done:
                    done.add(folder)
                    start_at = None if folder in state else await self._start_of(folder)
                    batches = self._folder_changes(folder, state, start_at)
                    async with aclosing(batches):  # type: ignore[type-var]  # or who ends us leaves its room taken
                        async for batch in batches:
                            self._stirred = self._stirred or bool(batch.messages)
                            yield batch
            except FolderMissing:
                missing.add(position)
            except (PermanentError, TemporaryError) as error:
                # A folder that is refused for now must not keep the others from being read.
                if not self._connection.alive:
                    raise
                failed = failed or error
        async for batch in self._forget_unwatched(state, done, whole=not missing and failed is None):
            yield batch
        self._missing = [position for position in sorted(missing) if self._is_named(self._plan.folders[position])]
        if failed is not None:
            raise failed

    def missing_folders(self) -> Sequence[int]:
        """Return which folders of the plan the last reading did not find; see `Reader.missing_folders`."""
        return self._missing

    def _is_named(self, entry: str) -> bool:
        """Whether somebody named this folder: a role that no folder plays is no folder that is missing."""
        role = role_of(entry)
        return role is None or bool(self._access.role_folders.get(role))

    async def _start_of(self, folder: str) -> datetime | None:
        """Return from when on a folder's mail is new: the earliest that one of its entries in the plan says."""
        if not self._plan.starts:
            return self._plan.start_at
        entries = [entry for entry in self._plan.folders if await self._connection.find(entry) == folder]
        starts = [self._plan.start_of(entry) for entry in entries]
        return min((one for one in starts if one is not None), default=None)

    async def _forget_unwatched(
        self, state: dict[str, FolderCursor], done: set[str], *, whole: bool
    ) -> AsyncIterator[Batch]:
        """Drop what the cursor says of folders that are not watched any more: once they are again, they begin anew.

        Only where the whole plan was read: a folder that is missing may be one that the cursor knows.
        """
        left = [folder for folder in state if folder not in done] if whole else []
        for folder in left:
            del state[folder]
        if left:
            yield Batch((), format_cursor(state), more=False)

    async def _folder_changes(
        self, folder: str, state: dict[str, FolderCursor], start_at: datetime | None
    ) -> AsyncIterator[Batch]:
        session, selected = await self._connection.select(folder)
        known, uidnext = state.get(folder), selected.uidnext
        if known is not None and known.uidvalidity == selected.uidvalidity and not selected.uidnext_told:
            uidnext = max(uidnext, known.uid + 1)
        now = datetime.now(UTC)
        at = await self._begin(session, selected, known, uidnext, start_at, now)
        # That HIGHESTMODSEQ rose is not worth a commit by itself: each flag that somebody sets raises it.
        changed = known is None or at.differs_from(known)
        if is_crowded(at.aside, self._plan):
            async for messages, behind in ask_again(self._connection, selected, at, self._plan, now):
                at = state[folder] = behind
                yield Batch(messages, format_cursor(state), more=True)
        batches = self._new_messages(selected, at, uidnext, state, now, changed=changed)
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                yield batch
        async for messages, behind in ask_again(self._connection, selected, state[folder], self._plan, now):
            state[folder] = self._read_upto[folder] = behind
            yield Batch(messages, format_cursor(state), more=False)

    async def _new_messages(
        self,
        selected: Selected,
        at: FolderCursor,
        uidnext: int,
        state: dict[str, FolderCursor],
        now: datetime,
        *,
        changed: bool,
    ) -> AsyncIterator[Batch]:
        """Yield what lies behind `at`; the folder's cursor in `state` is at its end then. `changed` says whether that
        is to be written down where nothing comes."""
        folder, end, recovering = selected.folder, uidnext - 1, at.recovering
        window, witness = Window(), at.last
        while at.uid < end:
            low, high = at.uid + 1, min(at.uid + window.size, end)
            wanted_from = at.filter_from(low)
            if wanted_from is not None and at.below is not None:
                high = min(high, at.below - 1)
            session = await self._connection.same(selected)
            uids, _, high = window.cut(await search_window(session, low, high, wanted_from), low, high)
            # The witness is asked together with the first new messages: it costs nothing then.
            listed = await self._connection.describe(selected, [witness[0], *uids] if witness and uids else uids)
            if witness and uids:
                if any(item.uid == witness[0] and item.received_at not in (witness[1], None) for item in listed):
                    at = replace(at.anew(selected.uidvalidity, uidnext), modseq=at.modseq)
                    changed, recovering = True, True
                    window, witness = Window(), None
                    continue
                witness = None
            listed = of_time([item for item in listed if item.uid >= low], wanted_from)
            for items in group(listed, self._plan):
                async with self._plan.room.taken(weight_of(items, self._plan), self._connection.where) as hold:
                    fetched = await self._connection.fetch(selected, items)
                    await require_others(self._connection, selected, fetched, at.last[0] if at.last else None)
                    at = at.advanced(items[-1].uid, end, items[-1].received_at)
                    at = state[folder] = put_aside(at, fetched.withheld, now, self._connection.where)
                    changed = False
                    last = items[-1].uid == (listed[-1].uid if listed else 0) and high >= end
                    yield Batch(fetched.messages, format_cursor(state), more=not last, recovering=recovering, hold=hold)
            if at.uid < high:
                at, changed = at.advanced(high, end), True
        at = at.advanced(end, end)
        state[folder] = self._read_upto[folder] = at
        if changed:
            yield Batch((), format_cursor(state), more=False, recovering=recovering)

    async def _begin(
        self,
        session: ImapSession,
        selected: Selected,
        known: FolderCursor | None,
        uidnext: int,
        start_at: datetime | None,
        now: datetime,
    ) -> FolderCursor:
        """Return where to read a folder from, with the HIGHESTMODSEQ that it has now."""
        at = start(known, uidvalidity=selected.uidvalidity, uidnext=uidnext, start_at=start_at, now=now)
        if at == known:
            # Our own last reading may be later than the last cursor that was written.
            own = self._read_upto.get(selected.folder)
            seen = highest_seen(at, own if own is not None and own.uidvalidity == at.uidvalidity else None)
            compare = selected.folder not in session.compared
            at = await where_to_go_on(self._connection, selected, at, uidnext, seen=seen, compare=compare)
        session.compared.add(selected.folder)
        return at if selected.modseq is None else replace(at, modseq=selected.modseq)

    def history(self, plan: HistoryPlan, cursor: str | None) -> AsyncIterator[HistoryBatch]:
        """Yield old mail, folder by folder in the plan's order; see `Reader.history`."""
        return read_history(self._connection, self._plan, plan, cursor)

    async def claimed(self, cursor: str) -> AsyncIterator[Sequence[str]]:
        """Yield what lies behind the cursor; see `Reader.claimed`. A folder that is gone holds nothing."""
        state = parse_cursor(cursor)
        for folder in dict.fromkeys([await self._connection.find(entry) for entry in self._plan.folders]):
            if folder is None or folder not in state:
                continue
            with contextlib.suppress(FolderMissing):
                async for locators in self._folder_claimed(folder, state[folder]):
                    yield locators

    async def _folder_claimed(self, folder: str, at: FolderCursor) -> AsyncIterator[Sequence[str]]:
        _, selected = await self._connection.select(folder)
        if selected.uidvalidity != at.uidvalidity:
            return
        low, window, aside = 1, Window(), {one.uid for one in at.aside}
        while low <= at.uid:
            session = await self._connection.same(selected)
            high = min(low + window.size - 1, at.uid)
            wanted_from = at.claims_from(low)
            if wanted_from is not None and at.below is not None:
                high = min(high, at.below - 1)
            uids, _, high = window.cut(await search_window(session, low, high, wanted_from), low, high)
            if wanted_from is not None:
                uids = [item.uid for item in of_time(await self._connection.describe(selected, uids), wanted_from)]
            uids = [uid for uid in uids if uid not in aside]
            if uids:
                yield [str(Locator(at.uidvalidity, uid, folder)) for uid in uids]
            low = high + 1

    def claimed_history(self, plan: HistoryPlan, cursor: str, changes: str) -> AsyncIterator[Sequence[str]]:
        """Yield what lies behind the history's cursor; see `Reader.claimed_history`."""
        return claimed_history(self._connection, self._plan, plan, parse_history(cursor), parse_cursor(changes))

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait in IDLE where the server has it, else sleep; see `Reader.wait`."""
        try:
            return await self._wait(timeout_seconds)
        finally:
            self._woken.clear()

    def wake(self) -> None:
        """End the waiting; see `Reader.wake`."""
        self._woken.set()
        if self._idling is not None and not self._idling.done():
            self._idling.set_result(Woken.NEWS)

    async def _wait(self, timeout_seconds: float) -> bool:
        if self._woken.is_set():
            return True
        deadline = time.monotonic() + timeout_seconds
        folder = await self._watched()
        session = await self._connection.open()
        if folder is not None and "IDLE" in session.capabilities:
            poll_at = self._polled_at + self._beneath_idle() * self._first_share
            if await self._idle(folder, min(deadline, poll_at)):
                return True
            if (now := time.monotonic()) >= min(deadline, poll_at):
                return self._is_polled(now >= poll_at)
        # There is no IDLE, or it is refused.
        poll_at = self._polled_at + self._access.poll_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(deadline, poll_at) - time.monotonic())):
                await self._woken.wait()
                return True
        return self._is_polled(time.monotonic() >= poll_at)

    def _is_polled(self, is_due: bool) -> bool:
        if is_due:
            self._polled_at, self._first_share = time.monotonic(), 1.0
        return is_due

    def _beneath_idle(self) -> float:
        """Return how often all folders are looked at while IDLE tells of the first one.

        Once mail has come, more may have come on its heels: servers announce what comes while they are in IDLE, and
        some nothing that came in the moment before. So the look after it is as soon as without IDLE.
        """
        if len(self._plan.folders) == 1 and self._access.idle_poll_seconds is not None and not self._stirred:
            return self._access.idle_poll_seconds
        return self._access.poll_seconds

    async def _idle(self, folder: str, until: float) -> bool:
        """Stay in IDLE; return True where something may have come, False at the end, or where IDLE is refused."""
        while (left := until - time.monotonic()) > 0:
            session = await self._connection.open()
            if await self._has_news(session, folder):
                return True
            if session.refuses_idle:
                return False
            # Renewals are spread out: a thousand DONEs at once upset a real server. A poll is one, too.
            share = random.uniform(1.0 - self._access.idle_renew_jitter, 1.0)  # noqa: S311 (not a secret)
            renew = self._access.idle_renew_seconds
            renew = left if left <= renew else renew * share
            ends = max(0.0, session.renew_at - time.monotonic())
            if self._woken.is_set():
                return True
            self._idling = asyncio.get_running_loop().create_future()
            try:
                woken = await wait_in_idle(session, min(renew, ends), woken=self._idling)
            finally:
                self._idling = None
            # After a loss, what came in between is found by reading again.
            if woken in (Woken.NEWS, Woken.LOST):
                return True
        return False

    async def _watched(self) -> str | None:
        """Return the first folder of the plan that is there: `changes` left it selected."""
        for entry in self._plan.folders:
            if (folder := await self._connection.find(entry)) is not None:
                return folder
        return None

    async def _has_news(self, session: ImapSession, folder: str) -> bool:
        """Whether something came between the last reading and now, on a folder that is selected afterwards."""
        selected = session.selected
        if selected is None or selected.folder != folder:
            selected = await session.select(folder)
        elif session.take_news():
            return True
        at = self._read_upto.get(folder)
        if at is None:
            return True
        return at.uidvalidity != selected.uidvalidity or selected.uidnext > at.uid + 1

    async def fetch(self, locator: str) -> RawMessage | None:
        """Return one message whole (its header alone where it is over the plan's limit, or withheld)."""
        place = Locator.parse(locator)
        try:
            _, selected = await self._connection.select(place.folder)
        except FolderMissing:
            return None
        if selected.uidvalidity != place.uidvalidity:
            return None
        fetched = await self._connection.fetch(selected, await self._connection.describe(selected, [place.uid]))
        for item in fetched.withheld:
            return await self._connection.fetch_withheld(selected, item)
        return fetched.messages[0] if fetched.messages else None

    async def fingerprints(self, locators: Sequence[str]) -> Mapping[str, Fingerprint]:
        """Ask for many at once; see `Reader.fingerprints`."""
        return await fingerprints_of(self._connection, locators)

    async def edit(self, locators: Sequence[str], edit: Edit) -> Mapping[str, str | None]:
        """Do one edit; a message that is not there any more needs none. See `Reader.edit`."""
        return await edit_messages(self._connection, locators, edit, self._access.role_folders)

    async def find(self, message_id: str) -> Sequence[Whereabouts]:
        """Look in all folders; see `Reader.find`."""
        watched: dict[str, int] = {}
        for position, entry in enumerate(self._plan.folders):
            if (folder := await self._connection.find(entry)) is not None:
                watched.setdefault(folder, position)
        return await find_message(self._connection, message_id, watched)

    async def close(self) -> None:
        await self._connection.close()
