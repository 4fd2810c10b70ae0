"""Webhooks: where events are delivered to, who delivers, and how far in the log each has come.

A webhook is held by one process at a time, by the database's clock: `held_until` is renewed, and
whoever lets it pass has lost what it held. `revision` goes up with everything that somebody changes
about a webhook, or about what waits for it: whoever delivers, and knows an older one, reads it anew.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, and_, bindparam, delete, func, insert, or_, select, update

from storage import accounts as account_rows
from storage.database import now, wake
from storage.errors import Conflict, EventsGone, LimitReached, NotFound
from storage.tables import accounts, webhooks

TOPIC = "webhooks"
"""Rung when a webhook was made or changed."""
EVERYTHING = "*"
"""Instead of types: all of them."""


class WebhookStatus(enum.StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    """Nothing is delivered; `reason` says why. What happens meanwhile waits in the log."""
    DELETED = "deleted"
    """Gone for everybody; its deliveries are being deleted, then it is."""


@dataclass(frozen=True, slots=True)
class Webhook:
    account_id: UUID
    webhook_id: UUID
    status: WebhookStatus
    reason: str | None
    """Why it is disabled: gone, failing, given_up, or by_hand."""
    status_since: datetime
    failing_since: datetime | None
    """Since when no delivery has succeeded; None where the last one did."""
    types: str
    """The types of events that it is told, separated by spaces; EVERYTHING for all."""
    content: bool
    cursor_sequence: int
    """What is in the log up to here became deliveries."""
    revision: int
    worker_id: UUID | None
    held_until: datetime | None
    created_at: datetime
    sealed: bytes

    def tells(self, event_type: str) -> bool:
        return self.types == EVERYTHING or event_type in self.types.split()


@dataclass(frozen=True, slots=True)
class HeldWebhook:
    account_id: UUID
    webhook_id: UUID


_COLUMNS = [webhooks.c[name] for name in Webhook.__dataclass_fields__]
_BY_ID = select(*_COLUMNS).where(
    webhooks.c.account_id == bindparam("of_account"),
    webhooks.c.webhook_id == bindparam("of_webhook"),
    webhooks.c.status != WebhookStatus.DELETED,
)
_BY_ID_LOCKED = _BY_ID.with_for_update()
_CHANGED = {"revision": webhooks.c.revision + 1}


def _webhook(row: Any) -> Webhook:
    values = dict(zip(Webhook.__dataclass_fields__, row, strict=True))
    values["status"] = WebhookStatus(values["status"])
    return Webhook(**values)


def insert_webhook(
    conn: Connection,
    account_id: UUID,
    webhook_id: UUID,
    *,
    types: Collection[str],
    content: bool,
    after: int | None,
    sealed: bytes,
    webhooks_max: int,
) -> None:
    """Write a webhook that begins behind the sequence `after`; with None, at the newest event.

    Raises LimitReached, NotFound where the account is closed, and as `begin_at`.
    """
    account_rows.hold(conn, account_id)
    same = select(webhooks.c.webhook_id).where(
        webhooks.c.account_id == account_id, webhooks.c.status != WebhookStatus.DELETED
    )
    if len(conn.execute(same.limit(webhooks_max)).all()) >= webhooks_max:
        raise LimitReached(f"there are {webhooks_max} webhooks already: delete one first")
    at = now(conn)
    conn.execute(
        insert(webhooks).values(
            account_id=account_id,
            webhook_id=webhook_id,
            status=WebhookStatus.ENABLED,
            status_since=at,
            types=" ".join(sorted(types)),
            content=content,
            cursor_sequence=begin_at(conn, account_id, after),
            revision=0,
            created_at=at,
            sealed=sealed,
        )
    )
    wake(conn, TOPIC)


def begin_at(conn: Connection, account_id: UUID, after: int | None) -> int:
    """Return the cursor that begins behind `after`; with None, behind the newest event.

    Raises Conflict where the log has not come so far, EventsGone where what is behind it was deleted.
    """
    query = select(accounts.c.next_event_sequence, accounts.c.events_gone_to).where(accounts.c.account_id == account_id)
    following, gone_to = conn.execute(query).one()
    if after is None:
        return int(following) - 1
    if after >= following:
        raise Conflict("`after` is beyond the newest event")
    if after < gone_to:
        raise EventsGone(gone_to)
    return after


def find_webhook(conn: Connection, account_id: UUID, webhook_id: UUID, *, lock: bool = False) -> Webhook | None:
    """With `lock`, nobody else changes it until the end of the transaction."""
    query = _BY_ID_LOCKED if lock and conn.dialect.name == "postgresql" else _BY_ID
    row = conn.execute(query, {"of_account": account_id, "of_webhook": webhook_id}).one_or_none()
    return None if row is None else _webhook(row)


def get_webhook(conn: Connection, account_id: UUID, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    """As `find_webhook`. Raises NotFound."""
    found = find_webhook(conn, account_id, webhook_id, lock=lock)
    if found is None:
        raise NotFound(f"no webhook {webhook_id}")
    return found


def list_webhooks(conn: Connection, account_id: UUID, *, after: UUID | None = None, limit: int = 100) -> list[Webhook]:
    """Return up to `limit` webhooks behind the id `after`, oldest first."""
    query = (
        select(*_COLUMNS)
        .where(webhooks.c.account_id == account_id, webhooks.c.status != WebhookStatus.DELETED)
        .order_by(webhooks.c.webhook_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(webhooks.c.webhook_id > after)
    return [_webhook(row) for row in conn.execute(query)]


def change(conn: Connection, account_id: UUID, webhook_id: UUID, **values: Any) -> None:
    """Change columns of a webhook; whoever delivers reads it anew."""
    conn.execute(
        update(webhooks)
        .where(webhooks.c.account_id == account_id, webhooks.c.webhook_id == webhook_id)
        .values(**values, **_CHANGED)
    )
    wake(conn, TOPIC)


def disable(conn: Connection, account_id: UUID, webhook_id: UUID, reason: str) -> bool:
    """Deliver nothing more. Return False where it was so. Raises NotFound."""
    if get_webhook(conn, account_id, webhook_id, lock=True).status is WebhookStatus.DISABLED:
        return False
    values = {"status": WebhookStatus.DISABLED, "reason": reason, "status_since": now(conn), "worker_id": None}
    change(conn, account_id, webhook_id, **values)
    return True


def note_failing(conn: Connection, account_id: UUID, webhook_id: UUID, *, failing: bool) -> None:
    """Note that deliveries fail from now on, or that one succeeded."""
    conn.execute(
        update(webhooks)
        .where(webhooks.c.account_id == account_id, webhooks.c.webhook_id == webhook_id)
        .values(failing_since=now(conn) if failing else None)
    )


def mark_deleted(conn: Connection, account_id: UUID, webhook_id: UUID, sealed: bytes) -> None:
    """Take it away from everybody, with another record in the place of its own. Raises NotFound."""
    get_webhook(conn, account_id, webhook_id, lock=True)
    values = {"status": WebhookStatus.DELETED, "status_since": now(conn), "worker_id": None, "sealed": sealed}
    change(conn, account_id, webhook_id, **values)


def list_deleted(conn: Connection) -> list[HeldWebhook]:
    query = select(webhooks.c.account_id, webhooks.c.webhook_id).where(webhooks.c.status == WebhookStatus.DELETED)
    return [HeldWebhook(*row) for row in conn.execute(query)]


def list_all(conn: Connection) -> list[HeldWebhook]:
    return [HeldWebhook(*row) for row in conn.execute(select(webhooks.c.account_id, webhooks.c.webhook_id))]


def delete_deleted(conn: Connection, account_id: UUID, webhook_id: UUID) -> None:
    """Delete the row of a webhook that was marked so and has no deliveries any more."""
    conn.execute(
        delete(webhooks).where(
            webhooks.c.account_id == account_id,
            webhooks.c.webhook_id == webhook_id,
            webhooks.c.status == WebhookStatus.DELETED,
        )
    )


def have_read_anew(conn: Connection, account_id: UUID) -> None:
    """Have whoever delivers for this account read anew what waits: some of it was deleted.

    It waits for those that turn events into deliveries just now; from its commit on nobody does so from a log
    that was read before.
    """
    conn.execute(update(webhooks).where(webhooks.c.account_id == account_id).values(**_CHANGED))
    wake(conn, TOPIC)


# -- who delivers ------------------------------------------------------------------------------------


def any_free(conn: Connection) -> bool:
    """Whether some webhook wants to be held by somebody."""
    return conn.execute(_free(conn).limit(1)).first() is not None


def claim(conn: Connection, worker_id: UUID, hold_seconds: float, limit: int) -> list[HeldWebhook]:
    """Take up to `limit` enabled webhooks that nobody holds."""
    free = _free(conn).order_by(webhooks.c.webhook_id).limit(limit)
    if conn.dialect.name == "postgresql":
        free = free.with_for_update(skip_locked=True)
    taken = [HeldWebhook(*row) for row in conn.execute(free)]
    until = now(conn) + timedelta(seconds=hold_seconds)
    for one in taken:
        conn.execute(
            update(webhooks)
            .where(webhooks.c.account_id == one.account_id, webhooks.c.webhook_id == one.webhook_id)
            # Whoever held it before, this process too, does not know any more what waits.
            .values(worker_id=worker_id, held_until=until, **_CHANGED)
        )
    return taken


def renew(conn: Connection, worker_id: UUID, hold_seconds: float) -> None:
    """Hold for longer what this process still holds."""
    at = now(conn)
    mine = and_(webhooks.c.worker_id == worker_id, webhooks.c.held_until > at)
    conn.execute(update(webhooks).where(mine).values(held_until=at + timedelta(seconds=hold_seconds)))


def list_held(conn: Connection, worker_id: UUID) -> dict[HeldWebhook, int]:
    """Return what this process holds, with each one's revision; what it thinks it holds beyond this is lost."""
    query = select(webhooks.c.account_id, webhooks.c.webhook_id, webhooks.c.revision).where(
        webhooks.c.worker_id == worker_id,
        webhooks.c.held_until > now(conn),
        webhooks.c.status == WebhookStatus.ENABLED,
    )
    return {HeldWebhook(row[0], row[1]): row[2] for row in conn.execute(query)}


