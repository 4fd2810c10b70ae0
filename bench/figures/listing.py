"""How long a page of tickets takes over HTTP, in a database of a million messages."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, Final, Protocol
from uuid import UUID

import httpx2
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url

from bench.harness import RUNS, Figure, Run
from bench.house import Installation, opened
from bench.timing import Stopwatch
from bench.words import pick
from bench.workshop import Engine, Workshop
from ingestd.access import Scope, make_token
from ingestd.api.app import create_app
from ingestd.api.cursors import encode_place
from ingestd.api.edge import Edge
from ingestd.api.server import serve
from ingestd.build.backend import new_backend
from ingestd.build.store import Store
from ingestd.telemetry import logs
from ingestd.telemetry.health import Health
from ingestd.wakes import Bell
from storage import accounts
from storage.ticket_lists import TicketOrder, TicketPlace, list_tickets
from storage.tickets import get_ticket
from storage.types import Instant

_PAGES: Final = 400
"""Of a run: a percentile needs many."""
_LIMIT: Final = 50
_DEEP: Final = 40
"""Places anywhere in the list of an account; as many of the pages that are read are its first."""
_SELECT: Final = (
    "SELECT number, status, created_at, updated_at, sealed FROM bare WHERE account_id = {} "
    "AND status IN ('open', 'closed') AND (updated_at, number) < ({}, {}) "
    "ORDER BY updated_at DESC, number DESC LIMIT {}"
)
_FILL: Final = "AS SELECT account_id, number, status, created_at, updated_at, sealed FROM"
_INDEX: Final = "CREATE INDEX bare_listed ON bare (account_id, updated_at, number)"
_FILL_SECONDS_MAX: Final = 600.0
_TIMES: Final = Instant()
_SQLITE: Final = sqlite.dialect()
_TOP: Final = TicketPlace(2**62, datetime(9000, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class _Page:
    """A page to be read: of which account, behind which place; None: the first."""

    account_id: UUID
    after: TicketPlace | None


async def ticket_list_p99_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds of GET /tickets over HTTP on this machine (50 tickets opened, open and closed ones, the last
    changed first): the 99th percentile of 400 pages of ten accounts, on SQLite with a million messages stored.

    Every other page is a first page, the others lie anywhere in the list. One client asks, on one connection, in the
    same process as the server; the keys of all mailboxes are in memory, as they are a while after a start.

    The yardstick is the same page read by a plain SELECT of sqlite3 from a table with nothing but these columns and
    one index that fits: neither opened, nor sent.
    """
    async for run in _measure(workshop, "sqlite", _sqlite_bare):
        yield run


async def ticket_list_p99_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As ticket_list_p99_ms_sqlite, on a PostgreSQL of the same machine; the plain SELECT is asyncpg's."""
    async for run in _measure(workshop, "postgresql", _postgres_bare):
        yield run


class _Bare(Protocol):
    """A table with nothing but tickets and one index that fits."""

    async def page(self, page: _Page) -> int:
        """Read a page; return how many rows it has."""
        ...


_OpenBare = Callable[[Workshop, Installation], contextlib.AbstractAsyncContextManager[_Bare]]


async def _measure(workshop: Workshop, engine: Engine, open_bare: _OpenBare) -> AsyncIterator[Run]:
    large = await workshop.large(engine)
    rng = Random(1)  # noqa: S311  (the same pages every time)
    async with (
        opened(large.installation) as store,
        _served(store) as client,
        open_bare(workshop, large.installation) as bare,
    ):
        pages = await _pages(store, rng)
        await _percentile(pages, lambda one: _get(client, one))  # until all keys are in memory
        for _ in range(RUNS):
            chosen = [pick(rng, pages) for _ in range(_PAGES)]
            plain, rows_plain = await _percentile(chosen, bare.page)
            value, rows = await _percentile(chosen, lambda one: _get(client, one))
            if rows != rows_plain:
                raise RuntimeError("the yardstick read something else")
            yield Run(value, plain)


