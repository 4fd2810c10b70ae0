"""Reading a mailbox by Microsoft Graph.

Reading goes folder by folder, by delta and never by flags (graph_delta). Waiting is a poll that is quick after news and
slow after silence; a notification that something has changed ends it (`wake`).

An id is the immutable one: a message keeps it wherever it is moved within the mailbox, so it is known again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import httpx2

from connectors.base import (
    Batch,
    ConnectorError,
    Edit,
    Fingerprint,
    HistoryBatch,
    HistoryPlan,
    RawMessage,
    ReadPlan,
    TokenSource,
    Whereabouts,
)
from connectors.graph_access import GraphAccess
from connectors.graph_client import GraphClient
from connectors.graph_cursor import CLOCK_SLACK, FolderCursor, Locator, Position, format_cursor, moment, parse_cursor
from connectors.graph_delta import FolderReading, Known
from connectors.graph_edit import edit_messages
from connectors.graph_errors import CallRefused, DeltaExpired, ItemMissing
from connectors.graph_fetch import fetch_header, fetch_message
from connectors.graph_find import find_message
from connectors.graph_folders import Folder, Folders
from connectors.graph_history import claimed_in_folders, read_history
from connectors.graph_limiter import MailboxLimiter
from connectors.graph_listing import Listed, delta_page, list_from
from connectors.imap_folders import role_of

_SLOWER = 1.5
"""Each poll that brings nothing makes the next one so much later."""


class GraphReader:
    """A `Reader` over Graph. `name` is its name in the limiter that the mailbox's reader, backfill and sender share.

    Raises ValueError for a plan that names a role we do not know.
    """

    reads_ahead: Final = False

    def __init__(
        self,
        access: GraphAccess,
        token_source: TokenSource,
        transport: httpx2.AsyncBaseTransport,
        limiter: MailboxLimiter,
        plan: ReadPlan,
        *,
        name: str = "reader",
        known: Known | None = None,
    ) -> None:
        for entry in plan.folders:
            role_of(entry)
        self._access = access
        self._plan = plan
        self._client = GraphClient(access, token_source, transport, limiter, name)
        self._folders = Folders(self._client)
        self._reading = FolderReading(self._client, plan, known)
        self._missing: Sequence[int] = ()
        self._woken = asyncio.Event()
        self._polled_at = time.monotonic()
        self._poll_seconds = access.poll_seconds_min

    async def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
        """Yield what is new, folder by folder in the plan's order; see `Reader.changes`."""
        state = parse_cursor(cursor)
        self._polled_at = time.monotonic()
        self._folders.begin_round()
        failed: ConnectorError | None = None
        done: set[str] = set()
        missing: list[int] = []
        news = False
        for position, entry in enumerate(self._plan.folders):
            try:
                folder = await self._folders.find(entry)
                if folder is None:
                    missing.append(position)
                elif folder.id not in done:
                    done.add(folder.id)
                    start_at = None if folder.id in state else await self._start_of(folder)
                    async for batch in self._reading.changes(folder, state, start_at):
                        news = news or bool(batch.messages)
                        yield batch
            except ItemMissing:
                self._folders.forget()
                missing.append(position)
            except CallRefused as error:
                # A folder that is refused for now must not keep the others from being read.
                failed = failed or error
        async for batch in self._forget_unwatched(state, done, whole=not missing and failed is None):
            yield batch
        self._missing = [position for position in missing if self._is_named(self._plan.folders[position])]
        if failed is not None:
            raise failed
        slower = min(self._poll_seconds * _SLOWER, self._access.poll_seconds)
        self._poll_seconds = self._access.poll_seconds_min if news else slower

    def missing_folders(self) -> Sequence[int]:
        """Return which folders of the plan the last reading did not find; see `Reader.missing_folders`."""
        return self._missing

    def _is_named(self, entry: str) -> bool:
        """Whether somebody named this folder: a role that no folder plays is no folder that is missing."""
        role = role_of(entry)
        return role is None or bool(self._access.role_folders.get(role))

    async def _start_of(self, folder: Folder) -> datetime | None:
        """Return from when on a folder's mail is new: the earliest that one of its entries in the plan says."""
        if not self._plan.starts:
            return self._plan.start_at
        entries = [entry for entry in self._plan.folders if await self._folders.find(entry) == folder]
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

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for a notification (`wake`) or the next poll; see `Reader.wait`."""
        poll_at = self._polled_at + self._poll_seconds
        deadline = time.monotonic() + timeout_seconds
        try:
            async with asyncio.timeout(max(0.0, min(deadline, poll_at) - time.monotonic())):
                await self._woken.wait()
                return True
        except TimeoutError:
            if time.monotonic() < poll_at:
                return False
            self._polled_at = time.monotonic()
            return True
        finally:
            self._woken.clear()

    def wake(self) -> None:
        """End the waiting; see `Reader.wake`. What is told before it can be read is looked for again soon."""
        self._poll_seconds = self._access.poll_seconds_min
        self._woken.set()

    async def fetch(self, locator: str) -> RawMessage | None:
        """Return one message whole (its header alone where it is over the plan's limit, or withheld)."""
        place = Locator.parse(locator)
        if place is None:
            return None
        try:
            url = self._client.url("messages", place.id, select="id,parentFolderId,receivedDateTime")
            found = await self._client.get(url, "messages")
        except ItemMissing:
            return None
        if found.get("parentFolderId") != place.folder:
            return None
        received_at = moment(found.get("receivedDateTime"))
        item = Listed(place.id, received_at, received_at)
        folder = Folder(place.folder, await self._folders.name_of(place.folder))
        fetched = await fetch_message(self._client, folder, item, self._plan.message_bytes_max)
        if fetched.withheld:
            return await fetch_header(self._client, folder, item, withheld=True)
        return fetched.message

    async def fingerprints(self, locators: Sequence[str]) -> Mapping[str, Fingerprint]:
        """Tell the ids that the locators hold; see `Reader.fingerprints`."""
        places = [(locator, Locator.parse(locator)) for locator in locators]
        return {one: Fingerprint(place.id) for one, place in places if place is not None}

    async def edit(self, locators: Sequence[str], edit: Edit) -> Mapping[str, str | None]:
        """Do one edit; a message that is not there any more needs none. See `Reader.edit`."""
        return await edit_messages(self._client, self._folders, locators, edit)

    def history(self, plan: HistoryPlan, cursor: str | None) -> AsyncIterator[HistoryBatch]:
        """Yield old mail, folder by folder in the plan's order; see `Reader.history`."""
        return read_history(self._client, self._folders, self._plan, plan, cursor)

    async def claimed(self, cursor: str) -> AsyncIterator[Sequence[str]]:
        """Yield what lies behind the cursor; see `Reader.claimed`. A folder that is gone holds nothing."""
        state = parse_cursor(cursor)
        found = [await self._folders.find(entry) for entry in self._plan.folders]
        for folder in dict.fromkeys(found):
            if folder is None or folder.id not in state:
                continue
            with contextlib.suppress(ItemMissing):
                async for locators in self._folder_claimed(folder, state[folder.id]):
                    yield locators

    async def _folder_claimed(self, folder: Folder, at: FolderCursor) -> AsyncIterator[Sequence[str]]:
        """Yield those of the messages that are there which are not told of by delta as come or changed since."""
        try:
            since = await self._changed_since(at)
        except DeltaExpired:
            return
        came_after = at.begun + CLOCK_SLACK
        position, more = Position(datetime.fromtimestamp(0, at.begun.tzinfo)), True
        while more:
            page = await list_from(self._client, folder, position)
            claimed = [
                str(Locator(folder.id, item.id))
                for item in page.items
                if item.id not in since and (item.created_at > came_after or _was_wanted(at, item))
            ]
            if claimed:
                yield claimed
            for item in page.items:
                position = position.behind(item.id, item.received_at)
            more = page.more

    async def claimed_history(self, plan: HistoryPlan, cursor: str, changes: str) -> AsyncIterator[Sequence[str]]:
        """Yield what lies behind the history's cursor; see `Reader.claimed_history`."""
        state = parse_cursor(changes)
        for folder, pages in await claimed_in_folders(self._client, self._folders, self._plan, plan, cursor):
            if folder.id not in state:
                continue
            with contextlib.suppress(ItemMissing, DeltaExpired):
                since = await self._changed_since(state[folder.id])
                async for ids in pages:
                    if locators := [str(Locator(folder.id, one)) for one in ids if one not in since]:
                        yield locators

    async def find(self, message_id: str) -> Sequence[Whereabouts]:
        """Search all folders; see `Reader.find`."""
        watched: dict[str, int] = {}
        for position, entry in enumerate(self._plan.folders):
            if (folder := await self._folders.find(entry)) is not None:
                watched.setdefault(folder.id, position)
        return await find_message(self._client, self._folders, message_id, watched)

    async def _changed_since(self, at: FolderCursor) -> set[str]:
        found: set[str] = {one.id for one in at.aside}
        link, more = at.link, True
        while more:
            page = await delta_page(self._client, link)
            found |= {item.id for item in page.items if item.id not in at.done} | set(page.partial)
            link, more = page.link, page.more
        return found

    async def close(self) -> None:
        """Nothing is kept open: connections are the transport's."""


def _was_wanted(at: FolderCursor, item: Listed) -> bool:
    """Whether a message that was there when reading began has been read by now."""
    return item.received_at >= at.wanted_from and (at.backlog is None or item.received_at < at.backlog.at)
