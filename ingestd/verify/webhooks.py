"""Nothing lost, and nothing shared: what webhooks were told, and what they still are to be told."""

from __future__ import annotations

from sqlalchemy import and_, exists, or_, select

from ingestd.verify.look import Look, same
from ingestd.verify.report import Findings
from storage.deliveries import DeliveryStatus
from storage.tables import accounts, deliveries, webhooks
from storage.webhooks import WebhookStatus


async def webhooks_follow_the_log(look: Look, found: Findings) -> None:
    """No webhook has come further than its account's log, and one that is disabled says why."""
    await look.count(found, webhooks)
    query = select(webhooks.c.account_id, webhooks.c.webhook_id)
    in_log = exists().where(*same(accounts, webhooks), accounts.c.next_event_sequence > webhooks.c.cursor_sequence)
    await look.flag(found, query.where(or_(~in_log, webhooks.c.cursor_sequence < 0)), "its cursor is beyond the log")
    enabled = and_(webhooks.c.status == WebhookStatus.ENABLED, webhooks.c.reason.is_(None))
    disabled = and_(webhooks.c.status == WebhookStatus.DISABLED, webhooks.c.reason.is_not(None))
    deleted = webhooks.c.status == WebhookStatus.DELETED
    await look.flag(
        found, query.where(~or_(enabled, disabled, deleted)), "it is neither enabled nor disabled for a reason"
    )


async def deliveries_are_due_or_done(look: Look, found: Findings) -> None:
    """Every delivery waits for a time, or was tried and taken, or was given up with a reason."""
    await look.count(found, deliveries)
    waits = and_(deliveries.c.status == DeliveryStatus.PENDING, deliveries.c.due_at.is_not(None))
    taken = and_(
        deliveries.c.status == DeliveryStatus.DELIVERED, deliveries.c.due_at.is_(None), deliveries.c.attempts > 0
    )
    given_up = and_(
        deliveries.c.status == DeliveryStatus.GIVEN_UP, deliveries.c.due_at.is_(None), deliveries.c.reason.is_not(None)
    )
    query = select(deliveries.c.account_id, deliveries.c.sequence).where(~or_(waits, taken, given_up))
    await look.flag(found, query, "the delivery is neither due nor done")


async def deliveries_lie_behind_their_cursor(look: Look, found: Findings) -> None:
    """Every delivery is of a webhook of its account, and the cursor of that has passed each one that waits."""
    await look.count(found, deliveries)
    query = select(deliveries.c.account_id, deliveries.c.sequence)
    of = same(webhooks, deliveries, "webhook_id")
    await look.flag(found, query.where(~exists().where(*of)), "the delivery has no webhook in its account")
    beyond = exists().where(*of, webhooks.c.cursor_sequence < deliveries.c.sequence)
    waiting = deliveries.c.status == DeliveryStatus.PENDING
    await look.flag(found, query.where(waiting, beyond), "the delivery waits beyond its webhook's cursor")
