"""The log as it grows, for all who read it: one query for each batch of events, however many read it.

While anybody follows an account, one task reads its new events, each once, into a ring in memory; the bell wakes it
(`storage.events.topic_of`), and it looks now and then even if nothing rang. Every reader has a cursor of its own and
takes from the ring what lies behind it. One that is behind the ring reads the database, by its cursor, until it has
caught up. There are no queues: a reader that is slow costs nothing but its place.

Nothing is skipped or told twice, as sequences are drawn last in a transaction: their order is the order of commits,
and whatever lies below the last one that was seen is there already, or never will be.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import msgspec
import structlog

from config import Events
from ingestd.events.catalogue import plain, view_of
from ingestd.wakes import Bell
from storage.database import Database
from storage.erasures import KEPT_EVENTS
from storage.errors import Conflict, EventsGone, LimitReached, StorageUnavailable
from storage.events import Event, Log, read_log, topic_of

log = structlog.get_logger()

_LOOK_ANYWAY_SECONDS = 5.0
"""A notification can be lost with its connection."""
_AGAIN_SECONDS = 1.0
"""After the database was away."""
_FORGOTTEN = "erasure.completed"


class FeedFull(Exception):
    """As many read events as may; try again later."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event, spelled once for all its readers."""

    sequence: int
    type: str
    mailbox_id: UUID | None
    json: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of an account's log."""

    events: Sequence[Told]
    cursor: int
    """Where to go on: everything up to here was looked at."""
    oldest: int
    """The least cursor that there is: what lies before was deleted, as it was too old."""
    latest: int
    """The end of the log."""

    @property
    def is_last(self) -> bool:
        return self.cursor >= self.latest


class EventFeed:
    """The readers of one process."""

    def __init__(self, content: Database, bell: Bell, settings: Callable[[], Events]) -> None:
        """`settings` returns those in force, also after a reload."""
        self._content = content
        self._bell = bell
        self.settings = settings
        self._channels: dict[UUID, _Channel] = {}
        self._readers: Counter[UUID] = Counter()
        self._catching_up = asyncio.Semaphore(settings().catching_up_max)
        self._ending: set[asyncio.Task[None]] = set()

    async def read(self, account_id: UUID, after: int | None, limit: int) -> Page:
        """Return up to `limit` events behind `after`, from the database; None: from the oldest that there are.

        Raises EventsGone where some behind it were deleted, Conflict where the log has not come so far, NotFound.
        """
        found = await self._content.read(account_id, read_log, after or 0, limit)
        if after is not None and after < found.oldest:
            raise EventsGone(found.oldest)
        if after is not None and after > found.latest:
            raise Conflict("the log has not come so far: the cursor is not of this account")
        return _page(account_id, found, limit)

    @contextmanager
    def follow(self, account_id: UUID, page: Page) -> Iterator[Reader]:
        """Follow the log behind a page of it. Raises FeedFull, LimitReached."""
        settings = self.settings()
        if self._readers.total() >= settings.streams_max:
            raise FeedFull
        if self._readers[account_id] >= settings.account_streams_max:
            raise LimitReached(f"{settings.account_streams_max} read the account's events already")
        self._readers[account_id] += 1
        channel = self._channels.get(account_id)
        if channel is None or channel.task.done():
            channel = self._channels[account_id] = _Channel(self, account_id, page.latest)
        channel.readers += 1
        try:
            yield Reader(self, channel, page.cursor)
        finally:
            self._readers -= Counter({account_id: 1})  # drops the account at 0
            channel.readers -= 1
            if not channel.readers:
                self._end(channel)

    @property
    def readers(self) -> int:
        return self._readers.total()

    def _end(self, channel: _Channel) -> None:
        if self._channels.get(channel.account_id) is channel:
            del self._channels[channel.account_id]
        channel.task.cancel()
        self._ending.add(channel.task)
        channel.task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Wait for what is under way in the database; the readers have gone."""
        if self._ending:
            await asyncio.wait(set(self._ending))

    async def _catch_up(self, account_id: UUID, cursor: int, limit: int) -> Page:
        async with self._catching_up:
            return await self.read(account_id, cursor, limit)


class Reader:
    """One who follows an account, from a cursor on."""

    def __init__(self, feed: EventFeed, channel: _Channel, cursor: int) -> None:
        self._feed = feed
        self._channel = channel
        self.cursor = cursor
        """Everything up to here was handed over."""

    async def next(self, seconds: float, limit: int | None = None) -> Sequence[Told]:
        """Return the next events, `limit` or a page at most, as soon as there are any; none after so many seconds.

        Raises EventsGone where it was so slow that what it wants was deleted, StorageUnavailable.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    changed = self._channel.changed  # before looking: what comes meanwhile rings
                    if found := await self._look(limit):
                        return found
                    self._channel.raise_defect()
                    if self.cursor >= self._channel.floor:
                        await changed.wait()
        return ()

    async def _look(self, limit: int | None) -> Sequence[Told]:
        page_max = self._feed.settings().page_events_max
        limit = min(limit or page_max, page_max)
        if self.cursor >= self._channel.floor:
            found = self._channel.behind(self.cursor, limit)
            self.cursor = found[-1].sequence if found else self.cursor
            return found
        page = await self._feed._catch_up(self._channel.account_id, self.cursor, limit)
        self.cursor = page.cursor
        return page.events


