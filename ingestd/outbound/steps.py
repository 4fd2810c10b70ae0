"""The transactions of the outbox. Each holds the mailbox by its fence, so that who lost it writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from connectors.base import Refusal
from ingestd.outbound import recipients
from ingestd.outbound.statuses import ReplyEvent, next_status
from storage import accounts, due, events, mailboxes, outbox, threads
from storage.database import now
from storage.due import Due
from storage.leases import Held
from storage.mailboxes import Mailbox
from storage.outbox import Reply, ReplyStatus, SentCopy

_EVENT_OF_STATUS = {
    ReplyStatus.SENT: "reply.sent",
    ReplyStatus.FAILED: "reply.failed",
    ReplyStatus.UNKNOWN: "reply.unknown",
    ReplyStatus.BOUNCED: "reply.bounced",
    ReplyStatus.CANCELLED: "reply.cancelled",
}


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What an attempt's row is completed with: the server's answer, without its text."""

    number: int
    outcome: str
    stage: str | None = None
    code: int | None = None
    enhanced_code: str | None = None
    refused: Mapping[int, Refusal] = field(default_factory=dict)
    """Recipients that were refused by themselves, by their place in the reply's list."""


@dataclass(frozen=True, slots=True)
class Move:
    """A reply's move by an event, and what is written with it."""

    event: ReplyEvent
    attempt: AttemptResult | None = None
    """What came of the attempt that this ends."""
    due_in: timedelta | None = None
    """When its next step is due; None where nothing is to happen by itself."""
    reason: str | None = None
    sent_copy: SentCopy | None = None
    """None, here and below: stays as it is."""
    sealed: bytes | None = None
    unschedule: bool = False
    """Drop its delay."""


def look(conn: Connection, account_id: UUID, held: Held, *, limit: int) -> tuple[Mailbox, list[Due]]:
    """Return the mailbox, and what of its outbox is due. Raises NotFound."""
    mailbox = mailboxes.get_mailbox(conn, account_id, held.mailbox_id)
    return mailbox, due.list_with_chunks(conn, account_id, held.mailbox_id, limit=limit)


def hold_back(conn: Connection, account_id: UUID, held: Held) -> None:
    """Let wait what would fail as well: replies while sending is in trouble, steps in Sent while reading is."""
    mailboxes.hold(conn, account_id, held.mailbox_id, held.fence)
    mailbox = mailboxes.get_mailbox(conn, account_id, held.mailbox_id)
    if mailbox.send_retry_at is not None:
        outbox.postpone(conn, account_id, held.mailbox_id, mailbox.send_retry_at, unsent=True)
    if mailbox.retry_at is not None:
        outbox.postpone(conn, account_id, held.mailbox_id, mailbox.retry_at, unsent=False)


def take(conn: Connection, account_id: UUID, held: Held, reply: Reply, worker_id: UUID) -> Reply | None:
    """Record that an attempt begins, before anything is sent; return the reply as it is then.

    None where it is not its turn: somebody decided on it since it was read, or an earlier reply of its ticket that
    was to leave before it did not.
    """
    mailboxes.hold(conn, account_id, held.mailbox_id, held.fence)
    return _take(conn, account_id, reply, worker_id)


def _take(conn: Connection, account_id: UUID, reply: Reply, worker_id: UUID) -> Reply | None:
    found, held_up = due.get_turn(conn, account_id, reply.message_id)
    if held_up or found.status not in outbox.UNSENT:
        return None
    status = next_status(found.status, ReplyEvent.TAKE)
    return outbox.start_attempt(conn, account_id, found, status, worker_id)


def settle(conn: Connection, account_id: UUID, held: Held, reply: Reply, move: Move) -> ReplyStatus:
    """Record what came of a step; `reply` is as it was read before (its status at this step's begin)."""
    mailboxes.hold_ending(conn, account_id, held.mailbox_id, held.fence)
    return change(conn, account_id, reply, move)


def settle_and_take(
    conn: Connection, account_id: UUID, held: Held, reply: Reply, move: Move, following: Reply, worker_id: UUID
) -> tuple[ReplyStatus, Reply | None]:
    """Record what came of one reply's attempt, and that the next one's begins: `settle` and `take` in one."""
    mailboxes.hold(conn, account_id, held.mailbox_id, held.fence)
    return change(conn, account_id, reply, move), _take(conn, account_id, following, worker_id)


