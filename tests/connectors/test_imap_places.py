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
