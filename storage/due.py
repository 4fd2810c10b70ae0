"""What of the outbox is due, and in which order: the replies of one ticket leave one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, Connection, Integer, and_, bindparam, func, or_, select

from storage import messages
from storage.database import now
from storage.errors import NotFound
from storage.leases import Held
from storage.mailboxes import WORKED
from storage.outbox import COLUMNS, GET_REPLY, UNSENT, Reply, ReplyStatus, reply_of
from storage.tables import mailboxes, outbox
from storage.tables import messages as messages_table
from storage.types import Instant

_other, _mine, _theirs = outbox.alias("other"), messages_table.alias("mine"), messages_table.alias("theirs")


@dataclass(frozen=True, slots=True)
class Due:
    """A reply whose next step is due."""

    reply: Reply
    chunks: Sequence[bytes] = ()
    """What is to be sent, sealed; empty where it is not sent now, or lies elsewhere than in rows."""


def list_with_chunks(conn: Connection, account_id: UUID, mailbox_id: UUID, *, limit: int) -> list[Due]:
    """As `list_due`, each that is to be sent with its bytes where these are in rows, as what is not large is."""
    replies = list_due(conn, account_id, mailbox_id, limit=limit)
    unsent = [one.message_id for one in replies if one.status in UNSENT]
    chunks = messages.list_chunks(conn, account_id, unsent) if unsent else {}
    return [Due(one, chunks.get(one.message_id, ())) for one in replies]


def list_due(conn: Connection, account_id: UUID, mailbox_id: UUID, *, limit: int) -> list[Reply]:
    """Return the mailbox's replies whose next step is due, oldest first.

    Those are passed over that wait for an earlier reply of their ticket which is not due itself. One that is due
    comes before them in the list, and decides whether they follow: `get_turn` tells once it was tried.
    """
    place = {"of_account": account_id, "of_mailbox": mailbox_id, "at": now(conn), "most": limit}
    return [reply_of(row) for row in conn.execute(_LIST_DUE, place)]


def get_turn(conn: Connection, account_id: UUID, message_id: UUID) -> tuple[Reply, bool]:
    """Return a reply, and whether an earlier one of its ticket holds it up. Raises NotFound."""
    place = {"of_account": account_id, "of_message": message_id, "at": now(conn)}
    row = conn.execute(_GET_TURN, place).one_or_none()
    if row is None:
        raise NotFound(f"no reply {message_id}")
    *columns, held_up = row
    return reply_of(columns), bool(held_up)


def held_up(at: datetime) -> ColumnElement[bool]:
    """The condition that an earlier reply of the same ticket holds the outbox's row up, `at` the database's time."""
    return _earlier(_holds_up(at))


def due_mailboxes(conn: Connection, worker_id: UUID, *, limit: int) -> tuple[list[Held], timedelta | None]:
    """Return the mailboxes that this process holds and that have a step due, and how long until the next
    one is due in any other; None where nothing waits.

    What is due but waits for an earlier reply does not count: its time comes with that of the earlier one.
    """
    at = now(conn)
    held = (
        select(mailboxes.c.account_id, mailboxes.c.mailbox_id, mailboxes.c.fence, func.min(outbox.c.due_at))
        .select_from(
            outbox.join(
                mailboxes,
                and_(mailboxes.c.account_id == outbox.c.account_id, mailboxes.c.mailbox_id == outbox.c.mailbox_id),
            )
        )
        .where(
            mailboxes.c.worker_id == worker_id,
            mailboxes.c.state.in_(WORKED),
            outbox.c.due_at.is_not(None),
            or_(
                outbox.c.due_at > at,
                outbox.c.status.not_in(UNSENT),
                ~_earlier(_holds_up(at), _not_due(at)),
            ),
        )
        .group_by(mailboxes.c.account_id, mailboxes.c.mailbox_id, mailboxes.c.fence)
        .order_by(func.min(outbox.c.due_at))
        .limit(limit)
    )
    ready, next_in = [], None
    for account_id, mailbox_id, fence, due_at in conn.execute(held):
        if due_at <= at:
            ready.append(Held(account_id, mailbox_id, fence))
        else:
            next_in = due_at - at
            break
    return ready, next_in


def _earlier(*where: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition that the ticket of the outbox's row has an earlier reply (`_other`) of which `where` holds.

    It goes by the ticket's messages, which an index gives in their order: it costs what the ticket is long, however
    many replies there are.
    """
    return (
        select(_other.c.message_id)
        .select_from(
            _mine.join(
                _theirs,
                and_(
                    _theirs.c.account_id == _mine.c.account_id,
                    _theirs.c.ticket_id == _mine.c.ticket_id,
                    _theirs.c.message_id < _mine.c.message_id,
                ),
            ).join(
                _other,
                and_(_other.c.account_id == _theirs.c.account_id, _other.c.message_id == _theirs.c.message_id),
            )
        )
        .where(_mine.c.account_id == outbox.c.account_id, _mine.c.message_id == outbox.c.message_id, *where)
        .correlate(outbox)
        .exists()
    )


def _holds_up(at: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Whether `_other` must have left, or be known not to, before a later reply of its ticket may.

    One that a person has to decide on, and one that was put off to a time to come, may take days: they hold nothing up.
    """
    return or_(
        _other.c.status.in_((ReplyStatus.SENDING, ReplyStatus.DEFERRED)),
        and_(_other.c.status == ReplyStatus.QUEUED, or_(_other.c.send_at.is_(None), _other.c.send_at <= at)),
        and_(_other.c.status == ReplyStatus.UNKNOWN, _other.c.due_at.is_not(None)),
    )


def _not_due(at: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    return or_(_other.c.due_at.is_(None), _other.c.due_at > at)


# Built once: building them takes several times as long as running them.
_AT = bindparam("at", type_=Instant())
_LIST_DUE = (
    select(*COLUMNS)
    .where(
        outbox.c.account_id == bindparam("of_account"),
        outbox.c.mailbox_id == bindparam("of_mailbox"),
        outbox.c.due_at <= _AT,
        or_(outbox.c.status.not_in(UNSENT), ~_earlier(_holds_up(_AT), _not_due(_AT))),
    )
    .order_by(outbox.c.message_id)
    .limit(bindparam("most", type_=Integer))
)
_GET_TURN = GET_REPLY.add_columns(_earlier(_holds_up(_AT)))
