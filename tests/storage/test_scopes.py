"""What holds all statements of an account's transactions to that account finds those that are not held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    ColumnClause,
    Connection,
    Executable,
    and_,
    bindparam,
    delete,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from storage import mailboxes
from storage.errors import NotFound
from storage.tables import events, messages, tickets
from storage.tables import mailboxes as mailboxes_table
from storage.types import new_id
from tests.scopes import AccountNotNamed
from tests.stores import Stores

MINE, OTHER = new_id(), new_id()
_mine = tickets.c.account_id == MINE
_joined = and_(messages.c.account_id == tickets.c.account_id, messages.c.ticket_id == tickets.c.ticket_id)
_again = tickets.alias("again")
_newest = select(messages.c.message_id).where(messages.c.ticket_id == tickets.c.ticket_id)

HELD: dict[str, Executable] = {
    "compared": select(tickets.c.number).where(_mine),
    "joined": select(messages.c.sealed).join(tickets, _joined).where(_mine),
    "correlated": select(
        tickets.c.number, _newest.where(messages.c.account_id == tickets.c.account_id).scalar_subquery()
    ).where(_mine),
    "within": select(select(tickets.c.number).where(_mine).subquery().c.number),
    "rows": delete(events).where(tuple_(events.c.account_id, events.c.sequence).in_([(MINE, 1), (MINE, 2)])),
    "changed": update(tickets).where(_mine).values(number=1),
}
FREE: dict[str, Executable] = {
    "everything": select(tickets.c.number),
    "by id alone": select(tickets.c.number).where(tickets.c.ticket_id == new_id()),
    "either": select(tickets.c.number).where(or_(_mine, tickets.c.number == 1)),
    "not": select(tickets.c.number).where(tickets.c.account_id != MINE),
    "joined by another id": select(messages.c.sealed)
    .join(tickets, messages.c.ticket_id == tickets.c.ticket_id)
    .where(_mine),
    "the same table again": select(_again.c.number)
    .join(tickets, tickets.c.ticket_id == _again.c.merged_into_id)
    .where(_mine),
    "correlated by another id": select(tickets.c.number, _newest.scalar_subquery()).where(_mine),
    "within": select(select(tickets.c.number).subquery().c.number),
    "the inner alone": select(tickets.c.number).where(
        tickets.c.ticket_id.in_(select(messages.c.ticket_id).where(messages.c.account_id == MINE))
    ),
    "changed": update(tickets).values(number=1),
    "deleted": delete(tickets).where(tickets.c.number == 1),
    "another's": select(tickets.c.number).where(tickets.c.account_id == OTHER),
    "another's rows": delete(events).where(tuple_(events.c.account_id, events.c.sequence).in_([(MINE, 1), (OTHER, 2)])),
    "written for another": insert(events).values(account_id=OTHER, sequence=1),
}


def _as_ours(statement: Executable) -> Callable[[Connection, UUID], None]:
    """Return a storage function that runs it, as if it were the product's: what tests ask the database is theirs."""

    def run(conn: Connection, account_id: UUID) -> None:
        conn.execute(statement)

    run.__module__ = "storage.example"
    return run


@pytest.mark.parametrize("name", HELD)
async def test_what_is_held_passes(stores: Stores, name: str) -> None:
    await stores.content.transaction(MINE, _as_ours(HELD[name]))


@pytest.mark.parametrize("name", FREE)
async def test_what_is_not_is_found(stores: Stores, name: str) -> None:
    with pytest.raises(AccountNotNamed):
        await stores.content.transaction(MINE, _as_ours(FREE[name]))
    # Beside an account's transactions it is nobody's business.
    if name not in {"written for another", "changed"}:
        await stores.content.transaction(None, lambda conn: conn.execute(FREE[name]))


async def test_it_is_compared_anew_each_time(stores: Stores) -> None:
    statement = select(tickets.c.number).where(tickets.c.account_id == bindparam("of"))

    def run(conn: Connection, account_id: UUID, of: UUID) -> None:
        conn.execute(statement, {"of": of})

    run.__module__ = "storage.example"
    for account_id in (MINE, OTHER):
        await stores.content.read(account_id, run, account_id)
        with pytest.raises(AccountNotNamed):
            await stores.content.read(account_id, run, OTHER if account_id == MINE else MINE)


async def test_the_products_own_functions_are_looked_at(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox_id = new_id()
    with pytest.raises(NotFound):
        await stores.content.read(MINE, mailboxes.get_mailbox, mailbox_id)
    named = select(mailboxes_table).where(mailboxes_table.c.mailbox_id == mailbox_id)
    monkeypatch.setattr(Connection, "execute", _instead(Connection.execute, named))
    with pytest.raises(AccountNotNamed):
        await stores.content.read(MINE, mailboxes.get_mailbox, mailbox_id)


def _instead(execute: Callable[..., object], statement: Executable) -> Callable[..., object]:
    return lambda conn, _asked, *args: execute(conn, statement)


async def test_rows_that_are_named_by_where_they_lie(stores: Stores) -> None:
    place: ColumnClause[Any] = literal_column("rowid" if stores.content.is_sqlite else "ctid")
    mine = select(place).select_from(events).where(events.c.account_id == MINE)
    await stores.content.transaction(MINE, _as_ours(delete(events).where(place.in_(mine))))
    of_all = select(place).select_from(events)
    of_another_table = select(place).select_from(tickets).where(_mine)
    for inner in (of_all, of_another_table):
        with pytest.raises(AccountNotNamed):
            await stores.content.transaction(MINE, _as_ours(delete(events).where(place.in_(inner))))
