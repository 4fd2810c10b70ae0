"""Which process works on which mailbox.

Each process holds one heartbeat row, measured by the database's clock. A mailbox
whose process has no live row is free; taking it raises its fence, so that the old
holder, should it only have been asleep, can write nothing more about it.

The processes divide the mailboxes evenly without speaking to each other: each counts
in its own transaction how many mailboxes want work and which processes live, takes no
more than its share, and gives back what is above it. The share is rounded up, so that
all of them together always reach; two that count at the same time can differ by what
has just changed, and agree at the next look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from storage import webhooks
from storage.database import now, wake
from storage.mailboxes import WORKED
from storage.tables import mailboxes, workers

MAILBOXES_MAX = 5000
"""What a process takes that does not say how much it can."""


@dataclass(frozen=True, slots=True)
class Held:
    """A mailbox that this process holds, and the fence it holds it with."""

    account_id: UUID
    mailbox_id: UUID
    fence: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a process sees when it has looked for mailboxes and taken its share."""

    held: list[Held] | None
    """All that it holds now; None where that is what it knows already."""
    above: int
    """How many of them are above its share, and are to be given back."""
    more: bool
    """Whether it took as many as it may at once: there may be more."""
    next_end: timedelta | None
    """When the next lease of another process runs out, if that does not renew it; None where there is no other."""


