"""One transaction commits all or nothing, shows its kill points, and wakes whoever waits."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from storage import meta, schema
from storage.accounts import insert_account, list_accounts
from storage.database import NOTIFY_CHANNEL, Database, DatabaseLimits, now, open_database, wake
from storage.errors import StorageUnavailable
from storage.tables import store_meta
from storage.types import new_id
from tests.stores import Stores

SECONDS = 10


async def until(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds; fail after a limit."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


class Killed(Exception):
    pass


def put_fact(conn: Connection, value: str) -> None:
    meta.put(conn, store_meta, "fact", value)


async def fact(database: Database) -> str | None:
    return await database.read(None, meta.get, store_meta, "fact")


async def test_an_exception_rolls_everything_back(stores: Stores) -> None:
    def put_and_fail(conn: Connection) -> None:
        put_fact(conn, "half")
        raise Killed

    with pytest.raises(Killed):
        await stores.content.transaction(None, put_and_fail)
    assert await fact(stores.content) is None


async def test_the_hooks_frame_the_commit(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(stores.content, "committing", lambda name: calls.append(("committing", name)))
    monkeypatch.setattr(stores.content, "committed", lambda name: calls.append(("committed", name)))
    await stores.content.transaction(None, put_fact, "one")
    await fact(stores.content)
    assert calls == [("committing", "put_fact"), ("committed", "put_fact")]


async def test_death_before_the_commit_leaves_nothing(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_name: str) -> None:
        raise Killed

    monkeypatch.setattr(stores.content, "committing", die)
    with pytest.raises(Killed):
        await stores.content.transaction(None, put_fact, "one")
    assert await fact(stores.content) is None


async def test_death_after_the_commit_leaves_everything(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_name: str) -> None:
        raise Killed

    monkeypatch.setattr(stores.content, "committed", die)
    with pytest.raises(Killed):
        await stores.content.transaction(None, put_fact, "one")
    assert await fact(stores.content) == "one"


async def test_the_account_is_handed_on(stores: Stores) -> None:
    account_id = new_id()
    await stores.content.transaction(account_id, insert_account, b"sealed")
    assert [one.account_id for one in await stores.content.read(None, list_accounts)] == [account_id]


async def test_a_read_cannot_write(stores: Stores) -> None:
    with pytest.raises((DBAPIError, StorageUnavailable)):
        await stores.content.read(None, put_fact, "one")
    await stores.content.transaction(None, put_fact, "two")
    assert await fact(stores.content) == "two"


async def test_a_bug_is_not_an_outage(stores: Stores) -> None:
    account_id = new_id()
    await stores.content.transaction(account_id, insert_account, b"sealed")
    with pytest.raises(IntegrityError):
        await stores.content.transaction(account_id, insert_account, b"sealed")


async def test_no_exception_quotes_what_was_stored(stores: Stores) -> None:
    secret = "a customer's own words"

    def twice(conn: Connection) -> None:
        for _ in range(2):
            conn.execute(store_meta.insert().values(name="fact", value=secret))

    with pytest.raises(IntegrityError) as caught:
        await stores.content.transaction(None, twice)
    assert secret not in str(caught.value)
    assert secret not in repr(caught.value)


async def test_a_cancelled_transaction_is_over_when_the_caller_is(stores: Stores) -> None:
    """It may have committed or not, but it must not go on unseen."""
    entered, done = threading.Event(), threading.Event()

    def slow(conn: Connection) -> None:
        put_fact(conn, "cancelled")
        entered.set()
        if conn.dialect.name == "postgresql":
            conn.execute(text("SELECT pg_sleep(0.3)"))
        else:
            done.wait(SECONDS)

    task = asyncio.create_task(stores.content.transaction(None, slow))
    await until(entered.is_set)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # impatient: it must be waited for all the same
    asyncio.get_running_loop().call_later(0.05, done.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await fact(stores.content) == "cancelled"
    await stores.content.transaction(None, put_fact, "next")
    assert await fact(stores.content) == "next"


async def test_topics_wake_after_the_commit_only(stores: Stores) -> None:
    woken: list[frozenset[str]] = []
    stores.content.on_wake(woken.append)

    def announce(conn: Connection, fail: bool) -> None:
        wake(conn, "outbox")
        wake(conn, "mailboxes")
        wake(conn, "outbox")
        if fail:
            raise Killed

    with pytest.raises(Killed):
        await stores.content.transaction(None, announce, True)
    await stores.content.transaction(None, put_fact, "quiet")
    assert woken == []
    await stores.content.transaction(None, announce, False)
    assert woken == [frozenset({"outbox", "mailboxes"})]


async def test_replicas_are_notified(stores: Stores) -> None:
    """Also where the same connection announced the same topic in a transaction that rolled back."""
    if stores.content.is_sqlite:
        pytest.skip("SQLite has no NOTIFY")
    heard: list[str] = []
    replica = open_database(stores.urls.content, schema.METADATA[schema.CONTENT], limits=DatabaseLimits(pool_size=1))
    listening = asyncio.create_task(stores.content.listen(heard.extend))

    def listeners(conn: Connection) -> int:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE :q")
        return int(conn.execute(query, {"q": f'LISTEN "{NOTIFY_CHANNEL}"%'}).scalar_one())

    def announce(conn: Connection, fail: bool) -> None:
        wake(conn, "outbox")
        if fail:
            raise Killed

    try:
        async with asyncio.timeout(SECONDS):
            while not await replica.read(None, listeners):
                await asyncio.sleep(0.01)
        with pytest.raises(Killed):
            await replica.transaction(None, announce, True)
        await replica.transaction(None, announce, False)
        await until(lambda: bool(heard))
        assert heard == ["outbox"]
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        await replica.close()


async def test_sqlite_sees_the_commit_of_another_process(stores: Stores) -> None:
    path = stores.content.sqlite_path
    if path is None:
        pytest.skip("PostgreSQL notifies")
    before = await stores.content.data_version()
    assert await stores.content.data_version() == before
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit(); c.close()"
    statement = "INSERT INTO store_meta VALUES ('fact', 'elsewhere')"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(path), statement)
    assert await process.wait() == 0
    assert await stores.content.data_version() != before
    assert await fact(stores.content) == "elsewhere"


async def test_sqlite_sees_its_own_commits_too(stores: Stores) -> None:
    """The watcher has a connection of its own: a cancelled caller's commit still wakes the daemon."""
    if not stores.content.is_sqlite:
        pytest.skip("PostgreSQL notifies")
    before = await stores.content.data_version()
    await stores.content.transaction(None, put_fact, "one")
    assert await stores.content.data_version() != before


