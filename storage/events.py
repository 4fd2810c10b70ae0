"""The event log of an account: what happened, in the order of commits, ids only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Connection, Select, and_, bindparam, delete, insert, select, true, update

from storage.database import now, wake
from storage.errors import NotFound
from storage.tables import accounts, events, messages, tickets

TOPIC = "events"
"""Rung when something was written to any account's log; `topic_of` names one account's."""


def topic_of(account_id: UUID) -> str:
    """Return what is rung when something was written to this account's log."""
    return f"{TOPIC}:{account_id}"


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
    ticket_number: int | None = None
    """None also where the ticket is gone."""


@dataclass(frozen=True, slots=True)
class Log:
    """A piece of an account's log, and how far the log reaches, both as of one moment."""

    events: Sequence[Event]
    oldest: int
    """Events up to this sequence were deleted, as they were too old."""
    latest: int
    """The last sequence that was drawn. Whatever lies below is in the log already, or never will be."""


_INSERT = insert(events)


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
    wake(conn, topic_of(account_id))


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
    wake(conn, topic_of(account_id))


_FIELDS = [events.c[name] for name in Event.__dataclass_fields__ if name in events.c]
_LIST: Select[Any] = (
    select(*_FIELDS, tickets.c.number.label("ticket_number"))
    .outerjoin(tickets, and_(tickets.c.account_id == events.c.account_id, tickets.c.ticket_id == events.c.ticket_id))
    .where(events.c.account_id == bindparam("of_account"), events.c.sequence > bindparam("behind"))
    .order_by(events.c.sequence)
    .limit(bindparam("at_most", type_=BigInteger))
)
_BEHIND = _LIST.subquery()
# One statement, as it is one moment then: read apart, the end of the log would say nothing of the events before it.
_LOG = (
    select(accounts.c.events_gone_to, accounts.c.next_event_sequence, *_BEHIND.c)
    .select_from(accounts.outerjoin(_BEHIND, true()))
    .where(accounts.c.account_id == bindparam("of_account"))
    .order_by(_BEHIND.c.sequence)
)


def list_events(conn: Connection, account_id: UUID, after: int, limit: int) -> list[Event]:
    """Return up to `limit` events behind the sequence `after`, oldest first."""
    return [Event(*row) for row in conn.execute(_LIST, _behind(account_id, after, limit))]


def read_log(conn: Connection, account_id: UUID, after: int, limit: int) -> Log:
    """As `list_events`, with how far the log reaches; also where there is nothing behind `after`. Raises NotFound."""
    rows = conn.execute(_LOG, _behind(account_id, after, limit)).all()
    if not rows:
        raise NotFound(f"no account {account_id}")
    found = [Event(*row[2:]) for row in rows if row.sequence is not None]
    return Log(found, oldest=rows[0].events_gone_to, latest=rows[0].next_event_sequence - 1)


def _behind(account_id: UUID, after: int, limit: int) -> dict[str, object]:
    return {"of_account": account_id, "behind": after, "at_most": limit}


def forget_old(conn: Connection, account_id: UUID, before: datetime, limit: int) -> int:
    """Delete up to `limit` of the oldest events that are from before a time; return how many.

    Only from the log's beginning on: who reads with a cursor behind `events_gone_to` has missed nothing, whatever
    the clock did.
    """
    mine = events.c.account_id == account_id
    oldest = conn.execute(select(events.c.sequence, events.c.at).where(mine).order_by(events.c.sequence).limit(limit))
    old = [row.sequence for row in takewhile(lambda row: row.at < before, oldest)]
    if old:
        conn.execute(delete(events).where(mine, events.c.sequence <= old[-1]))
        # Last: the row with the counters is everybody's who writes an event.
        counters = accounts.c.account_id == account_id
        conn.execute(update(accounts).where(counters).values(events_gone_to=old[-1]))
    return len(old)