def fair_share(wanted: int, rooms: Sequence[int]) -> int:
    """Return how many mailboxes a process takes at most, of `wanted` that are divided among processes.

    `rooms` says how many each of them can take. Who can take less than the others leaves
    the rest to them; where all together have no room, each is to be full.

    >>> fair_share(10, [5000, 5000, 5000])
    4
    >>> fair_share(1000, [100, 5000, 5000])
    450
    >>> fair_share(10, [2, 3]), fair_share(0, [5]), fair_share(5, [])
    (3, 0, 0)
    """
    left, share = wanted, 0
    for place, room in enumerate(sorted(rooms)):
        share = -(-left // (len(rooms) - place))
        if share <= room:
            return share
        left, share = left - room, room
    return share


def register(conn: Connection, worker_id: UUID, mailboxes_max: int = MAILBOXES_MAX) -> None:
    """Take a lease for a process that works on `mailboxes_max` mailboxes at most; the others make room for it."""
    at = now(conn)
    values = {"worker_id": worker_id, "started_at": at, "heartbeat_at": at, "mailboxes_max": mailboxes_max}
    conn.execute(insert(workers).values(values))
    wake(conn, "mailboxes")


def stand_down(conn: Connection, worker_id: UUID) -> None:
    """Take nothing more: what this process holds is to be divided among the others."""
    conn.execute(update(workers).where(workers.c.worker_id == worker_id).values(mailboxes_max=0))
    wake(conn, "mailboxes")


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


def give_back(conn: Connection, worker_id: UUID, held: Sequence[Held]) -> None:
    """Give some mailboxes to whoever has room for them, and tell the others."""
    if held:
        conn.execute(_GIVE_BACK, [_place(one) | {"by": worker_id} for one in held])
        wake(conn, "mailboxes")


def look(
    conn: Connection, worker_id: UUID, lease_seconds: float, limit: int, known: tuple[int, int] | None = None
) -> Look:
    """Take up to `limit` free mailboxes, as far as the share goes, and say how things stand.

    `known` says how many mailboxes the process works on, and the sum of their fences. While it takes none, mailboxes
    can only leave it and fences only rise, so where both are the same, nothing has changed.
    """
    dead_before = now(conn) - timedelta(seconds=lease_seconds)
    _bury(conn, worker_id, dead_before)
    others = _others(conn, worker_id)
    share = _share(conn, worker_id, [room for _, room in others])
    found = _count_held(conn, worker_id)
    taken = _take(conn, worker_id, min(limit, share - found[0]))
    if taken:
        found = _count_held(conn, worker_id)
    next_end = min((at for at, _ in others), default=None)
    return Look(
        None if found == known and not taken else list_held(conn, worker_id),
        above=max(0, found[0] - share),
        more=len(taken) == limit,
        next_end=None if next_end is None else next_end + timedelta(seconds=lease_seconds) - now(conn),
    )


def claim(conn: Connection, worker_id: UUID, lease_seconds: float, limit: int) -> list[Held]:
    """Take up to `limit` free mailboxes that want work, no more than the share, raising each one's fence."""
    _bury(conn, worker_id, now(conn) - timedelta(seconds=lease_seconds))
    share = _share(conn, worker_id, [room for _, room in _others(conn, worker_id)])
    return _take(conn, worker_id, min(limit, share - _count_held(conn, worker_id)[0]))


def _bury(conn: Connection, worker_id: UUID, dead_before: datetime) -> None:
    """Remove the rows of the other processes whose leases have run out."""
    conn.execute(delete(workers).where(workers.c.heartbeat_at <= dead_before, workers.c.worker_id != worker_id))


def _take(conn: Connection, worker_id: UUID, room: int) -> list[Held]:
    """Take up to `room` free mailboxes that want work, raising each one's fence.

    Free is what no process holds that has a row. Each holder is asked for by its name, in an index: to look for such
    mailboxes among all would cost more the more there are, each few seconds, in each process.
    """
    found: list[Held] = []
    gone = _list_gone(conn) if room > 0 else []
    for holder in (None, *gone):
        if len(found) < room:
            free = select(mailboxes.c.account_id, mailboxes.c.mailbox_id, mailboxes.c.fence).where(
                mailboxes.c.worker_id == holder, mailboxes.c.state.in_(WORKED)
            )
            if conn.dialect.name == "postgresql":
                free = free.with_for_update(skip_locked=True)
            found += [Held(*row) for row in conn.execute(free.limit(room - len(found)))]
    if found:
        conn.execute(_TAKE, [_place(one) | {"by": worker_id} for one in found])
    return [Held(one.account_id, one.mailbox_id, one.fence + 1) for one in found]


def _list_gone(conn: Connection) -> list[UUID]:
    """Return the processes that have no row any more, and hold mailboxes.

    From one holder to the next, in the order of their index: as many steps as there are processes.
    """
    return list(conn.execute(_GONE).scalars())


def _others(conn: Connection, worker_id: UUID) -> list[tuple[datetime, int]]:
    """Return of each other process when it last showed that it lives, and how many mailboxes it can take."""
    others = select(workers.c.heartbeat_at, workers.c.mailboxes_max).where(workers.c.worker_id != worker_id)
    return [(at, room) for at, room in conn.execute(others)]


def _share(conn: Connection, worker_id: UUID, others: Sequence[int]) -> int:
    """Return how many mailboxes a process may hold; none where it has no lease any more."""
    own = conn.execute(select(workers.c.mailboxes_max).where(workers.c.worker_id == worker_id)).scalar()
    if own is None:
        return 0
    count = select(func.count()).select_from(mailboxes).where(mailboxes.c.state.in_(WORKED))
    wanted: int = conn.execute(count).scalar_one()
    return min(int(own), fair_share(wanted, [own, *others]))


def _count_held(conn: Connection, worker_id: UUID) -> tuple[int, int]:
    """Return how many mailboxes a process holds, and the sum of their fences."""
    mine = mailboxes.c.worker_id == worker_id
    both = select(func.count(), func.coalesce(func.sum(mailboxes.c.fence), 0))
    count, fences = conn.execute(both.select_from(mailboxes).where(mine, mailboxes.c.state.in_(WORKED))).one()
    return int(count), int(fences)


_HOLDERS = (
    select(mailboxes.c.worker_id)
    .where(mailboxes.c.worker_id.is_not(None))
    .order_by(mailboxes.c.worker_id)
    .limit(1)
    .subquery()
)
_HOLDER = select(_HOLDERS.c.worker_id).cte("holder", recursive=True)
_NEXT_HOLDER = (
    select(mailboxes.c.worker_id)
    .where(mailboxes.c.worker_id > _HOLDER.c.worker_id)
    .order_by(mailboxes.c.worker_id)
    .limit(1)
    .correlate(_HOLDER)
    .scalar_subquery()
)
_EVERY_HOLDER = _HOLDER.union_all(select(_NEXT_HOLDER).where(_HOLDER.c.worker_id.is_not(None)))
_GONE = select(_EVERY_HOLDER.c.worker_id).where(
    _EVERY_HOLDER.c.worker_id.is_not(None), ~exists().where(workers.c.worker_id == _EVERY_HOLDER.c.worker_id)
)
_HELD = (
    mailboxes.c.account_id == bindparam("of_account"),
    mailboxes.c.mailbox_id == bindparam("of_mailbox"),
    mailboxes.c.fence == bindparam("of_fence"),
)
_TAKE = update(mailboxes).where(*_HELD).values(worker_id=bindparam("by"), fence=mailboxes.c.fence + 1)
_GIVE_BACK = (
    update(mailboxes)
    .where(*_HELD, mailboxes.c.worker_id == bindparam("by"))
    .values(worker_id=None, fence=mailboxes.c.fence + 1)
)


def _place(held: Held) -> dict[str, object]:
    return {"of_account": held.account_id, "of_mailbox": held.mailbox_id, "of_fence": held.fence}


def list_held(conn: Connection, worker_id: UUID) -> list[Held]:
    """Return what this process holds now; what it thinks it holds beyond this is lost."""
    rows = conn.execute(
        select(mailboxes.c.account_id, mailboxes.c.mailbox_id, mailboxes.c.fence).where(
            mailboxes.c.worker_id == worker_id, mailboxes.c.state.in_(WORKED)
        )
    )
    return [Held(*row) for row in rows]
