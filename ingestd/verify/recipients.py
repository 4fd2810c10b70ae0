"""Nothing lost: where a reply stands for each recipient agrees with where it stands itself."""

from __future__ import annotations

from sqlalchemy import func, or_, select

from ingestd.verify.look import Look, live, same
from ingestd.verify.report import Findings
from storage.outbox import UNSENT, ReplyStatus
from storage.reply_recipients import RecipientStatus
from storage.tables import attempts, outbox, reply_recipients

_LEFT = (ReplyStatus.SENT, ReplyStatus.BOUNCED)


async def recipients_are_numbered(look: Look, found: Findings) -> None:
    """The recipients of a reply have the positions 0, 1, 2 … without a gap."""
    await look.count(found, reply_recipients, live(reply_recipients))
    position = reply_recipients.c.position
    query = (
        select(reply_recipients.c.account_id, reply_recipients.c.message_id)
        .where(live(reply_recipients))
        .group_by(reply_recipients.c.account_id, reply_recipients.c.message_id)
        .having((func.min(position) != 0) | (func.max(position) != func.count(position.distinct()) - 1))
    )
    await look.flag(found, query, "the positions of the recipients have a gap")


async def recipients_have_a_known_status(look: Look, found: Findings) -> None:
    """A reply stands for each recipient at a status that there is."""
    await look.count(found, reply_recipients, live(reply_recipients))
    query = (
        select(reply_recipients.c.account_id, reply_recipients.c.message_id)
        .where(live(reply_recipients), reply_recipients.c.status.not_in(tuple(RecipientStatus)))
        .distinct()
    )
    await look.flag(found, query, "a recipient has an unknown status")


async def sent_replies_were_answered_for_everybody(look: Look, found: Findings) -> None:
    """Of a reply that was sent, each recipient was accepted or refused; of one that waits to be sent, none was."""
    await look.count(found, outbox, live(outbox))
    theirs = select(reply_recipients.c.position).where(*same(reply_recipients, outbox, "message_id")).correlate(outbox)
    replies = select(outbox.c.account_id, outbox.c.message_id).where(live(outbox))
    pending = theirs.where(reply_recipients.c.status == RecipientStatus.PENDING).exists()
    query = replies.where(outbox.c.status.in_(_LEFT), pending)
    await look.flag(found, query, "the reply was sent, but not for a recipient")
    answered = theirs.where(reply_recipients.c.status != RecipientStatus.PENDING).exists()
    query = replies.where(outbox.c.status.in_(UNSENT), answered)
    await look.flag(found, query, "the reply waits to be sent, but a recipient was answered for")


async def delayed_replies_wait_for_their_time(look: Look, found: Findings) -> None:
    """A reply that was put off is neither due nor tried before its time."""
    await look.count(found, outbox, live(outbox), outbox.c.send_at.is_not(None))
    replies = select(outbox.c.account_id, outbox.c.message_id).where(live(outbox))
    early = attempts.c.started_at < outbox.c.send_at
    tried = select(attempts.c.number).where(*same(attempts, outbox, "message_id"), early).correlate(outbox).exists()
    due = outbox.c.status.in_(UNSENT) & (outbox.c.due_at < outbox.c.send_at)
    await look.flag(found, replies.where(or_(due, tried)), "the reply was not to be sent yet")
