"""Nothing lost: what is still to be done in a mailbox can be done, or says why not."""

from __future__ import annotations

from sqlalchemy import and_, func, or_, select

from connectors.base import EditKind
from ingestd.mirror import MOVES
from ingestd.verify.look import live, same
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.edits import EditCause, EditStatus
from storage.tables import edits, messages


@stated
def edits_are_due_or_given_up() -> Statements:
    """Every edit in the mailbox has a time at which it is due, or was given up with a reason."""
    yield Count(edits, live(edits))
    due = and_(edits.c.status == EditStatus.DUE, edits.c.due_at.is_not(None))
    given_up = and_(edits.c.status == EditStatus.FAILED, edits.c.due_at.is_(None), edits.c.reason.is_not(None))
    query = select(edits.c.account_id, edits.c.edit_id).where(live(edits))
    yield Flag(query.where(~or_(due, given_up)), "the edit is neither due nor given up")
    yield Flag(query.where(edits.c.kind.not_in(list(EditKind))), "the edit is of an unknown kind")
    yield Flag(query.where(edits.c.cause.not_in(list(EditCause))), "the edit has an unknown cause")


@stated
def received_messages_are_edited_once() -> Statements:
    """At most one edit that moves a message waits for it, and one that marks it as read; and only for a message that
    came from the mailbox."""
    yield Count(edits, live(edits))
    key = (edits.c.account_id, edits.c.message_id)
    for kinds, said in ((MOVES, "the message is to be moved twice"), ({EditKind.READ}, "it is to be read twice")):
        twice = select(*key).where(live(edits), edits.c.kind.in_(list(kinds)))
        yield Flag(twice.group_by(*key).having(func.count() > 1), said)
    sent = select(*key).where(live(edits)).join(messages, and_(*same(messages, edits, "message_id")))
    yield Flag(sent.where(messages.c.direction != "in"), "the edit is of a message that was not received")
