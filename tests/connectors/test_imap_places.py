"""A slow mail server has its own places in the pool, and leaves the others theirs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from connectors.base import TemporaryError
from connectors.imap_access import ImapEndpoint
from connectors.imap_places import HostPlaces
from connectors.imap_thread import run_in_thread
from connectors.imap_wire import Wire

_SLOW, _QUICK = ImapEndpoint("slow.example.com"), ImapEndpoint("quick.example.com")


async def test_a_slow_server_keeps_no_other_from_its_turn() -> None:
    places, go_on = HostPlaces(threads_max=1), threading.Event()
    with ThreadPoolExecutor(2) as executor:

        async def run(server: ImapEndpoint, work: Callable[[], object]) -> object:
            ours, theirs = socket.socketpair()
            wire = Wire(ours, read_seconds=10, literal_bytes_max=1000)
            try:
                return await run_in_thread(
                    executor,
                    work,
                    wire=wire,
                    places=places.threads(server),
                    said="NOOP",
                    seconds=10,
                    refusal=TemporaryError,
                )
            finally:
                wire.close()
                theirs.close()

        slow = [asyncio.create_task(run(_SLOW, go_on.wait)) for _ in range(3)]
        try:
            assert await run(_QUICK, lambda: "answer") == "answer"
            assert not any(one.done() for one in slow)
            slow[0].cancel()  # its thread is still at work, so its place is not free
            with pytest.raises(asyncio.CancelledError):
                await slow[0]
            assert places.threads(_SLOW).locked()
        finally:
            go_on.set()
        assert await asyncio.gather(*slow[1:]) == [True, True]
        async with asyncio.timeout(10):  # told by the thread
            while places.threads(_SLOW).locked():
                await asyncio.sleep(0.01)


async def test_several_slow_servers_leave_places_too() -> None:
    places = HostPlaces(threads_max=32, threads=64)
    slow = [places.threads(ImapEndpoint(f"slow{number}.example.com")) for number in range(5)]
    asking = [asyncio.create_task(one.acquire()) for one in slow for _ in range(100)]
    await asyncio.sleep(0)
    assert sum(one.taken for one in slow) < 64
    assert all(one.locked() and one.taken for one in slow)
    quick = places.threads(_QUICK)
    async with asyncio.timeout(1):
        await quick.acquire()
    quick.release()
    # What is given back goes round: in the end all have the same share, and each that asked has had its turn.
    for turn in range(500):
        await asyncio.sleep(0)
        if turn == 300:
            taken = [one.taken for one in slow]
            assert max(taken) - min(taken) <= 1
        if (server := slow[turn % 5]).taken:
            server.release()
    await asyncio.gather(*asking)
    assert [one.taken for one in slow] == [0] * 5


async def test_who_gives_up_takes_no_place() -> None:
    places = HostPlaces(threads_max=1)
    server = places.threads(_SLOW)
    await server.acquire()
    waiting, gives_up = asyncio.create_task(server.acquire()), asyncio.create_task(server.acquire())
    await asyncio.sleep(0)
    gives_up.cancel()
    server.release()
    waiting.cancel()  # it has got its place meanwhile
    await asyncio.gather(waiting, gives_up, return_exceptions=True)
    assert (server.taken, server.locked()) == (0, False)
