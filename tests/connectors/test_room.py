"""Mail waits for room before it is fetched: large and small apart, in its order, and no server has all of it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from connectors.room import SMALL_BYTES, Room

LARGE = 2 * SMALL_BYTES
FOR_TWO = 8 * LARGE // 3
"""So that the lane of large ones holds two of them, and that of small ones one."""
HERE, THERE = "imap.example.com:993", "imap.example.org:993"


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Holders:
    """Tasks that hold room until they are told to let go."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.order: list[str] = []
        self._release: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, size_bytes: int, server: str) -> None:
        self._release[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, size_bytes, server))
        await settled()

    async def end(self, name: str) -> None:
        self._release[name].set()
        await self.tasks[name]
        await settled()

    async def _hold(self, name: str, size_bytes: int, server: str) -> None:
        async with self.room.taken(size_bytes, server):
            self.order.append(name)
            await self._release[name].wait()


async def test_who_asks_first_is_let_in_first_and_small_ones_have_room_of_their_own() -> None:
    holders = Holders(Room(FOR_TWO))
    await holders.ask("one", LARGE, HERE)
    await holders.ask("two", LARGE, THERE)
    await holders.ask("huge", 100 * LARGE, "imap.example.net:993")
    await holders.ask("small", SMALL_BYTES, HERE)
    await holders.ask("behind", LARGE, "imap.example.edu:993")
    assert holders.order == ["one", "two", "small"]
    await holders.end("one")
    assert holders.order == ["one", "two", "small"], "what is larger than the room waits until it is alone"
    await holders.end("two")
    assert holders.order == ["one", "two", "small", "huge"]
    await holders.ask("tiny", 100_000, HERE)
    assert holders.order[-1] == "tiny", "an ordinary mail never waits"
    await holders.end("tiny")
    await holders.ask("small, too", SMALL_BYTES, THERE)
    assert holders.order[-1] == "tiny", "the room of the small ones has its limit, too"
    await holders.end("small")
    assert holders.order[-1] == "small, too"
    await holders.end("huge")
    assert holders.order[-1] == "behind"
    await holders.end("behind")
    await holders.end("small, too")


async def test_one_server_has_half_of_it() -> None:
    holders = Holders(Room(FOR_TWO))
    await holders.ask("one", LARGE, HERE)
    await holders.ask("slow, too", LARGE, HERE)
    assert holders.order == ["one"]
    await holders.ask("elsewhere", LARGE, THERE)
    assert holders.order == ["one", "elsewhere"], "it does not stand behind a server that has its share"
    await holders.end("one")
    assert holders.order == ["one", "elsewhere", "slow, too"]
    await holders.end("slow, too")
    await holders.end("elsewhere")


@pytest.mark.parametrize("is_let_in", [False, True])
async def test_who_is_cancelled_takes_nothing_along(is_let_in: bool) -> None:
    holders = Holders(Room(FOR_TWO))
    await holders.ask("one", 2 * LARGE, HERE)
    await holders.ask("waiting", 2 * LARGE, HERE)
    await holders.ask("last", 2 * LARGE, THERE)
    if is_let_in:
        holders._release["one"].set()
        await holders.tasks["one"]  # "waiting" is let in, and does not know it yet
    holders.tasks["waiting"].cancel()
    await asyncio.gather(holders.tasks["waiting"], return_exceptions=True)
    await holders.end("one")
    assert holders.order[-1] == "last"
    await holders.end("last")
    async with asyncio.timeout(1), holders.room.taken(100 * LARGE, HERE):
        pass  # all of it is free again


async def test_without_a_limit_nobody_waits() -> None:
    room = Room()
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(room.taken(100 * LARGE, HERE))