def release(conn: Connection, worker_id: UUID) -> None:
    """Give everything back at once, at the end of a process."""
    conn.execute(update(webhooks).where(webhooks.c.worker_id == worker_id).values(worker_id=None, held_until=None))
    wake(conn, TOPIC)


def release_all(conn: Connection) -> None:
    """Only for a store that one process has to itself (SQLite, under its lock)."""
    held = webhooks.c.worker_id.is_not(None)
    conn.execute(update(webhooks).where(held).values(worker_id=None, held_until=None))


_BEHIND = (
    select(webhooks.c.account_id, webhooks.c.webhook_id)
    .join(accounts, accounts.c.account_id == webhooks.c.account_id)
    .where(
        webhooks.c.worker_id == bindparam("of_worker"),
        webhooks.c.status == WebhookStatus.ENABLED,
        accounts.c.next_event_sequence > webhooks.c.cursor_sequence + 1,
    )
)


def list_behind(conn: Connection, worker_id: UUID) -> list[HeldWebhook]:
    """Return those that this process holds and whose cursor is not at the end of the log."""
    return [HeldWebhook(*row) for row in conn.execute(_BEHIND, {"of_worker": worker_id})]


def _free(conn: Connection) -> Select[Any]:
    return select(webhooks.c.account_id, webhooks.c.webhook_id).where(
        webhooks.c.status == WebhookStatus.ENABLED,
        or_(
            webhooks.c.worker_id.is_(None),
            webhooks.c.held_until.is_(None),
            webhooks.c.held_until <= now(conn),
        ),
    )


def count_by_status(conn: Connection) -> dict[str, int]:
    query = select(webhooks.c.status, func.count()).where(webhooks.c.status != WebhookStatus.DELETED)
    return {row[0]: row[1] for row in conn.execute(query.group_by(webhooks.c.status))}
