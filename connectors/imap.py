"""Reading a mailbox by IMAP.

Reading goes folder by folder and UID by UID, by a cursor of our own and never by
flags: a message that somebody opened is read all the same. Waiting is IDLE on the
first folder with a slow poll beneath it, or the poll alone.

When a folder's UIDVALIDITY changes, its cursor is not invalid for the caller: the
folder is yielded again under its new UIDVALIDITY (see imap_cursor.start), and the
caller, who keeps one message only once, gets nothing lost and nothing twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from connectors.base import Batch, Edit, PermanentError, RawMessage, ReadPlan, TemporaryError, TokenSource
from connectors.imap_access import ImapAccess
from connectors.imap_cursor import FolderCursor, Locator, format_cursor, parse_cursor, start
from connectors.imap_edit import apply_edit
from connectors.imap_fetch import (
    WINDOW_UIDS,
    WINDOW_UIDS_MAX,
    Listed,
    fetch_messages,
    group,
    list_messages,
    search_window,
)
from connectors.imap_idle import Woken, wait_in_idle
from connectors.imap_session import ImapSession, ImapTools, OversizeLiteral, Selected, open_session

_UID_MAX = (1 << 32) - 1


class ImapReader:
    """A `Reader` over IMAP. One connection, opened at first use and again after a loss."""

    def __init__(self, access: ImapAccess, token_source: TokenSource, tools: ImapTools, plan: ReadPlan) -> None:
        self._access = access
        self._token_source = token_source
        self._tools = tools
        self._plan = plan
        self._session: ImapSession | None = None
        self._read_upto: dict[str, FolderCursor] = {}
        self._polled_at = time.monotonic()

    async def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
        """Yield what is new, folder by folder in the plan's order; see `Reader.changes`."""
        state = parse_cursor(cursor)
        self._polled_at = time.monotonic()
        missing = None
        # The folder that IDLE watches comes last, so that it stays selected.
        for folder in reversed(self._plan.folders):
            try:
                async for batch in self._folder_changes(folder, state):
                    yield batch
            except PermanentError as error:
                # A folder that is gone must not keep the others from being read.
                if self._session is None or not self._session.alive:
                    raise
                missing = error
        if missing is not None:
            raise missing

    async def _folder_changes(self, folder: str, state: dict[str, FolderCursor]) -> AsyncIterator[Batch]:
        session, selected = await self._select(folder)
        uidnext = await self._uidnext(session, selected)
        known = state.get(folder)
        at = start(known, uidvalidity=selected.uidvalidity, uidnext=uidnext, plan=self._plan, now=datetime.now(UTC))
        changed = at != known
        window = WINDOW_UIDS
        while at.uid < uidnext - 1:
            low, high = at.uid + 1, min(at.uid + window, uidnext - 1)
            session, selected = await self._same(session, selected)
            wanted_from = at.filter_from(low)
            if wanted_from is not None and at.below is not None:
                high = min(high, at.below - 1)
            uids = await search_window(session, low, high, wanted_from)
            # UIDs can be sparse: an empty window makes the next one wider, a full one is cut to the usual size.
            window = min(window * 4, WINDOW_UIDS_MAX) if not uids else WINDOW_UIDS
            if len(uids) > WINDOW_UIDS:
                uids = uids[:WINDOW_UIDS]
                high = uids[-1]
            listed = await list_messages(session, uids, wanted_from)
            for items in group(listed, self._plan):
                messages = await self._fetch(folder, selected, items)
                at = state[folder] = at.advanced(items[-1].uid)
                changed = False
                last = items[-1].uid == (listed[-1].uid if listed else 0) and high >= uidnext - 1
                yield Batch(messages, format_cursor(state), more=not last)
            if at.uid < high:
                at, changed = at.advanced(high), True
        state[folder] = self._read_upto[folder] = at
        if changed:
            yield Batch((), format_cursor(state), more=False)

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait in IDLE where the server has it, else sleep; see `Reader.wait`."""
        deadline = time.monotonic() + timeout_seconds
        poll_at = self._polled_at + self._access.poll_seconds
        folder = self._plan.folders[0]
        session = await self._open()
        if "IDLE" not in session.capabilities:
            await asyncio.sleep(max(0.0, min(deadline, poll_at) - time.monotonic()))
        else:
            if await self._has_news(session, folder):
                return True
            while (left := min(deadline, poll_at) - time.monotonic()) > 0:
                # Renewals are spread out: a thousand DONEs at once upset a real server.
                share = random.uniform(1.0 - self._access.idle_renew_jitter, 1.0)  # noqa: S311 (not a secret)
                renew = self._access.idle_renew_seconds * share
                woken = await wait_in_idle(session, min(left, renew))
                # After a loss, what came in between is found by reading again.
                if woken is not Woken.TIMEOUT:
                    return True
        if time.monotonic() < poll_at:
            return False
        self._polled_at = time.monotonic()
        return True

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
        return at.uidvalidity != selected.uidvalidity or await self._uidnext(session, selected) > at.uid + 1

    async def fetch(self, locator: str) -> RawMessage | None:
        """Return one message whole (its header alone where it is over the plan's limit)."""
        place = Locator.parse(locator)
        session, selected = await self._select(place.folder)
        if selected.uidvalidity != place.uidvalidity:
            return None
        listed = await list_messages(session, [place.uid], None)
        messages = await self._fetch(place.folder, selected, listed)
        return messages[0] if messages else None

    async def edit(self, locator: str, edit: Edit) -> str | None:
        """Do one edit; a message that is not there any more needs none."""
        place = Locator.parse(locator)
        session = await self._open()
        if session.selected is None or session.selected.folder != place.folder:
            await session.select(place.folder)
        selected = session.selected
        if selected is None or selected.uidvalidity != place.uidvalidity:
            return None
        return await apply_edit(session, place, edit, self._access.role_folders)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _open(self) -> ImapSession:
        if self._session is None or not self._session.alive:
            self._session = await open_session(self._access, self._token_source, self._tools)
        return self._session

    async def _select(self, folder: str) -> tuple[ImapSession, Selected]:
        """SELECT anew, also where it is selected already: it is the cheap way to a true UIDNEXT."""
        session = await self._open()
        return session, await session.select(folder)

    async def _same(self, session: ImapSession, selected: Selected) -> tuple[ImapSession, Selected]:
        """Return to the folder where the caller used the connection for something else between two batches."""
        if session.alive and session.selected is selected:
            return session, selected
        session, again = await self._select(selected.folder)
        if again.uidvalidity != selected.uidvalidity:
            # Between two batches; the next reading starts the folder again.
            raise TemporaryError(f"SELECT at {session.where}: UIDVALIDITY changed")
        return session, again

    async def _uidnext(self, session: ImapSession, selected: Selected) -> int:
        """UIDNEXT, asked by SEARCH where the server leaves it out of SELECT (it may, RFC 3501 §6.3.1)."""
        if selected.uidnext is not None:
            return selected.uidnext
        found = await session.run("SEARCH", lambda client: client.search(["UID", f"{_UID_MAX}:*"]))
        return max(found, default=0) + 1

    async def _fetch(self, folder: str, selected: Selected, items: list[Listed]) -> list[RawMessage]:
        session, selected = await self._same(await self._open(), selected)
        limit = self._plan.message_bytes_max
        try:
            return await fetch_messages(session, selected, items, limit)
        except OversizeLiteral:
            # The server lied about a size. One message must not stop the mailbox: one by one, then.
            return [message for item in items for message in await self._fetch_alone(selected, item)]

    async def _fetch_alone(self, selected: Selected, item: Listed) -> list[RawMessage]:
        session, selected = await self._same(await self._open(), selected)
        try:
            return await fetch_messages(session, selected, [item], self._plan.message_bytes_max)
        except OversizeLiteral:
            session, selected = await self._same(await self._open(), selected)
            return await fetch_messages(session, selected, [item], -1)
