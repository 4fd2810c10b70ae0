"""A database that cannot be used says so with StorageUnavailable, and works again by itself afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, make_url, text

import storage.postgres
from storage import meta, schema
from storage.database import Database, DatabaseLimits, open_database, ping
from storage.errors import StorageUnavailable
from storage.tables import store_meta
from tests.conftest import missing
from tests.servers.postgres import PostgresServer, find_binaries
from tests.servers.proxy import Proxy
from tests.stores import Stores, sqlite_urls


@pytest.fixture
async def own_postgres(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    """A server of this test's own, as it will be stopped."""
    binaries = find_binaries()
    if binaries is None:
        missing("PostgreSQL", "postgresql")
    assert binaries is not None
    server = PostgresServer(binaries)
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.remove)


@pytest.fixture
async def upgraded(own_postgres: PostgresServer) -> AsyncIterator[Database]:
    """A database of this test's own, with one pooled connection."""
    url = await asyncio.to_thread(own_postgres.create_database)
    database = open_database(url, schema.METADATA[schema.CONTENT], limits=DatabaseLimits(pool_size=1))
    await database.transaction(None, schema.upgrade, schema.CONTENT)
    yield database
    await database.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = await Stores.open(sqlite_urls(tmp_path))
    yield stores
    await stores.close()


def put_fact(conn: Connection, value: str) -> None:
    meta.put(conn, store_meta, "fact", value)


async def fact(database: Database) -> str | None:
    return await database.read(None, meta.get, store_meta, "fact")


async def test_postgresql_goes_and_comes_back(own_postgres: PostgresServer) -> None:
    url = await asyncio.to_thread(own_postgres.create_database)
    database = open_database(url, schema.METADATA[schema.CONTENT])
    await database.transaction(None, schema.upgrade, schema.CONTENT)
    await database.transaction(None, put_fact, "before")
    listening = asyncio.create_task(database.listen(lambda _topics: None))
    try:
        await asyncio.to_thread(own_postgres.stop)
        with pytest.raises(StorageUnavailable):
            await database.transaction(None, put_fact, "meanwhile")
        with pytest.raises(StorageUnavailable):
            await database.read(None, ping)
        with pytest.raises(StorageUnavailable):
            await asyncio.wait_for(listening, 10)
        with pytest.raises(StorageUnavailable):
            await database.listen(lambda _topics: None)
        await asyncio.to_thread(own_postgres.start)
        await database.transaction(None, put_fact, "after")
        assert await fact(database) == "after"
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        await database.close()


