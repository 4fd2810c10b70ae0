"""Clients of an event stream, in a process of their own: when the last of them got which event.

`python -m bench.sse_clients PORT PATH TOKEN COUNT LAST SECONDS` opens COUNT streams, says `ready` when each has its
answer, and prints one JSON object when all have seen the event LAST, or after SECONDS:
`held`, how many got every event once and in order, and `last`, by event the time (CLOCK_MONOTONIC) of the last reader.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable

from bench.sse_server import raise_open_files

_AT_ONCE = 400
_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_ID = re.compile(rb"id: (\d+)\n")


class Client(asyncio.Protocol):
    def __init__(self, request: bytes, last: dict[int, float]) -> None:
        self._request = request
        self._last = last
        self._rest = b""
        self.seen: list[int] = []
        self.answered = False
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.answered = self.answered or data.startswith(b"HTTP/1.1 200 ")
        now = time.monotonic()
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        for match in _ID.finditer(whole + newline):
            sequence = int(match[1])
            self.seen.append(sequence)
            self._last[sequence] = now

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


async def main(port: int, path: str, token: str, count: int, last: int, seconds: float) -> None:
    raise_open_files()
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    times: dict[int, float] = {}
    clients: list[Client] = []
    until = time.monotonic() + seconds
    while len(clients) < count and time.monotonic() < until:
        # As clients do that were told to come again later: too many of one token at once.
        opened = [
            await loop.create_connection(lambda: Client(request, times), "127.0.0.1", port)
            for _ in range(min(_AT_ONCE, count - len(clients)))
        ]
        await _until(lambda: all(one.answered or one.is_lost for _, one in opened), _ANSWER_SECONDS)  # noqa: B023
        clients += [one for _, one in opened if one.answered]
        for transport, one in opened:
            if not one.answered:
                transport.abort()
    print("ready" if len(clients) == count else "refused", flush=True)  # noqa: T201
    await _until(lambda: all(one.is_lost or last in one.seen[-1:] for one in clients), seconds)
    whole = list(range(last - len(times) + 1, last + 1))
    held = sum(one.seen == whole for one in clients)
    print(json.dumps({"held": held, "last": times}), flush=True)  # noqa: T201


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    for _ in range(int(seconds / _LOOK_SECONDS)):
        if condition():
            return
        await asyncio.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(int(given[0]), given[1], given[2], int(given[3]), int(given[4]), float(given[5])))
