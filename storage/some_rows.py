"""Deleting many rows a few at a time.

A row is named by the place where it lies: SQLite's `rowid`, PostgreSQL's `ctid`. With a hundred keys in the statement
instead, SQLite takes up to thirty times as long.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    Connection,
    Select,
    Table,
    any_,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    text,
)

_BY_INDEX: Final = text(
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)"
)
"""Until the transaction's end. PostgreSQL takes rows to lie anywhere: to find a hundred out of many it would read the
table from its beginning, behind all that were deleted before; or it would look up all of them, each time."""


class SomeRows:
    """Those rows of a table in which the named columns have given values, as a statement that is built once.

    An index has to begin with these columns. `condition` is of the table's columns, and is to hold as well.
    """

    def __init__(self, table: Table, *columns: str, condition: ColumnElement[bool] | None = None) -> None:
        where = [table.c[name] == bindparam(name) for name in columns]
        if condition is not None:
            where.append(condition)

        def found(place: ColumnClause[Any]) -> Select[Any]:
            return select(place).select_from(table).where(*where).limit(bindparam("some")).correlate(None)

        rowid: ColumnClause[Any] = literal_column("rowid")
        ctid: ColumnClause[Any] = literal_column("ctid")
        self._sqlite = delete(table).where(rowid.in_(found(rowid)))
        # As an array they are looked up one by one; by IN, PostgreSQL might read the table to find them.
        self._postgresql = delete(table).where(ctid == any_(func.array(found(ctid).scalar_subquery())))

    def delete(self, conn: Connection, limit: int, **values: Any) -> int:
        """Delete up to `limit` of them; return how many."""
        statement = self._sqlite
        if conn.dialect.name == "postgresql":
            conn.execute(_BY_INDEX)
            statement = self._postgresql
        return conn.execute(statement, {**values, "some": limit}).rowcount
