"""Nothing twice: a mailbox is read by one way, and a warning of what will end its access is told once."""

from __future__ import annotations

from sqlalchemy import and_, select

from ingestd.linking.ways import Way
from ingestd.verify.log import is_forgotten
from ingestd.verify.look import live
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.tables import access_warnings, events, mailboxes

_BEGAN, _OVER = "mailbox.access_warning", "mailbox.access_warning_ended"
_NEWEST = (
    select(events.c.type)
    .where(
        and_(
            events.c.account_id == access_warnings.c.account_id,
            events.c.mailbox_id == access_warnings.c.mailbox_id,
            events.c.detail == access_warnings.c.risk,
            events.c.type.in_((_BEGAN, _OVER)),
        )
    )
    .order_by(events.c.sequence.desc())
    .limit(1)
    .correlate(access_warnings)
    .scalar_subquery()
)
"""What was told last about a warning; null where nothing was, or the log does not reach back to it."""


@stated
def access_warnings_were_told() -> Statements:
    """Every warning of a mailbox's access that lasts was told, and was not told to be over since."""
    yield Count(access_warnings, live(access_warnings))
    query = select(access_warnings.c.account_id, access_warnings.c.mailbox_id).where(live(access_warnings))
    untold = _NEWEST.is_(None) & ~is_forgotten(access_warnings, access_warnings.c.since)
    yield Flag(query.where(untold), "the warning was not told")
    yield Flag(query.where(_NEWEST == _OVER), "the warning was told to be over")


@stated
def read_ways_are_known() -> Statements:
    """Every mailbox is read by a way that there is: under another word it would be read anew, and come in twice."""
    yield Count(mailboxes, mailboxes.c.read_way.is_not(None))
    query = select(mailboxes.c.account_id, mailboxes.c.mailbox_id)
    unknown = mailboxes.c.read_way.not_in([one.value for one in Way])
    yield Flag(query.where(unknown), "nobody knows by which way it is read")
