"""Nothing lost: where a reply stands for each recipient agrees with where it stands itself."""

from __future__ import annotations

from sqlalchemy import func, or_, select

from ingestd.verify.look import live, same
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.outbox import UNSENT, ReplyStatus
from storage.reply_recipients import RecipientStatus
from storage.tables import attempts, outbox, reply_recipients

_LEFT = (ReplyStatus.SENT, ReplyStatus.BOUNCED)


@stated
def recipients_are_numbered() -> Statements:
    """The recipients of a reply have the positions 0, 1, 2 … without a gap."""
    yield Count(reply_recipients, live(reply_recipients))
    position = reply_recipients.c.position
    query = (
        select(reply_recipients.c.account_id, reply_recipients.c.message_id)
        .where(live(reply_recipients))
        .group_by(reply_recipients.c.account_id, reply_recipients.c.message_id)
        .having((func.min(position) != 0) | (func.max(position) != func.count(position.distinct()) - 1))
    )
    yield Flag(query, "the positions of the recipients have a gap")


@stated
def recipients_have_a_known_status() -> Statements:
    """A reply stands for each recipient at a status that there is."""
    yield Count(reply_recipients, live(reply_recipients))
    query = (
        select(reply_recipients.c.account_id, reply_recipients.c.message_id)
        .where(live(reply_recipients), reply_recipients.c.status.not_in(tuple(RecipientStatus)))
        .distinct()
    )
    yield Flag(query, "a recipient has an unknown status")


@stated
def sent_replies_were_answered_for_everybody() -> Statements:
    """Of a reply that was sent, each recipient was accepted or refused; of one that waits to be sent, none was."""
    yield Count(outbox, live(outbox))
    theirs = select(reply_recipients.c.position).where(*same(reply_recipients, outbox, "message_id")).correlate(outbox)
    replies = select(outbox.c.account_id, outbox.c.message_id).where(live(outbox))
    pending = theirs.where(reply_recipients.c.status == RecipientStatus.PENDING).exists()
    query = replies.where(outbox.c.status.in_(_LEFT), pending)
    yield Flag(query, "the reply was sent, but not for a recipient")
    answered = theirs.where(reply_recipients.c.status != RecipientStatus.PENDING).exists()
    query = replies.where(outbox.c.status.in_(UNSENT), answered)
    yield Flag(query, "the reply waits to be sent, but a recipient was answered for")


@stated
def delayed_replies_wait_for_their_time() -> Statements:
    """A reply that was put off is neither due nor tried before its time."""
    yield Count(outbox, live(outbox), outbox.c.send_at.is_not(None))
    replies = select(outbox.c.account_id, outbox.c.message_id).where(live(outbox))
    early = attempts.c.started_at < outbox.c.send_at
    tried = select(attempts.c.number).where(*same(attempts, outbox, "message_id"), early).correlate(outbox).exists()
    due = outbox.c.status.in_(UNSENT) & (outbox.c.due_at < outbox.c.send_at)
    yield Flag(replies.where(or_(due, tried)), "the reply was not to be sent yet")