async def test_postgresql_stops_before_it_is_listened_to(
    own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await asyncio.to_thread(own_postgres.create_database)
    database = open_database(url, schema.METADATA[schema.CONTENT])
    listens = asyncpg.Connection.add_listener

    async def stopping(conn: asyncpg.Connection, *args: Any) -> None:
        await asyncio.to_thread(own_postgres.stop)
        await listens(conn, *args)

    monkeypatch.setattr(asyncpg.Connection, "add_listener", stopping)
    with pytest.raises(StorageUnavailable):
        await asyncio.wait_for(database.listen(lambda _topics: None), 10)
    await database.close()


async def test_postgresql_is_gone_without_a_word(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine has lost its power, say, and another one has its address now: nobody tells us that."""
    monkeypatch.setattr(storage.postgres, "SILENCE_SECONDS", 1)
    url = make_url(await asyncio.to_thread(postgres.create_database))
    async with Proxy(postgres.port).running() as proxy:
        url = url.set(port=proxy.port)
        database = open_database(url.render_as_string(), schema.METADATA[schema.CONTENT])
        await database.transaction(None, schema.upgrade, schema.CONTENT)
        listening = asyncio.create_task(database.listen(lambda _topics: None))
        try:
            while proxy.connections < 2:
                await asyncio.sleep(0.01)
            await database.transaction(None, put_fact, "before")
            proxy.fall_silent()
            async with asyncio.timeout(10):
                await database.transaction(None, put_fact, "after")
                assert await fact(database) == "after"
                with pytest.raises(StorageUnavailable):
                    await listening
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            await database.close()


async def test_postgresql_dies_within_a_transaction(own_postgres: PostgresServer) -> None:
    url = await asyncio.to_thread(own_postgres.create_database)
    database = open_database(url, schema.METADATA[schema.CONTENT])
    await database.transaction(None, schema.upgrade, schema.CONTENT)

    def stop_and_put(conn: Connection) -> None:
        put_fact(conn, "half")
        own_postgres.stop()
        conn.execute(text("SELECT 1"))

    try:
        with pytest.raises(StorageUnavailable):
            await database.transaction(None, stop_and_put)
        await asyncio.to_thread(own_postgres.start)
        assert await fact(database) is None
    finally:
        await database.close()


async def test_postgresql_cancels_a_statement_that_runs_too_long(postgres: PostgresServer) -> None:
    url = await asyncio.to_thread(postgres.create_database)
    database = open_database(url, schema.METADATA[schema.CONTENT], limits=DatabaseLimits(statement_seconds_max=0.2))
    try:
        await database.transaction(None, schema.upgrade, schema.CONTENT)
        with pytest.raises(StorageUnavailable, match="57014"):
            await database.read(None, lambda conn: conn.execute(text("SELECT pg_sleep(30)")))
        await database.transaction(None, put_fact, "after")
        assert await fact(database) == "after"
    finally:
        await database.close()


async def test_a_full_disk_loses_only_what_did_not_fit(sqlite: Stores) -> None:
    def limit(conn: Connection, more: int) -> None:
        pages = int(conn.exec_driver_sql("PRAGMA page_count").scalar_one())
        conn.exec_driver_sql(f"PRAGMA max_page_count={pages + more}")

    await sqlite.content.transaction(None, put_fact, "small")
    await sqlite.content.transaction(None, limit, 2)
    with pytest.raises(StorageUnavailable, match="disk is full") as caught:
        await sqlite.content.transaction(None, put_fact, "large " * 100_000)
    assert "large" not in str(caught.value)
    assert await fact(sqlite.content) == "small"
    await sqlite.content.transaction(None, limit, 10_000)
    await sqlite.content.transaction(None, put_fact, "large " * 100_000)
    assert await fact(sqlite.content) == "large " * 100_000


async def test_a_read_only_file_is_an_outage(sqlite: Stores) -> None:
    """Opened read-only, as file modes do not stop a test that runs as root."""
    await sqlite.content.transaction(None, put_fact, "before")
    path = sqlite.content.sqlite_path
    database = open_database(f"sqlite:///file:{path}?mode=ro&uri=true", schema.METADATA[schema.CONTENT])
    with pytest.raises(StorageUnavailable, match="cannot be written"):
        await database.transaction(None, put_fact, "meanwhile")
    assert await fact(database) == "before"
    await database.close()


async def test_a_missing_folder_is_an_outage(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/nowhere/content.db", schema.METADATA[schema.CONTENT])
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        await database.read(None, ping)
    await database.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "content.db").write_bytes(b"this is no database at all " * 100)
    database = open_database(f"sqlite:///{tmp_path}/content.db", schema.METADATA[schema.CONTENT])
    with pytest.raises(StorageUnavailable, match="not a SQLite database"):
        await database.read(None, ping)
    await database.close()


async def test_an_unreachable_host_is_an_outage(unused_tcp_port: int) -> None:
    database = open_database(f"postgresql://ingestd@127.0.0.1:{unused_tcp_port}/x", schema.METADATA[schema.CONTENT])
    with pytest.raises(StorageUnavailable):
        await database.read(None, ping)
    await database.close()


_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def other_connections(conn: Connection) -> int:
    return int(conn.execute(text(f"SELECT count(*) {_OTHERS}")).scalar_one())


def end_other_connections(conn: Connection) -> None:
    conn.execute(text(f"SELECT pg_terminate_backend(pid) {_OTHERS}"))


async def drop_pooled(database: Database) -> None:
    """Have the server end every connection to this database, and wait until they are gone."""
    watcher = open_database(
        database.url.render_as_string(hide_password=False),
        schema.METADATA[schema.CONTENT],
        limits=DatabaseLimits(pool_size=1),
    )
    assert await watcher.read(None, other_connections) > 0
    await watcher.read(None, end_other_connections)
    async with asyncio.timeout(10):
        while await watcher.read(None, other_connections):
            pass
    await watcher.close()


async def test_a_connection_that_the_server_ended_fails_no_transaction(upgraded: Database) -> None:
    await upgraded.transaction(None, put_fact, "before")
    await drop_pooled(upgraded)
    await upgraded.transaction(None, put_fact, "after")
    assert await fact(upgraded) == "after"


def fatal_message() -> bytes:
    """The ErrorResponse with which a server ends a session (PostgreSQL's documentation, 55.7)."""
    fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
    return b"E" + (4 + len(fields)).to_bytes(4, "big") + fields


def driver_of(conn: Connection) -> Any:
    """The asyncpg connection behind `conn`."""
    return conn.connection.driver_connection


async def test_a_server_that_has_said_its_last_word_but_not_closed_yet(upgraded: Database) -> None:
    driver = await upgraded.read(None, driver_of)
    driver._protocol.data_received(fatal_message())
    assert not driver.is_closed()
    await upgraded.transaction(None, put_fact, "after")
    assert await fact(upgraded) == "after"
    assert await upgraded.read(None, driver_of) is not driver


async def test_a_connection_lost_in_a_transaction_starts_it_again(upgraded: Database) -> None:
    runs = 0

    def lose_once_and_count(conn: Connection) -> None:
        nonlocal runs
        runs += 1
        count = int(meta.get(conn, store_meta, "fact") or 0)
        put_fact(conn, str(count + 1))
        if runs == 1:
            driver_of(conn).terminate()
        conn.execute(text("SELECT 1"))

    await upgraded.transaction(None, lose_once_and_count)
    assert (runs, await fact(upgraded)) == (2, "1")


async def test_a_commit_without_an_answer_is_not_repeated(upgraded: Database) -> None:
    runs = 0

    def lose_at_the_end(conn: Connection) -> None:
        nonlocal runs
        runs += 1
        put_fact(conn, "half")
        driver_of(conn).terminate()

    with pytest.raises(StorageUnavailable):
        await upgraded.transaction(None, lose_at_the_end)
    assert runs == 1
