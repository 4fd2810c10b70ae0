"""The order of ticket numbers and event sequences is the order of commits."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select

from storage.accounts import draw_numbers
from storage.errors import NotFound
from storage.events import NewEvent, insert_events, list_events
from storage.types import new_id
from tests.stores import Stores


def _happen(conn: Connection, account_id: UUID, seconds_before: float, seconds_after: float) -> int:
    """Write one event in a transaction that takes its time on both sides of the draw."""
    _rest(conn, seconds_before)
    _, sequence = draw_numbers(conn, account_id, events=2)
    insert_events(conn, account_id, sequence, [NewEvent("ticket.created"), NewEvent("message.received")])
    _rest(conn, seconds_after)
    return sequence


def _rest(conn: Connection, seconds: float) -> None:
    if conn.dialect.name == "postgresql":
        conn.execute(select(func.pg_sleep(seconds)))


async def test_numbers_start_at_one_and_are_drawn_in_blocks(stores: Stores, account: UUID) -> None:
    draw = stores.content.transaction
    assert await draw(account, draw_numbers, tickets=2, events=3) == (1, 1)
    assert await draw(account, draw_numbers, tickets=1) == (3, 4)
    assert await draw(account, draw_numbers, events=1) == (4, 4)


async def test_an_unknown_account_has_no_numbers(stores: Stores) -> None:
    with pytest.raises(NotFound):
        await stores.content.transaction(new_id(), draw_numbers, tickets=1)


async def test_a_reader_by_cursor_never_skips(stores: Stores, account: UUID) -> None:
    """Twenty transactions at once, while a reader follows: no event appears behind where it has read."""
    chance = random.Random(7)
    finished = asyncio.Event()

    async def read_along() -> list[int]:
        seen: list[int] = []
        while True:
            is_last = finished.is_set()
            batch = await stores.content.read(account, list_events, seen[-1] if seen else 0, 3)
            seen += [one.sequence for one in batch]
            if is_last and not batch:
                return seen

    reader = asyncio.create_task(read_along())
    drawn = await asyncio.gather(
        *(
            stores.content.transaction(account, _happen, chance.uniform(0, 0.05), chance.uniform(0, 0.02))
            for _ in range(20)
        )
    )
    finished.set()
    seen = await reader
    assert seen == sorted(seen)
    assert seen == [number for first in sorted(drawn) for number in (first, first + 1)]


async def test_a_rollback_leaves_a_gap_or_none_but_no_double(stores: Stores, account: UUID) -> None:
    def fail(conn: Connection, account_id: UUID) -> None:
        draw_numbers(conn, account_id, tickets=1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stores.content.transaction(account, fail)
    first, _ = await stores.content.transaction(account, draw_numbers, tickets=1)
    second, _ = await stores.content.transaction(account, draw_numbers, tickets=1)
    assert 0 < first < second
