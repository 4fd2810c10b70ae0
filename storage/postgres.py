"""The PostgreSQL side of a Database: its engine and what each connection is set to."""

from __future__ import annotations

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_STATEMENTS_MAX = 500
"""Prepared statements that a connection keeps: the daemon has some hundreds, and SQLAlchemy would keep 100."""


def postgres_engine(url: URL, *, pool_size: int, statement_seconds_max: float) -> AsyncEngine:
    """Return the engine of a database. A statement that runs longer is cancelled.

    A pooled connection is not asked whether it lives: that would take three round trips before each
    transaction, as many as most transactions take. One that turns out to be dead leaves the pool with
    all that are as old as it, and the transaction that met it runs again (`was_rolled_back`).
    """
    return create_async_engine(
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
                # Of a process that sleeps: sooner than its lease, or its locks would keep its mailboxes from others.
                "idle_in_transaction_session_timeout": "10s",
            },
        },
    )
