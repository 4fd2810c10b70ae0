"""Large batches wait for room, in their order; small ones never do."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from connectors.room import SMALL_BYTES, Room

LARGE = 2 * SMALL_BYTES


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Holder:
    """A task that holds room until it is told to let go."""

    def __init__(self, room: Room, size_bytes: int, order: list[str], name: str) -> None:
        self.release = asyncio.Event()
        self.task = asyncio.create_task(self._hold(room, size_bytes, order, name))

    async def _hold(self, room: Room, size_bytes: int, order: list[str], name: str) -> None:
        async with room.taken(size_bytes):
            order.append(name)
            await self.release.wait()

    async def end(self) -> None:
        self.release.set()
        await self.task


async def test_who_asks_first_is_let_in_first_and_small_ones_at_once() -> None:
    room, order = Room(2 * LARGE), list[str]()
    one, two = Holder(room, LARGE, order, "one"), Holder(room, LARGE, order, "two")
    await settled()
    huge, small = Holder(room, 100 * LARGE, order, "huge"), Holder(room, SMALL_BYTES, order, "small")
    behind = Holder(room, LARGE, order, "behind")
    await settled()
    assert order == ["one", "two", "small"]
    await one.end()
    await settled()
    assert order == ["one", "two", "small"], "what is larger than the room waits until it is alone"
    await two.end()
    await settled()
    assert order == ["one", "two", "small", "huge"]
    await huge.end()
    await settled()
    assert order[-1] == "behind"
    await small.end()
    await behind.end()


@pytest.mark.parametrize("is_let_in", [False, True])
async def test_who_is_cancelled_takes_nothing_along(is_let_in: bool) -> None:
    room, order = Room(LARGE), list[str]()
    one = Holder(room, LARGE, order, "one")
    await settled()
    waiting, last = Holder(room, LARGE, order, "waiting"), Holder(room, LARGE, order, "last")
    await settled()
    if is_let_in:
        one.release.set()
        await one.task
    waiting.task.cancel()
    await asyncio.gather(waiting.task, return_exceptions=True)
    await one.end()
    await settled()
    assert order[-1] == "last"
    await last.end()


async def test_without_a_limit_nobody_waits() -> None:
    room = Room()
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(room.taken(100 * LARGE))
