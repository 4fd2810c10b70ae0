"""The event log of an account: what happened, in the order of commits, ids only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, bindparam, insert, select

from storage.database import now, wake
from storage.tables import events, messages


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event about to be written. `detail` is a fixed word or a count, never content."""

    type: str
    mailbox_id: UUID | None = None
    ticket_id: UUID | None = None
    message_id: UUID | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    sequence: int
    type: str
    at: datetime
    mailbox_id: UUID | None
    ticket_id: UUID | None
    message_id: UUID | None
    detail: str | None


_INSERT = insert(events)
TOPIC = "events"
"""Rung when something was written to the log."""


def insert_events(conn: Connection, account_id: UUID, first_sequence: int, new: Sequence[NewEvent]) -> None:
    """Write events under sequences drawn by `accounts.draw_numbers` in this transaction."""
    if not new:
        return
    at = now(conn)
    conn.execute(
        _INSERT,
        [
            {
                "account_id": account_id,
                "sequence": first_sequence + index,
                "type": one.type,
                "at": at,
                "mailbox_id": one.mailbox_id,
                "ticket_id": one.ticket_id,
                "message_id": one.message_id,
                "detail": one.detail,
            }
            for index, one in enumerate(new)
        ],
    )
    wake(conn, TOPIC)


_INSERT_ABOUT = _INSERT.values(
    ticket_id=select(messages.c.ticket_id)
    .where(messages.c.account_id == bindparam("of_account"), messages.c.message_id == bindparam("of_message"))
    .scalar_subquery()
)


def insert_about(conn: Connection, account_id: UUID, sequence: int, new: NewEvent) -> None:
    """Write one event about a message, with the ticket that the message belongs to; as `insert_events`."""
    row = {"account_id": account_id, "sequence": sequence, "type": new.type, "at": now(conn), "detail": new.detail}
    row |= {"mailbox_id": new.mailbox_id, "message_id": new.message_id}
    conn.execute(_INSERT_ABOUT, row | {"of_account": account_id, "of_message": new.message_id})
    wake(conn, TOPIC)


def list_events(conn: Connection, account_id: UUID, after: int, limit: int) -> list[Event]:
    """Return up to `limit` events behind the sequence `after`, oldest first."""
    rows = conn.execute(
        select(
            events.c.sequence,
            events.c.type,
            events.c.at,
            events.c.mailbox_id,
            events.c.ticket_id,
            events.c.message_id,
            events.c.detail,
        )
        .where(events.c.account_id == account_id, events.c.sequence > after)
        .order_by(events.c.sequence)
        .limit(limit)
    )
    return [Event(*row) for row in rows]