def change(conn: Connection, account_id: UUID, reply: Reply, move: Move) -> ReplyStatus:
    """Move a reply and its recipients, with the event for the helpdesk where its status is news."""
    at = now(conn)
    status = next_status(reply.status, move.event)
    attempt = move.attempt
    outbox.change_reply(
        conn,
        account_id,
        reply.message_id,
        was=reply.status,
        status=status,
        due_at=None if move.due_in is None else at + move.due_in,
        reason=move.reason,
        sent_at=at if status is ReplyStatus.SENT and reply.status is not ReplyStatus.SENT else None,
        sent_copy=move.sent_copy,
        sealed=move.sealed,
        unschedule=move.unschedule,
    )
    if attempt is not None:
        outbox.end_attempt(
            conn,
            account_id,
            reply.message_id,
            attempt.number,
            outcome=attempt.outcome,
            stage=attempt.stage,
            code=attempt.code,
            enhanced_code=attempt.enhanced_code,
        )
    recipients.follow(
        conn,
        account_id,
        reply.message_id,
        move.event,
        refused=attempt.refused if attempt is not None else {},
        answer=Refusal(attempt.code, attempt.enhanced_code) if attempt is not None else Refusal(),
    )
    if status is not reply.status and status in _EVENT_OF_STATUS:
        _tell(conn, account_id, reply, _EVENT_OF_STATUS[status], move.reason)
    return status


def recover(conn: Connection, account_id: UUID, held: Held) -> int:
    """At the start of work on a mailbox: attempts that its last worker did not live to finish are unknown."""
    mailboxes.hold(conn, account_id, held.mailbox_id, held.fence)
    lost = outbox.list_in_flight(conn, account_id, held.mailbox_id)
    for reply in lost:
        attempt = AttemptResult(reply.attempts, "unknown", "worker_lost")
        move = Move(ReplyEvent.LOSE, attempt=attempt, due_in=timedelta(), reason="worker_lost")
        change(conn, account_id, reply, move)
    return len(lost)


def find(
    conn: Connection, account_id: UUID, held: Held, reply: Reply, *, sealed: bytes, thread_key: bytes | None
) -> None:
    """An unknown reply was found in Sent: the provider filed it, so it was sent."""
    mailboxes.count_sent_copy(
        conn, account_id, held.mailbox_id, fence=held.fence, found=True, rewritten=thread_key is not None
    )
    move = Move(ReplyEvent.FIND, reason="found_in_sent", sent_copy=SentCopy.FILED, sealed=sealed)
    change(conn, account_id, reply, move)
    if thread_key is not None:
        threads.add_thread_key(conn, account_id, held.mailbox_id, reply.message_id, thread_key)


def file_copy(
    conn: Connection,
    account_id: UUID,
    held: Held,
    reply: Reply,
    *,
    found: bool,
    sealed: bytes,
    thread_key: bytes | None,
) -> None:
    """Record the Sent copy, what this provider does by itself, and the id that it gave the copy.

    `found`: the provider had filed it; else we did. `thread_key` is that of the copy's Message-ID where it is not ours.
    """
    mailboxes.count_sent_copy(
        conn, account_id, held.mailbox_id, fence=held.fence, found=found, rewritten=thread_key is not None
    )
    outbox.change_reply(
        conn,
        account_id,
        reply.message_id,
        was=reply.status,
        status=reply.status,
        due_at=None,
        reason=reply.reason,
        sent_copy=SentCopy.FILED,
        sealed=sealed,
    )
    if thread_key is not None:
        threads.add_thread_key(conn, account_id, held.mailbox_id, reply.message_id, thread_key)


def postpone_copy(
    conn: Connection, account_id: UUID, held: Held, reply: Reply, *, due_in: timedelta, failed: bool
) -> None:
    """Look for the copy again later, or try again to file it."""
    _change_copy(conn, account_id, held, reply, SentCopy.DUE, due_at=now(conn) + due_in, failed=failed)


def end_copy(conn: Connection, account_id: UUID, held: Held, reply: Reply, sent_copy: SentCopy) -> None:
    """Have no copy: FAILED, which the reply's show tells, or NONE, where none is wanted."""
    _change_copy(conn, account_id, held, reply, sent_copy, due_at=None, failed=sent_copy is SentCopy.FAILED)


def _change_copy(
    conn: Connection,
    account_id: UUID,
    held: Held,
    reply: Reply,
    sent_copy: SentCopy,
    *,
    due_at: datetime | None,
    failed: bool,
) -> None:
    mailboxes.hold_ending(conn, account_id, held.mailbox_id, held.fence)
    outbox.change_reply(
        conn,
        account_id,
        reply.message_id,
        was=reply.status,
        status=reply.status,
        due_at=due_at,
        reason=reply.reason,
        sent_copy=sent_copy,
        sent_copy_attempts=reply.sent_copy_attempts + int(failed),
    )


def elapsed(conn: Connection, since: datetime) -> timedelta:
    return now(conn) - since


def _tell(conn: Connection, account_id: UUID, reply: Reply, event: str, detail: str | None) -> None:
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    about = events.NewEvent(event, reply.mailbox_id, None, reply.message_id, detail)
    events.insert_about(conn, account_id, sequence, about)
