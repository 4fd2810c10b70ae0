"""How many readers of the event stream one process holds, and how late the last of them is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from bench.harness import RUNS, Figure, Run
from bench.house import opened
from bench.sse_server import bare, served
from bench.workshop import Engine, Workshop
from ingestd.api.streams import frame
from storage.accounts import draw_numbers
from storage.events import NewEvent, insert_events
from storage.types import new_id

READERS = 600
"""As many as an account may have by default (`events.account_streams_max`)."""
_COMMITS = 100
"""Of a run."""
_EVENTS = 5
"""Of a commit, so that it is a hundred a second."""
_PAUSE_SECONDS = 0.05
_SECONDS_MAX = 60.0
_DATA = b'{"sequence":1,"type":"message.received","version":1,"at":"2026-11-03T09:30:00.000000Z","ids":"%s"}' % (
    b"0" * 180
)


async def sse_readers(workshop: Workshop) -> AsyncIterator[Run]:
    """Readers of one account's event stream that get every event once and in order, of 600 that are open at once,
    while a hundred events a second are committed on SQLite, five in a commit. The clients are a process of their own.

    The yardstick is how many there are: the ratio is 1 where nobody missed anything.
    """
    for run in await workshop.once("streams", partial(_stream_all, workshop, "sqlite")):
        yield Run(run.held, READERS)


async def sse_p99_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds from a commit until the last of those 600 readers has its events: the 99th percentile of the 100
    commits of a run. Server and clients share the cores, so the clients' own work is in it.

    The yardstick is a bare asyncio server that writes the same bytes to as many connections at the same pace.
    """
    for run in await workshop.once("streams", partial(_stream_all, workshop, "sqlite")):
        yield Run(run.ours, run.plain)


@dataclass(frozen=True, slots=True)
class _Streams:
    held: int
    ours: float
    """The 99th percentile of the delays, in milliseconds."""
    plain: float


async def _stream_all(workshop: Workshop, engine: Engine) -> list[_Streams]:
    runs = []
    with workshop.temporary(engine) as installation:
        async with opened(installation) as store, served(store) as desk:
            for number in range(RUNS):
                first = 1 + number * _COMMITS * _EVENTS

                async def commit(_number: int) -> None:
                    await store.content.transaction(desk.account_id, _tell)

                path = f"{desk.path}?after={first - 1}"
                held, ours = await _measure(desk.port, path, desk.token, first, commit)
                async with bare() as (port, connections):
                    _, plain = await _measure(port, "/", "", first, partial(_write, connections, first))
                runs.append(_Streams(held, ours, plain))
                workshop.say(f"run {len(runs)}")
    return runs


def _tell(conn: Connection, account_id: UUID) -> None:
    _, sequence = draw_numbers(conn, account_id, events=_EVENTS)
    new = [NewEvent("message.received", new_id(), new_id(), new_id(), "customer")] * _EVENTS
    insert_events(conn, account_id, sequence, new)


async def _write(connections: set[asyncio.Transport], first: int, number: int) -> None:
    frames = [frame(first + number * _EVENTS + one, "message.received", _DATA) for one in range(_EVENTS)]
    for transport in connections:
        transport.write(b"".join(frames))


async def _measure(
    port: int, path: str, token: str, first: int, commit: Callable[[int], Awaitable[None]]
) -> tuple[int, float]:
    """Return how many readers got everything, and the 99th percentile of the last one's delay in milliseconds."""
    committed: dict[int, float] = {}
    async with _clients(port, path, token, first + _COMMITS * _EVENTS - 1) as clients:
        assert clients.stdout is not None
        if (await clients.stdout.readline()).strip() != b"ready":
            raise RuntimeError("the readers were not answered")
        for number in range(_COMMITS):
            await commit(number)
            committed[first + number * _EVENTS] = time.monotonic()
            await asyncio.sleep(_PAUSE_SECONDS)
        told: Mapping[str, Any] = json.loads(await clients.stdout.readline())
    delays = [(told["last"][str(sequence)] - at) * 1000 for sequence, at in committed.items()]
    return int(told["held"]), statistics.quantiles(delays, n=100, method="inclusive")[98]


@contextlib.asynccontextmanager
async def _clients(port: int, path: str, token: str, last: int) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = [str(one) for one in (port, path, token or "-", READERS, last, _SECONDS_MAX)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.sse_clients", *arguments, stdout=asyncio.subprocess.PIPE, limit=1 << 20
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


FIGURES = (
    Figure("sse_readers", "readers", "the readers that there are", sse_readers),
    Figure("sse_p99_ms", "ms", "a bare server that writes the same bytes", sse_p99_ms),
)
