"""No reader of the log misses an event, or gets one twice, while twenty mailboxes of the account take mail in."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from ingestd.events.feed import EventFeed
from ingestd.wakes import Bell, watch
from storage.events import list_events
from tests.api.desk import ApiDesk, api_desk, settings
from tests.api.streams import streaming
from tests.office import Office, mail
from tests.stores import Stores

MAILBOXES = 20
BATCHES = 3
TINY = {"ring_events_max": 20, "page_events_max": 7, "chunk_bytes_max": 1024, "keep_alive_seconds": 0.2}
"""So that readers fall behind the ring all the time."""


class Ended(asyncio.Event):
    """Set when all mail is in; `latest` is the end of the log then."""

    latest = 0

    def is_read(self, seen: list[int]) -> bool:
        return self.is_set() and bool(seen) and seen[-1] >= self.latest


Reader = Callable[[ApiDesk, Ended], Coroutine[Any, Any, list[int]]]


async def by_cursor(desk: ApiDesk, ended: Ended) -> list[int]:
    seen: list[int] = []
    cursor = 0
    while not ended.is_read(seen):
        page = await desk.get(f"/events?after={cursor}&limit=5")
        seen += [one["sequence"] for one in page["items"]]
        cursor = page["next"]
    return seen


async def by_long_poll(desk: ApiDesk, ended: Ended) -> list[int]:
    seen: list[int] = []
    cursor = 0
    while not ended.is_read(seen):
        page = await desk.get(f"/events?after={cursor}&wait=1&limit=50", timeout=30)
        seen += [one["sequence"] for one in page["items"]]
        cursor = page["next"]
    return seen


async def by_stream(desk: ApiDesk, ended: Ended) -> list[int]:
    seen: list[int] = []
    async with streaming(desk) as stream:
        while not ended.is_read(seen):
            seen += [one.id for one in await stream.take(1)]
    return seen


async def slowly(desk: ApiDesk, ended: Ended) -> list[int]:
    seen: list[int] = []
    async with streaming(desk) as stream:
        while not ended.is_read(seen):
            seen += [one.id for one in await stream.take(1)]
            if not ended.is_set():
                await asyncio.sleep(0.01)  # its slowness is what is tested
    return seen


async def coming_and_going(desk: ApiDesk, ended: Ended) -> list[int]:
    chance, seen = random.Random(3), list[int]()
    while not ended.is_read(seen):
        async with streaming(desk, headers={"Last-Event-ID": str(seen[-1])} if seen else {}) as stream:
            for _ in range(chance.randint(1, 40)):
                if ended.is_read(seen):
                    break
                seen += [one.id for one in await stream.take(1)]
    return seen


async def in_another_process(desk: ApiDesk, ended: Ended) -> list[int]:
    """A replica, or a command: it learns by NOTIFY, or by the data version, that there is something."""
    async with elsewhere(desk) as feed:
        page = await feed.read(desk.account_id, 0, 7)
        seen = [told.sequence for told in page.events]
        with feed.follow(desk.account_id, page) as reader:
            while not ended.is_read(seen):
                seen += [told.sequence for told in await reader.next(1)]
    return seen


@asynccontextmanager
async def elsewhere(desk: ApiDesk) -> AsyncIterator[EventFeed]:
    stores = Stores.connect(desk.office.stores.urls)
    bell = Bell()
    feed = EventFeed(stores.content, bell, lambda: desk.backend.settings().events)
    watching = asyncio.create_task(watch(stores.content, bell, poll_seconds=0.02))
    try:
        yield feed
    finally:
        await feed.close()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await stores.close()


async def take_mail(office: Office, number: int) -> None:
    for batch in range(BATCHES):
        mails = [mail(f"Printer {n}", message_id=f"<{number}-{batch}-{n}@example.org>") for n in range(batch % 3 + 1)]
        await office.take(*mails)
    if number % 4 == 0:
        found = await office.desk.tickets(office.held.account_id, mailbox_id=office.held.mailbox_id)
        await office.act(found[0].ticket.number, "closed")


async def test_every_reader_gets_every_event_once_and_in_order(stores: Stores) -> None:
    first = await Office.open(stores)
    offices = [first] + [
        await Office.open(stores, address=f"s{number}@example.com", beside=first) for number in range(1, MAILBOXES)
    ]
    given = settings(events=TINY, api={"token_requests_per_second_max": 10_000, "token_burst_max": 10_000})
    readers: list[Reader] = [by_cursor, by_long_poll, by_stream, slowly, coming_and_going, in_another_process]
    async with api_desk(first, given) as desk:
        ended = Ended()
        reading = [asyncio.create_task(one(desk, ended)) for one in readers]
        await asyncio.gather(*(take_mail(office, number) for number, office in enumerate(offices)))
        told = [one.sequence for one in await stores.content.read(desk.account_id, list_events, 0, 10_000)]
        ended.latest = told[-1]
        ended.set()
        # Who has read all of it already waits for one more.
        (ticket, *_) = await first.desk.tickets(desk.account_id, mailbox_id=offices[1].held.mailbox_id)
        await offices[1].act(ticket.ticket.number, "spam")
        async with asyncio.timeout(60):
            seen = await asyncio.gather(*reading)
        assert len(told) >= MAILBOXES * BATCHES * 2
        for name, one in zip(readers, seen, strict=True):
            assert one[: len(told)] == told, name
            assert len(one) <= len(told) + 1, name
        assert desk.backend.feed.readers == 0
        await desk.verified()
