"""One database, SQLite or PostgreSQL, and the one way to run a transaction in it.

Every storage function is `def f(conn, ...)` in SQLAlchemy Core, and
`Database.transaction` runs it:

- on SQLite in the one writer thread (`BEGIN IMMEDIATE`, WAL, synchronous=FULL), so that
  writers queue here and never meet SQLITE_BUSY among themselves; reads may go to a few
  reader threads of their own;
- on PostgreSQL through `AsyncConnection.run_sync` (asyncpg).

Nothing else opens a transaction. Before and after each commit the database calls
`committing` and `committed`, which do nothing here: crash tests find their kill points there.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, overload
from uuid import UUID

import tenacity
from sqlalchemy import (
    ARRAY,
    Connection,
    MetaData,
    String,
    bindparam,
    func,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.errors import StorageUnavailable
from storage.outages import sqlite_reason, unavailable, was_rolled_back
from storage.postgres import CONNECT_SECONDS, notice_silence, postgres_engine
from storage.sqlite import SqliteEngines

P = ParamSpec("P")
T = TypeVar("T")

NOTIFY_CHANNEL = "ingestd"
_NOTIFY = select(func.pg_notify(NOTIFY_CHANNEL, func.unnest(bindparam("topics", type_=ARRAY(String())))))

_TOPICS, _CLOCK = "topics", "clock"
"""In Connection.info: the topics that the transaction announces; the database's clock and ours when it was asked."""


@dataclass(frozen=True, slots=True)
class DatabaseLimits:
    """What an operator decides about one database."""

    busy_timeout_seconds: float = 10.0
    """SQLite: how long a transaction waits for another process's."""
    pool_size: int = 10
    """PostgreSQL: connections of this process."""
    attempts_max: int = 5
    """PostgreSQL: attempts of a transaction that it rolled back."""
    backoff_initial_seconds: float = 0.05
    backoff_max_seconds: float = 2.0
    statement_seconds_max: float = 30.0
    """PostgreSQL: a statement that runs longer is cancelled."""


_DEFAULT_LIMITS = DatabaseLimits()


