"""Runs the app on uvicorn, as one task of the daemon's own event loop.

uvicorn is a program of its own: it takes signals, writes an access log and exits the
process when a port is in use. Here it does none of these: the daemon takes the signals
and cancels the task, requests are logged by `limits`, and sockets are opened before it starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ingestd.api.edge import ListenFailed, PortInUse
from ingestd.api.line import STATE, Line
from ingestd.telemetry import vocabulary

BACKLOG: Final = 128


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What clients may cost the server."""

    connections_max: int = 200
    """More than these get 503; twice as many are cut without an answer."""
    stays_max: int = 0
    """So many may come on top: of those that stay (`Line.stay`), which have a limit of their own."""
    head_bytes_max: int = 32 * 1024
    read_seconds_max: float = 60.0
    """A request that has not come in whole by then is cut (a slow client must not hold a place)."""
    keep_alive_seconds: int = 15
    shutdown_seconds: int = 10
    """Requests under way may end in this time when the server stops; those that stay end at once."""
    unacknowledged_seconds_max: int = 60
    """A client whose machine takes nothing that was sent for so long is gone (TCP_USER_TIMEOUT, Linux only)."""


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    started: Callable[[int], None],
    limits: ServerLimits | None = None,
) -> None:
    """Serve until cancelled, then let requests under way end, within the limit.

    `port` 0 takes a free one; `started` is told the real one as soon as connections
    are accepted. Raises PortInUse and ListenFailed before anything is served.
    """
    chosen = limits or ServerLimits()
    sockets = await _listen(host, port)
    real_port = int(sockets[0].getsockname()[1])
    stopping = asyncio.Event()
    server = _Server(_config(app, chosen, stopping), lambda: _announce(real_port, started))
    # A task of its own, as a cancelled uvicorn would leave its connections open.
    task = asyncio.create_task(server.serve(sockets), name="http-server")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        stopping.set()
        await _stop(server, task, chosen.shutdown_seconds)
        raise
    finally:
        for opened in sockets:
            opened.close()


def _announce(port: int, started: Callable[[int], None]) -> None:
    structlog.get_logger().info(vocabulary.HTTP_LISTENING, port=port)
    started(port)


async def _stop(server: _Server, task: asyncio.Task[None], seconds: float) -> None:
    server.should_exit = True
    # uvicorn keeps to shutdown_seconds itself; this limit holds where it does not.
    done, _ = await asyncio.wait({task}, timeout=seconds + 2)
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=1)
    if task.done() and not task.cancelled():
        # Taken, so that asyncio does not complain; the daemon is stopping anyway.
        task.exception()


class _Server(uvicorn.Server):
    """uvicorn's server without signal handlers, which says when it is up."""

    def __init__(self, config: uvicorn.Config, up: Callable[[], None]) -> None:
        super().__init__(config)
        self._up = up

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up()


def _config(app: ASGIApp, limits: ServerLimits, stopping: asyncio.Event) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_protocol(limits, stopping),
        ws="none",
        lifespan="off",
        interface="asgi3",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # The public address comes from the settings, never from a client's header.
        proxy_headers=False,
        limit_concurrency=limits.connections_max + limits.stays_max,
        h11_max_incomplete_event_size=limits.head_bytes_max,
        timeout_keep_alive=limits.keep_alive_seconds,
        timeout_graceful_shutdown=limits.shutdown_seconds,
        workers=1,
    )


def _protocol(limits: ServerLimits, stopping: asyncio.Event) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with a limit on connections and on the time that a request takes to come in.

    uvicorn itself waits for ever for the first byte, and for the next. Each request gets the `Line` it came on.
    """

    class Protocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > 2 * limits.connections_max + limits.stays_max:
                transport.abort()
                return
            self.app_state = {**self.app_state, STATE: Line(stopping, transport.abort)}
            _forget_dead_peers(transport, limits.unacknowledged_seconds_max)
            self._deadline = self.loop.call_later(limits.read_seconds_max, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            cycle = self.cycle
            complete = cycle is not None and not cycle.more_body and not cycle.response_complete
            if complete or self.transport.is_closing():
                self._clear()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(limits.read_seconds_max, self.transport.abort)

        def on_response_complete(self) -> None:
            # From here on the keep-alive limit holds, until the next byte.
            self._clear()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._clear()
            super().connection_lost(exc)

        def _clear(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Protocol


def _forget_dead_peers(transport: Any, seconds: int) -> None:
    """Else a client that vanished without a word would keep its place for the quarter of an hour that TCP tries."""
    opened = transport.get_extra_info("socket")
    if opened is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for every address of `host`; all have the same port."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenFailed(f"cannot listen on {host}: it is no address of this machine") from error
    sockets: list[socket.socket] = []
    refused: ListenFailed | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        # The first one may have taken a free port; the others must have the same.
        taken = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_bind(family, (address[0], taken, *address[2:])))
        except PortInUse:
            for opened in sockets:
                opened.close()
            raise
        except ListenFailed as error:
            # localhost names ::1 also on machines without IPv6: one address is enough.
            refused = error
    if not sockets:
        raise refused or ListenFailed(f"cannot listen on {host}: it has no address")
    return sockets


def _bind(family: int, address: tuple[Any, ...]) -> socket.socket:
    try:
        # Named, as asyncio sets TCP_NODELAY only then: without it, an answer's body waits behind its head until the
        # client confirms that, which takes it 40 ms.
        opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise _failure(error, address) from error
    try:
        opened.setblocking(False)
        # Without it, a restart has to wait until old connections leave TIME_WAIT.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise _failure(error, address) from error
    return opened


def _failure(error: OSError, address: tuple[Any, ...]) -> ListenFailed:
    place = f"{address[0]} port {address[1]}"
    if error.errno == errno.EADDRINUSE:
        return PortInUse(f"cannot listen on {place}: another program has it")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return ListenFailed(f"cannot listen on {place}: not permitted")
    return ListenFailed(f"cannot listen on {place}: no such address on this machine")
