"""Tickets that are older than they are kept (solved ones, spam, those in the trash): they are deleted with all that
hangs on them.

What stays of a message is its identity, a hash under its mailbox's key, so that it is not imported again; it dies with
that key. What the log says of the ticket stays, too: ids, until the events are too old themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage import accounts as account_rows
from storage import mailboxes as mailbox_rows
from storage.accounts import AccountStatus, draw_numbers
from storage.events import NewEvent, insert_events
from storage.mailboxes import readable
from storage.messages import BLOB
from storage.outbox import ReplyStatus
from storage.tables import (
    accounts,
    attachments,
    attempts,
    edits,
    forgotten_messages,
    idempotency,
    mailboxes,
    messages,
    outbox,
    participants,
    quarantine,
    raw_chunks,
    reference_keys,
    reply_recipients,
    thread_keys,
    tickets,
)
from storage.tickets import TicketStatus

_UNSETTLED = (ReplyStatus.QUEUED, ReplyStatus.SENDING, ReplyStatus.DEFERRED, ReplyStatus.UNKNOWN)
_OF_MESSAGE = (
    # In the order in which rows can be deleted without breaking a reference.
    attempts,
    reply_recipients,
    outbox,
    edits,
    thread_keys,
    reference_keys,
    attachments,
)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What one transaction deleted."""

    rows: int
    blobs: Sequence[tuple[UUID, UUID]]
    """Mailbox and owner of those that have no row any more: to be deleted after the commit."""
    done: bool
    """The ticket itself is gone."""
    messages: int = 0
    """How many of them."""


def set_solved_days(conn: Connection, account_id: UUID, days: int | None) -> None:
    """Set for how many days an account's solved tickets are kept; None: as the configuration says. Raises NotFound."""
    account_rows.hold(conn, account_id)
    conn.execute(update(accounts).where(accounts.c.account_id == account_id).values(solved_days=days))


def list_expired(
    conn: Connection,
    account_id: UUID,
    before: datetime,
    limit: int,
    status: TicketStatus = TicketStatus.CLOSED,
) -> list[UUID]:
    """Return up to `limit` tickets of an account that have a status, and were not touched, since before a time."""
    query = _expired(account_id, before, status).order_by(tickets.c.updated_at).limit(limit)
    return list(conn.execute(query).scalars())


def count_expired(conn: Connection, account_id: UUID, before: datetime) -> int:
    return conn.execute(select(func.count()).select_from(_expired(account_id, before).subquery())).scalar_one()


def delete_some(
    conn: Connection,
    account_id: UUID,
    ticket_id: UUID,
    before: datetime,
    limit: int,
    status: TicketStatus = TicketStatus.CLOSED,
) -> Deleted | None:
    """Delete whole messages of a ticket, the oldest first, until about `limit` rows are gone; with the last of them
    the ticket. None where it is not to be deleted (any more). Raises NotFound where its mailbox is being forgotten.

    The mailbox is held: mail that is taken in, and replies that are queued, see the ticket before or behind it.
    """
    mine = tickets.c.account_id == account_id, tickets.c.ticket_id == ticket_id
    place = conn.execute(select(tickets.c.mailbox_id, tickets.c.number).where(*mine)).one_or_none()
    if place is None:
        return None
    mailbox_id, number = place
    mailbox_rows.hold_unfenced(conn, account_id, mailbox_id)
    if conn.execute(_expired(account_id, before, status).where(tickets.c.ticket_id == ticket_id)).first() is None:
        return None
    if is_kept(conn, account_id):
        return None
    return delete_from_ticket(conn, account_id, mailbox_id, ticket_id, number, limit)


def delete_from_ticket(
    conn: Connection, account_id: UUID, mailbox_id: UUID, ticket_id: UUID, number: int, limit: int
) -> Deleted:
    """As `delete_some`, whatever the ticket's age. The caller holds the mailbox."""
    in_ticket = messages.c.account_id == account_id, messages.c.ticket_id == ticket_id
    found = select(messages.c.message_id, messages.c.raw_place).where(*in_ticket).order_by(messages.c.message_id)
    rows = count = 0
    blobs: list[tuple[UUID, UUID]] = []
    for message_id, raw_place in conn.execute(found.limit(limit)).all():
        if rows >= limit:
            return Deleted(rows, blobs, done=False, messages=count)
        rows += delete_message(conn, account_id, mailbox_id, message_id)
        count += 1
        if raw_place == BLOB:
            blobs.append((mailbox_id, message_id))
    if conn.execute(select(messages.c.message_id).where(*in_ticket).limit(1)).first() is not None:
        return Deleted(rows, blobs, done=False, messages=count)
    rows += delete_ticket(conn, account_id, ticket_id)
    _, sequence = draw_numbers(conn, account_id, events=1)
    told = NewEvent("ticket.erased", mailbox_id, ticket_id, detail=str(number))
    insert_events(conn, account_id, sequence, [told])
    return Deleted(rows, blobs, done=True, messages=count)


