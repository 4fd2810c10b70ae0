"""Accounts: their status and their counters.

What is written about an account, and about none of its mailboxes, holds its row (`hold`): once it is being closed
nothing is written behind those who delete everything. Numbers are drawn from the same row, and from a closed one never.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, insert, select, update

from storage.database import now
from storage.errors import NotFound
from storage.tables import accounts


class AccountStatus(enum.StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Its mailboxes are neither read nor sent from; everything is kept."""
    CLOSING = "closing"
    """Being forgotten, mailbox by mailbox. Nothing new is written for it."""
    CLOSED = "closed"
    """Its key is destroyed. What stays is this row, without its name."""


OPEN = (AccountStatus.ACTIVE, AccountStatus.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Account:
    account_id: UUID
    status: AccountStatus
    status_since: datetime | None
    """None for one that was never anything but active."""
    held_since: datetime | None
    """Since when the operator keeps it from being erased; None where nobody does."""
    solved_days: int | None
    """For how many days its solved tickets are kept; None: as the configuration says."""
    location: str | None
    """The label of the location that it is pinned to; None where it is pinned to none."""
    mask_cards: bool
    """Card numbers in the mail that comes in are masked before anything of it is stored."""
    created_at: datetime
    sealed: bytes

    @property
    def since(self) -> datetime:
        return self.status_since or self.created_at


def insert_account(conn: Connection, account_id: UUID, sealed: bytes, *, location: str | None = None) -> None:
    conn.execute(
        insert(accounts).values(
            account_id=account_id,
            status=AccountStatus.ACTIVE,
            created_at=now(conn),
            next_ticket_number=1,
            next_event_sequence=1,
            sealed=sealed,
            # Not named where there is none: an upgrade writes before there is such a column.
            **({"location": location} if location is not None else {}),
        )
    )


def list_accounts(conn: Connection, *, after: UUID | None = None, limit: int | None = None) -> list[Account]:
    """Return all accounts, or up to `limit` behind the id `after`, oldest first."""
    query = select(*_COLUMNS).order_by(accounts.c.account_id).limit(limit)
    if after is not None:
        query = query.where(accounts.c.account_id > after)
    return [_account(row) for row in conn.execute(query)]


def get_account(conn: Connection, account_id: UUID) -> Account:
    """Raises NotFound."""
    row = conn.execute(_BY_ID, {"of_account": account_id}).one_or_none()
    if row is None:
        raise NotFound(f"no account {account_id}")
    return _account(row)


def masks_cards(conn: Connection, account_id: UUID) -> bool:
    """Return whether card numbers in its mail are to be masked; False where there is no such account."""
    return bool(conn.execute(_MASKS_CARDS, {"of_account": account_id}).scalar_one_or_none())


def set_mask_cards(conn: Connection, account_id: UUID, mask_cards: bool) -> None:
    """Say whether card numbers are to be masked in mail that comes in from now on. Raises NotFound."""
    hold(conn, account_id)
    conn.execute(update(accounts).where(accounts.c.account_id == account_id).values(mask_cards=mask_cards))


def hold(conn: Connection, account_id: UUID) -> AccountStatus:
    """Make sure that the account is there and is not closed before the commit; return its status. Raises NotFound.

    As weak as a foreign key's lock: it keeps nobody else waiting but who closes the account.
    """
    return _hold(conn, account_id, _HOLD)


def hold_still(conn: Connection, account_id: UUID) -> AccountStatus:
    """As `hold`; the status stays what it is until the commit."""
    return _hold(conn, account_id, _HOLD_STILL)


def _hold(conn: Connection, account_id: UUID, statement: Select[Any]) -> AccountStatus:
    held = conn.execute(statement, {"of_account": account_id}).scalar_one_or_none()
    if held is None or (status := AccountStatus(held)) not in OPEN:
        raise NotFound(f"no account {account_id}, or it is closed")
    return status


def location_of(conn: Connection, account_id: UUID) -> str | None:
    """Return the location that an account is pinned to."""
    location: str | None = conn.execute(_LOCATION, {"of_account": account_id}).scalar_one_or_none()
    return location


def list_pinned(conn: Connection) -> list[tuple[UUID, str]]:
    """Return the open accounts that are pinned, oldest first, with their locations."""
    query = select(accounts.c.account_id, accounts.c.location).where(
        accounts.c.location.is_not(None), accounts.c.status.in_(OPEN)
    )
    return [(row[0], row[1]) for row in conn.execute(query.order_by(accounts.c.account_id))]


def set_location(conn: Connection, account_id: UUID, location: str | None) -> None:
    """Pin an account to a location; None: to none. Raises NotFound."""
    hold(conn, account_id)
    conn.execute(update(accounts).where(accounts.c.account_id == account_id).values(location=location))


def set_status(conn: Connection, account_id: UUID, status: AccountStatus, *, before: Collection[AccountStatus]) -> bool:
    """Set the status of an account that has one of those `before`; return whether it had. Raises NotFound."""
    changed = conn.execute(
        update(accounts)
        .where(accounts.c.account_id == account_id, accounts.c.status.in_(before))
        .values(status=status, status_since=now(conn))
    )
    if not changed.rowcount:
        get_account(conn, account_id)
    return bool(changed.rowcount)


def _account(row: Any) -> Account:
    values = dict(zip(Account.__dataclass_fields__, row, strict=True))
    values["status"] = AccountStatus(values["status"])
    return Account(**values)


_COLUMNS = [accounts.c[name] for name in Account.__dataclass_fields__]
_BY_ID = select(*_COLUMNS).where(accounts.c.account_id == bindparam("of_account"))
_LOCATION = select(accounts.c.location).where(accounts.c.account_id == bindparam("of_account"))
_STATUS = select(accounts.c.status).where(accounts.c.account_id == bindparam("of_account"))
_MASKS_CARDS = select(accounts.c.mask_cards).where(accounts.c.account_id == bindparam("of_account"))
_HOLD, _HOLD_STILL = _STATUS.with_for_update(read=True, key_share=True), _STATUS.with_for_update(key_share=True)
_DRAW_NUMBERS = (
    update(accounts)
    .where(accounts.c.account_id == bindparam("of_account"), accounts.c.status != AccountStatus.CLOSED)
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
