"""Lists of replies, for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, select

from storage.database import now
from storage.due import held_up
from storage.mailboxes import MailboxState, readable
from storage.outbox import COLUMNS, UNSENT, Attempt, Reply, ReplyStatus, attempts_of, reply_of
from storage.reply_recipients import Recipient, recipients_of
from storage.tables import mailboxes, messages, outbox, tickets


@dataclass(frozen=True, slots=True)
class ListedReply:
    reply: Reply
    ticket_number: int
    waits_for_earlier: bool
    """An earlier reply of its ticket has to leave first."""
    waits_for_time: bool
    """It was put off, and its time is still to come."""
    waits_for_account: bool
    """Its account is suspended."""

    @property
    def waits_for_person(self) -> bool:
        """Nobody but a person can tell whether it was sent."""
        return self.reply.status is ReplyStatus.UNKNOWN and self.reply.due_at is None


def list_replies(
    conn: Connection,
    account_id: UUID,
    *,
    statuses: Collection[ReplyStatus],
    mailbox_id: UUID | None = None,
    waiting_for_person: bool = False,
    message_id: UUID | None = None,
    after: UUID | None = None,
    limit: int,
) -> list[ListedReply]:
    """Return up to `limit` replies behind the id `after`, oldest first."""
    at = now(conn)
    where = [outbox.c.account_id == account_id, readable(account_id)]
    if mailbox_id is not None:
        where.append(outbox.c.mailbox_id == mailbox_id)
    if waiting_for_person:
        statuses = frozenset(statuses) & {ReplyStatus.UNKNOWN}
        where.append(outbox.c.due_at.is_(None))
    if message_id is not None:
        where.append(outbox.c.message_id == message_id)
    if after is not None:
        where.append(outbox.c.message_id > after)
    query = _LISTED.add_columns(held_up(at)).where(*where).order_by(outbox.c.message_id).limit(limit)
    rows: list[Any] = []
    if set(statuses) == set(ReplyStatus):
        rows += conn.execute(query)
    else:
        # Each status by itself, as they are in the index: asked for several, a database reads and sorts all of them.
        for status in frozenset(statuses):
            rows += conn.execute(query.where(outbox.c.status == status))
    found = sorted((_listed(row, at) for row in rows), key=lambda one: one.reply.message_id)
    return found[:limit]


_LISTED = select(*COLUMNS, tickets.c.number, mailboxes.c.state).select_from(
    outbox.join(
        mailboxes,
        and_(mailboxes.c.account_id == outbox.c.account_id, mailboxes.c.mailbox_id == outbox.c.mailbox_id),
    )
    .join(
        messages,
        and_(messages.c.account_id == outbox.c.account_id, messages.c.message_id == outbox.c.message_id),
    )
    .join(
        tickets,
        and_(tickets.c.account_id == messages.c.account_id, tickets.c.ticket_id == messages.c.ticket_id),
    )
)


def _listed(row: Any, at: datetime) -> ListedReply:
    *columns, number, state, earlier = row
    reply = reply_of(columns)
    unsent = reply.status in UNSENT
    later = unsent and reply.send_at is not None and reply.send_at > at
    suspended = unsent and state == MailboxState.SUSPENDED
    return ListedReply(reply, number, unsent and bool(earlier), later, suspended)


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A reply with what hangs on it."""

    reply: Reply
    attempts: Sequence[Attempt]
    recipients: Sequence[Recipient]


def replies_of(conn: Connection, account_id: UUID, message_ids: Collection[UUID]) -> Mapping[UUID, StoredReply]:
    """Return those of these messages that are replies, by message."""
    if not message_ids:
        return {}
    inside = outbox.join(
        mailboxes,
        and_(mailboxes.c.account_id == outbox.c.account_id, mailboxes.c.mailbox_id == outbox.c.mailbox_id),
    )
    among = outbox.c.account_id == account_id, outbox.c.message_id.in_(message_ids)
    rows = conn.execute(select(*COLUMNS).select_from(inside).where(*among, readable(account_id)))
    found = {one.message_id: one for one in map(reply_of, rows)}
    attempts, recipients = attempts_of(conn, account_id, found), recipients_of(conn, account_id, found)
    return {
        message_id: StoredReply(one, attempts.get(message_id, ()), recipients.get(message_id, ()))
        for message_id, one in found.items()
    }
