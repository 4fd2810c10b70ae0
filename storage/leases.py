"""Which process works on which mailbox.

Each process holds one heartbeat row, measured by the database's clock. A mailbox
whose process has no live row is free; taking it raises its fence, so that the old
holder, should it only have been asleep, can write nothing more about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, exists, insert, or_, select, update

from storage import webhooks
from storage.database import now, wake
from storage.mailboxes import WORKED
from storage.tables import mailboxes, workers


@dataclass(frozen=True, slots=True)
class Held:
    """A mailbox that this process holds, and the fence it holds it with."""

    account_id: UUID
    mailbox_id: UUID
    fence: int


def register(conn: Connection, worker_id: UUID) -> None:
    at = now(conn)
    conn.execute(insert(workers).values(worker_id=worker_id, started_at=at, heartbeat_at=at))


def heartbeat(conn: Connection, worker_id: UUID, lease_seconds: float) -> bool:
    """Renew the lease; return False if it had run out, and what was held may be somebody else's."""
    at = now(conn)
    renewed = conn.execute(
        update(workers)
        .where(
            workers.c.worker_id == worker_id,
            workers.c.heartbeat_at > at - timedelta(seconds=lease_seconds),
        )
        .values(heartbeat_at=at)
    )
    return renewed.rowcount == 1


def others_alive(conn: Connection, worker_id: UUID | None, lease_seconds: float) -> int:
    """Return how many other processes hold a live lease."""
    alive = select(workers.c.worker_id).where(workers.c.heartbeat_at > now(conn) - timedelta(seconds=lease_seconds))
    if worker_id is not None:
        alive = alive.where(workers.c.worker_id != worker_id)
    return len(conn.execute(alive).all())


def clear(conn: Connection) -> None:
    """Forget all leases: only for a store that one process has to itself (SQLite, under its lock)."""
    conn.execute(
        update(mailboxes).where(mailboxes.c.worker_id.is_not(None)).values(worker_id=None, fence=mailboxes.c.fence + 1)
    )
    conn.execute(delete(workers))
    webhooks.release_all(conn)


def release(conn: Connection, worker_id: UUID) -> None:
    """Give everything back at once, at the end of a process."""
    conn.execute(
        update(mailboxes).where(mailboxes.c.worker_id == worker_id).values(worker_id=None, fence=mailboxes.c.fence + 1)
    )
    conn.execute(delete(workers).where(workers.c.worker_id == worker_id))
    wake(conn, "mailboxes")


def claim(conn: Connection, worker_id: UUID, lease_seconds: float, limit: int) -> list[Held]:
    """Take up to `limit` free mailboxes that want work, raising each one's fence."""
    dead_before = now(conn) - timedelta(seconds=lease_seconds)
    conn.execute(delete(workers).where(workers.c.heartbeat_at <= dead_before, workers.c.worker_id != worker_id))
    free = (
        select(mailboxes.c.account_id, mailboxes.c.mailbox_id)
        .where(
            mailboxes.c.state.in_(WORKED),
            or_(
                mailboxes.c.worker_id.is_(None),
                ~exists().where(workers.c.worker_id == mailboxes.c.worker_id),
            ),
        )
        .order_by(mailboxes.c.mailbox_id)
        .limit(limit)
    )
    if conn.dialect.name == "postgresql":
        free = free.with_for_update(skip_locked=True, of=mailboxes)
    taken = []
    for account_id, mailbox_id in conn.execute(free).all():
        fence = conn.execute(
            update(mailboxes)
            .where(
                mailboxes.c.account_id == account_id,
                mailboxes.c.mailbox_id == mailbox_id,
            )
            .values(worker_id=worker_id, fence=mailboxes.c.fence + 1)
            .returning(mailboxes.c.fence)
        ).scalar_one()
        taken.append(Held(account_id, mailbox_id, fence))
    return taken


def list_held(conn: Connection, worker_id: UUID) -> list[Held]:
    """Return what this process holds now; what it thinks it holds beyond this is lost."""
    rows = conn.execute(
        select(mailboxes.c.account_id, mailboxes.c.mailbox_id, mailboxes.c.fence).where(
            mailboxes.c.worker_id == worker_id, mailboxes.c.state.in_(WORKED)
        )
    )
    return [Held(*row) for row in rows]