class _Channel:
    """The newest events of one account."""

    def __init__(self, feed: EventFeed, account_id: UUID, head: int) -> None:
        self._feed = feed
        self.account_id = account_id
        self.readers = 0
        self.floor = head
        """The ring holds every event behind this one,"""
        self.head = head
        """up to this one."""
        self.changed = asyncio.Event()
        """Set, and replaced, when events came."""
        self._ring: list[Told] = []
        self.task = asyncio.create_task(self._follow(), name="event-feed")

    def behind(self, cursor: int, limit: int) -> Sequence[Told]:
        start = bisect.bisect_right(self._ring, cursor, key=lambda told: told.sequence)
        return self._ring[start : start + limit]

    def raise_defect(self) -> None:
        """Raise what ended the task, where something did: its readers would wait for ever."""
        if self.task.done() and not self.task.cancelled():
            self.task.result()

    async def _follow(self) -> None:
        try:
            with self._feed._bell.subscribe(topic_of(self.account_id)) as listener:
                while True:
                    seconds = await self._read_on()
                    await listener.wait(seconds)
        finally:
            self._ring_out()  # readers look why

    async def _read_on(self) -> float:
        """Take what is new; return after how many seconds to look again even if nothing rings."""
        settings = self._feed.settings()
        while True:
            try:
                found = await self._feed._content.read(self.account_id, read_log, self.head, settings.page_events_max)
            except StorageUnavailable as error:
                log.warning("storage.unavailable", exc_info=error)
                return _AGAIN_SECONDS
            page = _page(self.account_id, found, settings.page_events_max)
            self._take(page, settings.ring_events_max)
            if page.is_last:
                return _LOOK_ANYWAY_SECONDS

    def _take(self, page: Page, ring_max: int) -> None:
        self.head = page.cursor
        self._ring.extend(page.events)
        gone = {told.mailbox_id for told in page.events if told.type == _FORGOTTEN}
        if gone:
            # Their rows are gone: nothing of them stays in memory either.
            self._ring = [told for told in self._ring if told.mailbox_id not in gone or told.type in KEPT_EVENTS]
        if (excess := len(self._ring) - ring_max) > 0:
            self.floor = self._ring[excess - 1].sequence
            del self._ring[:excess]
        if page.events:
            self._ring_out()

    def _ring_out(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


def _page(account_id: UUID, found: Log, limit: int) -> Page:
    whole = len(found.events) < limit
    cursor = found.latest if whole else found.events[-1].sequence
    return Page([_told(account_id, one) for one in found.events], cursor, found.oldest, found.latest)


def _told(account_id: UUID, event: Event) -> Told:
    view = view_of(account_id, event, event.ticket_number)
    return Told(event.sequence, event.type, event.mailbox_id, msgspec.json.encode(plain(view)))
