"""Tickets and who has standing on them."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    insert,
    literal,
    select,
    update,
)

from storage.database import now
from storage.errors import NotFound
from storage.mailboxes import MailboxState, readable
from storage.tables import mailboxes, messages, participants, tickets


class TicketStatus(enum.StrEnum):
    """Where a ticket stands. What a later mail of its customer does is decided in `ingestd.mail.thread`."""

    OPEN = "open"
    CLOSED = "closed"
    """Solved."""
    SPAM = "spam"
    DELETED = "deleted"
    """In the helpdesk's trash; nothing of it is gone."""
    MERGED = "merged"
    """It is part of another ticket, and only leads there (`storage.merges`). No other status follows."""


AT_WORK: Final = (TicketStatus.OPEN, TicketStatus.CLOSED)
"""What lists show where nobody asks for another status."""


@dataclass(frozen=True, slots=True)
class Ticket:
    account_id: UUID
    ticket_id: UUID
    mailbox_id: UUID
    number: int
    status: str
    """A TicketStatus."""
    requester_key: bytes
    suspected_ticket_id: UUID | None
    """A ticket that it may belong to: the evidence was too weak to join it."""
    follows_ticket_id: UUID | None
    """The ticket that it follows up, which had been closed too long ago to be opened again."""
    merged_into_id: UUID | None
    """The ticket that has its messages, where it is merged."""
    closed_at: datetime | None
    """Since when it is closed, spam, deleted or merged; None while it is open."""
    created_at: datetime
    updated_at: datetime
    sealed: bytes


_ASKED: Final = 50
"""Requesters of one statement."""
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
    follows_ticket_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """A ticket, and the message that opened it."""

    ticket_id: UUID
    received_at: datetime
    muted: bool
    """It was beyond a limit already: the ticket is the one that collects a flood. One that was merged collects none."""


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
                "follows_ticket_id": one.follows_ticket_id,
                "closed_at": None if one.status == TicketStatus.OPEN else at,
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
    known = _standing(conn, account_id, {one for one, _ in keys}, {key for _, key in keys})
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
        conn.execute(_INSERT_PARTICIPANTS, rows)


def _standing(
    conn: Connection, account_id: UUID, ticket_ids: Collection[UUID], address_keys: Collection[bytes]
) -> set[tuple[UUID, bytes]]:
    values = {"account": account_id, "of_tickets": list(ticket_ids), "of_addresses": list(address_keys)}
    rows = conn.execute(_STANDING, values)
    return {(ticket_id, bytes(key)) for ticket_id, key in rows}


def is_participant(conn: Connection, account_id: UUID, ticket_id: UUID, address_key: bytes) -> bool:
    values = {"account": account_id, "ticket": ticket_id, "address": address_key}
    return conn.execute(_IS_PARTICIPANT, values).first() is not None


def touch_ticket(conn: Connection, account_id: UUID, ticket_id: UUID, *, status: str | None = None) -> None:
    """Note a change, and set the status where one is given."""
    at = now(conn)
    values: dict[str, Any] = {"of_account": account_id, "of_ticket": ticket_id, "new_updated_at": at}
    if status is None:
        conn.execute(_TOUCH, values)
        return
    closed_at = None if status == TicketStatus.OPEN else at
    conn.execute(_SET_STATUS, values | {"new_status": status, "new_closed_at": closed_at})


def touch_tickets(conn: Connection, account_id: UUID, ticket_ids: Collection[UUID]) -> None:
    """Note a change of several tickets, in one order whoever asks for it."""
    if ticket_ids:
        values = {"of_account": account_id, "new_updated_at": now(conn)}
        conn.execute(_TOUCH, [{**values, "of_ticket": one} for one in sorted(ticket_ids)])


def get_ticket(conn: Connection, account_id: UUID, number: int) -> Ticket:
    """Return the ticket with this number. Raises NotFound, also while its mailbox is being forgotten."""
    row = conn.execute(_BY_NUMBER, {"account": account_id, "number": number}).one_or_none()
    if row is None:
        raise NotFound(f"no ticket {number}")
    return Ticket(*row)


def get_ticket_by_id(conn: Connection, account_id: UUID, ticket_id: UUID) -> Ticket:
    """Raises NotFound."""
    row = conn.execute(_BY_ID, {"account": account_id, "ticket": ticket_id}).one_or_none()
    if row is None:
        raise NotFound(f"no ticket {ticket_id}")
    return Ticket(*row)


def list_by_id(conn: Connection, account_id: UUID, ticket_ids: Collection[UUID]) -> list[Ticket]:
    """Return those of these tickets that are there, in the order of their numbers."""
    return [Ticket(*row) for row in conn.execute(_BY_IDS, {"account": account_id, "tickets": list(ticket_ids)})]


def follow_ups(conn: Connection, account_id: UUID, ticket_id: UUID, limit: int) -> list[Ticket]:
    """Return the newest `limit` tickets that follow up a ticket or what was merged into it, newest first.

    In place of one that was merged stands the ticket that it was merged into, unless that is the ticket itself.
    """
    other = tickets.alias("other")
    ids = select(other.c.ticket_id).where(other.c.account_id == account_id)
    followed = ids.where(other.c.ticket_id == ticket_id).union_all(ids.where(other.c.merged_into_id == ticket_id))
    query = _select(account_id).where(tickets.c.follows_ticket_id.in_(followed))
    # Not by the number as it is: for its order SQLite goes through all tickets of the account, however few follow.
    rows = conn.execute(query.order_by((tickets.c.number + 0).desc()).limit(limit))
    found = {one.ticket_id: one for one in unmerged(conn, account_id, [Ticket(*row) for row in rows])}
    found.pop(ticket_id, None)
    return sorted(found.values(), key=lambda one: one.number, reverse=True)


