"""Invariants that are stated as statements alone: which rows are checked, and which of them are wrong.

They are built once a process, as building a statement takes longer than running it on a small database, and
those of one invariant run in one transaction, or in a few where they take long.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Alias, ColumnElement, Connection, Integer, Join, Select, Table, bindparam, func, select

from ingestd.verify.look import AnyRow, Look
from ingestd.verify.report import Findings, Invariant

_ROWS_MAX: Final = "rows_max"
_SECONDS: Final = 0.2
"""After so long a transaction begins no further statement: on SQLite, a reader keeps the WAL from being truncated."""


@dataclass(frozen=True, slots=True, init=False)
class Count:
    """The rows of `table` that are checked."""

    table: Table
    query: Select[tuple[int]]

    def __init__(self, table: Table, *where: ColumnElement[bool]) -> None:
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "query", select(func.count()).select_from(table).where(*where))


@dataclass(frozen=True, slots=True, init=False)
class Flag:
    """What `query` returns, account ids and ids, are wrong rows; `text` says what is wrong.

    It is one statement, so that it sees one state of a database that is being worked on.
    """

    table: Table | None
    """The query finds nothing where this one is empty."""
    query: Select[Any]
    text: str

    def __init__(self, query: Select[Any], text: str) -> None:
        account, subject = query.selected_columns[0], query.selected_columns[1]
        limit = bindparam(_ROWS_MAX, type_=Integer())
        object.__setattr__(self, "table", _first(query))
        object.__setattr__(self, "query", query.order_by(account, subject).limit(limit))
        object.__setattr__(self, "text", text)


Statements = Iterator[Count | Flag]


def stated(state: Callable[[], Statements]) -> Invariant:
    """Make an invariant of a function that yields its statements about the content database."""

    @functools.cache
    def built() -> tuple[Count | Flag, ...]:
        return tuple(state())

    @functools.wraps(state)
    async def invariant(look: Look, found: Findings) -> None:
        statements = [one for one in built() if one.table not in look.empty]
        while statements:
            answers = await look.content.read(None, _run, statements, found.violations_max + 1, _SECONDS)
            for one, rows in zip(statements, answers, strict=False):
                if isinstance(one, Count):
                    found.checked += rows[0][0]
                    continue
                for row in rows:
                    found.add(row[0], row[1], one.text)
            statements = statements[len(answers) :]

    return invariant


def empty_among(conn: Connection, tables: Sequence[Table]) -> frozenset[Table]:
    """Return those of the tables that have no row."""
    filled = conn.execute(_filled(tuple(tables))).one()
    return frozenset(table for table, is_filled in zip(tables, filled, strict=True) if not is_filled)


@functools.cache
def _filled(tables: tuple[Table, ...]) -> Select[Any]:
    filled: list[Any] = [select(table).exists() for table in tables]
    return select(*filled)


def _run(conn: Connection, statements: Sequence[Count | Flag], rows_max: int, seconds: float) -> list[Sequence[AnyRow]]:
    """Return the answers to the first of the statements, to one at least; it ends early after `seconds`."""
    answers: list[Sequence[AnyRow]] = []
    end = time.monotonic() + seconds
    for one in statements:
        answers.append(conn.execute(one.query, {_ROWS_MAX: rows_max} if isinstance(one, Flag) else {}).all())
        if time.monotonic() >= end:
            break
    return answers


def _first(query: Select[Any]) -> Table | None:
    """Return the table that the query's rows are of; what is joined to it comes behind."""
    first: Any = query.get_final_froms()[0]
    while isinstance(first, Join | Alias):
        first = first.left if isinstance(first, Join) else first.element
    return first if isinstance(first, Table) else None
