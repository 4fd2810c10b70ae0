"""Facts that a database holds about itself."""

from __future__ import annotations

from sqlalchemy import Connection, Table, insert, select, update


def get(conn: Connection, table: Table, name: str) -> str | None:
    value: str | None = conn.execute(select(table.c.value).where(table.c.name == name)).scalar_one_or_none()
    return value


def put(conn: Connection, table: Table, name: str, value: str) -> None:
    """Set one fact."""
    if conn.execute(update(table).where(table.c.name == name).values(value=value)).rowcount == 0:
        conn.execute(insert(table).values(name=name, value=value))
