"""Mailboxes: their state, their fence, their cursor.

The fence is raised whenever a mailbox changes hands or is being disconnected. Whoever
writes about a mailbox names the fence it was given; if it is no longer that one, the
write finds no row, FenceLost is raised and the whole transaction rolls back.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from storage.database import now, wake
from storage.errors import CursorMoved, FenceLost, NotFound
from storage.tables import mailboxes


class MailboxState(enum.StrEnum):
    """What a mailbox is doing, as an operator sees it."""

    ACTIVE = "active"
    """Read and sent from."""
    FAILING = "failing"
    """Something is wrong for now; the worker keeps trying, with backoff."""
    REAUTH_REQUIRED = "reauth_required"
    """The grant is gone: a person must link it again."""
    BLOCKED = "blocked"
    """A person must change something at the provider; tried again slowly."""
    PAUSED = "paused"
    DISCONNECTING = "disconnecting"
    """Being forgotten. Nothing is read or written for it any more."""


WORKED = (MailboxState.ACTIVE, MailboxState.FAILING, MailboxState.BLOCKED)
"""States in which a worker holds the mailbox."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    account_id: UUID
    mailbox_id: UUID
    provider: str
    state: MailboxState
    trouble: str | None
    reason: str | None
    state_since: datetime
    fence: int
    worker_id: UUID | None
    cursor_sequence: int
    cursor_sealed: bytes | None
    start_from: str
    start_days: int
    created_at: datetime
    read_at: datetime | None
    sent_found: int
    sent_appended: int
    sealed: bytes


_COLUMNS = [mailboxes.c[name] for name in Mailbox.__dataclass_fields__]


def _mailbox(row: Any) -> Mailbox:
    values = dict(zip(Mailbox.__dataclass_fields__, row, strict=True))
    values["state"] = MailboxState(values["state"])
    return Mailbox(**values)


def _is(account_id: UUID, mailbox_id: UUID) -> ColumnElement[bool]:
    return and_(mailboxes.c.account_id == account_id, mailboxes.c.mailbox_id == mailbox_id)


def readable(account_id: UUID) -> ColumnElement[bool]:
    """The condition that every read of a mailbox's content joins: it is not being forgotten."""
    return and_(
        mailboxes.c.account_id == account_id,
        mailboxes.c.state != MailboxState.DISCONNECTING,
    )


def insert_mailbox(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    provider: str,
    start_from: str,
    start_days: int,
    sealed: bytes,
) -> None:
    at = now(conn)
    conn.execute(
        insert(mailboxes).values(
            account_id=account_id,
            mailbox_id=mailbox_id,
            provider=provider,
            state=MailboxState.ACTIVE,
            state_since=at,
            fence=1,
            cursor_sequence=0,
            start_from=start_from,
            start_days=start_days,
            created_at=at,
            sent_found=0,
            sent_appended=0,
            sealed=sealed,
        )
    )
    wake(conn, "mailboxes")


