"""Backfills: the reading of the mail that was there before a mailbox was linked, and how far it has come.

A backfill has a cursor of its own, beside the mailbox's; its writes hold the mailbox's fence first, as all
do. While it is unfinished, the ancestors that messages name are remembered (`reference_keys`): read newest
first, an answer comes before the question that it names.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, func, insert, literal, select, update

from storage.database import now, wake
from storage.errors import CursorMoved, NotFound
from storage.leases import Held
from storage.mailboxes import WORKED
from storage.some_rows import SomeRows
from storage.tables import backfills, mailboxes, messages, reference_keys


class BackfillStatus(enum.StrEnum):
    """Where a backfill stands."""

    RUNNING = "running"
    STOPPED = "stopped"
    """By a person; it goes on from its cursor when told so."""
    FAILED = "failed"
    """Given up after too many failures in a row; it goes on from its cursor when told so."""
    DONE = "done"


UNFINISHED = (BackfillStatus.RUNNING, BackfillStatus.STOPPED, BackfillStatus.FAILED)
"""Statuses in which older mail can still come."""


@dataclass(frozen=True, slots=True)
class Backfill:
    account_id: UUID
    mailbox_id: UUID
    status: BackfillStatus
    since: datetime | None
    """The oldest mail that is wanted; None: everything."""
    before: datetime
    """When the mailbox was linked: what came later is new mail."""
    newest_first: bool
    seen: int
    total: int | None
    """As the server counted; None before it was asked."""
    reading_seconds: float
    """What the messages that were seen took; pauses, turns that were waited for and times without a worker aside."""
    cursor_sequence: int
    cursor_sealed: bytes | None
    created_at: datetime
    began_at: datetime | None
    """When the first batch was committed."""
    ended_at: datetime | None
    trouble: str | None
    """What was wrong at the last attempt; None since a batch was committed."""
    retry_at: datetime | None


_REFERENCES = SomeRows(reference_keys, "account_id", "mailbox_id")
_COLUMNS = [backfills.c[name] for name in Backfill.__dataclass_fields__]


def _backfill(row: Any) -> Backfill:
    values = dict(zip(Backfill.__dataclass_fields__, row, strict=True))
    values["status"] = BackfillStatus(values["status"])
    return Backfill(**values)


def _is(account_id: UUID, mailbox_id: UUID) -> ColumnElement[bool]:
    return and_(backfills.c.account_id == account_id, backfills.c.mailbox_id == mailbox_id)


def insert_backfill(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    since: datetime | None,
    before: datetime,
    newest_first: bool,
) -> None:
    conn.execute(
        insert(backfills).values(
            account_id=account_id,
            mailbox_id=mailbox_id,
            status=BackfillStatus.RUNNING,
            since=since,
            before=before,
            newest_first=newest_first,
            seen=0,
            reading_seconds=0.0,
            cursor_sequence=0,
            created_at=now(conn),
        )
    )
    wake(conn, "backfills")


def find_backfill(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Backfill | None:
    """Return the mailbox's backfill, None where there never was one."""
    row = conn.execute(select(*_COLUMNS).where(_is(account_id, mailbox_id))).one_or_none()
    return None if row is None else _backfill(row)


