"""The outbox: replies, where each stands, and every attempt to send one."""

from __future__ import annotations

import enum
import functools
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from storage.database import now, wake
from storage.errors import Conflict, KeyReused, NotFound
from storage.mailboxes import is_readable
from storage.tables import attempts, idempotency, mailboxes, outbox
from storage.types import Instant


class ReplyStatus(enum.StrEnum):
    """Where a reply stands."""

    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    SENT = "sent"
    UNKNOWN = "unknown"
    """It may have been sent: to be resolved by looking, else by a person."""
    FAILED = "failed"
    BOUNCED = "bounced"
    CANCELLED = "cancelled"


UNSENT = (ReplyStatus.QUEUED, ReplyStatus.DEFERRED)
"""What waits to be sent."""
OPEN: ColumnElement[bool] = or_(outbox.c.due_at.is_not(None), outbox.c.status == literal_column("'unknown'"))
"""The condition that something is still to happen with a reply, by itself or by a person. Only in the words of the
index of those alone do SQLite and PostgreSQL know that the index has them all."""


class SentCopy(enum.StrEnum):
    """Where the copy in the Sent folder stands. A step of its own: it never touches the send."""

    NONE = "none"
    """Not sent yet, or no copy is wanted."""
    DUE = "due"
    FILED = "filed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Reply:
    account_id: UUID
    message_id: UUID
    mailbox_id: UUID
    status: ReplyStatus
    status_since: datetime
    reason: str | None
    attempts: int
    due_at: datetime | None
    """When the next step is due; None where nothing will happen by itself."""
    send_at: datetime | None
    """Before this it is not sent; None where nobody asked for a delay."""
    sent_at: datetime | None
    sent_copy: SentCopy
    sent_copy_attempts: int
    epoch: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    number: int
    worker_id: UUID
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    stage: str | None
    code: int | None
    enhanced_code: str | None


COLUMNS = [outbox.c[name] for name in Reply.__dataclass_fields__]


def reply_of(row: Any) -> Reply:
    """Return the reply of a row of COLUMNS."""
    values = dict(zip(Reply.__dataclass_fields__, row, strict=True))
    values["status"] = ReplyStatus(values["status"])
    values["sent_copy"] = SentCopy(values["sent_copy"])
    return Reply(**values)


_INSERT_REPLY = insert(outbox)


def insert_reply(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    message_id: UUID,
    *,
    epoch: int,
    sealed: bytes,
    automatic: bool = False,
    send_at: datetime | None = None,
    delay: timedelta = timedelta(),
) -> None:
    """Queue a reply, to be sent at `send_at` and after `delay` at the earliest."""
    at = now(conn)
    due_at = max(at + delay, send_at or at)
    conn.execute(
        _INSERT_REPLY,
        {
            "account_id": account_id,
            "message_id": message_id,
            "mailbox_id": mailbox_id,
            "status": ReplyStatus.QUEUED,
            "status_since": at,
            "attempts": 0,
            "due_at": due_at,
            "send_at": due_at if due_at > at else None,
            "sent_copy": SentCopy.NONE,
            "sent_copy_attempts": 0,
            "automatic": automatic,
            "epoch": epoch,
            "sealed": sealed,
        },
    )
    wake(conn, "outbox")


# What is run for each reply is built once: building a statement takes several times as long as running it.
_SAME_REPLY = and_(outbox.c.account_id == bindparam("of_account"), outbox.c.message_id == bindparam("of_message"))
GET_REPLY = (
    select(*COLUMNS)
    .select_from(
        outbox.join(
            mailboxes,
            and_(mailboxes.c.account_id == outbox.c.account_id, mailboxes.c.mailbox_id == outbox.c.mailbox_id),
        )
    )
    .where(_SAME_REPLY, is_readable())
)
"""COLUMNS of `of_message` in `of_account`."""


def get_reply(conn: Connection, account_id: UUID, message_id: UUID) -> Reply:
    """Raises NotFound."""
    row = conn.execute(GET_REPLY, {"of_account": account_id, "of_message": message_id}).one_or_none()
    if row is None:
        raise NotFound(f"no reply {message_id}")
    return reply_of(row)