def unmerged(conn: Connection, account_id: UUID, found: Sequence[Ticket]) -> list[Ticket]:
    """Return tickets, in place of each that was merged the one that it was merged into; that may be there twice."""
    wanted = {one.merged_into_id for one in found if one.merged_into_id is not None}
    into = {one.ticket_id: one for one in list_by_id(conn, account_id, wanted)} if wanted else {}
    return [one if one.merged_into_id is None else into.get(one.merged_into_id, one) for one in found]


def openings(conn: Connection, account_id: UUID, mailbox_id: UUID, requester_key: bytes, limit: int) -> list[Opening]:
    """Return the newest `limit` tickets of a requester in a mailbox, newest first; merged ones, too: a machine's
    flood that is merged as it comes is one all the same."""
    values = {"account": account_id, "mailbox": mailbox_id, "requester": requester_key, "most": limit}
    rows = conn.execute(_OPENINGS, values)
    return [Opening(*row) for row in rows]


def requesters_among(
    conn: Connection, account_id: UUID, mailbox_id: UUID, requester_keys: Collection[bytes]
) -> set[bytes]:
    """Return which of these have a ticket in a mailbox."""
    found: set[bytes] = set()
    left = sorted(requester_keys)
    for at in range(0, len(left), _ASKED):
        some = left[at : at + _ASKED]
        values = {f"requester_{place}": some[place] if place < len(some) else b"" for place in range(_ASKED)}
        row = conn.execute(_ARE_REQUESTERS, {"account": account_id, "mailbox": mailbox_id, **values}).one()
        found |= {key for key, is_there in zip(some, row, strict=False) if is_there}
    return found


def _select(account_id: UUID) -> Select[Any]:
    return select(*_COLUMNS).select_from(_READABLE).where(tickets.c.account_id == account_id, readable(account_id))


# Asked for each message of a batch, and so built once: that costs more than to run them.
_FIRST_MESSAGE = (
    select(messages.c.message_id)
    .where(
        messages.c.account_id == tickets.c.account_id,
        messages.c.ticket_id == func.coalesce(tickets.c.merged_into_id, tickets.c.ticket_id),
        func.coalesce(messages.c.merged_from_id, messages.c.ticket_id) == tickets.c.ticket_id,
    )
    .order_by(messages.c.message_id)
    .limit(1)
    .correlate(tickets)
    .scalar_subquery()
)
_OPENINGS = (
    select(
        tickets.c.ticket_id,
        messages.c.received_at,
        case((tickets.c.merged_into_id.is_(None), messages.c.muted), else_=false()),
    )
    .join(messages, and_(messages.c.account_id == tickets.c.account_id, messages.c.message_id == _FIRST_MESSAGE))
    .where(
        tickets.c.account_id == bindparam("account"),
        tickets.c.mailbox_id == bindparam("mailbox"),
        tickets.c.requester_key == bindparam("requester"),
    )
    .order_by(tickets.c.number.desc())
    .limit(bindparam("most", type_=Integer))
)
# One look into the index for each, however many tickets they have.
_ARE_REQUESTERS = select(
    *(
        exists()
        .where(
            tickets.c.account_id == bindparam("account"),
            tickets.c.mailbox_id == bindparam("mailbox"),
            tickets.c.requester_key == bindparam(f"requester_{place}"),
        )
        .label(f"is_{place}")
        for place in range(_ASKED)
    )
)
_OF_ACCOUNT = (
    select(*_COLUMNS)
    .select_from(_READABLE)
    .where(tickets.c.account_id == bindparam("account"), mailboxes.c.state != MailboxState.DISCONNECTING)
)
_BY_ID = _OF_ACCOUNT.where(tickets.c.ticket_id == bindparam("ticket"))
_BY_IDS = _OF_ACCOUNT.where(tickets.c.ticket_id.in_(bindparam("tickets", expanding=True))).order_by(tickets.c.number)
_BY_NUMBER = _OF_ACCOUNT.where(tickets.c.number == bindparam("number"))
_INSERT_PARTICIPANTS = insert(participants)
_STANDING = select(participants.c.ticket_id, participants.c.address_key).where(
    participants.c.account_id == bindparam("account"),
    participants.c.ticket_id.in_(bindparam("of_tickets", expanding=True)),
    participants.c.address_key.in_(bindparam("of_addresses", expanding=True)),
)
_SAME = update(tickets).where(
    tickets.c.account_id == bindparam("of_account"), tickets.c.ticket_id == bindparam("of_ticket")
)
_TOUCH = _SAME.values(updated_at=bindparam("new_updated_at"))
_SET_STATUS = _TOUCH.values(status=bindparam("new_status"), closed_at=bindparam("new_closed_at"))
_IS_PARTICIPANT = select(literal(1)).where(
    participants.c.account_id == bindparam("account"),
    participants.c.ticket_id == bindparam("ticket"),
    participants.c.address_key == bindparam("address"),
)
