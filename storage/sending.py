"""How much a mailbox has sent of late, what waits because that was enough, and how many replies were made.

What was sent is counted from the attempts, so that neither a restart nor another process forgets any. An attempt
counts whose mail left, or may have left: one that was refused or deferred sent nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, case, func, or_, select, update

from storage.database import now
from storage.outbox import UNSENT, ReplyStatus
from storage.tables import attempts, messages, outbox, reply_recipients

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a mailbox sent within the last minute and the last 24 hours."""

    messages_minute: int
    messages_day: int
    recipients_day: int


@dataclass(frozen=True, slots=True)
class Sent:
    """One counted attempt."""

    at: datetime
    recipients: int
    """At least 1."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Replies that wait until their mailbox may send again."""

    reason: str
    replies: int
    until: datetime
    """When the first of them is due."""


@dataclass(frozen=True, slots=True)
class Made:
    """How many replies were asked for; none that was cancelled."""

    all: int
    automatic: int


def usage(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Usage:
    at = now(conn)
    lately = case((attempts.c.started_at > at - MINUTE, 1), else_=0)
    minute, day = conn.execute(
        select(func.coalesce(func.sum(lately), 0), func.count()).where(_counts(account_id, mailbox_id, at - DAY))
    ).one()
    recipients = conn.execute(
        select(func.count())
        .select_from(attempts.join(reply_recipients, _same_reply()))
        .where(_counts(account_id, mailbox_id, at - DAY))
    ).scalar_one()
    # A reply from before recipients had rows of their own still had one.
    return Usage(int(minute), int(day), max(int(recipients), int(day)))


def sent_since(conn: Connection, account_id: UUID, mailbox_id: UUID, since: datetime) -> Sequence[Sent]:
    """Return what was sent after `since`, oldest first."""
    # Counted row by row: joined and grouped, SQLite goes through all attempts of the account.
    recipients_of = select(func.count()).select_from(reply_recipients).where(_same_reply()).scalar_subquery()
    rows = conn.execute(
        select(attempts.c.started_at, recipients_of)
        .where(_counts(account_id, mailbox_id, since))
        .order_by(attempts.c.started_at)
    )
    return [Sent(at, max(recipients, 1)) for at, recipients in rows]


def hold_unsent(conn: Connection, account_id: UUID, mailbox_id: UUID, until: datetime, reason: str) -> int:
    """Let what is to be sent wait until then at least, and say why; return how many replies that was."""
    changed = conn.execute(
        update(outbox)
        .where(
            outbox.c.account_id == account_id,
            outbox.c.mailbox_id == mailbox_id,
            outbox.c.due_at < until,
            outbox.c.status.in_(UNSENT),
        )
        .values(due_at=until, reason=reason)
    )
    return changed.rowcount


def waiting(conn: Connection, account_id: UUID, mailbox_id: UUID, reasons: Sequence[str]) -> Waiting | None:
    """Return what waits for one of these reasons; None where nothing does."""
    row = conn.execute(
        select(outbox.c.reason, func.count(), func.min(outbox.c.due_at))
        .where(
            outbox.c.account_id == account_id,
            outbox.c.mailbox_id == mailbox_id,
            outbox.c.due_at.is_not(None),
            outbox.c.status.in_(UNSENT),
            outbox.c.reason.in_(reasons),
        )
        .group_by(outbox.c.reason)
        .order_by(func.count().desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Waiting(*row)


def replies_of_ticket(
    conn: Connection, account_id: UUID, ticket_id: UUID, since: datetime, lately: datetime
) -> tuple[Made, Made]:
    """Return how many there were since the first moment, and how many of them since the second, which is later."""
    place = {"of_account": account_id, "of_ticket": ticket_id, "since": since, "lately": lately}
    every, automatic, late, late_automatic = conn.execute(_REPLIES_OF_TICKET, place).one()
    return Made(every, automatic), Made(late, late_automatic)


def replies_to(conn: Connection, account_id: UUID, mailbox_id: UUID, address_key: bytes, since: datetime) -> Made:
    """Return how many replies of a mailbox were for this recipient, alone or among others."""
    place = {"of_account": account_id, "of_mailbox": mailbox_id, "of_key": address_key, "since": since}
    return Made(*conn.execute(_REPLIES_TO, place).one())


def _same_message(table: Table) -> ColumnElement[bool]:
    return and_(table.c.account_id == outbox.c.account_id, table.c.message_id == outbox.c.message_id)


def _counts(account_id: UUID, mailbox_id: UUID, since: datetime) -> ColumnElement[bool]:
    """One whose outcome was never written may have sent: it counts, too."""
    return and_(
        attempts.c.account_id == account_id,
        attempts.c.mailbox_id == mailbox_id,
        attempts.c.started_at > since,
        or_(attempts.c.outcome.is_(None), attempts.c.outcome.in_(("accepted", "unknown"))),
    )


def _same_reply() -> ColumnElement[bool]:
    return and_(
        reply_recipients.c.account_id == attempts.c.account_id,
        reply_recipients.c.message_id == attempts.c.message_id,
    )


def _number_where(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """Of the rows that are found, the number of those of which this is true."""
    return func.count(case((condition, 1)))


# Run for each reply that is asked for, so built once: building them takes several times as long as running them.
_LATELY = messages.c.created_at > bindparam("lately")
_REPLIES_OF_TICKET = (
    select(
        func.count(),
        _number_where(outbox.c.automatic),
        _number_where(_LATELY),
        _number_where(and_(_LATELY, outbox.c.automatic)),
    )
    .select_from(outbox.join(messages, _same_message(messages)))
    .where(
        messages.c.account_id == bindparam("of_account"),
        messages.c.ticket_id == bindparam("of_ticket"),
        messages.c.direction == "out",
        messages.c.created_at > bindparam("since"),
        outbox.c.status != ReplyStatus.CANCELLED,
    )
)
_REPLIES_TO = (
    select(func.count(), _number_where(outbox.c.automatic))
    .select_from(outbox.join(reply_recipients, _same_message(reply_recipients)))
    .where(
        reply_recipients.c.account_id == bindparam("of_account"),
        reply_recipients.c.mailbox_id == bindparam("of_mailbox"),
        reply_recipients.c.address_key == bindparam("of_key"),
        reply_recipients.c.status_since > bindparam("since"),
        outbox.c.status != ReplyStatus.CANCELLED,
    )
)
