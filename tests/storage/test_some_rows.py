"""A few rows of many are found by an index and deleted where they lie, whatever the planner takes to be cheaper."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import Connection, Table, func, select

from storage.some_rows import SomeRows
from storage.tables import ACCOUNT_TABLES, MAILBOX_TABLES, access_warnings, link_flows
from storage.types import new_id
from tests.plans import plans
from tests.stores import Stores
from tests.verify.builder import build


async def test_rows_are_found_by_indexes(stores: Stores) -> None:
    """On SQLite references are looked up as well: those to each row that goes."""
    of_account = {"account_id": new_id()}
    of_mailbox = {**of_account, "mailbox_id": new_id()}
    for table in MAILBOX_TABLES:
        found = await stores.content.transaction(None, _plan, table, of_mailbox)
        # Of linkings under way an account has a few.
        index = r"account_id=?" if table is link_flows else "account_id=? AND mailbox_id=?"
        _check(found, table, index)
    for table in ACCOUNT_TABLES:
        _check(await stores.content.transaction(None, _plan, table, of_account), table, "account_id=?")


def _plan(conn: Connection, table: Table, values: Mapping[str, UUID]) -> list[str]:
    rows = SomeRows(table, *values)
    return plans(conn, table.name, lambda: rows.delete(conn, 100, **values))


def _check(plan: list[str], table: Table, index: str) -> None:
    said = "\n".join(plan)
    assert "SCAN" not in said, said
    if "Tid Scan" in said:  # PostgreSQL
        assert "TID Cond: (ctid = ANY" in said, said
        assert "Index Cond" in said, said
        assert "Seq Scan" not in said, said
    else:
        assert f"SEARCH {table.name} USING INTEGER PRIMARY KEY (rowid=?)" in said, said
        assert f"({index}" in said, said


async def test_no_more_go_than_are_asked_for(stores: Stores) -> None:
    world = await build(stores)
    table = next(one for one in MAILBOX_TABLES if one.name == "raw_chunks")
    rows = SomeRows(table, "account_id", "mailbox_id")
    mine = {"account_id": world.account, "mailbox_id": world.mailbox}

    def count(conn: Connection, values: Mapping[str, UUID]) -> int:
        where = [table.c[name] == value for name, value in values.items()]
        return conn.execute(select(func.count()).select_from(table).where(*where)).scalar_one()

    def delete(conn: Connection, limit: int) -> int:
        return rows.delete(conn, limit, **mine)

    before, of_all = [await stores.content.read(None, count, one) for one in (mine, {})]
    assert before > 3
    assert await stores.content.transaction(None, delete, 2) == 2
    assert await stores.content.transaction(None, delete, 100) == before - 2
    assert await stores.content.transaction(None, delete, 100) == 0
    assert await stores.content.read(None, count, {}) == of_all - before


async def test_what_the_condition_spares_stays(stores: Stores) -> None:
    world = await build(stores)
    rows = SomeRows(access_warnings, "account_id", condition=access_warnings.c.risk.not_in(("no_such_risk",)))
    spared = SomeRows(access_warnings, "account_id", condition=access_warnings.c.risk.in_(("no_such_risk",)))

    def delete(conn: Connection, account_id: UUID, some: SomeRows) -> int:
        return some.delete(conn, 100, account_id=account_id)

    assert await stores.content.transaction(world.account, delete, spared) == 0
    assert await stores.content.transaction(world.account, delete, rows) > 0
