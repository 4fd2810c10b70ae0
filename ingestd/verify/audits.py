"""Comparisons with the servers: what they found agrees with when they were made."""

from __future__ import annotations

from sqlalchemy import or_, select

from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.tables import mailboxes


@stated
def audits_say_when() -> Statements:
    """Messages are unaccounted for only in a mailbox that was compared, and never fewer than none."""
    yield Count(mailboxes, mailboxes.c.audited_at.is_not(None))
    never = mailboxes.c.audited_at.is_(None)
    odd = or_(mailboxes.c.unaccounted < 0, (mailboxes.c.unaccounted > 0) & never)
    query = select(mailboxes.c.account_id, mailboxes.c.mailbox_id)
    yield Flag(query.where(odd), "messages are unaccounted for that no comparison found")
