"""Lists of replies, for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, and_, select

from storage.database import now
from storage.due import held_up
from storage.mailboxes import readable
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
    where = [outbox.c.account_id == account_id, outbox.c.status.in_(statuses), readable(account_id)]
    if mailbox_id is not None:
        where.append(outbox.c.mailbox_id == mailbox_id)
    if waiting_for_person:
        where += [outbox.c.status == ReplyStatus.UNKNOWN, outbox.c.due_at.is_(None)]
    if message_id is not None:
        where.append(outbox.c.message_id == message_id)
    if after is not None:
        where.append(outbox.c.message_id > after)
    rows = conn.execute(
        select(*COLUMNS, tickets.c.number, held_up(at))
        .select_from(
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
        .where(*where)
        .order_by(outbox.c.message_id)
        .limit(limit)
    )
    found = []
    for *row, number, earlier in rows:
        reply = reply_of(row)
        unsent = reply.status in UNSENT
        later = unsent and reply.send_at is not None and reply.send_at > at
        found.append(ListedReply(reply, number, unsent and bool(earlier), later))
    return found


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
