"""Nothing twice: what the outbox says about a reply agrees with the attempts to send it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from ingestd.verify.look import live, same
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.outbox import ReplyStatus, SentCopy
from storage.tables import attempts, messages, outbox

ACCEPTED = "accepted"
RESOLVED = ("found_in_sent", "resolved_by_person")
"""Reasons of a reply that counts as sent although no server was heard to accept it. The last one replaces
the others where its Sent copy is given up. After a restore there may be no attempt at all."""
FINAL = (ReplyStatus.SENT, ReplyStatus.FAILED, ReplyStatus.BOUNCED, ReplyStatus.CANCELLED)
WAITING = (ReplyStatus.QUEUED, ReplyStatus.DEFERRED)


@stated
def outgoing_messages_are_replies() -> Statements:
    """Every outgoing message has its row in the outbox, and every row in the outbox its outgoing message."""
    yield Count(messages, live(messages), messages.c.direction == "out")
    reply = select(outbox.c.message_id).where(*same(outbox, messages, "message_id")).exists()
    lost = select(messages.c.account_id, messages.c.message_id).where(live(messages), messages.c.direction == "out")
    yield Flag(lost.where(~reply), "the outgoing message is not in the outbox")
    # A row without any message is reported by children_lie_in_their_parents_mailbox.
    wrong = _replies().join(messages, and_(*same(messages, outbox, "message_id")))
    yield Flag(wrong.where(messages.c.direction != "out"), "the reply's message is not an outgoing one")


@stated
def attempts_are_numbered() -> Statements:
    """A reply's attempts are numbered 1, 2, 3 … up to the number that its outbox row counts."""
    yield Count(outbox, live(outbox))
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
    yield Flag(query, "the attempts are not numbered up to the reply's count")


@stated
def replies_are_accepted_once() -> Statements:
    """No reply was accepted by a server twice."""
    yield Count(outbox, live(outbox))
    key = (attempts.c.account_id, attempts.c.message_id)
    query = select(*key).where(live(attempts), attempts.c.outcome == ACCEPTED).group_by(*key)
    yield Flag(query.having(func.count() > 1), "the reply was accepted more than once")


@stated
def sent_replies_were_accepted() -> Statements:
    """A reply that counts as sent was accepted by a server, or its unknown outcome was resolved."""
    yield Count(outbox, live(outbox), outbox.c.status == ReplyStatus.SENT)
    accepted = _attempt(attempts.c.outcome == ACCEPTED)
    resolved = func.coalesce(outbox.c.reason, "").in_(RESOLVED)
    query = _replies().where(outbox.c.status == ReplyStatus.SENT, ~accepted, ~resolved)
    yield Flag(query, "the reply counts as sent, but nobody accepted it")


@stated
def sending_replies_have_one_open_attempt() -> Statements:
    """A reply has an open attempt exactly while it is being sent: one, and the last."""
    yield Count(outbox, live(outbox))
    open_attempt = attempts.c.ended_at.is_(None)
    is_sending = outbox.c.status == ReplyStatus.SENDING
    last = _attempt(open_attempt, attempts.c.number == outbox.c.attempts)
    yield Flag(_replies().where(is_sending, ~last), "the reply is being sent without an open last attempt")
    earlier = _attempt(open_attempt, attempts.c.number != outbox.c.attempts)
    yield Flag(_replies().where(is_sending, earlier), "an earlier attempt is still open")
    yield Flag(_replies().where(~is_sending, _attempt(open_attempt)), "an attempt is open, but none runs")


@stated
def sent_copies_follow_the_send() -> Statements:
    """A copy in the Sent folder is due, filed or given up only for a reply that was sent."""
    yield Count(outbox, live(outbox))
    unsent = outbox.c.status.not_in((ReplyStatus.SENT, ReplyStatus.BOUNCED))
    query = _replies().where(outbox.c.sent_copy != SentCopy.NONE, unsent)
    yield Flag(query, "there is a Sent copy of a reply that was not sent")


@stated
def final_replies_wait_for_nothing() -> Statements:
    """A reply at a final status has no next step, but for its Sent copy."""
    yield Count(outbox, live(outbox), outbox.c.status.in_(FINAL))
    due = and_(outbox.c.due_at.is_not(None), outbox.c.sent_copy != SentCopy.DUE)
    yield Flag(_replies().where(outbox.c.status.in_(FINAL), due), "a final reply has a next step")


@stated
def waiting_replies_have_a_next_step() -> Statements:
    """A reply that is queued or deferred, or whose Sent copy is due, has a time for its next step."""
    waits = or_(outbox.c.status.in_(WAITING), outbox.c.sent_copy == SentCopy.DUE)
    yield Count(outbox, live(outbox), waits)
    yield Flag(_replies().where(waits, outbox.c.due_at.is_(None)), "the reply waits for nothing")


def _replies() -> Select[Any]:
    return select(outbox.c.account_id, outbox.c.message_id).where(live(outbox))


def _attempt(*where: ColumnElement[bool]) -> ColumnElement[bool]:
    theirs = same(attempts, outbox, "message_id")
    return select(attempts.c.number).where(*theirs, *where).correlate(outbox).exists()
