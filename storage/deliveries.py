"""Deliveries: each event that a webhook is told, and how that went.

A webhook's cursor moves through the log in the transaction that writes its deliveries, so that
no event is lost between the two. A row stays `pending` until the receiver took the event, or it
was given up; it is sent at least once, and again after a crash that came before its outcome.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Executable, and_, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.database import now
from storage.erasures import KEPT_EVENTS
from storage.events import Event
from storage.some_rows import SomeRows
from storage.tables import accounts, deliveries, events, tickets, webhooks
from storage.webhooks import Webhook, WebhookStatus, begin_at, change, get_webhook


class DeliveryStatus(enum.StrEnum):
    PENDING = "pending"
    """It waits for its turn, or for its next attempt."""
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"
    """Every attempt failed, or its event was deleted before."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A delivery that waits, with the event that it tells."""

    event: Event
    attempts: int
    due_at: datetime
    created_at: datetime
    """When it was written: told again, it has another one, and what came of the older one is not for it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt."""

    sequence: int
    created_at: datetime
    status: DeliveryStatus
    attempts: int
    code: int | None
    """The receiver's status; None where there was no answer."""
    reason: str | None
    """Why it failed, as a fixed word."""
    delay_seconds: float | None
    """Of a pending one: when it is tried again."""


@dataclass(frozen=True, slots=True)
class Lag:
    """What a webhook has not been told yet."""

    events: int
    """Sequences behind the cursor (there are gaps), and deliveries that wait."""
    since: datetime | None
    """When the oldest of these happened, or was to be told again; None where there is none."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as it is listed."""

    sequence: int
    type: str | None
    """None where the event was deleted meanwhile."""
    at: datetime | None
    mailbox_id: UUID | None
    ticket_id: UUID | None
    status: DeliveryStatus
    attempts: int
    due_at: datetime | None
    attempted_at: datetime | None
    code: int | None
    reason: str | None
    created_at: datetime


_EVENT = (*(events.c[name] for name in Event.__dataclass_fields__ if name in events.c), tickets.c.number)
_WITH_NUMBER = and_(tickets.c.account_id == events.c.account_id, tickets.c.ticket_id == events.c.ticket_id)
_FOLLOWING = (
    select(*_EVENT)
    .select_from(events.outerjoin(tickets, _WITH_NUMBER))
    .where(events.c.account_id == bindparam("of_account"), events.c.sequence > bindparam("after"))
    .order_by(events.c.sequence)
    .limit(bindparam("at_most"))
)
_NEWEST = select(accounts.c.next_event_sequence - 1).where(accounts.c.account_id == bindparam("of_account"))
_MOVE = (
    update(webhooks)
    .where(webhooks.c.account_id == bindparam("of_account"), webhooks.c.webhook_id == bindparam("of_webhook"))
    .values(cursor_sequence=bindparam("cursor"))
)
_AGAIN = {"status": DeliveryStatus.PENDING, "attempts": 0, "attempted_at": None, "code": None, "reason": None}


def take(conn: Connection, webhook: Webhook, limit: int) -> tuple[list[Pending], bool]:
    """Turn the next `limit` events of the log into deliveries and move the cursor behind them.

    The webhook's row is locked. Returns the deliveries that this makes, and whether there is more in the log.
    Told again, an event has the same row, as if it had never been sent.
    """
    account_id = webhook.account_id
    # Asked before the events: whatever is committed up to there is seen, as sequences are in the order of commits.
    newest = conn.execute(_NEWEST, {"of_account": account_id}).scalar_one()
    asked = {"of_account": account_id, "after": webhook.cursor_sequence, "at_most": limit}
    found = [Event(*row) for row in conn.execute(_FOLLOWING, asked)]
    more = len(found) == limit
    cursor = found[-1].sequence if more else max(newest, found[-1].sequence if found else 0)
    at = now(conn)
    made = [Pending(event, 0, at, at) for event in found if webhook.tells(event.type)]
    if made:
        conn.execute(_upsert(conn), [_row(webhook, one) for one in made])
    if cursor > webhook.cursor_sequence:
        conn.execute(_MOVE, {"of_account": account_id, "of_webhook": webhook.webhook_id, "cursor": cursor})
    return made, more


def _row(webhook: Webhook, one: Pending) -> dict[str, Any]:
    event = one.event
    return {
        "account_id": webhook.account_id,
        "webhook_id": webhook.webhook_id,
        "sequence": event.sequence,
        # What a helpdesk is told of the forgetting itself is no row of the mailbox: it would go with the others.
        "mailbox_id": None if event.type in KEPT_EVENTS else event.mailbox_id,
        "ticket_id": event.ticket_id,
        "due_at": one.due_at,
        "created_at": one.created_at,
        **_AGAIN,
    }


