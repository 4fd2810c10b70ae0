"""Facts that a database holds about itself."""

from __future__ import annotations

from sqlalchemy import BigInteger, Connection, Table, cast, select
from sqlalchemy.dialects import postgresql, sqlite


def get(conn: Connection, table: Table, name: str) -> str | None:
    value: str | None = conn.execute(select(table.c.value).where(table.c.name == name)).scalar_one_or_none()
    return value


def put(conn: Connection, table: Table, name: str, value: str) -> None:
    """Set one fact. Several processes may do so at the same time; the last one counts."""
    upsert = _insert(conn, table).values(name=name, value=value)
    conn.execute(upsert.on_conflict_do_update(index_elements=["name"], set_={"value": upsert.excluded.value}))


def raise_to(conn: Connection, table: Table, name: str, number: int) -> None:
    """Set a fact that is a number, unless it is as high already."""
    upsert = _insert(conn, table).values(name=name, value=str(number))
    is_lower = cast(table.c.value, BigInteger) < number
    conn.execute(
        upsert.on_conflict_do_update(index_elements=["name"], set_={"value": upsert.excluded.value}, where=is_lower)
    )


def _insert(conn: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)
