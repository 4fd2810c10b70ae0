"""Edits in a mailbox that are still to be done: written with the message, deleted when done."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from storage.database import now
from storage.mailboxes import readable
from storage.tables import edits, mailboxes

DISPLACED = "displaced"
"""The reason of an edit whose message does not lie where it was, and may lie elsewhere."""


class EditStatus(enum.StrEnum):
    """Where an edit stands. One that is done has no row any more."""

    DUE = "due"
    FAILED = "failed"
    """Given up; `reason` says why."""


@dataclass(frozen=True, slots=True)
class NewEdit:
    edit_id: UUID
    mailbox_id: UUID
    message_id: UUID
    kind: str
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


def list_of_message(conn: Connection, account_id: UUID, message_id: UUID) -> list[tuple[UUID, bytes]]:
    """Return id and sealed record of a message's edits, due and failed."""
    rows = conn.execute(
        select(edits.c.edit_id, edits.c.sealed).where(
            edits.c.account_id == account_id, edits.c.message_id == message_id
        )
    )
    return [(edit_id, bytes(sealed)) for edit_id, sealed in rows]


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


def _make_due(conn: Connection, *which: ColumnElement[bool]) -> int:
    """Let them begin anew."""
    values = {"status": EditStatus.DUE, "reason": None, "due_at": now(conn), "attempts": 0}
    return conn.execute(update(edits).where(*which).values(values)).rowcount


def cancel(conn: Connection, account_id: UUID, mailbox_id: UUID) -> int:
    """Remove all edits of a mailbox, due and failed; return how many."""
    return conn.execute(delete(edits).where(_of(account_id, mailbox_id))).rowcount


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


def count_by_status(conn: Connection) -> dict[str, int]:
    """Return how many edits of all accounts stand at each status, for metrics."""
    return dict(conn.execute(select(edits.c.status, func.count()).group_by(edits.c.status)).all())
