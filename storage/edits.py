"""Edits in a mailbox that are still to be done: written with the message or an agent's action, deleted when done."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from storage.database import now, wake
from storage.leases import Held
from storage.mailboxes import WORKED, readable
from storage.tables import edits, mailboxes

DISPLACED = "displaced"
"""The reason of an edit whose message does not lie where it was, and may lie elsewhere."""


class EditStatus(enum.StrEnum):
    """Where an edit stands. One that is done has no row any more."""

    DUE = "due"
    FAILED = "failed"
    """Given up; `reason` says why."""


class EditCause(enum.StrEnum):
    """Why a message is edited."""

    IMPORT = "import"
    """It was taken (`after_import`)."""
    READ = "read"
    """An agent read its ticket."""
    SPAM = "spam"
    """Its ticket is spam."""
    DELETE = "delete"
    """Its ticket was deleted."""
    SOLVED = "solved"
    """Its ticket was closed."""
    REOPEN = "reopen"
    """Its ticket stands elsewhere now: what one of the three before had asked for is undone."""


@dataclass(frozen=True, slots=True)
class NewEdit:
    edit_id: UUID
    mailbox_id: UUID
    message_id: UUID
    kind: str
    sealed: bytes
    cause: EditCause = EditCause.IMPORT


@dataclass(frozen=True, slots=True)
class MessageEdit:
    """An edit that waits for a message, due or failed."""

    edit_id: UUID
    message_id: UUID
    kind: str
    cause: EditCause
    status: EditStatus
    reason: str | None
    sealed: bytes


@dataclass(frozen=True, slots=True)
class WaitingEdit:
    """An edit that is due."""

    account_id: UUID
    edit_id: UUID
    mailbox_id: UUID
    message_id: UUID
    kind: str
    attempts: int
    """How often it has failed so far."""
    sealed: bytes


@dataclass(frozen=True, slots=True)
class EditCount:
    """How many edits of one sort wait."""

    cause: str
    kind: str
    status: str
    reason: str | None
    messages: int


_COLUMNS = [edits.c[name] for name in WaitingEdit.__dataclass_fields__]


def _of(account_id: UUID, mailbox_id: UUID) -> ColumnElement[bool]:
    return and_(edits.c.account_id == account_id, edits.c.mailbox_id == mailbox_id)


def _among(account_id: UUID, edit_ids: Collection[UUID]) -> ColumnElement[bool]:
    return and_(edits.c.account_id == account_id, edits.c.edit_id.in_(edit_ids))


def insert_edits(conn: Connection, account_id: UUID, new: Sequence[NewEdit]) -> None:
    """Write edits that are due at once, behind their messages."""
    if not new:
        return
    at = now(conn)
    rows: list[dict[str, Any]] = [
        {
            "account_id": account_id,
            "edit_id": one.edit_id,
            "mailbox_id": one.mailbox_id,
            "message_id": one.message_id,
            "kind": one.kind,
            "cause": one.cause,
            "status": EditStatus.DUE,
            "attempts": 0,
            "due_at": at,
            "created_at": at,
            "sealed": one.sealed,
        }
        for one in new
    ]
    conn.execute(insert(edits), rows)


def list_due(
    conn: Connection, account_id: UUID, mailbox_id: UUID, *, limit: int
) -> tuple[list[WaitingEdit], timedelta | None]:
    """Return up to `limit` edits that are due, oldest first; and how long until the first of those that are
    not is due, None where there is none."""
    at = now(conn)
    rows = conn.execute(
        select(*_COLUMNS)
        .where(_of(account_id, mailbox_id), edits.c.due_at <= at)
        .order_by(edits.c.due_at, edits.c.edit_id)
        .limit(limit)
    )
    found = [WaitingEdit(*row) for row in rows]
    later = _of(account_id, mailbox_id), edits.c.due_at > at
    first = conn.execute(select(edits.c.due_at).where(*later).order_by(edits.c.due_at).limit(1)).scalar()
    return found, None if first is None else first - at


def due_by_others(conn: Connection, worker_id: UUID, *, limit: int) -> list[Held]:
    """Return the mailboxes that this process holds and in which edits are due."""
    held = (
        select(mailboxes.c.account_id, mailboxes.c.mailbox_id, mailboxes.c.fence)
        .select_from(
            edits.join(
                mailboxes,
                and_(mailboxes.c.account_id == edits.c.account_id, mailboxes.c.mailbox_id == edits.c.mailbox_id),
            )
        )
        .where(mailboxes.c.worker_id == worker_id, mailboxes.c.state.in_(WORKED), edits.c.due_at <= now(conn))
        .distinct()
        .limit(limit)
    )
    return [Held(*row) for row in conn.execute(held)]


def list_of_messages(
    conn: Connection, account_id: UUID, message_ids: Collection[UUID]
) -> Mapping[UUID, list[MessageEdit]]:
    """Return the edits of messages, due and failed, in the order in which they were planned."""
    columns = [edits.c[name] for name in MessageEdit.__dataclass_fields__]
    rows = conn.execute(select(*columns).where(edits.c.account_id == account_id, edits.c.message_id.in_(message_ids)))
    found: dict[UUID, list[MessageEdit]] = {}
    # Sorted here: asked for this order, SQLite would go through all of the account's.
    for edit_id, message_id, kind, cause, status, reason, sealed in sorted(rows):
        one = MessageEdit(edit_id, message_id, kind, EditCause(cause), EditStatus(status), reason, bytes(sealed))
        found.setdefault(message_id, []).append(one)
    return found


def relocate(conn: Connection, account_id: UUID, edit_id: UUID, sealed: bytes) -> None:
    """Write an edit's record anew, with the place where its message lies now; had it been missing there, the edit
    is due. The caller holds the mailbox."""
    conn.execute(update(edits).where(_among(account_id, [edit_id])).values(sealed=sealed))
    _make_due(conn, _among(account_id, [edit_id]), edits.c.reason == DISPLACED)


def revive_displaced(conn: Connection, account_id: UUID, mailbox_id: UUID) -> int:
    """Make due, also where they were given up, the edits whose messages did not lie where they were; return how many.
    The caller holds the mailbox."""
    return _make_due(conn, _of(account_id, mailbox_id), edits.c.reason == DISPLACED)


def delete_edits(conn: Connection, account_id: UUID, edit_ids: Collection[UUID]) -> None:
    """Remove edits that are done."""
    conn.execute(delete(edits).where(_among(account_id, edit_ids)))


def postpone(conn: Connection, account_id: UUID, edit_ids: Collection[UUID], pause: timedelta, *, reason: str) -> None:
    """Count a failure of these edits, and let them wait for `pause`."""
    values = {"due_at": now(conn) + pause, "reason": reason, "attempts": edits.c.attempts + 1}
    conn.execute(update(edits).where(_among(account_id, edit_ids)).values(values))


def suspend(conn: Connection, account_id: UUID, mailbox_id: UUID, pause: timedelta, *, reason: str) -> None:
    """Let all edits of a mailbox wait for `pause` at least; it counts as a failure of none."""
    until = now(conn) + pause
    sooner = _of(account_id, mailbox_id), edits.c.due_at < until
    conn.execute(update(edits).where(*sooner).values(due_at=until, reason=reason))


def give_up(conn: Connection, account_id: UUID, edit_ids: Collection[UUID], *, reason: str) -> None:
    """Count the failure and wait for nothing more."""
    values = {"status": EditStatus.FAILED, "reason": reason, "due_at": None, "attempts": edits.c.attempts + 1}
    conn.execute(update(edits).where(_among(account_id, edit_ids)).values(values))


def revive(conn: Connection, account_id: UUID, mailbox_id: UUID) -> int:
    """Make due again what was given up in a mailbox; return how many."""
    return _make_due(conn, _of(account_id, mailbox_id), edits.c.status == EditStatus.FAILED)


def announce(conn: Connection) -> None:
    """Let the tasks that hold the mailboxes do what others have made due: people's actions, a replay."""
    wake(conn, "edits")


