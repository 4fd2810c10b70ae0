"""The PostgreSQL side of a Database: its pool, and when a pooled connection is asked whether it lives."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

_clock = time.monotonic
_PING_AFTER_SECONDS = 5.0
_STATEMENTS_MAX = 500
"""Prepared statements that a connection keeps: the daemon has some hundreds, and SQLAlchemy would keep 100."""


def postgres_engine(url: URL, *, pool_size: int, statement_seconds_max: float) -> AsyncEngine:
    """Return the engine of a database. A statement that runs longer is cancelled."""
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=30,
        # A statement that waits or runs for ever would stop its mailbox unseen.
        connect_args={
            "timeout": 10,
            "prepared_statement_cache_size": _STATEMENTS_MAX,
            "server_settings": {
                "statement_timeout": str(max(1, int(statement_seconds_max * 1000))),
                "lock_timeout": "30s",
                "idle_in_transaction_session_timeout": "60s",
            },
        },
    )
    _Liveness(engine.sync_engine)
    return engine


class _Liveness:
    """Takes dead connections out of the pool before a transaction meets them.

    SQLAlchemy's own pre-ping does that with three round trips before each transaction, as many as
    most transactions take. A server that stops says so, which costs nothing to see; only a connection
    that was idle for a while can have died unseen, and it alone is asked.
    """

    def __init__(self, engine: Engine) -> None:
        self._dialect = engine.dialect
        event.listen(engine, "checkin", self._given_back)
        event.listen(engine, "checkout", self._taken)

    def _given_back(self, _connection: object, entry: ConnectionPoolEntry) -> None:
        entry.info["idle_since"] = _clock()

    def _taken(self, connection: Any, entry: ConnectionPoolEntry, _proxy: object) -> None:
        since = entry.info.get("idle_since")
        if since is None:  # it was just opened
            return
        driver: Any = entry.driver_connection
        if driver.is_closed():
            raise InvalidatePoolError
        if _clock() - since < _PING_AFTER_SECONDS:
            return
        try:
            self._dialect.do_ping(connection)
        except self._dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error
