"""A person's decision about a reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from ingestd.desk import Desk
from ingestd.outbound.statuses import TABLE, IllegalStepError, ReplyEvent
from ingestd.outbound.steps import Move, change
from ingestd.records import ReplyDecision, ReplyRecord
from storage import mailboxes, outbox
from storage.database import now, wake
from storage.outbox import Reply, ReplyStatus, SentCopy
from storage.requests import Claim, once
from storage.sealing import DataKey

_DECISIONS_MAX = 20
_AUTHOR_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class _Kind:
    """One thing that a person can decide."""

    what: str
    done: ReplyStatus
    """A reply that stands here needs it no more."""
    reason: str
    again: bool = False
    """It is sent, or done, now."""
    cannot: str = ""
    """What a reply that stands elsewhere cannot be."""


_KINDS: Mapping[ReplyEvent, _Kind] = MappingProxyType(
    {
        ReplyEvent.PERSON_SENT: _Kind(
            "sent", ReplyStatus.SENT, "resolved_by_person", again=True, cannot="declared to be sent"
        ),
        ReplyEvent.PERSON_RESEND: _Kind(
            "resend", ReplyStatus.QUEUED, "resolved_by_person", again=True, cannot="sent again"
        ),
        ReplyEvent.PERSON_FAILED: _Kind(
            "failed", ReplyStatus.FAILED, "resolved_by_person", cannot="declared to have failed"
        ),
        ReplyEvent.PERSON_RETRY: _Kind(
            "retry", ReplyStatus.QUEUED, "retried_by_person", again=True, cannot="tried again"
        ),
        ReplyEvent.CANCEL: _Kind("cancel", ReplyStatus.CANCELLED, "cancelled_by_person", cannot="cancelled"),
    }
)


DECISIONS: Mapping[str, ReplyEvent] = MappingProxyType(
    {
        "sent": ReplyEvent.PERSON_SENT,
        "resend": ReplyEvent.PERSON_RESEND,
        "failed": ReplyEvent.PERSON_FAILED,
    }
)
"""What a person can decide about a reply of which nobody knows whether it was sent."""


@dataclass(frozen=True, slots=True)
class Decided:
    status: ReplyStatus
    changed: bool
    """False where it stood so already."""
    repeated: bool = False
    """The same request had been made before, and nothing was done now."""


async def decide(
    desk: Desk,
    account_id: UUID,
    message_id: UUID,
    event: ReplyEvent,
    *,
    author: str = "",
    request: Callable[[UUID], Awaitable[Claim | None]] | None = None,
) -> Decided:
    """Move a reply as a person decided, and note who did. Asked for twice, it is done once.

    `request` returns the claim of the request, for the reply's mailbox. Raises IllegalStepError for a reply of which
    that cannot be decided (any more), NotFound, KeyReused.
    """
    reply = await desk.content.read(account_id, outbox.get_reply, message_id)
    key = await desk.keys.mailbox(account_id, reply.mailbox_id)
    claim = None if request is None else await request(reply.mailbox_id)
    done = await desk.content.transaction(
        account_id, once, claim, resolve_reply, reply.mailbox_id, message_id, event, key, author
    )
    if done.value is not None:
        return done.value
    return Decided((await desk.content.read(account_id, outbox.get_reply, message_id)).status, False, repeated=True)


def resolve_reply(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    message_id: UUID,
    event: ReplyEvent,
    key: DataKey,
    author: str = "",
) -> Decided:
    """As `decide`, within a transaction."""
    if event not in _KINDS:
        raise ValueError(f"{event} is not a person's to decide")
    # Held before it is read: whoever works on the mailbox is either behind it or has come to its end.
    mailboxes.hold_unfenced(conn, account_id, mailbox_id)
    reply = outbox.get_reply(conn, account_id, message_id)
    kind = _KINDS[event]
    if _is_so(conn, reply, event, kind):
        return Decided(reply.status, changed=False)
    if (reply.status, event) not in TABLE:
        raise IllegalStepError(_why_not(reply, kind))
    decision = ReplyDecision(now(conn), kind.what, author[:_AUTHOR_CHARS_MAX])
    move = Move(
        event,
        due_in=timedelta() if kind.again else None,
        reason=kind.reason,
        sent_copy=SentCopy.DUE if event is ReplyEvent.PERSON_SENT else None,
        sealed=_noted(key, reply, decision),
        unschedule=event is ReplyEvent.PERSON_RETRY,
    )
    status = change(conn, account_id, reply, move)
    wake(conn, "outbox")
    return Decided(status, changed=True)


def _is_so(conn: Connection, reply: Reply, event: ReplyEvent, kind: _Kind) -> bool:
    if reply.status is not kind.done:
        return False
    if event is ReplyEvent.PERSON_RETRY:  # it may be queued for later
        return reply.due_at is not None and reply.due_at <= now(conn)
    return True


def _why_not(reply: Reply, kind: _Kind) -> str:
    if reply.status is ReplyStatus.SENDING:
        return "the reply is being sent right now: ask again in a moment, when it is known what came of it"
    if reply.status is ReplyStatus.UNKNOWN:
        return f"nobody knows whether the reply was sent, so it cannot be {kind.cannot}: `reply resolve` decides on it"
    return f"a reply that is {reply.status} cannot be {kind.cannot}"


def _noted(key: DataKey, reply: Reply, decision: ReplyDecision) -> bytes:
    place = ReplyRecord.place(reply.message_id)
    record = key.open_record(place, reply.sealed, ReplyRecord)
    decisions = (*record.decisions, decision)[-_DECISIONS_MAX:]
    return key.seal_record(place, msgspec.structs.replace(record, decisions=decisions))
