"""The OAuth tokens of mailboxes, sealed under the mailbox's key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from storage.database import now
from storage.errors import CursorMoved, NotFound
from storage.mailboxes import hold_unfenced
from storage.tables import grants


@dataclass(frozen=True, slots=True)
class Grant:
    version: int
    refreshed_at: datetime
    expires_at: datetime | None
    """When the access token ends."""
    scopes: tuple[str, ...] | None
    """What it allows; None where that is not known."""
    refresh_ends_at: datetime | None
    """When the refresh token ends, however often it is used; None where the provider told no end."""
    sealed: bytes


def get_grant(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Grant:
    """Raises NotFound."""
    row = conn.execute(
        select(
            grants.c.version,
            grants.c.refreshed_at,
            grants.c.expires_at,
            grants.c.scopes,
            grants.c.refresh_ends_at,
            grants.c.sealed,
        ).where(grants.c.account_id == account_id, grants.c.mailbox_id == mailbox_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"mailbox {mailbox_id} has no grant")
    version, refreshed_at, expires_at, scopes, refresh_ends_at, sealed = row
    return Grant(version, refreshed_at, expires_at, scopes_of(scopes), refresh_ends_at, sealed)


def scopes_of(text: str | None) -> tuple[str, ...] | None:
    """Return the scopes that a row names.

    >>> scopes_of("openid mail"), scopes_of(None)
    (('openid', 'mail'), None)
    """
    return None if text is None else tuple(text.split())


def put_grant(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    expires_at: datetime | None,
    sealed: bytes,
    *,
    scopes: Sequence[str] | None = None,
    refresh_ends_at: datetime | None = None,
) -> None:
    """Store the tokens of a new link, in place of older ones."""
    hold_unfenced(conn, account_id, mailbox_id)
    values = {
        "refreshed_at": now(conn),
        "expires_at": expires_at,
        "renewing_until": None,
        "scopes": _text(scopes),
        "refresh_ends_at": refresh_ends_at,
        "sealed": sealed,
    }
    same = (grants.c.account_id == account_id) & (grants.c.mailbox_id == mailbox_id)
    if conn.execute(update(grants).where(same).values(version=grants.c.version + 1, **values)).rowcount == 0:
        conn.execute(insert(grants).values(account_id=account_id, mailbox_id=mailbox_id, version=1, **values))


def claim_renewal(conn: Connection, account_id: UUID, mailbox_id: UUID, *, version: int, seconds: float) -> bool:
    """Keep every other process from refreshing this version for a while; False where one is at it, or was.

    A refresh token that is used twice can end the whole grant (RFC 9700 §4.14.2). Raises NotFound once it is
    being disconnected.
    """
    hold_unfenced(conn, account_id, mailbox_id)
    moment = now(conn)
    claimed = conn.execute(
        update(grants)
        .where(
            grants.c.account_id == account_id,
            grants.c.mailbox_id == mailbox_id,
            grants.c.version == version,
            grants.c.renewing_until.is_(None) | (grants.c.renewing_until <= moment),
        )
        .values(renewing_until=moment + timedelta(seconds=seconds))
    )
    return claimed.rowcount == 1


def end_renewal(conn: Connection, account_id: UUID, mailbox_id: UUID, *, version: int) -> None:
    """Let others refresh again, after a refresh that brought nothing."""
    conn.execute(
        update(grants)
        .where(grants.c.account_id == account_id, grants.c.mailbox_id == mailbox_id, grants.c.version == version)
        .values(renewing_until=None)
    )


def replace_grant(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    version: int,
    expires_at: datetime | None,
    sealed: bytes,
    scopes: Sequence[str] | None = None,
    refresh_ends_at: datetime | None = None,
) -> None:
    """Store refreshed tokens. Raises CursorMoved if the grant is not `version` any more: it was
    linked again, or refreshed by another process, meanwhile. Raises NotFound once it is being disconnected."""
    hold_unfenced(conn, account_id, mailbox_id)
    changed = conn.execute(
        update(grants)
        .where(
            grants.c.account_id == account_id,
            grants.c.mailbox_id == mailbox_id,
            grants.c.version == version,
        )
        .values(
            version=version + 1,
            refreshed_at=now(conn),
            expires_at=expires_at,
            renewing_until=None,
            scopes=_text(scopes),
            refresh_ends_at=refresh_ends_at,
            sealed=sealed,
        )
    )
    if changed.rowcount != 1:
        raise CursorMoved(f"the grant of mailbox {mailbox_id} has changed")


def _text(scopes: Sequence[str] | None) -> str | None:
    return None if scopes is None else " ".join(scopes)
