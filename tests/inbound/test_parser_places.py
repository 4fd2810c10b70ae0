"""Whose mail is parsed next: mailboxes take turns, and a slow one leaves a process to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from ingestd.inbound.parser_places import SLOW_SECONDS, Place, Places


async def _asked(places: Places[int], *owners: Hashable, live: bool = True) -> list[asyncio.Task[Place[int]]]:
    tasks = [asyncio.create_task(places.take(live=live, owner=owner)) for owner in owners]
    await asyncio.sleep(0)
    return tasks


async def _served(tasks: list[asyncio.Task[Place[int]]]) -> list[Place[int]]:
    for _ in range(3):
        await asyncio.sleep(0)
    return [one.result() for one in tasks if one.done()]


async def test_mailboxes_take_turns() -> None:
    places: Places[int] = Places(1)
    tasks = await _asked(places, *["many"] * 3, "one")
    order = []
    places.add(1)
    for count in range(1, 5):
        served = await _served(tasks)
        assert len(served) == count
        (place,) = [one for one in served if one not in order]
        order.append(place)
        places.give(place, 1)
    assert [one.owner for one in order] == ["many", "one", "many", "many"]


async def test_slow_mailboxes_leave_a_process_to_the_others() -> None:
    now = [0.0]
    places: Places[int] = Places(2, clock=lambda: now[0])
    places.add(1)
    places.add(2)
    first = await places.take(live=True, owner="slow")
    now[0] = SLOW_SECONDS
    places.give(first, 1)
    slow = await _asked(places, "slow", "slow", "slow")
    assert len(await _served(slow)) == 1
    (quick,) = await _served(await _asked(places, "quick"))
    places.give(quick, 2)
    now[0] = 10_000.0  # long ago
    places.give((await _served(slow))[0], 1)
    assert [one.slow for one in await _served(slow)] == [True, True]
    (two,) = await _served(await _asked(places, "quick"))
    assert not two.slow


async def test_who_is_cancelled_takes_no_place() -> None:
    places: Places[int] = Places(1)
    first, second = await _asked(places, "one", "two")
    first.cancel()
    places.add(1)
    served = await _served([second])
    assert [one.owner for one in served] == ["two"]
    assert places.waiting(live=True) == 0
