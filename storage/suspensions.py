"""What decides whether a suspended account is erased: since when, how large, held or not, and what it was warned of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, update

from storage.accounts import AccountStatus, get_account
from storage.database import now
from storage.tables import accounts, erasure_warnings, tickets


@dataclass(frozen=True, slots=True)
class Suspended:
    """A suspended account at one moment."""

    account_id: UUID
    since: datetime
    tickets: int
    """Counted up to a limit only."""
    held_since: datetime | None
    warned: Mapping[int, datetime]
    """When it was warned, by the days that were left then."""


def list_suspended(conn: Connection) -> list[UUID]:
    query = select(accounts.c.account_id).where(accounts.c.status == AccountStatus.SUSPENDED)
    return list(conn.execute(query.order_by(accounts.c.account_id)).scalars())


def find_suspended(conn: Connection, account_id: UUID, tickets_max: int) -> Suspended | None:
    """Return what is known of a suspended account, its tickets counted up to `tickets_max`; None where it is not
    suspended (any more). Raises NotFound."""
    account = get_account(conn, account_id)
    if account.status is not AccountStatus.SUSPENDED:
        return None
    some = select(tickets.c.ticket_id).where(tickets.c.account_id == account_id).limit(tickets_max).subquery()
    return Suspended(
        account_id,
        account.since,
        conn.execute(select(func.count()).select_from(some)).scalar_one(),
        account.held_since,
        warned_of(conn, account_id),
    )


def warned_of(conn: Connection, account_id: UUID) -> dict[int, datetime]:
    """Return when an account was warned, by the days that were left then."""
    mine = erasure_warnings.c.account_id == account_id
    rows = conn.execute(select(erasure_warnings.c.days, erasure_warnings.c.at).where(mine))
    return {row.days: row.at for row in rows}


def warn(conn: Connection, account_id: UUID, days: int, at: datetime) -> None:
    """Note that an account was warned; the caller holds it still, and looked whether it was warned before."""
    conn.execute(insert(erasure_warnings).values(account_id=account_id, days=days, at=at))


def take_warnings_back(conn: Connection, account_id: UUID) -> None:
    """Forget the warnings: what they warned of does not come, or not then."""
    conn.execute(delete(erasure_warnings).where(erasure_warnings.c.account_id == account_id))


def set_hold(conn: Connection, account_id: UUID, *, held: bool) -> bool:
    """Set or release the operator's hold; return whether that changed something. Raises NotFound."""
    before = accounts.c.held_since.is_(None) if held else accounts.c.held_since.is_not(None)
    changed = conn.execute(
        update(accounts)
        .where(accounts.c.account_id == account_id, before)
        .values(held_since=now(conn) if held else None)
    )
    if not changed.rowcount:
        get_account(conn, account_id)
    return bool(changed.rowcount)