def get_mailbox(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Mailbox:
    """Return the mailbox, in whatever state. Raises NotFound."""
    row = conn.execute(select(*_COLUMNS).where(_is(account_id, mailbox_id))).one_or_none()
    if row is None:
        raise NotFound(f"no mailbox {mailbox_id}")
    return _mailbox(row)


def list_mailboxes(conn: Connection, account_id: UUID) -> list[Mailbox]:
    rows = conn.execute(select(*_COLUMNS).where(mailboxes.c.account_id == account_id).order_by(mailboxes.c.mailbox_id))
    return [_mailbox(row) for row in rows]


def list_all_mailboxes(conn: Connection) -> list[Mailbox]:
    """Return the mailboxes of all accounts, for the daemon, metrics and `verify`."""
    return [_mailbox(row) for row in conn.execute(select(*_COLUMNS).order_by(mailboxes.c.mailbox_id))]


def hold(conn: Connection, account_id: UUID, mailbox_id: UUID, fence: int) -> None:
    """Make sure that this transaction may write about the mailbox, and that nobody
    takes it away before the commit. Raises FenceLost."""
    _guarded_update(conn, account_id, mailbox_id, fence, {"fence": fence})


def hold_unfenced(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Mailbox:
    """As `hold`, for people's requests (a reply, a pause), which own no fence:
    the mailbox must be there and not be on its way out. Raises NotFound."""
    found = conn.execute(
        update(mailboxes)
        .where(_is(account_id, mailbox_id), mailboxes.c.state != MailboxState.DISCONNECTING)
        .values(fence=mailboxes.c.fence)
        .returning(*_COLUMNS)
    ).one_or_none()
    if found is None:
        raise NotFound(f"no mailbox {mailbox_id}, or it is being disconnected")
    return _mailbox(found)


def advance_cursor(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    fence: int,
    cursor_sequence: int,
    cursor_sealed: bytes,
) -> None:
    """Put the cursor behind the batch that this transaction commits.

    `cursor_sequence` is the one that the batch started from. Raises FenceLost if the
    mailbox changed hands, CursorMoved if somebody with the same fence was here already.
    """
    if (
        conn.execute(
            update(mailboxes)
            .where(
                _is(account_id, mailbox_id),
                mailboxes.c.fence == fence,
                mailboxes.c.state != MailboxState.DISCONNECTING,
                mailboxes.c.cursor_sequence == cursor_sequence,
            )
            .values(
                cursor_sequence=cursor_sequence + 1,
                cursor_sealed=cursor_sealed,
                read_at=now(conn),
            )
        ).rowcount
        == 1
    ):
        return
    hold(conn, account_id, mailbox_id, fence)
    raise CursorMoved(f"the cursor of mailbox {mailbox_id} is not at {cursor_sequence}")


def mark_read_through(conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int) -> None:
    """Note that the mailbox was read to its end just now, without anything new."""
    _guarded_update(conn, account_id, mailbox_id, fence, {"read_at": now(conn)})


def set_state(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    fence: int,
    state: MailboxState,
    trouble: str | None = None,
    reason: str | None = None,
) -> bool:
    """Set what the worker found out; return whether the state changed (and `state_since` with it)."""
    mailbox = get_mailbox(conn, account_id, mailbox_id)
    values: dict[str, Any] = {"state": state, "trouble": trouble, "reason": reason}
    changed = (mailbox.state, mailbox.trouble) != (state, trouble)
    if changed:
        values["state_since"] = now(conn)
    _guarded_update(conn, account_id, mailbox_id, fence, values)
    return changed


def relink(conn: Connection, account_id: UUID, mailbox_id: UUID, sealed: bytes) -> None:
    """Make the mailbox active again after a new grant. It resumes where it stopped."""
    hold_unfenced(conn, account_id, mailbox_id)
    conn.execute(
        update(mailboxes)
        .where(_is(account_id, mailbox_id))
        .values(
            state=MailboxState.ACTIVE,
            trouble=None,
            reason=None,
            state_since=now(conn),
            # Its worker, if any, holds a connection of the old grant.
            fence=mailboxes.c.fence + 1,
            worker_id=None,
            sealed=sealed,
        )
    )
    wake(conn, "mailboxes")


def count_sent_copy(conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int, found: bool) -> None:
    """Learn what the provider does: one more sent mail was found filed, or had to be appended by us."""
    column = mailboxes.c.sent_found if found else mailboxes.c.sent_appended
    _guarded_update(conn, account_id, mailbox_id, fence, {column.name: column + 1})


def start_disconnect(conn: Connection, account_id: UUID, mailbox_id: UUID) -> bool:
    """Raise the fence and close the mailbox for all work; return False if that was done before."""
    mailbox = get_mailbox(conn, account_id, mailbox_id)
    if mailbox.state == MailboxState.DISCONNECTING:
        return False
    conn.execute(
        update(mailboxes)
        .where(_is(account_id, mailbox_id))
        .values(
            state=MailboxState.DISCONNECTING,
            trouble=None,
            reason=None,
            state_since=now(conn),
            fence=mailboxes.c.fence + 1,
            worker_id=None,
        )
    )
    wake(conn, "mailboxes")
    return True


def delete_mailbox(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
    conn.execute(mailboxes.delete().where(_is(account_id, mailbox_id), mailboxes.c.state == MailboxState.DISCONNECTING))


def _guarded_update(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    fence: int,
    values: dict[str, Any],
) -> None:
    if (
        conn.execute(
            update(mailboxes)
            .where(
                _is(account_id, mailbox_id),
                mailboxes.c.fence == fence,
                mailboxes.c.state != MailboxState.DISCONNECTING,
            )
            .values(**values)
        ).rowcount
        != 1
    ):
        raise FenceLost(f"mailbox {mailbox_id} is no longer held with fence {fence}")
