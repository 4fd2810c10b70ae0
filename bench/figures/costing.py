"""What a mail and a process cost: the figures that `docs/capacity.md` reckons with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, func, select
from sqlalchemy import Engine as SqlEngine

from bench.bare import Bare, bare_table
from bench.figures.filling import AS_DEFAULT, family, installed, taken
from bench.figures.holding import held_bytes
from bench.harness import Figure, Run
from bench.house import Installation, add_account, add_mailboxes, claim_all, opened
from bench.intake import Mailbox, batches, mailboxes
from bench.mailhost import running_mailhost
from bench.workshop import Engine, Workshop
from connectors.base import RawMessage
from ingestd.build.store import Store
from ingestd.inbound.parser import ParserPool
from storage.tables import events

_RUNS = 3
_MAILS = 300
"""Of a run: each by itself, as they come in over a day."""
_BUSY_MAILS = 500
_SETTLE_SECONDS = 3.0
_LOOK_SECONDS = 0.05
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one mail, on average; of ours, or of a plain insert of the same bytes."""

    rows_bytes: float
    index_bytes: float
    stored_bytes: float
    """Of the raw mail, wherever it is."""
    wal_bytes: float
    database_cpu_ms: float
    transactions: float
    """Those that only read among them."""
    statements: float
    events: float


@dataclass(frozen=True, slots=True)
class _Costs:
    ours: _Cost
    plain: _Cost
    raw_bytes: float
    """Of one mail, as it came."""


async def _pick(
    workshop: Workshop, engine: Engine, value: Callable[[_Costs], float], yardstick: Callable[[_Costs], float]
) -> AsyncIterator[Run]:
    """Yield one of the costs, of the same mails whichever is asked for."""
    for one in await workshop.once(f"costs {engine}", partial(_measure, workshop, engine)):
        yield Run(value(one), yardstick(one))


async def mail_row_bytes_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Bytes that SQLite's tables grow by for a corpus mail, without its raw bytes and without indexes; mail by mail, as
    it comes in.

    The yardstick is the mail itself, as it came.
    """
    async for run in _pick(workshop, "sqlite", lambda one: one.ours.rows_bytes, lambda one: one.raw_bytes):
        yield run


async def mail_index_bytes_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """As mail_row_bytes_sqlite, of the indexes."""
    async for run in _pick(workshop, "sqlite", lambda one: one.ours.index_bytes, lambda one: one.raw_bytes):
        yield run


async def mail_row_bytes_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As mail_row_bytes_sqlite, of PostgreSQL's tables with what it stores beside them (TOAST)."""
    async for run in _pick(workshop, "postgresql", lambda one: one.ours.rows_bytes, lambda one: one.raw_bytes):
        yield run


async def mail_index_bytes_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As mail_row_bytes_postgresql, of the indexes."""
    async for run in _pick(workshop, "postgresql", lambda one: one.ours.index_bytes, lambda one: one.raw_bytes):
        yield run


async def mail_raw_bytes_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """As mail_row_bytes_sqlite, of the raw mail alone, compressed and sealed. Of the corpus none is so large that it
    would go to the blob store by default; a smaller `storage.blob_bytes_min` moves it there.
    """
    async for run in _pick(workshop, "sqlite", lambda one: one.ours.stored_bytes, lambda one: one.raw_bytes):
        yield run


async def mail_raw_bytes_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As mail_raw_bytes_sqlite, with what PostgreSQL stores beside the table (TOAST)."""
    async for run in _pick(workshop, "postgresql", lambda one: one.ours.stored_bytes, lambda one: one.raw_bytes):
        yield run


async def mail_wal_bytes_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """Bytes that PostgreSQL writes to its WAL for a corpus mail, full pages after a checkpoint among them.

    The yardstick is a plain insert of the same bytes.
    """
    async for run in _pick(workshop, "postgresql", lambda one: one.ours.wal_bytes, lambda one: one.plain.wal_bytes):
        yield run


