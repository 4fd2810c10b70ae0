"""What will end the access to mailboxes: what of their grants is plain, and the warnings that were told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, select, tuple_

from storage.database import now
from storage.grants import scopes_of
from storage.mailboxes import MailboxState
from storage.tables import access_warnings, grants, mailboxes


@dataclass(frozen=True, slots=True)
class Access:
    """A mailbox's grant, as far as it is plain."""

    account_id: UUID
    mailbox_id: UUID
    provider: str
    state: MailboxState
    refreshed_at: datetime
    scopes: tuple[str, ...] | None
    """What it allows; None where that is not known."""
    refresh_ends_at: datetime | None
    """When the refresh token ends, however often it is used; None where the provider told no end."""
    read_way: str | None = None
    """By which way the mailbox is read; None before anybody began."""


def list_access(conn: Connection, *, after: UUID | None, limit: int) -> list[Access]:
    """Return up to `limit` grants of all accounts behind the mailbox id `after`."""
    query = _SELECT.order_by(mailboxes.c.mailbox_id).limit(limit)
    if after is not None:
        query = query.where(mailboxes.c.mailbox_id > after)
    return [_access(row) for row in conn.execute(query)]


def find_access(conn: Connection, account_id: UUID, mailbox_ids: Sequence[UUID]) -> dict[UUID, Access]:
    """Return the grants of those mailboxes that have one and are not being disconnected."""
    query = _SELECT.where(mailboxes.c.account_id == account_id, mailboxes.c.mailbox_id.in_(mailbox_ids))
    return {one.mailbox_id: one for one in map(_access, conn.execute(query))}


def told_of(conn: Connection, account_id: UUID, mailbox_ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, datetime]]:
    """Return by mailbox which risks were told, and since when they last."""
    mine = access_warnings.c.account_id == account_id, access_warnings.c.mailbox_id.in_(mailbox_ids)
    return _told(conn, *mine)


def told_of_many(conn: Connection, places: Collection[tuple[UUID, UUID]]) -> Mapping[UUID, Mapping[str, datetime]]:
    """As `told_of`, of mailboxes of all accounts: each is named by its account and itself."""
    return _told(conn, tuple_(access_warnings.c.account_id, access_warnings.c.mailbox_id).in_(places))


def _told(conn: Connection, *where: ColumnElement[bool]) -> Mapping[UUID, Mapping[str, datetime]]:
    query = select(access_warnings.c.mailbox_id, access_warnings.c.risk, access_warnings.c.since).where(*where)
    found: dict[UUID, dict[str, datetime]] = defaultdict(dict)
    for mailbox_id, risk, since in conn.execute(query):
        found[mailbox_id][risk] = since
    return found


def begin(conn: Connection, account_id: UUID, mailbox_id: UUID, risk: str) -> None:
    """Note that a risk is told. The caller holds the mailbox."""
    values = {"account_id": account_id, "mailbox_id": mailbox_id, "risk": risk, "since": now(conn)}
    conn.execute(insert(access_warnings).values(values))


def end(conn: Connection, account_id: UUID, mailbox_id: UUID, risk: str) -> None:
    """Forget a risk. The caller holds the mailbox."""
    conn.execute(delete(access_warnings).where(_is(account_id, mailbox_id), access_warnings.c.risk == risk))


def count_by_risk(conn: Connection) -> dict[str, int]:
    """Return how many mailboxes have which risk."""
    rows = conn.execute(select(access_warnings.c.risk, func.count()).group_by(access_warnings.c.risk))
    return {row[0]: row[1] for row in rows}


_SELECT: Select[Any] = (
    select(
        mailboxes.c.account_id,
        mailboxes.c.mailbox_id,
        mailboxes.c.provider,
        mailboxes.c.state,
        grants.c.refreshed_at,
        grants.c.scopes,
        grants.c.refresh_ends_at,
        mailboxes.c.read_way,
    )
    .join(grants, and_(grants.c.account_id == mailboxes.c.account_id, grants.c.mailbox_id == mailboxes.c.mailbox_id))
    .where(mailboxes.c.state != MailboxState.DISCONNECTING)
)


def _access(row: Any) -> Access:
    account_id, mailbox_id, provider, state, refreshed_at, scopes, *others = row
    return Access(account_id, mailbox_id, provider, MailboxState(state), refreshed_at, scopes_of(scopes), *others)


def _is(account_id: UUID, mailbox_id: UUID) -> ColumnElement[bool]:
    return and_(access_warnings.c.account_id == account_id, access_warnings.c.mailbox_id == mailbox_id)
