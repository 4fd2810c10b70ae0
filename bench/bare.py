"""The yardstick of what is stored: the same bytes, inserted into one plain table and nothing else.

As durable as the product's commits: a batch is a transaction, and the commit waits for the disk.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.timing import Stopwatch
from bench.workshop import Engine, Workshop

_TABLE = "CREATE TABLE bare (id INTEGER PRIMARY KEY, raw {kind} NOT NULL)"


class Bare(Protocol):
    async def insert(self, raws: Sequence[bytes]) -> float:
        """Insert one batch; return the seconds it took, commit included."""
        ...


class _Sqlite:
    def __init__(self, path: Path) -> None:
        self.conn = sqlite3.connect(path, isolation_level=None)
        self.conn.execute("PRAGMA journal_mode=WAL")
        self.conn.execute("PRAGMA synchronous=FULL")
        self.conn.execute(_TABLE.format(kind="BLOB"))

    async def insert(self, raws: Sequence[bytes]) -> float:
        watch = Stopwatch()
        self.conn.execute("BEGIN IMMEDIATE")
        self.conn.executemany("INSERT INTO bare (raw) VALUES (?)", [(raw,) for raw in raws])
        self.conn.execute("COMMIT")
        return watch.seconds()


class _Postgres:
    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self._next = 0

    async def insert(self, raws: Sequence[bytes]) -> float:
        rows = [(self._next + index, raw) for index, raw in enumerate(raws)]
        self._next += len(rows)
        watch = Stopwatch()
        async with self._conn.transaction():
            await self._conn.executemany("INSERT INTO bare (id, raw) VALUES ($1, $2)", rows)
        return watch.seconds()


@contextlib.asynccontextmanager
async def bare_table(workshop: Workshop, engine: Engine) -> AsyncIterator[Bare]:
    """Make an empty table of that engine, where the product's databases are, too."""
    if engine == "sqlite":
        plain = _Sqlite(workshop.folder() / "bare.db")
        with contextlib.closing(plain.conn):
            yield plain
        return
    import asyncpg  # noqa: PLC0415  (only where PostgreSQL is used)

    conn = await asyncpg.connect(workshop.postgres().create_database())
    try:
        await conn.execute(_TABLE.format(kind="BYTEA"))
        yield _Postgres(conn)
    finally:
        await conn.close()