async def mail_postgresql_cpu_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """CPU milliseconds of PostgreSQL's processes for a corpus mail that comes in by itself.

    The yardstick is a plain insert of the same bytes.
    """
    cpu: Callable[[_Cost], float] = lambda one: one.database_cpu_ms  # noqa: E731
    async for run in _pick(workshop, "postgresql", lambda one: cpu(one.ours), lambda one: cpu(one.plain)):
        yield run


async def mail_transactions(workshop: Workshop) -> AsyncIterator[Run]:
    """Transactions for a corpus mail that comes in by itself, those that only read among them; on PostgreSQL.

    The yardstick is a plain insert.
    """
    async for run in _pick(
        workshop, "postgresql", lambda one: one.ours.transactions, lambda one: one.plain.transactions
    ):
        yield run


async def mail_statements(workshop: Workshop) -> AsyncIterator[Run]:
    """Statements for a corpus mail that comes in by itself; one for many rows counts once. On PostgreSQL.

    The yardstick is a plain insert.
    """
    async for run in _pick(workshop, "postgresql", lambda one: one.ours.statements, lambda one: one.plain.statements):
        yield run


async def mail_events(workshop: Workshop) -> AsyncIterator[Run]:
    """Rows of the event log for a corpus mail.

    The yardstick is one.
    """
    async for run in _pick(workshop, "postgresql", lambda one: one.ours.events, lambda _one: 1.0):
        yield run


