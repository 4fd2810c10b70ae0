"""Mailboxes: their state, their fence, their cursor.

The fence is raised whenever a mailbox changes hands or is being disconnected. Whoever
writes about a mailbox names the fence it was given; if it is no longer that one, the
write finds no row, FenceLost is raised and the whole transaction rolls back.

New work also needs a state in which the mailbox is worked on (`WORKED`). What came of
work that was under way when somebody paused it is written all the same: a mail that has
left cannot be called back, and unrecorded nobody would know that it did.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    insert,
    select,
    update,
)

from storage import accounts
from storage.accounts import AccountStatus
from storage.database import now, wake
from storage.errors import CursorMoved, FenceLost, NotFound
from storage.tables import mailboxes


class MailboxState(enum.StrEnum):
    """What a mailbox is doing, as an operator sees it."""

    ACTIVE = "active"
    """Read and sent from."""
    FAILING = "failing"
    """Something is wrong for now; the worker keeps trying, with backoff."""
    THROTTLED = "throttled"
    """The provider asked us to wait; the worker goes on at `retry_at`."""
    REAUTH_REQUIRED = "reauth_required"
    """The grant is gone: a person must link it again."""
    BLOCKED = "blocked"
    """A person must change something at the provider; tried again slowly."""
    PAUSED = "paused"
    """A person stopped it; what is asked for meanwhile waits until a person resumes it."""
    SUSPENDED = "suspended"
    """Its account is; it becomes what it was (`resumes_as`) when the account is resumed."""
    DISCONNECTING = "disconnecting"
    """Being forgotten. Nothing is read or written for it any more."""


WORKED = (MailboxState.ACTIVE, MailboxState.FAILING, MailboxState.THROTTLED, MailboxState.BLOCKED)
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
    resumes_as: MailboxState | None
    """While its account is suspended: what a person decided, or has to do, about the mailbox itself."""
    retry_at: datetime | None
    """When the worker tries again what failed; None where nothing failed, or nothing is tried."""
    send_trouble: str | None
    """Why no reply can be sent, although the mailbox may be read; None where sending works."""
    send_reason: str | None
    send_since: datetime | None
    send_retry_at: datetime | None
    """Until when no reply is tried; also after a first failure, which is no trouble yet."""
    fence: int
    worker_id: UUID | None
    cursor_sequence: int
    cursor_sealed: bytes | None
    folders_sealed: bytes | None
    """Which folders are watched, and which of them are not there; None before its worker began."""
    folders_missing: int
    folders_missing_since: datetime | None
    start_from: str
    start_days: int
    created_at: datetime
    read_at: datetime | None
    read_way: str | None
    """By which way it is read; None before anybody began, and for IMAP where that was before there was another."""
    sent_found: int
    sent_appended: int
    sent_rewritten: int
    """Copies whose Message-ID is another than that of the mail that we sent."""
    sealed: bytes


UNTROUBLED: dict[str, Any] = dict.fromkeys(
    ("trouble", "reason", "retry_at", "send_trouble", "send_reason", "send_since", "send_retry_at")
)
_COLUMNS = [mailboxes.c[name] for name in Mailbox.__dataclass_fields__]


def _mailbox(row: Any) -> Mailbox:
    values = dict(zip(Mailbox.__dataclass_fields__, row, strict=True))
    values["state"] = MailboxState(values["state"])
    if values["resumes_as"] is not None:
        values["resumes_as"] = MailboxState(values["resumes_as"])
    return Mailbox(**values)


def is_mailbox(account_id: UUID, mailbox_id: UUID) -> ColumnElement[bool]:
    return and_(mailboxes.c.account_id == account_id, mailboxes.c.mailbox_id == mailbox_id)


def is_readable() -> ColumnElement[bool]:
    """As `readable`, for a statement that is built once: `of_account` is its parameter."""
    return and_(
        mailboxes.c.account_id == bindparam("of_account"),
        mailboxes.c.state != MailboxState.DISCONNECTING,
    )


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
    """Write a mailbox that is worked on from now on, or once its account is resumed. Raises NotFound where the account
    is closed."""
    at = now(conn)
    state = {"state": MailboxState.ACTIVE}
    if accounts.hold_still(conn, account_id) is AccountStatus.SUSPENDED:
        state = {"state": MailboxState.SUSPENDED, "resumes_as": MailboxState.ACTIVE}
    conn.execute(
        insert(mailboxes).values(
            account_id=account_id,
            mailbox_id=mailbox_id,
            provider=provider,
            state_since=at,
            fence=1,
            cursor_sequence=0,
            start_from=start_from,
            start_days=start_days,
            created_at=at,
            sent_found=0,
            sent_appended=0,
            sealed=sealed,
            **state,
        )
    )
    wake(conn, "mailboxes")


# What every step runs is built once: building a statement takes several times as long as running it.
_SAME = and_(mailboxes.c.account_id == bindparam("of_account"), mailboxes.c.mailbox_id == bindparam("of_mailbox"))
_GET_MAILBOX = select(*_COLUMNS).where(_SAME)


def get_mailbox(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Mailbox:
    """Return the mailbox, in whatever state. Raises NotFound."""
    found = find_mailbox(conn, account_id, mailbox_id)
    if found is None:
        raise NotFound(f"no mailbox {mailbox_id}")
    return found


def find_mailbox(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Mailbox | None:
    """As `get_mailbox`; None where there is none."""
    row = conn.execute(_GET_MAILBOX, {"of_account": account_id, "of_mailbox": mailbox_id}).one_or_none()
    return None if row is None else _mailbox(row)


def list_mailboxes(conn: Connection, account_id: UUID) -> list[Mailbox]:
    rows = conn.execute(select(*_COLUMNS).where(mailboxes.c.account_id == account_id).order_by(mailboxes.c.mailbox_id))
    return [_mailbox(row) for row in rows]


def page_of_mailboxes(conn: Connection, account_id: UUID, *, after: UUID | None, limit: int) -> list[Mailbox]:
    """Return up to `limit` mailboxes behind the id `after`, oldest first, but for those that are being forgotten."""
    query = select(*_COLUMNS).where(readable(account_id)).order_by(mailboxes.c.mailbox_id).limit(limit)
    if after is not None:
        query = query.where(mailboxes.c.mailbox_id > after)
    return [_mailbox(row) for row in conn.execute(query)]


def list_all_mailboxes(conn: Connection) -> list[Mailbox]:
    """Return the mailboxes of all accounts, for the daemon, metrics and `verify`."""
    return [_mailbox(row) for row in conn.execute(select(*_COLUMNS).order_by(mailboxes.c.mailbox_id))]


def hold(conn: Connection, account_id: UUID, mailbox_id: UUID, fence: int) -> None:
    """Make sure that this transaction may begin or go on with work on the mailbox, and that nobody
    takes it away before the commit. Raises FenceLost."""
    _hold(conn, _HOLD, account_id, mailbox_id, fence)


def hold_ending(conn: Connection, account_id: UUID, mailbox_id: UUID, fence: int) -> None:
    """As `hold`, to write what came of work that was begun before: also in a mailbox that was paused
    meanwhile. Raises FenceLost."""
    _hold(conn, _HOLD_ENDING, account_id, mailbox_id, fence)


def hold_unfenced(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Mailbox:
    """As `hold`, for people's requests (a reply, a pause), which own no fence:
    the mailbox must be there and not be on its way out. Raises NotFound."""
    found = conn.execute(_HOLD_UNFENCED, {"of_account": account_id, "of_mailbox": mailbox_id}).one_or_none()
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
                is_mailbox(account_id, mailbox_id),
                mailboxes.c.fence == fence,
                mailboxes.c.state.in_(WORKED),
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
    _guarded_update(conn, account_id, mailbox_id, fence, {"read_at": now(conn)}, worked=True)


def set_folders(conn: Connection, account_id: UUID, mailbox_id: UUID, *, sealed: bytes, missing: int) -> None:
    """Write which folders are watched, and how many of them are missing. The caller holds the mailbox."""
    before = get_mailbox(conn, account_id, mailbox_id)
    values: dict[str, Any] = {"folders_sealed": sealed, "folders_missing": missing}
    if missing != before.folders_missing:
        values["folders_missing_since"] = (before.folders_missing_since or now(conn)) if missing else None
    conn.execute(update(mailboxes).where(is_mailbox(account_id, mailbox_id)).values(values))


def bind_read_way(conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int, way: str) -> None:
    """Note by which way the mailbox is read from now on, for good. Raises FenceLost."""
    _guarded_update(conn, account_id, mailbox_id, fence, {"read_way": way}, worked=True)


def set_state(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    fence: int,
    state: MailboxState,
    trouble: str | None = None,
    reason: str | None = None,
    retry_in: timedelta | None = None,
) -> bool:
    """Set what the worker found out; return whether state or trouble changed (and `state_since` with them).

    Raises FenceLost, also where the mailbox is not worked on any more: a worker's finding never undoes
    what a person decided or what waits for a new linking.
    """
    mailbox = get_mailbox(conn, account_id, mailbox_id)
    at = now(conn)
    values: dict[str, Any] = {
        "state": state,
        "trouble": trouble,
        "reason": reason,
        "retry_at": None if retry_in is None else at + retry_in,
    }
    changed = (mailbox.state, mailbox.trouble) != (state, trouble)
    if changed:
        values["state_since"] = at
    _guarded_update(conn, account_id, mailbox_id, fence, values, worked=True)
    return changed


def set_retry(conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int, retry_in: timedelta) -> None:
    """Note when the worker tries again, where nothing else is news. Raises FenceLost."""
    _guarded_update(conn, account_id, mailbox_id, fence, {"retry_at": now(conn) + retry_in}, worked=True)


def retry_in(conn: Connection, account_id: UUID, mailbox_id: UUID) -> timedelta:
    """Return how long the worker must leave a throttled mailbox alone: what its provider asked for holds
    for the next worker, too. Zero for every other state. Raises NotFound."""
    mailbox = get_mailbox(conn, account_id, mailbox_id)
    if mailbox.state is not MailboxState.THROTTLED or mailbox.retry_at is None:
        return timedelta()
    return max(mailbox.retry_at - now(conn), timedelta())


def set_sending(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    fence: int,
    trouble: str | None,
    reason: str | None,
    retry_in: timedelta | None,
) -> bool:
    """Set what was found out about sending, which can fail where reading works; return whether the trouble changed.

    With `retry_in` no reply is tried before; without, sending works.
    """
    mailbox = get_mailbox(conn, account_id, mailbox_id)
    at = now(conn)
    values: dict[str, Any] = {
        "send_trouble": trouble,
        "send_reason": reason,
        "send_retry_at": None if retry_in is None else at + retry_in,
    }
    if trouble is None or mailbox.send_since is None:
        values["send_since"] = None if trouble is None else at
    elif mailbox.send_trouble != trouble:
        values["send_since"] = at
    _guarded_update(conn, account_id, mailbox_id, fence, values)
    return mailbox.send_trouble != trouble


def relink(conn: Connection, account_id: UUID, mailbox_id: UUID, sealed: bytes) -> None:
    """Make the mailbox active again after a new grant; it resumes where it stopped. A paused one stays
    paused, and a suspended one suspended: that a person stopped it has nothing to do with its grant."""
    before = hold_unfenced(conn, account_id, mailbox_id)
    stopped = before.state in {MailboxState.PAUSED, MailboxState.SUSPENDED}
    resumes_as = before.resumes_as
    if resumes_as is MailboxState.REAUTH_REQUIRED:
        resumes_as = MailboxState.ACTIVE
    conn.execute(
        update(mailboxes)
        .where(is_mailbox(account_id, mailbox_id))
        .values(
            state=before.state if stopped else MailboxState.ACTIVE,
            state_since=before.state_since if stopped else now(conn),
            resumes_as=resumes_as,
            **UNTROUBLED,
            # Its worker, if any, holds a connection of the old grant.
            fence=mailboxes.c.fence + 1,
            worker_id=None,
            sealed=sealed,
        )
    )
    wake(conn, "mailboxes")


def replace_record(conn: Connection, account_id: UUID, mailbox_id: UUID, sealed: bytes) -> None:
    """Write anew what is known of the mailbox and decided about it; its worker begins again with it.

    The caller holds the mailbox, and has seen to it that no reply is being sent: its worker could not write
    any more what became of it.
    """
    values = {"sealed": sealed, "fence": mailboxes.c.fence + 1, "worker_id": None}
    conn.execute(update(mailboxes).where(is_mailbox(account_id, mailbox_id)).values(values))
    wake(conn, "mailboxes")


def count_sent_copy(
    conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int, found: bool, rewritten: bool = False
) -> None:
    """Learn what the provider does: one more sent mail was found filed, or had to be appended by us, and
    whether its Message-ID was `rewritten`."""
    column = mailboxes.c.sent_found if found else mailboxes.c.sent_appended
    values: dict[str, Any] = {column.name: column + 1}
    if rewritten:
        values["sent_rewritten"] = mailboxes.c.sent_rewritten + 1
    _guarded_update(conn, account_id, mailbox_id, fence, values)


def start_disconnect(conn: Connection, account_id: UUID, mailbox_id: UUID) -> bool:
    """Raise the fence and close the mailbox for all work; return False if that was done before. Raises NotFound."""
    get_mailbox(conn, account_id, mailbox_id)  # raises NotFound
    closed = conn.execute(
        update(mailboxes)
        # Of two who ask at once, the second waits here for the first one's commit, and then finds nothing to do.
        .where(is_mailbox(account_id, mailbox_id), mailboxes.c.state != MailboxState.DISCONNECTING)
        .values(
            state=MailboxState.DISCONNECTING,
            resumes_as=None,
            **UNTROUBLED,
            state_since=now(conn),
            fence=mailboxes.c.fence + 1,
            worker_id=None,
        )
    )
    if not closed.rowcount:
        return False
    wake(conn, "mailboxes")
    return True


def delete_mailbox(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
    conn.execute(
        mailboxes.delete().where(is_mailbox(account_id, mailbox_id), mailboxes.c.state == MailboxState.DISCONNECTING)
    )


_SAME_FENCE = and_(_SAME, mailboxes.c.fence == bindparam("of_fence"))
_HOLD_ENDING = (
    update(mailboxes)
    .where(_SAME_FENCE, mailboxes.c.state != MailboxState.DISCONNECTING)
    .values(fence=mailboxes.c.fence)
)
_HOLD_UNFENCED = (
    update(mailboxes)
    .where(_SAME, mailboxes.c.state != MailboxState.DISCONNECTING)
    .values(fence=mailboxes.c.fence)
    .returning(*_COLUMNS)
)
_HOLD = update(mailboxes).where(_SAME_FENCE, mailboxes.c.state.in_(WORKED)).values(fence=mailboxes.c.fence)


def _hold(conn: Connection, statement: Update, account_id: UUID, mailbox_id: UUID, fence: int) -> None:
    place = {"of_account": account_id, "of_mailbox": mailbox_id, "of_fence": fence}
    if conn.execute(statement, place).rowcount != 1:
        raise FenceLost(f"mailbox {mailbox_id} is no longer held with fence {fence}")


def _guarded_update(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    fence: int,
    values: dict[str, Any],
    *,
    worked: bool = False,
) -> None:
    states = mailboxes.c.state.in_(WORKED) if worked else mailboxes.c.state != MailboxState.DISCONNECTING
    if (
        conn.execute(
            update(mailboxes)
            .where(is_mailbox(account_id, mailbox_id), mailboxes.c.fence == fence, states)
            .values(**values)
        ).rowcount
        != 1
    ):
        raise FenceLost(f"mailbox {mailbox_id} is no longer held with fence {fence}")
