"""One task reads for all: what that costs, and what readers get who are behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, delete

from config import Events
from ingestd.events.feed import EventFeed
from ingestd.wakes import Bell
from storage.accounts import draw_numbers
from storage.database import now
from storage.errors import EventsGone, StorageUnavailable
from storage.events import NewEvent, forget_old, insert_events
from storage.tables import events
from storage.types import new_id
from tests.office import Office
from tests.stores import Stores


def _tell(conn: Connection, account_id: UUID, *new: NewEvent) -> None:
    _, sequence = draw_numbers(conn, account_id, events=len(new))
    insert_events(conn, account_id, sequence, new)


class Bench:
    def __init__(self, stores: Stores, account_id: UUID, **given: Any) -> None:
        bell = Bell()
        stores.content.on_wake(bell.ring)
        self.content = stores.content
        self.account_id = account_id
        self.feed = EventFeed(stores.content, bell, lambda: Events(**given))

    async def tell(self, count: int = 1) -> None:
        await self.content.transaction(self.account_id, _tell, *[NewEvent("mailbox.paused")] * count)


@pytest.fixture
async def account_id(stores: Stores) -> UUID:
    return (await Office.open(stores)).held.account_id


async def test_a_batch_is_read_once_for_all_readers(
    stores: Stores, account_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(stores, account_id)
    page = await bench.feed.read(account_id, None, 10)
    reads: Counter[str] = Counter()
    read = bench.content.read

    async def counted(owner: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        reads[function.__name__] += 1
        return await read(owner, function, *args, **kwargs)

    monkeypatch.setattr(bench.content, "read", counted)
    with ExitStack() as stack:
        readers = [stack.enter_context(bench.feed.follow(account_id, page)) for _ in range(100)]
        waiting = [asyncio.create_task(reader.next(10)) for reader in readers]
        await bench.tell(3)
        for found in await asyncio.gather(*waiting):
            assert [told.sequence for told in found] == [1, 2, 3]
    assert reads["read_log"] <= 3
    await bench.feed.close()


async def test_who_is_behind_the_ring_reads_on_until_it_has_caught_up(stores: Stores, account_id: UUID) -> None:
    bench = Bench(stores, account_id, ring_events_max=5, page_events_max=4)
    page = await bench.feed.read(account_id, None, 4)
    with bench.feed.follow(account_id, page) as fast, bench.feed.follow(account_id, page) as slow:
        seen: list[int] = []
        for _ in range(6):
            await bench.tell(3)
            while not seen or seen[-1] % 3:
                seen += [told.sequence for told in await fast.next(10)]
            seen += [told.sequence for told in await fast.next(0)]
        behind: list[int] = []
        while len(behind) < 18:
            behind += [told.sequence for told in await slow.next(10)]
        assert behind == list(range(1, 19))
        assert await slow.next(0.01) == ()
    await bench.feed.close()


async def test_who_is_so_slow_that_it_was_deleted_is_told(stores: Stores, account_id: UUID) -> None:
    bench = Bench(stores, account_id, ring_events_max=1)
    page = await bench.feed.read(account_id, None, 4)
    with bench.feed.follow(account_id, page) as fast, bench.feed.follow(account_id, page) as slow:
        await bench.tell(3)
        assert await fast.next(10)
        future = await bench.content.read(None, now) + timedelta(days=1)
        await bench.content.transaction(account_id, forget_old, future, 2)
        with pytest.raises(EventsGone) as gone:
            await slow.next(10)
        assert gone.value.oldest == 2
    await bench.feed.close()


async def test_nothing_of_a_forgotten_mailbox_stays_in_memory(stores: Stores, account_id: UUID) -> None:
    bench = Bench(stores, account_id)
    page = await bench.feed.read(account_id, None, 4)
    mine, other = new_id(), new_id()

    def forget(conn: Connection, account_id: UUID) -> None:
        conn.execute(delete(events).where(events.c.mailbox_id == mine, events.c.type == "mailbox.paused"))
        _tell(conn, account_id, NewEvent("erasure.completed", mine))

    told = [NewEvent("mailbox.paused", mine), NewEvent("mailbox.paused", other), NewEvent("mailbox.disconnected", mine)]
    with bench.feed.follow(account_id, page) as fast, bench.feed.follow(account_id, page) as slow:
        await bench.content.transaction(account_id, _tell, *told)
        assert len(await fast.next(10)) == 3
        await bench.content.transaction(account_id, forget)
        assert [one.sequence for one in await fast.next(10)] == [4]
        assert [one.sequence for one in await slow.next(10)] == [2, 3, 4]
    await bench.feed.close()


async def test_a_database_that_was_away_is_read_again(
    stores: Stores, account_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(stores, account_id)
    page = await bench.feed.read(account_id, None, 4)
    read, failures = bench.content.read, 0

    async def fails_first(*args: Any, **kwargs: Any) -> Any:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise StorageUnavailable("away")
        return await read(*args, **kwargs)

    monkeypatch.setattr(bench.content, "read", fails_first)
    with bench.feed.follow(account_id, page) as reader:
        await bench.tell()
        assert [told.sequence for told in await reader.next(10)] == [1]
    assert failures >= 2
    await bench.feed.close()


async def test_a_defect_is_not_waited_out(stores: Stores, account_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(stores, account_id)
    page = await bench.feed.read(account_id, None, 4)

    async def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.content, "read", broken)
    with bench.feed.follow(account_id, page) as reader, pytest.raises(ZeroDivisionError):
        await reader.next(10)
    await bench.feed.close()