def _make_due(conn: Connection, *which: ColumnElement[bool]) -> int:
    """Let them begin anew."""
    values = {"status": EditStatus.DUE, "reason": None, "due_at": now(conn), "attempts": 0}
    return conn.execute(update(edits).where(*which).values(values)).rowcount


def cancel(conn: Connection, account_id: UUID, mailbox_id: UUID, causes: Collection[EditCause]) -> int:
    """Remove the edits of a mailbox that have one of these causes, due and failed; return how many."""
    return conn.execute(delete(edits).where(_of(account_id, mailbox_id), edits.c.cause.in_(causes))).rowcount


def count_of_mailbox(conn: Connection, account_id: UUID, mailbox_id: UUID) -> dict[str, int]:
    """Return how many edits of a mailbox stand at each status."""
    query = select(edits.c.status, func.count()).select_from(
        edits.join(
            mailboxes,
            and_(mailboxes.c.account_id == edits.c.account_id, mailboxes.c.mailbox_id == edits.c.mailbox_id),
        )
    )
    query = query.where(_of(account_id, mailbox_id), readable(account_id)).group_by(edits.c.status)
    return dict(conn.execute(query).all())


def count_by_kind(conn: Connection, account_id: UUID, mailbox_id: UUID) -> list[EditCount]:
    """Return what waits in a mailbox. The caller has seen that the mailbox is not being forgotten."""
    what = (edits.c.cause, edits.c.kind, edits.c.status, edits.c.reason)
    rows = conn.execute(select(*what, func.count()).where(_of(account_id, mailbox_id)).group_by(*what).order_by(*what))
    return [EditCount(*row) for row in rows]


def count_by_status(conn: Connection) -> dict[str, int]:
    """Return how many edits of all accounts stand at each status, for metrics."""
    return dict(conn.execute(select(edits.c.status, func.count()).group_by(edits.c.status)).all())
