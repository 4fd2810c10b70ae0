"""A receiver of webhooks that notes when each event came, and does nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver(asyncio.Protocol):
    """One connection; all of them note into the same mapping of an event's sequence to its time."""

    def __init__(self, came: dict[int, float]) -> None:
        self._came = came
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-l"))
        if len(rest) < length:
            return
        self._came[json.loads(rest[:length])["data"]["sequence"]] = time.perf_counter()
        self._read = rest[length:]
        self._transport.write(_ANSWER)


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[tuple[int, dict[int, float]]]:
    """Yield the port, and the times by sequence, which fill."""
    came: dict[int, float] = {}
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(came), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came
