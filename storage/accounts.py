"""Accounts and their counters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, bindparam, insert, select, update

from storage.database import now
from storage.errors import NotFound
from storage.tables import accounts


@dataclass(frozen=True, slots=True)
class Account:
    account_id: UUID
    status: str
    created_at: datetime
    sealed: bytes


def insert_account(conn: Connection, account_id: UUID, sealed: bytes) -> None:
    conn.execute(
        insert(accounts).values(
            account_id=account_id,
            status="active",
            created_at=now(conn),
            next_ticket_number=1,
            next_event_sequence=1,
            sealed=sealed,
        )
    )


def list_accounts(conn: Connection, *, after: UUID | None = None, limit: int | None = None) -> list[Account]:
    """Return all accounts, or up to `limit` behind the id `after`, oldest first."""
    query = select(*_COLUMNS).order_by(accounts.c.account_id).limit(limit)
    if after is not None:
        query = query.where(accounts.c.account_id > after)
    return [Account(*row) for row in conn.execute(query)]


def get_account(conn: Connection, account_id: UUID) -> Account:
    """Raises NotFound."""
    row = conn.execute(_BY_ID, {"of_account": account_id}).one_or_none()
    if row is None:
        raise NotFound(f"no account {account_id}")
    return Account(*row)


_COLUMNS = [accounts.c[name] for name in Account.__dataclass_fields__]
_BY_ID = select(*_COLUMNS).where(accounts.c.account_id == bindparam("of_account"))
_DRAW_NUMBERS = (
    update(accounts)
    .where(accounts.c.account_id == bindparam("of_account"))
    .values(
        next_ticket_number=accounts.c.next_ticket_number + bindparam("tickets"),
        next_event_sequence=accounts.c.next_event_sequence + bindparam("events"),
    )
    .returning(accounts.c.next_ticket_number, accounts.c.next_event_sequence)
)


def draw_numbers(conn: Connection, account_id: UUID, *, tickets: int = 0, events: int = 0) -> tuple[int, int]:
    """Take the next `tickets` ticket numbers and `events` event sequences; return the first of each.

    Call it last in a transaction: the counter row stays locked until the commit, so
    that the order of numbers is the order of commits, and a reader of events who has
    seen number N will never see a smaller one appear. Gaps are legal.
    """
    drawn = {"of_account": account_id, "tickets": tickets, "events": events}
    row = conn.execute(_DRAW_NUMBERS, drawn).one_or_none()
    if row is None:
        raise NotFound(f"no account {account_id}")
    return row[0] - tickets, row[1] - events
