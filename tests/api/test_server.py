"""The server as a task of the daemon's loop: ports, signals, stopping, and clients that hold on."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from ingestd.api.edge import ListenFailed, PortInUse
from ingestd.api.server import ServerLimits, _listen, serve
from tests.api.conftest import serving


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Held:
    """An app whose answer waits until it is released."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered.set()
        await self.release.wait()
        await hello(scope, receive, send)


async def up(app: Any, limits: ServerLimits | None = None) -> tuple[asyncio.Task[None], int]:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(app, "127.0.0.1", 0, started=port.set_result, limits=limits))
    async with asyncio.timeout(10):
        return task, await port


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def is_cut(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes the connection, without an answer, within the limit."""
    async with asyncio.timeout(10):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


async def test_signals_stay_the_daemons() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serving(hello) as client:
        assert (await client.get("/")).text == "ok"
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_a_port_in_use_is_a_typed_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"127.0.0.1 port {port}: another program has it"):
            await serve(hello, "127.0.0.1", port, started=lambda _: None)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
async def test_an_address_of_others_is_a_typed_error(host: str) -> None:
    with pytest.raises(ListenFailed, match="cannot listen on") as caught:
        await serve(hello, host, 0, started=lambda _: None)
    assert not isinstance(caught.value, PortInUse)


async def test_the_port_is_free_again_after_the_stop() -> None:
    task, port = await up(hello)
    async with httpx2.AsyncClient(trust_env=False) as client:
        await client.get(f"http://127.0.0.1:{port}/")
    await stop(task)
    again: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(hello, "127.0.0.1", port, started=again.set_result))
    async with asyncio.timeout(10):
        assert await again == port
    await stop(task)


async def test_a_request_under_way_is_answered_before_the_stop() -> None:
    app = Held()
    task, port = await up(app)
    async with httpx2.AsyncClient(trust_env=False) as client:
        request = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/"))
        await app.entered.wait()
        task.cancel()
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    break
                except ConnectionResetError:
                    continue  # it waited to be accepted when the server closed its door
                writer.close()
                await asyncio.sleep(0.01)
        assert not task.done()
        app.release.set()
        assert (await request).text == "ok"
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_request_that_never_ends_is_cut_at_the_limit() -> None:
    app = Held()
    task, port = await up(app, ServerLimits(shutdown_seconds=1))
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        request = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/"))
        await app.entered.wait()
        began = time.monotonic()
        await stop(task)
        assert time.monotonic() - began < 5
        outcome = (await asyncio.gather(request, return_exceptions=True))[0]
        assert isinstance(outcome, httpx2.TransportError) or outcome.status_code == 500  # type: ignore[union-attr]


async def test_too_many_connections_get_503() -> None:
    app = Held()
    async with serving(app, limits=ServerLimits(connections_max=2)) as client:
        first = asyncio.create_task(client.get("/"))
        await app.entered.wait()
        assert (await client.get("/")).status_code == 503
        app.release.set()
        assert (await first).status_code == 200


async def test_far_too_many_connections_are_cut() -> None:
    task, port = await up(hello, ServerLimits(connections_max=1))
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    assert await is_cut(pairs[2][0])
    for _, writer in pairs:
        writer.close()
    await stop(task)


@pytest.mark.parametrize(
    "head", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"]
)
async def test_a_client_that_holds_on_is_cut(head: bytes) -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass

    task, port = await up(reads, ServerLimits(read_seconds_max=0.2))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    assert await is_cut(reader)
    writer.close()
    await stop(task)


async def test_a_slow_answer_is_not_a_slow_client() -> None:
    app = Held()
    async with serving(app, limits=ServerLimits(read_seconds_max=0.05)) as client:
        request = asyncio.create_task(client.get("/"))
        await app.entered.wait()
        await asyncio.sleep(0.2)  # the passing of time is what is tested
        app.release.set()
        assert (await request).text == "ok"
        assert (await client.get("/")).text == "ok"


async def test_an_endless_head_is_refused() -> None:
    task, port = await up(hello)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nx: " + b"x" * 40_000)
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    await stop(task)


async def test_no_access_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(hello) as client:
        await client.get("/oauth/callback?code=anna")
    # httpx2, the client, logs its own request; the server must not.
    assert not [record for record in caplog.records if record.name.startswith("uvicorn") and "anna" in str(record)]
    assert not [record for record in caplog.records if record.name == "uvicorn.access"]


async def test_an_answer_is_not_held_back() -> None:
    """asyncio switches Nagle's algorithm off only where a socket names its protocol; each answer took 40 ms."""
    (listening,) = await _listen("127.0.0.1", 0)
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        accepted.set_result(found)

    async with await asyncio.start_server(note, sock=listening):
        _, writer = await asyncio.open_connection(*listening.getsockname())
        async with asyncio.timeout(10):
            assert await accepted
        writer.close()
