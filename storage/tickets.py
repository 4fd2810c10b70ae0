"""Tickets and who has standing on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, and_, insert, select, update

from storage.database import now
from storage.errors import NotFound
from storage.mailboxes import readable
from storage.tables import mailboxes, participants, tickets


@dataclass(frozen=True, slots=True)
class Ticket:
    account_id: UUID
    ticket_id: UUID
    mailbox_id: UUID
    number: int
    status: str
    """open or closed."""
    requester_key: bytes
    suspected_ticket_id: UUID | None
    created_at: datetime
    updated_at: datetime
    sealed: bytes


_COLUMNS = [tickets.c[name] for name in Ticket.__dataclass_fields__]
_READABLE = tickets.join(
    mailboxes,
    and_(
        mailboxes.c.account_id == tickets.c.account_id,
        mailboxes.c.mailbox_id == tickets.c.mailbox_id,
    ),
)


@dataclass(frozen=True, slots=True)
class NewTicket:
    ticket_id: UUID
    mailbox_id: UUID
    requester_key: bytes
    suspected_ticket_id: UUID | None
    sealed: bytes
    status: str = "open"


def insert_tickets(conn: Connection, account_id: UUID, first_number: int, new: Sequence[NewTicket]) -> None:
    """Write tickets under numbers drawn by `accounts.draw_numbers` in this transaction."""
    if not new:
        return
    at = now(conn)
    conn.execute(
        insert(tickets),
        [
            {
                "account_id": account_id,
                "ticket_id": one.ticket_id,
                "mailbox_id": one.mailbox_id,
                "number": first_number + index,
                "status": one.status,
                "requester_key": one.requester_key,
                "suspected_ticket_id": one.suspected_ticket_id,
                "created_at": at,
                "updated_at": at,
                "sealed": one.sealed,
            }
            for index, one in enumerate(new)
        ],
    )


def insert_participants(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    keys: Collection[tuple[UUID, bytes]],
) -> None:
    """Give standing: pairs of ticket and address key; those that have it already are passed over."""
    known = _participants_of(conn, account_id, {ticket_id for ticket_id, _ in keys})
    rows = [
        {
            "account_id": account_id,
            "mailbox_id": mailbox_id,
            "ticket_id": ticket_id,
            "address_key": key,
        }
        for ticket_id, key in dict.fromkeys(keys)
        if (ticket_id, key) not in known
    ]
    if rows:
        conn.execute(insert(participants), rows)


def _participants_of(conn: Connection, account_id: UUID, ticket_ids: Collection[UUID]) -> set[tuple[UUID, bytes]]:
    rows = conn.execute(
        select(participants.c.ticket_id, participants.c.address_key).where(
            participants.c.account_id == account_id,
            participants.c.ticket_id.in_(ticket_ids),
        )
    )
    return {(ticket_id, bytes(key)) for ticket_id, key in rows}


def is_participant(conn: Connection, account_id: UUID, ticket_id: UUID, address_key: bytes) -> bool:
    return (ticket_id, address_key) in _participants_of(conn, account_id, [ticket_id])


def touch_ticket(conn: Connection, account_id: UUID, ticket_id: UUID, *, status: str | None = None) -> None:
    """Note a change, and set the status where one is given."""
    values: dict[str, Any] = {"updated_at": now(conn)}
    if status is not None:
        values["status"] = status
    conn.execute(
        update(tickets).where(tickets.c.account_id == account_id, tickets.c.ticket_id == ticket_id).values(**values)
    )


def get_ticket(conn: Connection, account_id: UUID, number: int) -> Ticket:
    """Return the ticket with this number. Raises NotFound, also while its mailbox is being forgotten."""
    row = conn.execute(_select(account_id).where(tickets.c.number == number)).one_or_none()
    if row is None:
        raise NotFound(f"no ticket {number}")
    return Ticket(*row)


def get_ticket_by_id(conn: Connection, account_id: UUID, ticket_id: UUID) -> Ticket:
    """Raises NotFound."""
    row = conn.execute(_select(account_id).where(tickets.c.ticket_id == ticket_id)).one_or_none()
    if row is None:
        raise NotFound(f"no ticket {ticket_id}")
    return Ticket(*row)


def list_tickets(
    conn: Connection,
    account_id: UUID,
    *,
    status: str | None = None,
    mailbox_id: UUID | None = None,
    after_number: int = 0,
    limit: int = 100,
) -> list[Ticket]:
    """Return up to `limit` tickets behind `after_number`, in the order of their numbers."""
    query = _select(account_id).where(tickets.c.number > after_number).order_by(tickets.c.number).limit(limit)
    if status is not None:
        query = query.where(tickets.c.status == status)
    if mailbox_id is not None:
        query = query.where(tickets.c.mailbox_id == mailbox_id)
    return [Ticket(*row) for row in conn.execute(query)]


def _select(account_id: UUID) -> Select[Any]:
    return select(*_COLUMNS).select_from(_READABLE).where(tickets.c.account_id == account_id, readable(account_id))