def get_backfill(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Backfill:
    """Raises NotFound."""
    found = find_backfill(conn, account_id, mailbox_id)
    if found is None:
        raise NotFound(f"mailbox {mailbox_id} has no backfill")
    return found


def list_running(conn: Connection, worker_id: UUID) -> list[Held]:
    """Return the mailboxes that this process holds and whose old mail is to be read, the longest waiting first."""
    rows = conn.execute(
        select(mailboxes.c.account_id, mailboxes.c.mailbox_id, mailboxes.c.fence)
        .join(
            backfills,
            and_(backfills.c.account_id == mailboxes.c.account_id, backfills.c.mailbox_id == mailboxes.c.mailbox_id),
        )
        .where(
            mailboxes.c.worker_id == worker_id,
            mailboxes.c.state.in_(WORKED),
            backfills.c.status == BackfillStatus.RUNNING,
        )
        .order_by(backfills.c.created_at, backfills.c.mailbox_id)
    )
    return [Held(*row) for row in rows]


def advance(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    cursor_sequence: int,
    cursor_sealed: bytes,
    seen: int,
    total: int,
    seconds: float,
) -> None:
    """Put the cursor behind the batch that this transaction commits, and that took so long; the caller holds the
    mailbox.

    Raises CursorMoved where the backfill was stopped, begun anew, or is not at `cursor_sequence`.
    """
    at = now(conn)
    done = conn.execute(
        update(backfills)
        .where(
            _is(account_id, mailbox_id),
            backfills.c.status == BackfillStatus.RUNNING,
            backfills.c.cursor_sequence == cursor_sequence,
        )
        .values(
            cursor_sequence=cursor_sequence + 1,
            cursor_sealed=cursor_sealed,
            seen=seen,
            total=total,
            reading_seconds=backfills.c.reading_seconds + seconds,
            began_at=func.coalesce(backfills.c.began_at, literal(at, backfills.c.began_at.type)),
            trouble=None,
            retry_at=None,
        )
    )
    if done.rowcount != 1:
        raise CursorMoved(f"the backfill of mailbox {mailbox_id} is not at {cursor_sequence}")


def note_trouble(
    conn: Connection, account_id: UUID, mailbox_id: UUID, *, trouble: str, retry_at: datetime | None
) -> None:
    """Note what was wrong and when it is tried again, where the backfill still runs."""
    conn.execute(
        update(backfills)
        .where(_is(account_id, mailbox_id), backfills.c.status == BackfillStatus.RUNNING)
        .values(trouble=trouble, retry_at=retry_at)
    )


def retry_in(conn: Connection, account_id: UUID, mailbox_id: UUID) -> timedelta:
    """Return how long the pause still lasts that was noted last; nothing where there is none."""
    retry_at = get_backfill(conn, account_id, mailbox_id).retry_at
    return timedelta(0) if retry_at is None else max(timedelta(0), retry_at - now(conn))


def change_status(
    conn: Connection, account_id: UUID, mailbox_id: UUID, *, was: BackfillStatus, status: BackfillStatus
) -> bool:
    """Move an unfinished backfill from one status to another; return whether it still was where it should be."""
    values: dict[str, Any] = {"status": status, "retry_at": None}
    if status is BackfillStatus.RUNNING:
        values |= {"ended_at": None, "trouble": None}
    else:
        values["ended_at"] = now(conn)
    done = conn.execute(update(backfills).where(_is(account_id, mailbox_id), backfills.c.status == was).values(values))
    wake(conn, "backfills")
    return done.rowcount == 1


def begin_anew(
    conn: Connection, account_id: UUID, mailbox_id: UUID, *, since: datetime | None, newest_first: bool
) -> None:
    """Let it run from the begin. The sequence goes on, so that a batch under way of the reading before is refused."""
    conn.execute(
        update(backfills)
        .where(_is(account_id, mailbox_id))
        .values(
            status=BackfillStatus.RUNNING,
            since=since,
            newest_first=newest_first,
            seen=0,
            total=None,
            reading_seconds=0.0,
            cursor_sequence=backfills.c.cursor_sequence + 1,
            cursor_sealed=None,
            created_at=now(conn),
            began_at=None,
            ended_at=None,
            trouble=None,
            retry_at=None,
        )
    )
    wake(conn, "backfills")


# -- ancestors that come later ---------------------------------------------------------------------


def is_unfinished(conn: Connection, account_id: UUID, mailbox_id: UUID) -> bool:
    """Return whether older mail can still come, so that what messages name must be remembered."""
    found = find_backfill(conn, account_id, mailbox_id)
    return found is not None and found.status in UNFINISHED


def insert_references(conn: Connection, account_id: UUID, mailbox_id: UUID, keys: Sequence[tuple[bytes, UUID]]) -> None:
    """Remember that these messages (of this transaction) name these ancestors."""
    rows = [
        {"account_id": account_id, "mailbox_id": mailbox_id, "reference_key": key, "message_id": message_id}
        for key, message_id in dict.fromkeys(keys)
    ]
    if rows:
        conn.execute(insert(reference_keys), rows)


def tickets_by_reference(
    conn: Connection, account_id: UUID, mailbox_id: UUID, keys: Collection[bytes], limit: int
) -> list[tuple[bytes, UUID]]:
    """Return which of `keys` messages of this mailbox name, each with the ticket of such a message, the oldest ticket
    first; up to `limit`."""
    query = (
        select(reference_keys.c.reference_key, messages.c.ticket_id)
        .join(
            messages,
            and_(
                messages.c.account_id == reference_keys.c.account_id,
                messages.c.message_id == reference_keys.c.message_id,
            ),
        )
        .where(
            reference_keys.c.account_id == account_id,
            reference_keys.c.mailbox_id == mailbox_id,
            reference_keys.c.reference_key.in_(keys),
        )
        .distinct()
        # Of each key the older one first. Asked for the order of the tickets alone, SQLite would go through all of the
        # account's messages.
        .order_by(reference_keys.c.reference_key, messages.c.ticket_id)
        .limit(limit)
    )
    found = [(bytes(key), ticket_id) for key, ticket_id in conn.execute(query)]
    return sorted(found, key=lambda one: one[1])


def delete_references(conn: Connection, account_id: UUID, mailbox_id: UUID, limit: int) -> int:
    """Forget up to `limit` rows of what messages name; return how many."""
    return _REFERENCES.delete(conn, limit, account_id=account_id, mailbox_id=mailbox_id)
