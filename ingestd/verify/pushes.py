"""Nothing lost: what a provider tells of a mailbox is looked at, and its subscription is looked after."""

from __future__ import annotations

from sqlalchemy import and_, select

from ingestd.verify.look import live
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.pushes import Told
from storage.tables import pushes


@stated
def subscriptions_are_looked_after() -> Statements:
    """Every subscription has its next look: when something was told, else when it is renewed; one without an end is
    none."""
    yield Count(pushes, live(pushes))
    query = select(pushes.c.account_id, pushes.c.mailbox_id).where(live(pushes))
    forgotten = and_(pushes.c.told.is_(None), pushes.c.due_at != pushes.c.renew_at)
    yield Flag(query.where(forgotten), "nobody looks when it is to be renewed")
    yield Flag(query.where(pushes.c.told.not_in(list(Told))), "nobody knows what was told")
    half = pushes.c.sealed.is_(None) != pushes.c.expires_at.is_(None)
    yield Flag(query.where(half), "it stands and does not end, or ends and does not stand")
