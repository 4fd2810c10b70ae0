"""The PostgreSQL side of a Database: its engine and what each connection is set to."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_SECONDS = 10.0
"""How long connecting may take."""
SILENCE_SECONDS = 10
"""A connection on which the other side's machine answers nothing for so long is lost: less than a lease."""
_STATEMENTS_MAX = 500
"""Prepared statements that a connection keeps: the daemon has some hundreds, and SQLAlchemy would keep 100."""


def postgres_engine(url: URL, *, pool_size: int, statement_seconds_max: float) -> AsyncEngine:
    """Return the engine of a database. A statement that runs longer is cancelled.

    A pooled connection is not asked whether it lives: that would take three round trips before each
    transaction, as many as most transactions take. One that turns out to be dead leaves the pool with
    all that are as old as it, and the transaction that met it runs again (`was_rolled_back`).
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=30,
        # A statement that waits or runs for ever would stop its mailbox unseen.
        connect_args={
            "timeout": CONNECT_SECONDS,
            "prepared_statement_cache_size": _STATEMENTS_MAX,
            "server_settings": {
                "statement_timeout": str(max(1, int(statement_seconds_max * 1000))),
                "lock_timeout": "30s",
                # Of a process that sleeps: sooner than its lease, or its locks would keep its mailboxes from others.
                "idle_in_transaction_session_timeout": "10s",
            },
        },
    )
    event.listen(engine.sync_engine, "connect", lambda conn, _record: notice_silence(conn.driver_connection))
    return engine


def notice_silence(driver: Any) -> None:
    """Have the kernel break a connection of asyncpg whose other side is gone without a word.

    A machine that lost its power, or a router that forgot the connection, says nothing. Without this, what we sent
    would be sent again for a quarter of an hour, and who only listens would wait for ever. A server that is merely
    slow is not concerned: its machine answers for it.
    """
    transport: asyncio.BaseTransport = driver._transport
    sock = transport.get_extra_info("socket")
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; others have their own ideas of how long
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENCE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_SECONDS * 1000)
