"""Nothing twice: what the outbox says about a reply agrees with the attempts to send it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from ingestd.verify.look import Look, live, same
from ingestd.verify.report import Findings
from storage.outbox import ReplyStatus, SentCopy
from storage.tables import attempts, messages, outbox

ACCEPTED = "accepted"
RESOLVED = ("found_in_sent", "resolved_by_person")
"""Reasons of a reply that counts as sent although no server was heard to accept it. The last one replaces
the others where its Sent copy is given up. After a restore there may be no attempt at all."""
FINAL = (ReplyStatus.SENT, ReplyStatus.FAILED, ReplyStatus.BOUNCED, ReplyStatus.CANCELLED)
WAITING = (ReplyStatus.QUEUED, ReplyStatus.DEFERRED)


async def outgoing_messages_are_replies(look: Look, found: Findings) -> None:
    """Every outgoing message has its row in the outbox, and every row in the outbox its outgoing message."""
    await look.count(found, messages, live(messages), messages.c.direction == "out")
    reply = select(outbox.c.message_id).where(*same(outbox, messages, "message_id")).exists()
    lost = select(messages.c.account_id, messages.c.message_id).where(live(messages), messages.c.direction == "out")
    await look.flag(found, lost.where(~reply), "the outgoing message is not in the outbox")
    # A row without any message is reported by children_lie_in_their_parents_mailbox.
    wrong = _replies().join(messages, and_(*same(messages, outbox, "message_id")))
    await look.flag(found, wrong.where(messages.c.direction != "out"), "the reply's message is not an outgoing one")


async def attempts_are_numbered(look: Look, found: Findings) -> None:
    """A reply's attempts are numbered 1, 2, 3 … up to the number that its outbox row counts."""
    await look.count(found, outbox, live(outbox))
    key = (attempts.c.account_id, attempts.c.message_id)
    number = attempts.c.number
    each = (
        select(*key, func.count().label("rows"), func.min(number).label("first"), func.max(number).label("last"))
        .group_by(*key)
        .subquery()
    )
    theirs = (each.c.account_id == outbox.c.account_id) & (each.c.message_id == outbox.c.message_id)
    wrong = or_(func.coalesce(each.c.rows, 0) != outbox.c.attempts, each.c.first != 1, each.c.last != outbox.c.attempts)
    query = _replies().outerjoin(each, theirs).where(wrong)
    await look.flag(found, query, "the attempts are not numbered up to the reply's count")


async def replies_are_accepted_once(look: Look, found: Findings) -> None:
    """No reply was accepted by a server twice."""
    await look.count(found, outbox, live(outbox))
    key = (attempts.c.account_id, attempts.c.message_id)
    query = select(*key).where(live(attempts), attempts.c.outcome == ACCEPTED).group_by(*key)
    await look.flag(found, query.having(func.count() > 1), "the reply was accepted more than once")


async def sent_replies_were_accepted(look: Look, found: Findings) -> None:
    """A reply that counts as sent was accepted by a server, or its unknown outcome was resolved."""
    await look.count(found, outbox, live(outbox), outbox.c.status == ReplyStatus.SENT)
    accepted = _attempt(attempts.c.outcome == ACCEPTED)
    resolved = func.coalesce(outbox.c.reason, "").in_(RESOLVED)
    query = _replies().where(outbox.c.status == ReplyStatus.SENT, ~accepted, ~resolved)
    await look.flag(found, query, "the reply counts as sent, but nobody accepted it")


async def sending_replies_have_one_open_attempt(look: Look, found: Findings) -> None:
    """A reply has an open attempt exactly while it is being sent: one, and the last."""
    await look.count(found, outbox, live(outbox))
    open_attempt = attempts.c.ended_at.is_(None)
    is_sending = outbox.c.status == ReplyStatus.SENDING
    last = _attempt(open_attempt, attempts.c.number == outbox.c.attempts)
    await look.flag(found, _replies().where(is_sending, ~last), "the reply is being sent without an open last attempt")
    earlier = _attempt(open_attempt, attempts.c.number != outbox.c.attempts)
    await look.flag(found, _replies().where(is_sending, earlier), "an earlier attempt is still open")
    await look.flag(found, _replies().where(~is_sending, _attempt(open_attempt)), "an attempt is open, but none runs")


async def sent_copies_follow_the_send(look: Look, found: Findings) -> None:
    """A copy in the Sent folder is due, filed or given up only for a reply that was sent."""
    await look.count(found, outbox, live(outbox))
    unsent = outbox.c.status.not_in((ReplyStatus.SENT, ReplyStatus.BOUNCED))
    query = _replies().where(outbox.c.sent_copy != SentCopy.NONE, unsent)
    await look.flag(found, query, "there is a Sent copy of a reply that was not sent")


async def final_replies_wait_for_nothing(look: Look, found: Findings) -> None:
    """A reply at a final status has no next step, but for its Sent copy."""
    await look.count(found, outbox, live(outbox), outbox.c.status.in_(FINAL))
    due = and_(outbox.c.due_at.is_not(None), outbox.c.sent_copy != SentCopy.DUE)
    await look.flag(found, _replies().where(outbox.c.status.in_(FINAL), due), "a final reply has a next step")


async def waiting_replies_have_a_next_step(look: Look, found: Findings) -> None:
    """A reply that is queued or deferred, or whose Sent copy is due, has a time for its next step."""
    waits = or_(outbox.c.status.in_(WAITING), outbox.c.sent_copy == SentCopy.DUE)
    await look.count(found, outbox, live(outbox), waits)
    await look.flag(found, _replies().where(waits, outbox.c.due_at.is_(None)), "the reply waits for nothing")


def _replies() -> Select[Any]:
    return select(outbox.c.account_id, outbox.c.message_id).where(live(outbox))


def _attempt(*where: ColumnElement[bool]) -> ColumnElement[bool]:
    theirs = same(attempts, outbox, "message_id")
    return select(attempts.c.number).where(*theirs, *where).correlate(outbox).exists()