_KEY = [deliveries.c.account_id, deliveries.c.webhook_id, deliveries.c.sequence]
_OF_WEBHOOK = SomeRows(deliveries, "account_id", "webhook_id")
_RENEWED = ("mailbox_id", "ticket_id", "due_at", "created_at", *_AGAIN)
_POSTGRESQL = postgresql.insert(deliveries)
_UPSERT_POSTGRESQL = _POSTGRESQL.on_conflict_do_update(
    index_elements=_KEY, set_={name: _POSTGRESQL.excluded[name] for name in _RENEWED}
)
_SQLITE = sqlite.insert(deliveries)
_UPSERT_SQLITE = _SQLITE.on_conflict_do_update(
    index_elements=_KEY, set_={name: _SQLITE.excluded[name] for name in _RENEWED}
)


def _upsert(conn: Connection) -> Executable:
    return _UPSERT_POSTGRESQL if conn.dialect.name == "postgresql" else _UPSERT_SQLITE


_RECORD = (
    update(deliveries)
    .where(
        deliveries.c.account_id == bindparam("of_account"),
        deliveries.c.webhook_id == bindparam("of_webhook"),
        deliveries.c.sequence == bindparam("of_sequence"),
        deliveries.c.status == DeliveryStatus.PENDING,
        deliveries.c.created_at == bindparam("written_at"),
    )
    .values(
        status=bindparam("new_status"),
        attempts=bindparam("new_attempts"),
        due_at=bindparam("new_due_at"),
        attempted_at=bindparam("now"),
        code=bindparam("new_code"),
        reason=bindparam("new_reason"),
    )
)


def record(conn: Connection, account_id: UUID, webhook_id: UUID, outcomes: Sequence[Outcome]) -> None:
    """Write what came of attempts, in one go; of deliveries that are gone or are told again, nothing."""
    if not outcomes:
        return
    at = now(conn)
    conn.execute(
        _RECORD,
        [
            {
                "of_account": account_id,
                "of_webhook": webhook_id,
                "of_sequence": one.sequence,
                "written_at": one.created_at,
                "new_status": one.status,
                "new_attempts": one.attempts,
                "new_due_at": None if one.delay_seconds is None else at + timedelta(seconds=one.delay_seconds),
                "now": at,
                "new_code": one.code,
                "new_reason": one.reason,
            }
            for one in outcomes
        ],
    )


def _of(account_id: UUID, webhook_id: UUID) -> tuple[Any, ...]:
    return (deliveries.c.account_id == account_id, deliveries.c.webhook_id == webhook_id)


_PENDING = deliveries.c.status == DeliveryStatus.PENDING
_TELLS = and_(events.c.account_id == deliveries.c.account_id, events.c.sequence == deliveries.c.sequence)
_LOAD = (
    select(*_EVENT, deliveries.c.attempts, deliveries.c.due_at, deliveries.c.created_at)
    .select_from(deliveries.join(events, _TELLS).outerjoin(tickets, _WITH_NUMBER))
    .where(
        deliveries.c.account_id == bindparam("of_account"),
        deliveries.c.webhook_id == bindparam("of_webhook"),
        _PENDING,
    )
    .order_by(deliveries.c.sequence)
)


def load_pending(conn: Connection, account_id: UUID, webhook_id: UUID) -> list[Pending]:
    """Return what waits, in the order of the log; what tells of an event that was deleted is given up."""
    told = select(events.c.sequence).where(_TELLS).exists()
    conn.execute(
        update(deliveries)
        .where(*_of(account_id, webhook_id), _PENDING, ~told)
        .values(status=DeliveryStatus.GIVEN_UP, due_at=None, reason="event_deleted")
    )
    rows = conn.execute(_LOAD, {"of_account": account_id, "of_webhook": webhook_id})
    return [Pending(Event(*row[:-3]), *row[-3:]) for row in rows]


def make_due(conn: Connection, account_id: UUID, webhook_id: UUID) -> None:
    """Try what waits now, whatever it was to wait for: the receiver is back."""
    at = now(conn)
    later = (*_of(account_id, webhook_id), _PENDING, deliveries.c.due_at > at)
    conn.execute(update(deliveries).where(*later).values(due_at=at))


def resume(conn: Connection, account_id: UUID, webhook_id: UUID) -> bool:
    """Enable a webhook: what waited is due now, and the log goes on. Return False where it was so. Raises NotFound."""
    if get_webhook(conn, account_id, webhook_id, lock=True).status is WebhookStatus.ENABLED:
        return False
    make_due(conn, account_id, webhook_id)
    values = {"status": WebhookStatus.ENABLED, "reason": None, "status_since": now(conn), "failing_since": None}
    change(conn, account_id, webhook_id, **values)
    return True


