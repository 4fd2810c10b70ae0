"""The SQLite side of a Database: a writer with one connection and one thread, a few readers, and the pragmas."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.pool import QueuePool

_READERS = 4
_CHECKPOINT_WAIT_MS = 100
_CHECKPOINT_PAGES = 4000
"""16 MB of WAL are written back together: with the default of 1000 pages that is every other batch of mail."""
_WRITER_CACHE_KIB = 16 * 1024
"""Of pages that the writer keeps, at most: the default of 2 MB does not hold what a batch's indexes touch."""


class SqliteEngines:
    """A writer with one connection and one thread, and a few readers."""

    def __init__(self, url: URL, busy_timeout_seconds: float) -> None:
        self._busy_ms = int(busy_timeout_seconds * 1000)
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self.readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")
        self.watcher = ThreadPoolExecutor(1, thread_name_prefix="sqlite-watcher")
        self._write_engine = self._engine(url, 1, "BEGIN IMMEDIATE")
        self._read_engine = self._engine(url, _READERS + 1, "BEGIN")
        event.listen(self._read_engine, "connect", _query_only)
        event.listen(self._write_engine, "connect", _keep_more)
        self._watch: sqlite3.Connection | None = None
        self._url = url

    def _engine(self, url: URL, size: int, begin: str) -> Engine:
        engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=0,
            hide_parameters=True,  # an exception's text must not quote what was stored
            # The driver would begin transactions by itself, deferred; SQLAlchemy's begin event does it instead.
            connect_args={
                "check_same_thread": False,
                "isolation_level": None,
                "cached_statements": 256,
            },
        )
        event.listen(engine, "connect", self._configure)
        event.listen(engine, "begin", lambda conn: conn.exec_driver_sql(begin))
        return engine

    def _configure(self, conn: Any, _record: Any) -> None:
        cursor = conn.cursor()
        if cursor.execute("PRAGMA page_count").fetchone()[0] == 0:
            # It must come before the first page is written; later it would take the write lock for nothing.
            cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
        for pragma in (
            f"busy_timeout={self._busy_ms}",
            "secure_delete=ON",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def connect(self, read_only: bool) -> Connection:
        return (self._read_engine if read_only else self._write_engine).connect()

    def data_version(self) -> int:
        if self._watch is None:
            self._watch = sqlite3.connect(str(self._url.database), check_same_thread=False, isolation_level=None)
        return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    def compact(self, pages: int) -> tuple[int, bool]:
        with self._write_engine.connect() as conn:
            raw = conn.connection.driver_connection
            assert raw is not None
            # This pragma frees a page a step, and execute() takes one step only.
            raw.executescript(f"PRAGMA incremental_vacuum({int(pages)})")
            free = int(raw.execute("PRAGMA freelist_count").fetchone()[0])
            try:
                # It would wait for readers with the writers behind it; the caller tries again instead.
                raw.execute(f"PRAGMA busy_timeout={min(self._busy_ms, _CHECKPOINT_WAIT_MS)}")
                busy, _log, _checkpointed = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                raw.execute(f"PRAGMA busy_timeout={self._busy_ms}")
        return free, not busy

    def close(self) -> None:
        for executor in (self.writer, self.readers, self.watcher):
            executor.shutdown(wait=True)
        if self._watch is not None:
            self._watch.close()
        self._read_engine.dispose()
        self._write_engine.dispose()


def _keep_more(conn: Any, _record: Any) -> None:
    conn.execute(f"PRAGMA cache_size=-{_WRITER_CACHE_KIB}")


def _query_only(conn: Any, _record: Any) -> None:
    conn.execute("PRAGMA query_only=ON")