class Database:
    """A database and its transactions. Build with `open_database`; use from one event loop."""

    def __init__(
        self,
        url: URL,
        metadata: MetaData,
        limits: DatabaseLimits,
    ) -> None:
        self.url = url
        self.metadata = metadata
        self._limits = limits
        self._woken: Callable[[frozenset[str]], None] = lambda _topics: None
        self._sqlite: SqliteEngines | None = None
        self._postgres: AsyncEngine | None = None
        if url.get_backend_name() == "sqlite":
            self._sqlite = SqliteEngines(url, limits.busy_timeout_seconds)
        else:
            self._postgres = postgres_engine(
                url, pool_size=limits.pool_size, statement_seconds_max=limits.statement_seconds_max
            )

    @property
    def is_sqlite(self) -> bool:
        return self._sqlite is not None

    @property
    def sqlite_path(self) -> Path | None:
        return Path(self.url.database) if self._sqlite and self.url.database else None

    @overload
    async def transaction(
        self,
        account_id: UUID,
        function: Callable[Concatenate[Connection, UUID, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...

    @overload
    async def transaction(
        self,
        account_id: None,
        function: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...

    async def transaction(
        self,
        account_id: UUID | None,
        function: Callable[..., T],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> T:
        """Run `function(conn, account_id, ...)` in one transaction and return what it returns.

        With `account_id` None the function belongs to no account and gets
        `function(conn, ...)`. After a deadlock, a serialization failure or a connection
        lost before the commit it runs again, as nothing was committed. Raises
        StorageUnavailable where the database cannot be used; what the function raises
        rolls back and passes through.
        """
        return await self._run(False, account_id, function, args, kwargs)

    @overload
    async def read(
        self,
        account_id: UUID,
        function: Callable[Concatenate[Connection, UUID, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...

    @overload
    async def read(
        self,
        account_id: None,
        function: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...

    async def read(
        self,
        account_id: UUID | None,
        function: Callable[..., T],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> T:
        """As `transaction`, but read-only and, on SQLite, beside the writer instead of behind it."""
        return await self._run(True, account_id, function, args, kwargs)

    async def _run(
        self,
        read_only: bool,
        account_id: UUID | None,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> T:
        scope = () if account_id is None else (account_id,)

        def call(conn: Connection) -> T:
            return function(conn, *scope, *args, **kwargs)

        name = getattr(function, "__name__", "transaction")
        once = self._once if self._sqlite else self._retried
        try:
            value, topics = await once(read_only, name, call)
        except (DBAPIError, PoolTimeoutError, OSError) as error:
            if outage := unavailable(error):
                raise outage from error
            raise
        if topics:
            self._woken(topics)
        return value

    async def _retried(self, read_only: bool, name: str, call: Callable[[Connection], T]) -> tuple[T, frozenset[str]]:
        """On PostgreSQL, which rolls transactions back that got into each other's way, and loses connections."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(was_rolled_back),
            wait=tenacity.wait_random_exponential(
                multiplier=self._limits.backoff_initial_seconds, max=self._limits.backoff_max_seconds
            ),
            stop=tenacity.stop_after_attempt(self._limits.attempts_max),
            reraise=True,
        )
        return await retrying(self._once, read_only, name, call)

    async def _once(self, read_only: bool, name: str, call: Callable[[Connection], T]) -> tuple[T, frozenset[str]]:
        if self._sqlite:
            engines = self._sqlite
            executor = engines.readers if read_only else engines.writer
            run = asyncio.get_running_loop().run_in_executor(executor, self._sqlite_once, read_only, name, call)
            # A cancelled caller must not leave its transaction running unseen: wait for its end first.
            return await _uncancelled(run)
        # As its own task, for the same reason: a statement that is cancelled halfway would keep its locks.
        return await _uncancelled(asyncio.create_task(self._postgres_once(read_only, name, call)))

    async def _postgres_once(
        self, read_only: bool, name: str, call: Callable[[Connection], T]
    ) -> tuple[T, frozenset[str]]:
        assert self._postgres is not None
        async with self._postgres.connect() as conn:
            if read_only:
                await conn.execution_options(postgresql_readonly=True)
            transaction = await conn.begin()
            value, topics = await conn.run_sync(_with_topics, call)
            if not read_only:
                self.committing(name)
            await transaction.commit()
            if not read_only:
                self.committed(name)
        return value, topics

    def _sqlite_once(self, read_only: bool, name: str, call: Callable[[Connection], T]) -> tuple[T, frozenset[str]]:
        assert self._sqlite is not None
        with self._sqlite.connect(read_only) as conn, conn.begin() as transaction:
            value, topics = _with_topics(conn, call)
            if read_only:
                transaction.rollback()
            else:
                self.committing(name)
                transaction.commit()
                self.committed(name)
        return value, topics

    def committing(self, name: str) -> None:
        """Called before the commit of the transaction that ran the function `name`."""

    def committed(self, name: str) -> None:
        """Called after it."""

    def on_wake(self, woken: Callable[[frozenset[str]], None]) -> None:
        """Have `woken` called with the topics that a transaction of this process announced (`wake`)."""
        self._woken = woken

    async def data_version(self) -> int:
        """SQLite only: a number that changes when another connection has committed. Raises StorageUnavailable."""
        assert self._sqlite is not None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._sqlite.watcher, self._sqlite.data_version)
        except sqlite3.Error as error:
            raise StorageUnavailable(f"SQLite: {sqlite_reason(error) or 'cannot be watched'}") from error

    async def compact(self, pages: int) -> tuple[int, bool]:
        """SQLite only: give up to `pages` free pages back, then truncate the WAL.

        Returns the free pages that are left, and whether the WAL could be
        truncated (an open reader prevents it: try again later).
        """
        assert self._sqlite is not None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._sqlite.writer, self._sqlite.compact, pages)
        except sqlite3.Error as error:
            raise StorageUnavailable(f"SQLite: {sqlite_reason(error) or 'cannot be compacted now'}") from error

    async def listen(self, woken: Callable[[frozenset[str]], None]) -> None:
        """PostgreSQL only: call `woken` for every NOTIFY until cancelled. Raises StorageUnavailable on a loss."""
        import asyncpg  # noqa: PLC0415  (only where PostgreSQL is used)

        url = self.url.set(drivername="postgresql")
        try:
            conn = await asyncpg.connect(url.render_as_string(hide_password=False), timeout=CONNECT_SECONDS)
            notice_silence(conn)
        except (OSError, asyncpg.PostgresError) as error:
            raise StorageUnavailable("the database does not accept a listening connection") from error
        lost = asyncio.Event()
        try:
            conn.add_termination_listener(lambda _conn: lost.set())
            await conn.add_listener(
                NOTIFY_CHANNEL,
                lambda _c, _pid, _ch, payload: woken(frozenset({payload})),
            )
            await lost.wait()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StorageUnavailable("the listening connection to the database was lost") from error
        else:
            raise StorageUnavailable("the listening connection to the database was lost")
        finally:
            await conn.close(timeout=2)

    async def close(self) -> None:
        if self._sqlite:
            await asyncio.get_running_loop().run_in_executor(None, self._sqlite.close)
        if self._postgres:
            await self._postgres.dispose()


def open_database(
    url: str,
    metadata: MetaData,
    *,
    limits: DatabaseLimits = _DEFAULT_LIMITS,
) -> Database:
    """Return the database at `url`: `sqlite:///path` or `postgresql://user@host/name`."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+asyncpg")
    return Database(parsed, metadata, limits)


def wake(conn: Connection, topic: str) -> None:
    """Announce `topic` when this transaction commits: to the daemon's own tasks, to its replicas by NOTIFY,
    and on SQLite to another process by the change of PRAGMA data_version."""
    conn.info.setdefault(_TOPICS, set()).add(topic)


def now(conn: Connection) -> datetime:
    """Return the database's clock, the only one that leases are measured by.

    PostgreSQL's is asked once a transaction; from then on this machine measures how long ago that was.
    """
    if conn.dialect.name != "postgresql":
        return datetime.now(UTC)  # SQLite has no clock but its machine's
    asked = conn.info.get(_CLOCK)
    if asked is None:
        answer: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
        conn.info[_CLOCK] = asked = answer.astimezone(UTC), time.monotonic()
    moment, at = asked
    return moment + timedelta(seconds=time.monotonic() - at)


def _with_topics(conn: Connection, call: Callable[[Connection], T]) -> tuple[T, frozenset[str]]:
    """Run `call`, and announce the topics that it named; return them as well."""
    # Connection.info outlives the transaction: it belongs to the pooled connection.
    for name in (_TOPICS, _CLOCK):
        conn.info.pop(name, None)
    value, topics = call(conn), frozenset(conn.info.pop(_TOPICS, ()))
    if topics and conn.dialect.name == "postgresql":
        conn.execute(_NOTIFY, {"topics": sorted(topics)})
    return value, topics


async def _uncancelled(future: asyncio.Future[T]) -> T:
    """Wait for `future` even while being cancelled, then pass the cancellation on."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():  # cancelled again, perhaps: it still must not go on unseen
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        raise


def describe(url: URL) -> str:
    """Name a database for people, without a password."""
    return url.render_as_string(hide_password=True)


def ping(conn: Connection) -> None:
    conn.execute(text("SELECT 1"))
