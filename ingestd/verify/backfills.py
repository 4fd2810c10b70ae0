"""Old mail: a backfill's row agrees with itself, and leaves nothing behind at its end."""

from __future__ import annotations

from sqlalchemy import exists, or_, select

from ingestd.verify.look import Look, live, same
from ingestd.verify.report import Findings
from storage.backfills import UNFINISHED, BackfillStatus
from storage.tables import backfills, reference_keys


async def backfills_agree_with_their_status(look: Look, found: Findings) -> None:
    """A backfill has an end exactly where it does not run, and a pause only where it does."""
    await look.count(found, backfills, live(backfills))
    runs = backfills.c.status == BackfillStatus.RUNNING
    ended, pauses = backfills.c.ended_at.is_not(None), backfills.c.retry_at.is_not(None)
    query = select(backfills.c.account_id, backfills.c.mailbox_id).where(live(backfills))
    await look.flag(found, query.where(runs == ended), "the backfill's end does not fit its status")
    await look.flag(found, query.where(~runs, pauses), "a backfill that does not run waits for its next attempt")


async def backfills_move_with_their_cursor(look: Look, found: Findings) -> None:
    """A backfill has seen messages only behind a cursor, and never more than there are."""
    await look.count(found, backfills, live(backfills))
    query = select(backfills.c.account_id, backfills.c.mailbox_id).where(live(backfills))
    begun = or_(backfills.c.seen > 0, backfills.c.began_at.is_not(None), backfills.c.total.is_not(None))
    await look.flag(found, query.where(backfills.c.cursor_sealed.is_(None), begun), "it has begun without a cursor")
    await look.flag(found, query.where(backfills.c.seen > backfills.c.total), "it has seen more than there is")


async def references_wait_for_older_mail(look: Look, found: Findings) -> None:
    """What messages name is remembered only in a mailbox whose old mail is not all read yet."""
    await look.count(found, reference_keys, live(reference_keys))
    waits = exists().where(*same(backfills, reference_keys, "mailbox_id"), backfills.c.status.in_(UNFINISHED))
    query = select(reference_keys.c.account_id, reference_keys.c.message_id).where(live(reference_keys), ~waits)
    await look.flag(found, query.distinct(), "no older mail will come, and it is remembered")
