"""Old mail: a backfill's row agrees with itself, and leaves nothing behind at its end."""

from __future__ import annotations

from sqlalchemy import exists, or_, select

from ingestd.verify.look import live, same
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.backfills import UNFINISHED, BackfillStatus
from storage.tables import backfills, reference_keys


@stated
def backfills_agree_with_their_status() -> Statements:
    """A backfill has an end exactly where it does not run, and a pause only where it does."""
    yield Count(backfills, live(backfills))
    runs = backfills.c.status == BackfillStatus.RUNNING
    ended, pauses = backfills.c.ended_at.is_not(None), backfills.c.retry_at.is_not(None)
    query = select(backfills.c.account_id, backfills.c.mailbox_id).where(live(backfills))
    yield Flag(query.where(runs == ended), "the backfill's end does not fit its status")
    yield Flag(query.where(~runs, pauses), "a backfill that does not run waits for its next attempt")


@stated
def backfills_move_with_their_cursor() -> Statements:
    """A backfill has seen messages only behind a cursor, and never more than there are."""
    yield Count(backfills, live(backfills))
    query = select(backfills.c.account_id, backfills.c.mailbox_id).where(live(backfills))
    begun = or_(backfills.c.seen > 0, backfills.c.began_at.is_not(None), backfills.c.total.is_not(None))
    yield Flag(query.where(backfills.c.cursor_sealed.is_(None), begun), "it has begun without a cursor")
    yield Flag(query.where(backfills.c.seen > backfills.c.total), "it has seen more than there is")


@stated
def references_wait_for_older_mail() -> Statements:
    """What messages name is remembered only in a mailbox whose old mail is not all read yet."""
    yield Count(reference_keys, live(reference_keys))
    waits = exists().where(*same(backfills, reference_keys, "mailbox_id"), backfills.c.status.in_(UNFINISHED))
    query = select(reference_keys.c.account_id, reference_keys.c.message_id).where(live(reference_keys), ~waits)
    yield Flag(query.distinct(), "no older mail will come, and it is remembered")