def _expired(account_id: UUID, before: datetime, status: TicketStatus = TicketStatus.CLOSED) -> Select[Any]:
    """A ticket with a reply that may still be sent, or that a person has to decide on, is not over."""
    waits = exists().where(
        messages.c.account_id == account_id,
        messages.c.ticket_id == tickets.c.ticket_id,
        outbox.c.account_id == account_id,
        outbox.c.message_id == messages.c.message_id,
        or_(outbox.c.due_at.is_not(None), outbox.c.status.in_(_UNSETTLED)),
    )
    here = and_(mailboxes.c.account_id == tickets.c.account_id, mailboxes.c.mailbox_id == tickets.c.mailbox_id)
    query = (
        select(tickets.c.ticket_id)
        .select_from(tickets.join(mailboxes, here))
        .where(
            tickets.c.account_id == account_id,
            tickets.c.status == status,
            tickets.c.updated_at < before,
            readable(account_id),
            ~waits,
        )
    )
    return query.where(tickets.c.closed_at < before) if status is TicketStatus.CLOSED else query


def is_kept(conn: Connection, account_id: UUID) -> bool:
    """Of an account that is suspended, or held by the operator, everything is kept."""
    account = account_rows.get_account(conn, account_id)
    return account.status is not AccountStatus.ACTIVE or account.held_since is not None


def delete_message(conn: Connection, account_id: UUID, mailbox_id: UUID, message_id: UUID) -> int:
    """Delete a message with all that hangs on it, and remember its identity; return how many rows that were. A blob is
    left to the caller, after the commit."""
    rows = 0
    for table in _OF_MESSAGE:
        gone = conn.execute(delete(table).where(table.c.account_id == account_id, table.c.message_id == message_id))
        rows += gone.rowcount
        if table is outbox and gone.rowcount:
            # Found by its mailbox, as nothing else needs it: those of a day.
            answered = idempotency.c.account_id == account_id, idempotency.c.mailbox_id == mailbox_id
            again = delete(idempotency).where(*answered, idempotency.c.message_id == message_id)
            rows += conn.execute(again).rowcount
    owned = raw_chunks.c.account_id == account_id, raw_chunks.c.owner_id == message_id
    rows += conn.execute(delete(raw_chunks).where(*owned)).rowcount
    # It may have been in quarantine before, under an identity of its own.
    for one, id_column in ((messages, messages.c.message_id), (quarantine, quarantine.c.quarantine_id)):
        rows += forget(conn, one, account_id, id_column == message_id)
    return rows


def forget(conn: Connection, table: Table, account_id: UUID, same: ColumnElement[bool]) -> int:
    """Delete a row, and remember its identity."""
    where = table.c.account_id == account_id, same
    names = ("account_id", "mailbox_id", "identity_key", "header_key")
    known = [dict(row._mapping) for row in conn.execute(select(*(table.c[name] for name in names)).where(*where))]
    if known:
        conn.execute(_remember(conn), known)
    return conn.execute(delete(table).where(*where)).rowcount


def delete_ticket(conn: Connection, account_id: UUID, ticket_id: UUID) -> int:
    """Delete a ticket that has no messages, and those that were merged into it; return how many rows that were."""
    standing = participants.c.account_id == account_id, participants.c.ticket_id == ticket_id
    rows = conn.execute(delete(participants).where(*standing)).rowcount
    following = tickets.c.account_id == account_id, tickets.c.follows_ticket_id == ticket_id
    conn.execute(update(tickets).where(*following).values(follows_ticket_id=None))
    for same in (tickets.c.merged_into_id, tickets.c.ticket_id):  # each by its own index
        rows += conn.execute(delete(tickets).where(tickets.c.account_id == account_id, same == ticket_id)).rowcount
    return rows


def _remember(conn: Connection) -> Any:
    kind = postgresql if conn.dialect.name == "postgresql" else sqlite
    return kind.insert(forgotten_messages).on_conflict_do_nothing()
