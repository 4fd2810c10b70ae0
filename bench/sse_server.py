"""Servers of an event stream: the product's, on a store, and a bare one that sends given bytes to all."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from bench.house import add_account
from ingestd.access import Scope, make_token
from ingestd.api.app import create_app
from ingestd.api.edge import Edge
from ingestd.api.server import ServerLimits, serve
from ingestd.build.backend import new_backend
from ingestd.build.store import Store
from ingestd.telemetry.health import Health
from ingestd.wakes import Bell, watch


@dataclass(frozen=True, slots=True)
class Served:
    port: int
    account_id: UUID
    token: str

    @property
    def path(self) -> str:
        return f"/v1/accounts/{self.account_id}/events/stream"


def raise_open_files() -> None:
    """Let this process open as many files as it may: each reader is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.asynccontextmanager
async def served(store: Store) -> AsyncIterator[Served]:
    """Serve the API of a store, with its defaults; yields an account and a token of it."""
    raise_open_files()
    bell = Bell()
    nothing = cast("Any", None)  # nothing is linked, parsed or told to webhooks
    backend = new_backend(store, nothing, nothing, bell, nothing, nothing, lambda: store.settings)
    edge = Edge(
        health=Health([]),
        metrics=None,
        linking=nothing,
        public_url="http://127.0.0.1:8025",
        backend=backend,
    )
    account_id = await add_account(store)
    made = await make_token(
        store.content,
        account_id,
        label="bench",
        scopes=[Scope.READ],
        tokens_max=1,
    )
    limits = ServerLimits(stays_max=store.settings.events.streams_max)
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    tasks = [
        asyncio.create_task(serve(create_app(edge), "127.0.0.1", 0, started=port.set_result, limits=limits)),
        asyncio.create_task(watch(store.content, bell, poll_seconds=store.settings.storage.data_version_poll_seconds)),
    ]
    try:
        yield Served(await port, account_id, made.text)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await backend.feed.close()


class Bare(asyncio.Protocol):
    """Answers whatever comes with a head, and then sends what it is told to."""

    def __init__(self, transports: set[asyncio.Transport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._transports.add(transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transports.discard(self._transport)


@contextlib.asynccontextmanager
async def bare() -> AsyncIterator[tuple[int, set[asyncio.Transport]]]:
    """Serve nothing; yields the port, and the connections to write to."""
    transports: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(lambda: Bare(transports), "127.0.0.1", 0, backlog=1024)
    try:
        yield server.sockets[0].getsockname()[1], transports
    finally:
        server.close()
        for transport in list(transports):
            transport.abort()
