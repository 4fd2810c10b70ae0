"""Telling an outage from a bug, and both from a transaction that may simply run again."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from storage.errors import StorageUnavailable

_ROLLED_BACK = frozenset({"40001", "40P01"})
"""SQLSTATEs after which nothing was committed and the same transaction may simply run again."""


def was_rolled_back(error: BaseException) -> bool:
    """Tell whether a transaction surely left nothing behind, so that it may simply run again.

    So it is where its connection was lost at a statement: the COMMIT, which may have been carried out,
    is the one error without a statement.
    """
    if not isinstance(error, DBAPIError):
        return False
    lost_before_commit = error.connection_invalidated and error.statement is not None
    return lost_before_commit or getattr(error.orig, "sqlstate", None) in _ROLLED_BACK


def unavailable(error: BaseException) -> StorageUnavailable | None:
    """Tell an outage from a bug. Texts of drivers can quote values, so they never get out."""
    if isinstance(error, PoolTimeoutError):
        return StorageUnavailable("no database connection became free")
    if isinstance(error, OSError):
        return StorageUnavailable(f"the database cannot be reached: {error.strerror or type(error).__name__}")
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error.orig, sqlite3.Error):
        reason = sqlite_reason(error.orig)
        return StorageUnavailable(f"SQLite: {reason}") if reason else None
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return StorageUnavailable("the connection to the database was lost")
    # 08 connection, 25P03 idle timeout, 40 rolled back each time, 53 resources (disk full), 55P03 lock timeout,
    # 57 shutdown, 58 I/O.
    if state and (state[:2] in {"08", "40", "53", "57", "58"} or state in {"25P03", "55P03"}):
        return StorageUnavailable(f"PostgreSQL is not available: SQLSTATE {state}")
    return None


_SQLITE_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_BUSY": "another process holds the database",
    "SQLITE_CANTOPEN": "the file cannot be opened",
    "SQLITE_READONLY": "the file cannot be written",
    "SQLITE_IOERR": "input/output error",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_NOTADB": "the file is not a SQLite database",
}


def sqlite_reason(error: sqlite3.Error) -> str | None:
    name = str(getattr(error, "sqlite_errorname", ""))
    return next(
        (reason for prefix, reason in _SQLITE_REASONS.items() if name.startswith(prefix)),
        None,
    )
