"""Authorization requests under way. A state is used once: taking it is one conditional update."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, update

from storage import accounts
from storage.database import now, wake
from storage.errors import LimitReached, NotFound
from storage.tables import link_flows


@dataclass(frozen=True, slots=True)
class Flow:
    account_id: UUID
    flow_id: UUID
    mailbox_id: UUID
    provider: str
    relink: bool
    status: str
    """waiting, opened, taken, completed or failed."""
    reason: str | None
    browser_hash: bytes | None
    expires_at: datetime
    sealed: bytes


UNUSED = ("waiting", "opened")
"""Statuses in which the owner can still consent."""
_COLUMNS = [link_flows.c[name] for name in Flow.__dataclass_fields__]


def insert_flow(
    conn: Connection,
    account_id: UUID,
    flow_id: UUID,
    *,
    mailbox_id: UUID,
    provider: str,
    relink: bool,
    state_hash: bytes,
    lifetime_seconds: float,
    sealed: bytes,
    open_max: int = 1000,
) -> None:
    """Raises LimitReached where the account has `open_max` requests that can still come back, NotFound where it is
    closed.

    Two processes at once can exceed it by one: it bounds what a runaway client fills, no more.
    """
    accounts.hold(conn, account_id)
    at = now(conn)
    # Old flows go when new ones come: what they hold is of no use to anybody.
    conn.execute(
        delete(link_flows).where(
            link_flows.c.account_id == account_id,
            link_flows.c.expires_at < at - timedelta(hours=1),
        )
    )
    open_now = conn.execute(
        select(func.count())
        .select_from(link_flows)
        .where(
            link_flows.c.account_id == account_id,
            link_flows.c.status.in_(UNUSED),
            link_flows.c.expires_at > at,
        )
    ).scalar_one()
    if open_now >= open_max:
        raise LimitReached(f"the account has {open_now} linkings open; the limit is {open_max}")
    conn.execute(
        insert(link_flows).values(
            account_id=account_id,
            flow_id=flow_id,
            mailbox_id=mailbox_id,
            provider=provider,
            relink=relink,
            status="waiting",
            state_hash=state_hash,
            created_at=at,
            expires_at=at + timedelta(seconds=lifetime_seconds),
            sealed=sealed,
        )
    )


def get_flow(conn: Connection, account_id: UUID, flow_id: UUID) -> Flow:
    """Raises NotFound."""
    row = conn.execute(
        select(*_COLUMNS).where(link_flows.c.account_id == account_id, link_flows.c.flow_id == flow_id)
    ).one_or_none()
    if row is None:
        raise NotFound("no such authorization request")
    return Flow(*row)


def get_flow_now(conn: Connection, account_id: UUID, flow_id: UUID) -> tuple[Flow, datetime]:
    """As `get_flow`, with the database's time."""
    return get_flow(conn, account_id, flow_id), now(conn)


def open_flow(conn: Connection, state_hash: bytes, browser_hash: bytes) -> Flow:
    """Bind a request to the browser that opened it last. Raises NotFound.

    It may be opened again until it comes back: people reload pages. Whoever came first
    and is in another browser then cannot complete it.
    """
    return _move(conn, state_hash, UNUSED, {"status": "opened", "browser_hash": browser_hash})


def keep_once(conn: Connection, account_id: UUID, flow_id: UUID, *, before: bytes, after: bytes) -> bytes:
    """Replace a request's record, unless somebody did it first; return the record that stands. Raises NotFound."""
    mine = (link_flows.c.account_id == account_id, link_flows.c.flow_id == flow_id)
    conn.execute(update(link_flows).where(*mine, link_flows.c.sealed == before).values(sealed=after))
    kept = conn.execute(select(link_flows.c.sealed).where(*mine)).scalar_one_or_none()
    if kept is None:
        raise NotFound("no such authorization request")
    return bytes(kept)


def take_flow(conn: Connection, state_hash: bytes, browser_hash: bytes) -> Flow:
    """Use up the state of an opened request, in the browser that opened it.

    Raises NotFound for a state that is unknown, used, expired, or another browser's.
    """
    flow = _move(conn, state_hash, ("opened",), {"status": "taken"})
    if flow.browser_hash != browser_hash:
        raise NotFound("the authorization request belongs to another browser session")
    return flow


def end_flow(
    conn: Connection,
    account_id: UUID,
    flow_id: UUID,
    *,
    status: str,
    reason: str | None = None,
) -> None:
    conn.execute(
        update(link_flows)
        .where(link_flows.c.account_id == account_id, link_flows.c.flow_id == flow_id)
        .values(status=status, reason=reason)
    )
    wake(conn, "flows")


def _move(conn: Connection, state_hash: bytes, statuses: tuple[str, ...], values: dict[str, object]) -> Flow:
    row = conn.execute(
        update(link_flows)
        .where(
            link_flows.c.state_hash == state_hash,
            link_flows.c.status.in_(statuses),
            link_flows.c.expires_at > now(conn),
        )
        .values(**values)
        .returning(*_COLUMNS)
    ).one_or_none()
    if row is None:
        raise NotFound("the authorization request is unknown, used or expired")
    return Flow(*row)