async def test_a_deadlock_is_run_again(stores: Stores) -> None:
    """Two transactions lock two rows crosswise: PostgreSQL stops one, which then runs again. SQLite has one writer."""
    first, second = new_id(), new_id()
    for one in (first, second):
        await stores.content.transaction(one, insert_account, b"sealed")
    runs: list[int] = []

    def crosswise(conn: Connection, mine: int, ids: tuple[UUID, UUID]) -> None:
        runs.append(mine)
        for one in ids:
            conn.exec_driver_sql(f"UPDATE accounts SET status = 'suspended' WHERE account_id = {_literal(conn, one)}")
            if conn.dialect.name == "postgresql" and one == ids[0]:
                conn.exec_driver_sql("SELECT pg_sleep(0.2)")

    await asyncio.gather(
        stores.content.transaction(None, crosswise, 0, (first, second)),
        stores.content.transaction(None, crosswise, 1, (second, first)),
    )
    statuses = [one.status for one in await stores.content.read(None, list_accounts)]
    assert statuses == ["suspended", "suspended"]
    assert sorted(set(runs)) == [0, 1]


def _literal(conn: Connection, one: UUID) -> str:
    return f"'{one}'" if conn.dialect.name == "postgresql" else f"x'{one.hex}'"


async def test_sqlite_waits_for_another_process_only_so_long(stores: Stores) -> None:
    path = stores.content.sqlite_path
    if path is None:
        pytest.skip("of SQLite only")
    limits = DatabaseLimits(busy_timeout_seconds=0.05)
    hasty = open_database(stores.urls.content, schema.METADATA[schema.CONTENT], limits=limits)
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="another process"):
            await hasty.transaction(None, put_fact, "one")
        assert await fact(hasty) is None
        other.execute("ROLLBACK")
        await hasty.transaction(None, put_fact, "two")
        assert await fact(hasty) == "two"
    finally:
        other.close()
        await hasty.close()


async def test_the_clock_goes_on_within_a_transaction_and_is_asked_once(stores: Stores) -> None:
    asked: list[str] = []
    postgresql = stores.content.sqlite_path is None

    def look(conn: Connection) -> tuple[datetime, datetime, datetime]:
        event.listen(conn, "before_cursor_execute", lambda *args: asked.append(args[2]))
        first = now(conn)
        conn.execute(text("SELECT pg_sleep(0.1)" if postgresql else "SELECT 1"))
        while (later := now(conn)) == first:
            pass
        return first, later, now(conn)

    before = await stores.content.read(None, now)
    first, later, last = await stores.content.transaction(None, look)
    after = await stores.content.read(None, now)
    assert before <= first < later <= last <= after
    assert not postgresql or later - first >= timedelta(seconds=0.1)
    assert sum("clock_timestamp" in one for one in asked) == int(postgresql)
