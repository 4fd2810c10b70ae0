"""SQLite is set up so that a commit survives a power cut and a deletion leaves little behind."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from storage import meta, schema
from storage.database import DatabaseLimits, open_database
from storage.tables import store_meta
from tests.stores import Stores, sqlite_urls


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = await Stores.open(sqlite_urls(tmp_path))
    yield stores
    await stores.close()


def pragma(conn: Connection, name: str) -> object:
    return conn.exec_driver_sql(f"PRAGMA {name}").scalar_one()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auto_vacuum", 2),
        ("secure_delete", 1),
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("wal_autocheckpoint", 4000),
    ],
)
@pytest.mark.parametrize("which", ["content", "keystore"])
async def test_pragmas(sqlite: Stores, which: str, name: str, value: object) -> None:
    database = getattr(sqlite, which)
    assert await database.transaction(None, pragma, name) == value
    assert await database.read(None, pragma, name) == value


async def test_the_writer_keeps_more_pages_than_the_readers(sqlite: Stores) -> None:
    assert await sqlite.content.transaction(None, pragma, "cache_size") == -16 * 1024
    assert await sqlite.content.read(None, pragma, "cache_size") == -2000


async def test_readers_cannot_write(sqlite: Stores) -> None:
    assert await sqlite.content.read(None, pragma, "query_only") == 1
    assert await sqlite.content.transaction(None, pragma, "query_only") == 0


def _fill(conn: Connection, names: int) -> None:
    for number in range(names):
        meta.put(conn, store_meta, f"fact {number}", "words " * 1000)


def _empty(conn: Connection) -> None:
    conn.execute(store_meta.delete())


async def test_compact_gives_pages_back_and_empties_the_wal(sqlite: Stores) -> None:
    path = sqlite.content.sqlite_path
    assert path is not None
    await sqlite.content.transaction(None, _fill, 100)
    await sqlite.content.compact(1)
    full = path.stat().st_size
    await sqlite.content.transaction(None, _empty)
    left, truncated = await sqlite.content.compact(10)
    assert left > 0
    assert truncated
    left, truncated = await sqlite.content.compact(100_000)
    assert (left, truncated) == (0, True)
    assert path.stat().st_size < full / 2
    assert path.with_name(path.name + "-wal").stat().st_size == 0


async def test_nothing_deleted_is_left_in_the_files(sqlite: Stores) -> None:
    path = sqlite.content.sqlite_path
    assert path is not None
    await sqlite.content.transaction(None, _fill, 20)
    await sqlite.content.transaction(None, _empty)
    await sqlite.content.compact(100_000)
    for file in path.parent.glob(f"{path.name}*"):
        assert b"words words" not in file.read_bytes()


async def test_an_open_reader_delays_the_truncation_but_not_the_writers(sqlite: Stores) -> None:
    path = sqlite.content.sqlite_path
    assert path is not None
    reader = sqlite3.connect(path, isolation_level=None)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM store_meta").fetchall()
        await sqlite.content.transaction(None, _fill, 2)
        _, truncated = await sqlite.content.compact(1)
        assert not truncated
        assert await sqlite.content.transaction(None, pragma, "busy_timeout") == 10_000
        reader.execute("ROLLBACK")
        _, truncated = await sqlite.content.compact(1)
        assert truncated
    finally:
        reader.close()


async def test_opening_waits_for_no_writer(sqlite: Stores) -> None:
    """A connection that is opened while another process writes must not need the write lock."""
    path = sqlite.content.sqlite_path
    other = sqlite3.connect(str(path), isolation_level=None)
    hasty = DatabaseLimits(busy_timeout_seconds=0.05)
    late = open_database(sqlite.urls.content, schema.METADATA[schema.CONTENT], limits=hasty)
    try:
        other.execute("BEGIN IMMEDIATE")
        assert await late.read(None, pragma, "auto_vacuum") == 2
    finally:
        other.close()
        await late.close()
