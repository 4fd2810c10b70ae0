"""How to break a database past its constraints, as only a bug, a bad disk or a hand at the database can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Table, create_engine, delete, event, insert, select, text, update

from storage.database import Database
from storage.tables import accounts, attempts, events
from tests.verify.builder import RECEIVED, WORKER, World

Break = Callable[[Connection, World], None]


async def run(database: Database, apply: Break, world: World) -> None:
    """Change the database with its foreign keys off."""
    if path := database.sqlite_path:
        engine = create_engine(f"sqlite:///{path}", connect_args={"isolation_level": None})
        event.listen(engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.begin() as conn:  # foreign keys are off unless a connection asks for them
            apply(conn, world)
        engine.dispose()
        return

    def unchecked(conn: Connection) -> None:
        conn.execute(text("SET LOCAL session_replication_role = replica"))
        apply(conn, world)

    await database.transaction(None, unchecked)


def drop_unique(conn: Connection, table: Table, constraint: str) -> None:
    if conn.dialect.name == "postgresql":
        conn.execute(text(f"ALTER TABLE {table.name} DROP CONSTRAINT {constraint}"))
        return
    # SQLite cannot drop a constraint, but a copy of a table has none.
    conn.execute(text(f"CREATE TABLE copied AS SELECT * FROM {table.name}"))
    conn.execute(text(f"DROP TABLE {table.name}"))
    conn.execute(text(f"ALTER TABLE copied RENAME TO {table.name}"))


def put(table: Table, column: str, of: str, *where: Any, **values: Any) -> Break:
    """Set columns of the rows whose `column` is the world's id named `of`; a callable value gets the world."""

    def apply(conn: Connection, world: World) -> None:
        given = {name: value(world) if callable(value) else value for name, value in values.items()}
        done = conn.execute(update(table).where(table.c[column] == getattr(world, of), *where).values(**given))
        assert done.rowcount >= 1, "the damage hit nothing"

    return apply


def drop(table: Table, column: str, of: str, *where: Any) -> Break:
    def apply(conn: Connection, world: World) -> None:
        done = conn.execute(delete(table).where(table.c[column] == getattr(world, of), *where))
        assert done.rowcount >= 1, "the damage hit nothing"

    return apply


def flip(table: Table, column: str, of: str, *where: Any, sealed: str = "sealed") -> Break:
    """Change one bit at the end of a sealed record."""

    def apply(conn: Connection, world: World) -> None:
        rows = (table.c[column] == getattr(world, of), *where)
        changed = bytearray(conn.execute(select(table.c[sealed]).where(*rows)).scalars().first() or b"")
        changed[-1] ^= 1
        conn.execute(update(table).where(*rows).values({sealed: bytes(changed)}))

    return apply


def copy(table: Table, column: str, of: str, **changed: Any) -> Break:
    """Write a row again, with other values in some columns."""

    def apply(conn: Connection, world: World) -> None:
        query = select(table).where(table.c[column] == getattr(world, of)).limit(1)
        row = dict(conn.execute(query).one()._mapping)
        given = {name: value(world) if callable(value) else value for name, value in changed.items()}
        conn.execute(insert(table).values(**row | given))

    return apply


def tell(event_type: str, subject: str, column: str) -> Break:
    """Write one more event, under a sequence that is drawn as it should be."""

    def apply(conn: Connection, world: World) -> None:
        mine = accounts.c.account_id == world.account
        sequence = conn.execute(select(accounts.c.next_event_sequence).where(mine)).scalar_one()
        row = {"account_id": world.account, "sequence": sequence, "type": event_type, "at": RECEIVED}
        conn.execute(insert(events).values(**row, **{column: getattr(world, subject)}))
        conn.execute(update(accounts).where(mine).values(next_event_sequence=sequence + 1))

    return apply


def try_again(of: str, number: int, **values: Any) -> Break:
    """Write an attempt to send a reply."""

    def apply(conn: Connection, world: World) -> None:
        row = {"account_id": world.account, "message_id": getattr(world, of), "mailbox_id": world.mailbox}
        row |= {"number": number, "worker_id": WORKER, "started_at": RECEIVED}
        conn.execute(insert(attempts).values(**row, **values))

    return apply


def both(*breaks: Break) -> Break:
    def apply(conn: Connection, world: World) -> None:
        for one in breaks:
            one(conn, world)

    return apply
