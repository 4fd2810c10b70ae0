"""A person's decision about a reply."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection

from ingestd.outbound import steps
from ingestd.outbound.statuses import ReplyEvent
from storage import mailboxes, outbox
from storage.database import wake
from storage.outbox import ReplyStatus, SentCopy

_BY_PERSON = frozenset({ReplyEvent.PERSON_SENT, ReplyEvent.PERSON_RESEND, ReplyEvent.PERSON_FAILED, ReplyEvent.CANCEL})


def resolve_reply(conn: Connection, account_id: UUID, message_id: UUID, event: ReplyEvent) -> ReplyStatus:
    """Move a reply as a person decided. Raises IllegalStepError, NotFound, Conflict."""
    if event not in _BY_PERSON:
        raise ValueError(f"{event} is not a person's to decide")
    reply = outbox.get_reply(conn, account_id, message_id)
    mailboxes.hold_unfenced(conn, account_id, reply.mailbox_id)
    again = event is ReplyEvent.PERSON_RESEND
    sent = event is ReplyEvent.PERSON_SENT
    status = steps.change(
        conn,
        account_id,
        reply,
        event,
        due_in=timedelta() if again or sent else None,
        reason="resolved_by_person",
        sent_copy=SentCopy.DUE if sent else None,
    )
    wake(conn, "outbox")
    return status