def replay(conn: Connection, account_id: UUID, webhook_id: UUID, after: int) -> None:
    """Tell a webhook everything behind the sequence `after` again, in order; it is enabled where it was not.

    Raises NotFound, Conflict, EventsGone.
    """
    get_webhook(conn, account_id, webhook_id, lock=True)
    cursor = begin_at(conn, account_id, after)
    # What waits behind it would come before what is told again: the cursor passes it once more.
    conn.execute(delete(deliveries).where(*_of(account_id, webhook_id), _PENDING, deliveries.c.sequence > cursor))
    resume(conn, account_id, webhook_id)
    change(conn, account_id, webhook_id, cursor_sequence=cursor, failing_since=None)


_FOLLOWING_AT = (
    select(events.c.at)
    .where(events.c.account_id == webhooks.c.account_id, events.c.sequence > webhooks.c.cursor_sequence)
    .order_by(events.c.sequence)
    .limit(1)
    .scalar_subquery()
)
_WAITING = and_(
    deliveries.c.account_id == webhooks.c.account_id, deliveries.c.webhook_id == webhooks.c.webhook_id, _PENDING
)
_LAGS = select(
    accounts.c.next_event_sequence - 1 - webhooks.c.cursor_sequence,
    _FOLLOWING_AT,
    select(func.count()).where(_WAITING).scalar_subquery(),
    select(func.min(deliveries.c.created_at)).where(_WAITING).scalar_subquery(),
).join(accounts, accounts.c.account_id == webhooks.c.account_id)


def lag_of(conn: Connection, webhook: Webhook) -> Lag:
    mine = (webhooks.c.account_id == webhook.account_id, webhooks.c.webhook_id == webhook.webhook_id)
    return _lag(conn.execute(_LAGS.where(*mine)).one())


def greatest_lag(conn: Connection) -> Lag:
    """Return the most events that an enabled webhook was not told, and the oldest one of any."""
    found = [_lag(row) for row in conn.execute(_LAGS.where(webhooks.c.status == WebhookStatus.ENABLED))]
    since = min((one.since for one in found if one.since is not None), default=None)
    return Lag(max((one.events for one in found), default=0), since)


def _lag(row: Any) -> Lag:
    behind, following_at, waiting, waiting_since = row
    since = [at for at in (following_at, waiting_since) if at is not None]
    # The end of the sequences may be gaps: then there is nothing behind the cursor.
    return Lag(waiting + (behind if following_at is not None else 0), min(since, default=None))


def list_deliveries(
    conn: Connection,
    account_id: UUID,
    webhook_id: UUID,
    *,
    status: DeliveryStatus | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Delivery]:
    """Return up to `limit` deliveries with a smaller sequence than `before`, newest first."""
    query = (
        select(*(events.c[name] if name in {"type", "at"} else deliveries.c[name] for name in _LISTED))
        .select_from(deliveries.outerjoin(events, _TELLS))
        .where(*_of(account_id, webhook_id))
        .order_by(deliveries.c.sequence.desc())
        .limit(limit)
    )
    if status is not None:
        query = query.where(deliveries.c.status == status)
    if before is not None:
        query = query.where(deliveries.c.sequence < before)
    return [_delivery(row) for row in conn.execute(query)]


_LISTED = tuple(Delivery.__dataclass_fields__)


def _delivery(row: Any) -> Delivery:
    values = dict(zip(_LISTED, row, strict=True))
    values["status"] = DeliveryStatus(values["status"])
    return Delivery(**values)


def forget_old(conn: Connection, account_id: UUID, webhook_id: UUID, before: datetime, limit: int) -> int:
    """Delete up to `limit` of the oldest deliveries that were done before a time; return how many.

    It ends at the first of the finished ones that is younger: the log's order is nearly that of the times.
    """
    query = (
        select(deliveries.c.sequence, deliveries.c.created_at)
        .where(*_of(account_id, webhook_id), ~_PENDING)
        .order_by(deliveries.c.sequence)
        .limit(limit)
    )
    old = []
    for sequence, created_at in conn.execute(query):
        if created_at >= before:
            break
        old.append(sequence)
    if old:
        conn.execute(delete(deliveries).where(*_of(account_id, webhook_id), deliveries.c.sequence.in_(old)))
    return len(old)


def delete_chunk(conn: Connection, account_id: UUID, webhook_id: UUID, limit: int) -> int:
    """Delete up to `limit` deliveries of a webhook; return how many."""
    return _OF_WEBHOOK.delete(conn, limit, account_id=account_id, webhook_id=webhook_id)