async def _measure(workshop: Workshop, engine: Engine) -> list[_Costs]:
    found = []
    with workshop.temporary(engine) as installation:
        async with opened(installation) as store, ParserPool() as parser, bare_table(workshop, engine) as bare:
            await add_mailboxes(store, await add_account(store), 1)
            (mailbox,) = mailboxes(store, await claim_all(store), parser)
            for number in range(_RUNS + 1):
                mails = [mail for batch in batches(_MAILS // 50, first=number * _MAILS) for mail in batch]
                raw_bytes = sum(len(mail.content or b"") for mail in mails) / _MAILS
                ours = await _ours(workshop, installation, store, mailbox, mails)
                plain = await _plain(workshop, engine, bare, mails)
                workshop.say(f"run {number} of {_RUNS}")
                if number:  # the first one fills pages and caches
                    found.append(_Costs(ours, plain, raw_bytes))
    return found


async def _ours(
    workshop: Workshop, installation: Installation, store: Store, mailbox: Mailbox, mails: Sequence[RawMessage]
) -> _Cost:
    before = await _read(workshop, installation, store)
    with _counted() as counts:
        for mail in mails:
            await mailbox.take([mail])
    after = await _read(workshop, installation, store)
    spent = {name: (after[name] - before[name]) / len(mails) for name in before}
    return _Cost(
        rows_bytes=spent["rows"],
        index_bytes=spent["indexes"],
        stored_bytes=spent["raw"],
        wal_bytes=spent["wal"],
        database_cpu_ms=spent["cpu"] * 1000,
        transactions=counts["transactions"] / len(mails),
        statements=counts["statements"] / len(mails),
        events=spent["events"],
    )


async def _plain(workshop: Workshop, engine: Engine, bare: Bare, mails: Sequence[RawMessage]) -> _Cost:
    before = await _server(workshop) if engine == "postgresql" else {}
    for mail in mails:
        await bare.insert([mail.content or b""])
    after = await _server(workshop) if engine == "postgresql" else {}
    spent = {name: (after[name] - before[name]) / len(mails) for name in before}
    cpu_ms = spent.get("cpu", 0.0) * 1000
    return _Cost(0, 0, 0, spent.get("wal", 0.0), cpu_ms, transactions=1, statements=1, events=1)


async def _read(workshop: Workshop, installation: Installation, store: Store) -> dict[str, float]:
    """Return how much there is, and was spent, of everything so far; bytes and seconds."""
    rows, raw, indexes = await _sizes(installation)
    raw += await asyncio.to_thread(_blob_bytes, installation)
    log = await store.content.read(None, _count_events)
    found = {"rows": rows, "raw": raw, "indexes": indexes, "events": log, "wal": 0.0, "cpu": 0.0}
    return found if installation.is_sqlite else found | await _server(workshop)


def _blob_bytes(installation: Installation) -> int:
    return sum(one.stat().st_size for one in (installation.folder / "blobs").rglob("*") if one.is_file())


async def _sizes(installation: Installation) -> tuple[float, float, float]:
    """Return the bytes of the content database: of the tables, of that with raw mail, of the indexes."""
    if installation.is_sqlite:
        with contextlib.closing(sqlite3.connect(installation.database.removeprefix("sqlite:///"))) as conn:
            pages = conn.execute(
                "SELECT kept.type, kept.name, pgsize FROM dbstat JOIN sqlite_schema AS kept ON kept.name = dbstat.name"
            ).fetchall()
    else:
        query = (
            "SELECT {}, relname, {}(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        pages = []
        for kind, size in (("'table'", "pg_table_size"), ("'index'", "pg_indexes_size")):
            pages += await _ask(installation.database, query.format(kind, size))
    sums: Counter[str] = Counter()
    for kind, name, size in pages:
        sums["raw" if (kind, name) == ("table", "raw_chunks") else kind] += int(size)
    return sums["table"], sums["raw"], sums["index"]


async def _server(workshop: Workshop) -> dict[str, float]:
    """Return the bytes of WAL that PostgreSQL has written, and the seconds of CPU that its processes have used."""
    server = workshop.postgres()
    ((wal,),) = await _ask(server.url_of("postgres"), "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    return {"wal": float(wal), "cpu": _cpu_seconds(server.pid)}


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a server: of the process that began the others, with those that have ended, and theirs."""
    total = 0
    for place, one in enumerate(family(pid)):
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11 : 13 if place else 15]))
    return total / os.sysconf("SC_CLK_TCK")


async def _ask(url: str, query: str) -> list[tuple[Any, ...]]:
    import asyncpg  # noqa: PLC0415  (only where PostgreSQL is used)

    conn = await asyncpg.connect(url)
    try:
        rows = await conn.fetch(query)
    finally:
        await conn.close()
    return [tuple(row) for row in rows]


def _count_events(conn: Connection) -> int:
    return conn.execute(select(func.count()).select_from(events)).scalar_one()


@contextlib.contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Count the statements and transactions of this process meanwhile, those that only read among them."""
    counts: Counter[str] = Counter()

    def statement(*_: object) -> None:
        counts["statements"] += 1

    def transaction(_conn: object) -> None:
        counts["transactions"] += 1

    event.listen(SqlEngine, "before_cursor_execute", statement)
    event.listen(SqlEngine, "begin", transaction)
    try:
        yield counts
    finally:
        event.remove(SqlEngine, "before_cursor_execute", statement)
        event.remove(SqlEngine, "begin", transaction)


async def process_idle_mb(workshop: Workshop) -> AsyncIterator[Run]:
    """Megabytes that a daemon with one mailbox and its two parser processes holds when nothing happens, on PostgreSQL,
    with default settings: the proportional set size.

    The yardstick is a Python that does nothing.
    """
    async for one in _processes(workshop):
        yield Run(one.idle_bytes / _MB, one.bare_bytes / _MB)


async def process_connections_idle(workshop: Workshop) -> AsyncIterator[Run]:
    """Connections to PostgreSQL that such a daemon holds when nothing happens, to both databases together.

    The yardstick is what it may hold: the pool of each, and the one that listens.
    """
    async for one in _processes(workshop):
        yield Run(one.connections_idle, one.connections_max)


async def process_connections_busy(workshop: Workshop) -> AsyncIterator[Run]:
    """As process_connections_idle, at most, while 500 corpus mails come in to one mailbox."""
    async for one in _processes(workshop):
        yield Run(one.connections_busy, one.connections_max)


@dataclass(frozen=True, slots=True)
class _Process:
    idle_bytes: int
    bare_bytes: int
    connections_idle: int
    connections_busy: int
    connections_max: int


async def _processes(workshop: Workshop) -> AsyncIterator[_Process]:
    for one in await workshop.once("processes", partial(_run_processes, workshop)):
        yield one


async def _run_processes(workshop: Workshop) -> list[_Process]:
    found = []
    port = workshop.postgres().port
    with running_mailhost(1) as place:
        for _ in range(2):
            async with installed(workshop, place, "postgresql", AS_DEFAULT) as house:
                await house.daemon.start()
                await asyncio.sleep(_SETTLE_SECONDS)
                idle, bare = held_bytes(house.daemon.pid), await asyncio.to_thread(_bare_bytes)
                connections = _connections(house.daemon.pid, port)
                busy = connections
                place.fill(_BUSY_MAILS)
                taking = asyncio.create_task(taken(house, _BUSY_MAILS))
                while not taking.done():
                    busy = max(busy, _connections(house.daemon.pid, port))
                    await asyncio.sleep(_LOOK_SECONDS)
                await taking
                most = 2 * house.settings.storage.pool_size + 1
                found.append(_Process(idle, bare, connections, busy, most))
    return found


def _connections(pid: int, port: int) -> int:
    """Return how many connections to that port of this machine a process and those below it hold."""
    mine = set()
    for one in family(pid):
        for place in Path(f"/proc/{one}/fd").glob("*"):
            with contextlib.suppress(OSError):
                mine.add(str(place.readlink()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established, wanted = "01", f":{port:04X}"
    return sum(f"socket:[{row[9]}]" in mine and row[3] == established and row[2].endswith(wanted) for row in rows)


def _bare_bytes() -> int:
    """Return the bytes that a Python holds that has imported nothing."""
    command = [sys.executable, "-I", "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bare:  # noqa: S603
        assert bare.stdout is not None
        bare.stdout.readline()
        held = held_bytes(bare.pid)
        bare.kill()
    return held


_AS_IT_CAME, _PLAIN, _ALLOWED = "the mail as it came", "a plain insert of the same mail", "what is allowed"
FIGURES = (
    Figure("mail_row_bytes_sqlite", "bytes", _AS_IT_CAME, mail_row_bytes_sqlite),
    Figure("mail_index_bytes_sqlite", "bytes", _AS_IT_CAME, mail_index_bytes_sqlite),
    Figure("mail_row_bytes_postgresql", "bytes", _AS_IT_CAME, mail_row_bytes_postgresql),
    Figure("mail_index_bytes_postgresql", "bytes", _AS_IT_CAME, mail_index_bytes_postgresql),
    Figure("mail_raw_bytes_sqlite", "bytes", _AS_IT_CAME, mail_raw_bytes_sqlite),
    Figure("mail_raw_bytes_postgresql", "bytes", _AS_IT_CAME, mail_raw_bytes_postgresql),
    Figure("mail_wal_bytes_postgresql", "bytes", _PLAIN, mail_wal_bytes_postgresql),
    Figure("mail_postgresql_cpu_ms", "ms", _PLAIN, mail_postgresql_cpu_ms),
    Figure("mail_transactions", "transactions", _PLAIN, mail_transactions),
    Figure("mail_statements", "statements", _PLAIN, mail_statements),
    Figure("mail_events", "rows", "one", mail_events),
    Figure("process_idle_mb", "MB", "a Python that does nothing", process_idle_mb),
    Figure("process_connections_idle", "connections", _ALLOWED, process_connections_idle),
    Figure("process_connections_busy", "connections", _ALLOWED, process_connections_busy),
)
