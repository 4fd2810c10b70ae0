"""Nothing lost, and nothing shared: what webhooks were told, and what they still are to be told."""

from __future__ import annotations

from sqlalchemy import and_, exists, or_, select

from ingestd.verify.look import same
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.deliveries import DeliveryStatus
from storage.tables import accounts, deliveries, webhooks
from storage.webhooks import WebhookStatus


@stated
def webhooks_follow_the_log() -> Statements:
    """No webhook has come further than its account's log, and one that is disabled says why."""
    yield Count(webhooks)
    query = select(webhooks.c.account_id, webhooks.c.webhook_id)
    in_log = exists().where(*same(accounts, webhooks), accounts.c.next_event_sequence > webhooks.c.cursor_sequence)
    yield Flag(query.where(or_(~in_log, webhooks.c.cursor_sequence < 0)), "its cursor is beyond the log")
    enabled = and_(webhooks.c.status == WebhookStatus.ENABLED, webhooks.c.reason.is_(None))
    disabled = and_(webhooks.c.status == WebhookStatus.DISABLED, webhooks.c.reason.is_not(None))
    deleted = webhooks.c.status == WebhookStatus.DELETED
    yield Flag(query.where(~or_(enabled, disabled, deleted)), "it is neither enabled nor disabled for a reason")


@stated
def deliveries_are_due_or_done() -> Statements:
    """Every delivery waits for a time, or was tried and taken, or was given up with a reason."""
    yield Count(deliveries)
    waits = and_(deliveries.c.status == DeliveryStatus.PENDING, deliveries.c.due_at.is_not(None))
    taken = and_(
        deliveries.c.status == DeliveryStatus.DELIVERED, deliveries.c.due_at.is_(None), deliveries.c.attempts > 0
    )
    given_up = and_(
        deliveries.c.status == DeliveryStatus.GIVEN_UP, deliveries.c.due_at.is_(None), deliveries.c.reason.is_not(None)
    )
    query = select(deliveries.c.account_id, deliveries.c.sequence).where(~or_(waits, taken, given_up))
    yield Flag(query, "the delivery is neither due nor done")


@stated
def deliveries_lie_behind_their_cursor() -> Statements:
    """Every delivery is of a webhook of its account, and the cursor of that has passed each one that waits."""
    yield Count(deliveries)
    query = select(deliveries.c.account_id, deliveries.c.sequence)
    of = same(webhooks, deliveries, "webhook_id")
    yield Flag(query.where(~exists().where(*of)), "the delivery has no webhook in its account")
    beyond = exists().where(*of, webhooks.c.cursor_sequence < deliveries.c.sequence)
    waiting = deliveries.c.status == DeliveryStatus.PENDING
    yield Flag(query.where(waiting, beyond), "the delivery waits beyond its webhook's cursor")
