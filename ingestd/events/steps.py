"""The transactions of a webhook's delivery: what came of attempts is written, and the log becomes deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from storage import accounts, deliveries, events, webhooks
from storage.database import now
from storage.deliveries import Outcome, Pending
from storage.webhooks import Webhook, WebhookStatus

DISABLED_EVENT = "webhook.disabled"
FAILING, GIVEN_UP, GONE, BY_HAND = "failing", "given_up", "gone", "by_hand"
"""Why a webhook is disabled."""


@dataclass(frozen=True, slots=True)
class Loaded:
    webhook: Webhook
    pending: list[Pending]
    location: str | None
    """What its account is pinned to."""
    at: datetime
    """By the database's clock."""


@dataclass(frozen=True, slots=True)
class Advance:
    """What one step writes."""

    outcomes: Sequence[Outcome]
    failing: bool | None
    """Whether the last attempt failed; None where there was none."""
    recovered: bool
    """The receiver is back: what waits for another attempt is due now."""
    disable: str | None
    """Why the webhook is to be disabled; None: it is not."""
    disable_after_seconds: float
    take: int
    """Events that may become deliveries."""


@dataclass(frozen=True, slots=True)
class Advanced:
    taken: list[Pending]
    more: bool
    """There is more in the log."""
    at: datetime
    disabled: str | None


def load(conn: Connection, account_id: UUID, webhook_id: UUID, worker_id: UUID) -> Loaded | None:
    """Return a webhook with what waits for it; None where this process is not to deliver to it."""
    webhook = webhooks.find_webhook(conn, account_id, webhook_id, lock=True)
    if webhook is None or not _is_ours(conn, webhook, worker_id):
        return None
    pinned = accounts.location_of(conn, account_id)
    return Loaded(webhook, deliveries.load_pending(conn, account_id, webhook_id), pinned, now(conn))


def advance(
    conn: Connection, account_id: UUID, webhook_id: UUID, *, worker_id: UUID, revision: int, step: Advance
) -> Advanced | None:
    """Write what came of attempts, and turn the next events into deliveries; None where it is to be loaded anew.

    Outcomes are written in any case: what was received was received, whoever holds the webhook now.
    """
    webhook = webhooks.find_webhook(conn, account_id, webhook_id, lock=True)
    if webhook is None:
        return None
    deliveries.record(conn, account_id, webhook_id, step.outcomes)
    if not _is_ours(conn, webhook, worker_id) or webhook.revision != revision:
        return None
    if step.recovered:
        deliveries.make_due(conn, account_id, webhook_id)
    if (reason := _why_disable(conn, webhook, step)) is not None:
        disable(conn, account_id, webhook_id, reason)
        return Advanced([], more=False, at=now(conn), disabled=reason)
    _note_health(conn, webhook, step.failing)
    taken, more = deliveries.take(conn, webhook, step.take) if step.take > 0 else ([], True)
    return Advanced(taken, more, now(conn), disabled=None)


def disable(conn: Connection, account_id: UUID, webhook_id: UUID, reason: str) -> bool:
    """Switch a webhook off and tell it in the log. Return False where it was so. Raises NotFound."""
    if not webhooks.disable(conn, account_id, webhook_id, reason):
        return False
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    events.insert_events(conn, account_id, sequence, [events.NewEvent(DISABLED_EVENT, detail=str(webhook_id))])
    return True


def _is_ours(conn: Connection, webhook: Webhook, worker_id: UUID) -> bool:
    return (
        webhook.status is WebhookStatus.ENABLED
        and webhook.worker_id == worker_id
        and webhook.held_until is not None
        and webhook.held_until > now(conn)
    )


def _why_disable(conn: Connection, webhook: Webhook, step: Advance) -> str | None:
    if step.disable is not None:
        return step.disable
    if not step.failing or webhook.failing_since is None:
        return None
    too_long = now(conn) - webhook.failing_since >= timedelta(seconds=step.disable_after_seconds)
    return FAILING if too_long else None


def _note_health(conn: Connection, webhook: Webhook, failing: bool | None) -> None:
    if failing is not None and failing != (webhook.failing_since is not None):
        webhooks.note_failing(conn, webhook.account_id, webhook.webhook_id, failing=failing)
