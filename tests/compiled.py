"""Compiled statements that the databases of one test leave to those of the next.

Each test has databases of its own, so engines of its own, and each engine would compile every statement
anew: that took a third of the tests' time. What is compiled depends on the dialect alone.
SQLAlchemy has no public way to share it, as it shares nothing between engines.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from storage.database import Database

_KEPT: Final[dict[str, tuple[Any, Any]]] = {}
"""By the dialect's name: a dialect that was connected, and what was compiled for it."""


def keep(database: Database) -> None:
    """Keep what the first connected database of its kind has compiled."""
    for engine in _engines(database):
        if getattr(engine.dialect, "server_version_info", None) and engine.dialect.name not in _KEPT:
            engine._compiled_cache.capacity = 3000  # all the tests of a process, not one daemon
            _KEPT[engine.dialect.name] = (engine.dialect, engine._compiled_cache)


def reuse(database: Database) -> None:
    """Let a database that was not used yet begin with what was kept."""
    for engine in _engines(database):
        if kept := _KEPT.get(engine.dialect.name):
            engine.dialect, engine._compiled_cache = kept
            engine.pool._dialect = engine.dialect


def _engines(database: Database) -> Iterator[Any]:
    if database._postgres is not None:
        yield database._postgres.sync_engine
    if database._sqlite is not None:
        yield database._sqlite._write_engine
        yield database._sqlite._read_engine
