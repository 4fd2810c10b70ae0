"""The subscriptions by which a provider tells of news in mailboxes: when each is renewed, and what was told.

Whoever is told (a process that serves the public address) need not hold the mailbox: it writes down that something was
told, and the process that holds it is woken by that. What was told is no more than a hint to read; a row that is lost
costs nothing but the time until the next poll.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Integer, and_, bindparam, case, delete, insert, literal, or_, select, update

from storage import mailboxes as boxes
from storage.database import now, wake
from storage.leases import Held
from storage.mailboxes import WORKED, MailboxState
from storage.tables import mailboxes, pushes
from storage.types import Instant


class Told(enum.StrEnum):
    """What was told, and nobody looked at; the last ones hold the first ones."""

    NEWS = "news"
    """Read."""
    RENEW = "renew"
    """Read, and renew the subscription now, or it ends."""
    REMOVED = "removed"
    """Read, and make another subscription: there is none any more."""


@dataclass(frozen=True, slots=True)
class Push:
    account_id: UUID
    mailbox_id: UUID
    told: Told | None
    renew_at: datetime
    """When the subscription is to be made, or renewed."""
    expires_at: datetime | None
    """When it ends; None where there is none."""
    failures: int
    """Attempts to make or renew it that failed, in a row."""
    sealed: bytes | None
    """Its id and secret; None where there is none."""


@dataclass(frozen=True, slots=True)
class Taken:
    push: Push
    is_due: bool
    """Whether it is to be made or renewed now."""


_COLUMNS = [pushes.c[name] for name in Push.__dataclass_fields__]
_TOLD_BEFORE = {Told.NEWS: (), Told.RENEW: (Told.NEWS,), Told.REMOVED: (Told.NEWS, Told.RENEW)}
"""What each of them takes the place of."""


def want(conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int) -> None:
    """Have a subscription made, where there is none. Raises FenceLost."""
    boxes.hold(conn, account_id, mailbox_id, fence)
    if find_push(conn, account_id, mailbox_id) is None:
        at = now(conn)
        row = {"account_id": account_id, "mailbox_id": mailbox_id, "due_at": at, "renew_at": at, "failures": 0}
        conn.execute(insert(pushes).values(**row))
    wake(conn, "pushes")


def unwant(conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int) -> None:
    """Forget the subscription. Raises FenceLost."""
    boxes.hold(conn, account_id, mailbox_id, fence)
    conn.execute(delete(pushes).where(pushes.c.account_id == account_id, pushes.c.mailbox_id == mailbox_id))


def find_push(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Push | None:
    row = conn.execute(_FIND, {"of_account": account_id, "of_mailbox": mailbox_id}).one_or_none()
    return None if row is None else _push(row)


def find_open(conn: Connection, mailbox_id: UUID) -> Push | None:
    """Return the subscription of a mailbox of whatever account, unless it is being forgotten."""
    row = conn.execute(_FIND_OPEN, {"of_mailbox": mailbox_id}).one_or_none()
    return None if row is None else _push(row)


def tell(conn: Connection, account_id: UUID, mailbox_id: UUID, told: Told) -> None:
    """Note what was told, for the process that holds the mailbox. Nothing where that, or more, is noted already."""
    place = {"of_account": account_id, "of_mailbox": mailbox_id, "at": now(conn)}
    if conn.execute(_TELL[told], place).rowcount:
        wake(conn, "pushes")


def due_mailboxes(
    conn: Connection, worker_id: UUID, *, ahead: timedelta, limit: int
) -> tuple[list[Held], timedelta | None]:
    """Return the mailboxes that this process holds and whose subscription wants a look, and how long until the next
    one does; None where none does within `ahead`."""
    at = now(conn)
    ready: list[Held] = []
    place = {"of_worker": worker_id, "until": at + ahead, "most": limit}
    for account_id, mailbox_id, fence, due_at in conn.execute(_DUE, place):
        if due_at > at:
            return ready, due_at - at
        ready.append(Held(account_id, mailbox_id, fence))
    return ready, None


def take(conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int) -> Taken | None:
    """Return the subscription with what was told, which is noted no more; one that is told to be gone is forgotten.

    None where none is wanted any more. Raises FenceLost.
    """
    boxes.hold(conn, account_id, mailbox_id, fence)
    before = find_push(conn, account_id, mailbox_id)
    if before is None:
        return None
    at, after = now(conn), before
    if before.told in (Told.RENEW, Told.REMOVED):
        after = replace(after, renew_at=min(before.renew_at, at))
    if before.told is Told.REMOVED:
        after = replace(after, sealed=None, expires_at=None)
    if before.told is not None:
        values = {"told": None, "renew_at": after.renew_at, "due_at": after.renew_at}
        _write(conn, account_id, mailbox_id, {**values, "sealed": after.sealed, "expires_at": after.expires_at})
    return Taken(after, after.renew_at <= at)


def note_made(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    fence: int,
    sealed: bytes,
    expires_at: datetime,
    renew_in: timedelta,
) -> None:
    """Write a subscription that was made. What was told meanwhile was told of the one before. Raises FenceLost."""
    boxes.hold(conn, account_id, mailbox_id, fence)
    renew_at = now(conn) + renew_in
    values = {"sealed": sealed, "expires_at": expires_at, "renew_at": renew_at, "due_at": renew_at}
    _write(conn, account_id, mailbox_id, {**values, "told": None, "failures": 0})


def note_renewed(
    conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int, expires_at: datetime, renew_in: timedelta
) -> None:
    """Write that it was renewed; what was told meanwhile stays due. Raises FenceLost."""
    boxes.hold(conn, account_id, mailbox_id, fence)
    renew_at = now(conn) + renew_in
    values = {"expires_at": expires_at, "renew_at": renew_at, "due_at": _unless_told(renew_at), "failures": 0}
    _write(conn, account_id, mailbox_id, values)


def note_failed(conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int, retry_in: timedelta) -> None:
    """Write that it could not be made or renewed, and when that is tried again. Raises FenceLost."""
    boxes.hold(conn, account_id, mailbox_id, fence)
    renew_at = now(conn) + retry_in
    values = {"renew_at": renew_at, "due_at": _unless_told(renew_at), "failures": pushes.c.failures + 1}
    _write(conn, account_id, mailbox_id, values)


def _unless_told(renew_at: datetime) -> Any:
    return case((pushes.c.told.is_not(None), pushes.c.due_at), else_=literal(renew_at, Instant()))


def _write(conn: Connection, account_id: UUID, mailbox_id: UUID, values: dict[str, Any]) -> None:
    same = pushes.c.account_id == account_id, pushes.c.mailbox_id == mailbox_id
    conn.execute(update(pushes).where(*same).values(values))


def _push(row: Any) -> Push:
    account_id, mailbox_id, told, *others = row
    return Push(account_id, mailbox_id, None if told is None else Told(told), *others)


# Built once: building them takes several times as long as running them.
_SAME = and_(pushes.c.account_id == bindparam("of_account"), pushes.c.mailbox_id == bindparam("of_mailbox"))
_OF_MAILBOX = and_(mailboxes.c.account_id == pushes.c.account_id, mailboxes.c.mailbox_id == pushes.c.mailbox_id)
_FIND = select(*_COLUMNS).where(_SAME)
_FIND_OPEN = (
    select(*_COLUMNS)
    .select_from(mailboxes.join(pushes, _OF_MAILBOX))
    .where(mailboxes.c.mailbox_id == bindparam("of_mailbox"), mailboxes.c.state != MailboxState.DISCONNECTING)
)
_AT = bindparam("at", type_=Instant())
_TELL = {
    told: update(pushes)
    .where(_SAME, or_(pushes.c.told.is_(None), pushes.c.told.in_(weaker)) if weaker else pushes.c.told.is_(None))
    .values(told=told, due_at=_AT)
    for told, weaker in _TOLD_BEFORE.items()
}
# No join: it would go through all mailboxes that the process holds, and seldom is any of them due.
_FENCE = (
    select(mailboxes.c.fence)
    .where(_OF_MAILBOX, mailboxes.c.worker_id == bindparam("of_worker"), mailboxes.c.state.in_(WORKED))
    .correlate(pushes)
    .scalar_subquery()
)
_DUE = (
    select(pushes.c.account_id, pushes.c.mailbox_id, _FENCE, pushes.c.due_at)
    .where(pushes.c.due_at <= bindparam("until", type_=Instant()), _FENCE.is_not(None))
    .order_by(pushes.c.due_at)
    .limit(bindparam("most", type_=Integer))
)