def list_in_flight(conn: Connection, account_id: UUID, mailbox_id: UUID) -> list[Reply]:
    """Return replies that stand at `sending`: when a worker begins, its predecessor died within the attempt."""
    rows = conn.execute(
        select(*COLUMNS).where(
            outbox.c.account_id == account_id,
            outbox.c.mailbox_id == mailbox_id,
            outbox.c.status == ReplyStatus.SENDING,
        )
    )
    return [reply_of(row) for row in rows]


def postpone(conn: Connection, account_id: UUID, mailbox_id: UUID, until: datetime, *, unsent: bool) -> None:
    """Let the mailbox's steps wait until then at least: those that send (`unsent`), or all others."""
    conn.execute(
        update(outbox)
        .where(
            outbox.c.account_id == account_id,
            outbox.c.mailbox_id == mailbox_id,
            outbox.c.due_at < until,
            outbox.c.status.in_(UNSENT) if unsent else outbox.c.status.not_in(UNSENT),
        )
        .values(due_at=until)
    )


def make_due(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
    """Let replies that wait be tried now, or at the time that they were put off to: what was in their way is gone."""
    at = now(conn)
    conn.execute(
        update(outbox)
        .where(
            outbox.c.account_id == account_id,
            outbox.c.mailbox_id == mailbox_id,
            outbox.c.due_at > at,
            outbox.c.status.in_(UNSENT),
        )
        .values(due_at=case((outbox.c.send_at > at, outbox.c.send_at), else_=literal(at, Instant())))
    )
    wake(conn, "outbox")


def count_unsent(conn: Connection, account_id: UUID, mailbox_id: UUID) -> int:
    """Return how many replies of the mailbox wait to be sent."""
    where = (outbox.c.account_id == account_id, outbox.c.mailbox_id == mailbox_id, outbox.c.status.in_(UNSENT))
    return int(conn.execute(select(func.count()).select_from(outbox).where(*where)).scalar_one())


def change_reply(
    conn: Connection,
    account_id: UUID,
    message_id: UUID,
    *,
    was: ReplyStatus,
    status: ReplyStatus,
    due_at: datetime | None,
    reason: str | None = None,
    sent_at: datetime | None = None,
    sent_copy: SentCopy | None = None,
    sent_copy_attempts: int | None = None,
    sealed: bytes | None = None,
    unschedule: bool = False,
) -> None:
    """Move a reply from one status to another; `unschedule` drops its delay.

    Raises Conflict if it is not at `was` any more.
    """
    values: dict[str, Any] = {"status": status, "due_at": due_at, "reason": reason}
    if unschedule:
        values["send_at"] = None
    if status != was:
        values["status_since"] = now(conn)
    optional = {"sent_at": sent_at, "sent_copy": sent_copy, "sent_copy_attempts": sent_copy_attempts, "sealed": sealed}
    values |= {name: value for name, value in optional.items() if value is not None}
    place = {"of_account": account_id, "of_message": message_id, "of_status": was}
    changed = conn.execute(_change(tuple(values)), place | {f"new_{name}": value for name, value in values.items()})
    if changed.rowcount != 1:
        raise Conflict(f"reply {message_id} is not {was} any more")


@functools.cache
def _change(columns: tuple[str, ...]) -> Update:
    new: dict[str, Any] = {name: bindparam(f"new_{name}") for name in columns}
    return update(outbox).where(_SAME_REPLY, outbox.c.status == bindparam("of_status")).values(new)


_TAKE = (
    update(outbox)
    .where(_SAME_REPLY, outbox.c.status == bindparam("of_status"))
    .values(
        status=bindparam("new_status"),
        status_since=bindparam("new_status_since"),
        due_at=None,
        reason=None,
        attempts=outbox.c.attempts + 1,
    )
    .returning(outbox.c.attempts)
)
_BEGIN_ATTEMPT = insert(attempts)
_END_ATTEMPT = (
    update(attempts)
    .where(
        attempts.c.account_id == bindparam("of_account"),
        attempts.c.message_id == bindparam("of_message"),
        attempts.c.number == bindparam("of_number"),
    )
    .values({name: bindparam(f"new_{name}") for name in ("ended_at", "outcome", "stage", "code", "enhanced_code")})
)


def start_attempt(conn: Connection, account_id: UUID, reply: Reply, status: ReplyStatus, worker_id: UUID) -> Reply:
    """Record, before anything is sent, that an attempt begins; return the reply as it is then.

    Raises Conflict if it is not at the status of `reply` any more.
    """
    at = now(conn)
    number: int | None = conn.execute(
        _TAKE,
        {
            "of_account": account_id,
            "of_message": reply.message_id,
            "of_status": reply.status,
            "new_status": status,
            "new_status_since": at,
        },
    ).scalar_one_or_none()
    if number is None:
        raise Conflict(f"reply {reply.message_id} is not {reply.status} any more")
    conn.execute(
        _BEGIN_ATTEMPT,
        {
            "account_id": account_id,
            "message_id": reply.message_id,
            "number": number,
            "mailbox_id": reply.mailbox_id,
            "worker_id": worker_id,
            "started_at": at,
        },
    )
    return replace(reply, status=status, status_since=at, reason=None, attempts=number, due_at=None)


def end_attempt(
    conn: Connection,
    account_id: UUID,
    message_id: UUID,
    number: int,
    *,
    outcome: str,
    stage: str | None = None,
    code: int | None = None,
    enhanced_code: str | None = None,
) -> None:
    conn.execute(
        _END_ATTEMPT,
        {
            "of_account": account_id,
            "of_message": message_id,
            "of_number": number,
            "new_ended_at": now(conn),
            "new_outcome": outcome,
            "new_stage": stage,
            "new_code": code,
            "new_enhanced_code": enhanced_code,
        },
    )


def list_attempts(conn: Connection, account_id: UUID, message_id: UUID) -> list[Attempt]:
    return attempts_of(conn, account_id, [message_id]).get(message_id, [])


def attempts_of(conn: Connection, account_id: UUID, message_ids: Collection[UUID]) -> dict[UUID, list[Attempt]]:
    """Return the attempts at replies, by reply, in their order."""
    columns = [attempts.c[name] for name in Attempt.__dataclass_fields__]
    rows = conn.execute(
        select(attempts.c.message_id, *columns)
        .where(attempts.c.account_id == account_id, attempts.c.message_id.in_(message_ids))
        .order_by(attempts.c.message_id, attempts.c.number)
    )
    found: dict[UUID, list[Attempt]] = {}
    for message_id, *row in rows:
        found.setdefault(message_id, []).append(Attempt(*row))
    return found


def count_attempts(
    conn: Connection, account_id: UUID, message_id: UUID, outcome: str, *, since: datetime | None = None
) -> int:
    """Return how many attempts at a reply ended so; with `since`, of those that began later."""
    where = [attempts.c.account_id == account_id, attempts.c.message_id == message_id, attempts.c.outcome == outcome]
    if since is not None:
        where.append(attempts.c.started_at > since)
    return int(conn.execute(select(func.count()).select_from(attempts).where(*where)).scalar_one())


@dataclass(frozen=True, slots=True)
class Request:
    """What a request under an idempotency key is found and compared by: keyed hashes."""

    key: bytes
    hash: bytes


def find_request(conn: Connection, account_id: UUID, request: Request) -> UUID | None:
    """Return the reply of a request; None where it was not made before. Raises KeyReused."""
    same = and_(idempotency.c.account_id == account_id, idempotency.c.request_key == request.key)
    row = conn.execute(select(idempotency.c.request_hash, idempotency.c.message_id).where(same)).one_or_none()
    if row is None:
        return None
    if bytes(row[0]) != request.hash:
        raise KeyReused("this idempotency key was used for another request")
    first: UUID = row[1]
    return first


def remember_request(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    request_key: bytes,
    request_hash: bytes,
    message_id: UUID,
) -> UUID | None:
    """Note an idempotency key, as hashes; return the reply of the first request where there was one.

    Raises KeyReused where the same key came with another request.
    """
    first = find_request(conn, account_id, Request(request_key, request_hash))
    if first is not None:
        return first
    conn.execute(
        insert(idempotency).values(
            account_id=account_id,
            request_key=request_key,
            mailbox_id=mailbox_id,
            message_id=message_id,
            request_hash=request_hash,
            created_at=now(conn),
        )
    )
    return None


def forget_requests(conn: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` idempotency rows from before `before`; return how many."""
    old = select(idempotency.c.account_id, idempotency.c.request_key).where(idempotency.c.created_at < before)
    rows = conn.execute(old.limit(limit)).all()
    for account_id, request_key in rows:
        conn.execute(
            idempotency.delete().where(
                idempotency.c.account_id == account_id,
                idempotency.c.request_key == request_key,
            )
        )
    return len(rows)
