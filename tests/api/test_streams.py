"""Streams on the server: they take nobody's place, no limit of time ends them, and a stop does at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
from starlette.types import Message

from ingestd.api.app import create_app
from ingestd.api.edge import Edge, Limits
from ingestd.api.line import Line
from ingestd.api.server import ServerLimits
from ingestd.api.streams import EventStream
from ingestd.telemetry.health import Health
from tests.api.conftest import Linking
from tests.api.desk import ApiDesk, api_desk, assert_problem, settings
from tests.api.streams import streaming
from tests.api.test_events import take, until
from tests.api.test_server import stop, up
from tests.office import Office
from tests.stores import Stores


@asynccontextmanager
async def served(
    desk: ApiDesk, server: ServerLimits | None = None, limits: Limits | None = None
) -> AsyncIterator[tuple[asyncio.Task[None], ApiDesk]]:
    """Serve the API of a desk once more, with other limits; yields the server's task and a desk that asks there."""
    edge = Edge(
        health=Health([]),
        metrics=None,
        linking=Linking(),
        public_url="http://127.0.0.1:8025",
        backend=desk.backend,
        limits=limits or Limits(),
    )
    task, port = await up(create_app(edge), server)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield task, ApiDesk(desk.office, client, desk.backend, desk.token)
    if not task.done():
        await stop(task)


async def test_a_stop_ends_streams_and_polls_at_once_and_whole(stores: Stores) -> None:
    async with api_desk(await Office.open(stores)) as first, served(first) as (server, desk):
        waiting = asyncio.create_task(desk.get("/events?wait=30", timeout=40))
        async with streaming(desk) as stream:
            await until(lambda: desk.backend.feed.readers == 2)
            began = time.monotonic()
            server.cancel()
            assert await stream.ends()
            assert (await waiting)["items"] == []
            assert time.monotonic() - began < 5
        await asyncio.gather(server, return_exceptions=True)
        assert time.monotonic() - began < 8
        assert desk.backend.feed.readers == 0


async def test_streams_take_nobodys_place(stores: Stores) -> None:
    async with (
        api_desk(await Office.open(stores)) as first,
        served(first, ServerLimits(connections_max=3, stays_max=10), Limits(requests_max=1)) as (_, desk),
        AsyncExitStack() as stack,
    ):
        streams = [await stack.enter_async_context(streaming(desk)) for _ in range(8)]
        waiting = [asyncio.create_task(desk.get("/events?wait=20", timeout=30))]
        await until(lambda: desk.backend.feed.readers == 9)
        waiting.append(asyncio.create_task(desk.get("/events?wait=20", timeout=30)))
        await until(lambda: desk.backend.feed.readers == 10)
        assert (await desk.ask("GET", "/events")).status_code == 200
        await take(desk, 1)
        for stream in streams:
            assert [one.id for one in await stream.take(2)] == [1, 2]
        assert [len(one["items"]) for one in await asyncio.gather(*waiting)] == [2, 2]


async def test_requests_beyond_the_limit_are_refused(stores: Stores) -> None:
    async with (
        api_desk(await Office.open(stores)) as first,
        served(first, limits=Limits(requests_max=0)) as (_, desk),
        streaming(desk) as stream,
    ):
        refused = await desk.ask("GET", "/events")
        assert_problem(refused, 503, "unavailable")
        assert refused.headers["retry-after"] == "1"
        await take(desk, 1)
        assert [one.id for one in await stream.take(2)] == [1, 2]


async def test_no_limit_of_time_ends_a_stream(stores: Stores) -> None:
    given = settings(events={"keep_alive_seconds": 0.05})
    limits = Limits(request_seconds_max=1)
    async with api_desk(await Office.open(stores), given) as first:
        async with streaming(first):
            pass  # what only the first request waits for is over
        async with (
            served(first, ServerLimits(read_seconds_max=1), limits) as (_, desk),
            streaming(desk) as stream,
        ):
            await asyncio.sleep(1.5)  # the passing of time is what is tested
            await take(desk, 1)
            assert [one.id for one in await stream.take(2)] == [1, 2]


async def test_a_reader_that_takes_nothing_is_cut(stores: Stores) -> None:
    given = settings(events={"stall_seconds_max": 0.1, "keep_alive_seconds": 0.05})
    async with api_desk(await Office.open(stores), given) as desk:
        cut, sent = asyncio.Event(), list[Message]()

        async def send(message: Message) -> None:
            sent.append(message)
            if len(sent) > 2:
                await asyncio.Event().wait()  # its buffer is full

        async def receive() -> Message:
            await cut.wait()
            return {"type": "http.disconnect"}

        async def still_opens() -> bool:
            return True

        feed = desk.backend.feed
        page = await feed.read(desk.account_id, None, 10)
        stream = EventStream(feed, desk.account_id, page, [], Line(cut=cut.set), still_opens)
        async with asyncio.timeout(10):
            await stream({"type": "http"}, receive, send)
        assert cut.is_set()
        assert feed.readers == 0