@contextlib.asynccontextmanager
async def _served(store: Store) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve the API of a store as the daemon does, with a token of the operator's and no limit that would count."""
    logs.configure("json", "error")
    settings = store.settings.model_copy(
        update={
            "api": store.settings.api.model_copy(
                update={"token_requests_per_second_max": 100_000.0, "token_burst_max": 1_000_000}
            )
        }
    )
    # No mailbox is linked, no webhook tried, no message replayed.
    nothing: Any = None
    backend = new_backend(store, nothing, nothing, Bell(), nothing, nothing, lambda: settings)
    edge = Edge(health=Health([]), metrics=None, linking=nothing, public_url="http://127.0.0.1", backend=backend)
    made = await make_token(
        store.content,
        None,
        label="bench",
        scopes=[Scope.READ],
        tokens_max=100,
    )
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(create_app(edge), "127.0.0.1", 0, started=port.set_result))
    task.add_done_callback(lambda _: port.cancel())
    try:
        headers = {"Authorization": f"Bearer {made.text}"}
        base = f"http://127.0.0.1:{await port}"
        async with httpx2.AsyncClient(base_url=base, trust_env=False, headers=headers) as client:
            yield client
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _pages(store: Store, rng: Random) -> Sequence[_Page]:
    found: list[_Page] = []
    for one in await store.content.read(None, accounts.list_accounts):
        last = (await store.content.read(one.account_id, list_tickets, descending=True, limit=1))[0].number
        for _ in range(_DEEP):
            ticket = await store.content.read(one.account_id, get_ticket, 1 + int(rng.random() * last))
            place = TicketPlace(ticket.number, ticket.updated_at)
            found += [_Page(one.account_id, None), _Page(one.account_id, place)]
    return found


async def _get(client: httpx2.AsyncClient, page: _Page) -> int:
    after = ""
    if page.after is not None:
        after = f"&after={encode_place(page.after, TicketOrder.UPDATED_AT, descending=True)}"
    answer = await client.get(f"/v1/accounts/{page.account_id}/tickets?sort=-updated_at&limit={_LIMIT}{after}")
    answer.raise_for_status()
    return len(answer.json()["items"])


class _SqliteBare:
    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    async def page(self, page: _Page) -> int:
        after = page.after or _TOP
        values = (page.account_id.bytes, _TIMES.process_bind_param(after.updated_at, _SQLITE), after.number, _LIMIT)
        return len(self._conn.execute(_SELECT.format("?", "?", "?", "?"), values).fetchall())


class _PostgresBare:
    def __init__(self, conn: Any) -> None:
        self._conn = conn

    async def page(self, page: _Page) -> int:
        after = page.after or _TOP
        values = (page.account_id, after.updated_at, after.number, _LIMIT)
        return len(await self._conn.fetch(_SELECT.format("$1", "$2", "$3", "$4"), *values))


@contextlib.asynccontextmanager
async def _sqlite_bare(workshop: Workshop, installation: Installation) -> AsyncIterator[_Bare]:
    with contextlib.closing(sqlite3.connect(workshop.folder() / "bare.db", isolation_level=None)) as conn:
        conn.execute("ATTACH ? AS stored", (str(make_url(installation.database).database),))
        conn.execute(f"CREATE TABLE bare {_FILL} stored.tickets")
        conn.execute("DETACH stored")
        conn.execute(_INDEX)
        yield _SqliteBare(conn)


@contextlib.asynccontextmanager
async def _postgres_bare(_workshop: Workshop, installation: Installation) -> AsyncIterator[_Bare]:
    import asyncpg  # noqa: PLC0415  (only where PostgreSQL is used)

    conn = await asyncpg.connect(installation.database)
    try:
        # Temporary: the figures behind this one find the database as it was.
        await conn.execute(f"CREATE TEMPORARY TABLE bare {_FILL} tickets", timeout=_FILL_SECONDS_MAX)
        await conn.execute(_INDEX, timeout=_FILL_SECONDS_MAX)
        await conn.execute("ANALYZE bare", timeout=_FILL_SECONDS_MAX)
        yield _PostgresBare(conn)
    finally:
        await conn.close()


async def _percentile(pages: Sequence[_Page], read: Callable[[_Page], Awaitable[int]]) -> tuple[float, int]:
    """Return the 99th percentile in milliseconds, and how many tickets there were in all."""
    samples, rows = [], 0
    for page in pages:
        watch = Stopwatch()
        rows += await read(page)
        samples.append(watch.seconds() * 1000)
    return sorted(samples)[math.ceil(0.99 * len(samples)) - 1], rows


FIGURES = (
    Figure("ticket_list_p99_ms_sqlite", "ms", "a plain SELECT of the same page", ticket_list_p99_sqlite),
    Figure("ticket_list_p99_ms_postgresql", "ms", "a plain SELECT of the same page", ticket_list_p99_postgresql),
)
