"""How far the forgetting of a mailbox has come, and the deletion of its rows in small chunks.

An account that is being closed has a row of its own here, with its id in the place of a mailbox's (`storage.closures`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Table, func, insert, literal_column, select, update

from storage.database import now, wake
from storage.errors import NotFound
from storage.some_rows import SomeRows
from storage.tables import MAILBOX_TABLES, erasures, events, uploads

STEPS: Final = ("requested", "unreadable", "deleted", "done")
KEPT_EVENTS = ("mailbox.disconnected", "erasure.completed")
"""What the helpdesk must still be able to read: ids and times, nothing else."""
_ROWS_AT_ONCE: Final[Mapping[Table, int]] = {uploads: 4}
"""Of tables with large rows: SQLite overwrites what it deletes, and others wait for that."""
_ROWS: Final = [
    (
        table,
        SomeRows(
            table,
            "account_id",
            "mailbox_id",
            condition=events.c.type.not_in(KEPT_EVENTS) if table is events else None,
        ),
    )
    for table in MAILBOX_TABLES
]


@dataclass(frozen=True, slots=True)
class Erasure:
    account_id: UUID
    mailbox_id: UUID
    step: str
    """One of STEPS, in their order."""
    requested_at: datetime
    step_at: datetime
    counts: str
    """JSON: rows deleted, by table."""

    @property
    def is_of_account(self) -> bool:
        """Whether it is the account itself that is forgotten, behind all of its mailboxes."""
        return self.mailbox_id == self.account_id

    @property
    def deleted(self) -> dict[str, int]:
        counts: dict[str, int] = json.loads(self.counts)
        return counts


_COLUMNS = [erasures.c[name] for name in Erasure.__dataclass_fields__]
UNFINISHED: ColumnElement[bool] = erasures.c.step != literal_column("'done'")
"""In the words of the index of those alone: what is done stays, and there are ever more of it."""


def insert_erasure(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
    at = now(conn)
    conn.execute(
        insert(erasures).values(
            account_id=account_id,
            mailbox_id=mailbox_id,
            step="requested",
            requested_at=at,
            step_at=at,
            counts="{}",
        )
    )
    wake(conn, "erasures")


def get_erasure(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Erasure:
    """Raises NotFound."""
    row = conn.execute(
        select(*_COLUMNS).where(erasures.c.account_id == account_id, erasures.c.mailbox_id == mailbox_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"mailbox {mailbox_id} is not being erased")
    return Erasure(*row)


def list_erasures(conn: Connection, *, unfinished: bool = True) -> list[Erasure]:
    query = select(*_COLUMNS).order_by(erasures.c.requested_at)
    if unfinished:
        query = query.where(UNFINISHED)
    return [Erasure(*row) for row in conn.execute(query)]


def list_done_since(conn: Connection, since: datetime) -> list[tuple[UUID, UUID, datetime]]:
    """Return account and mailbox of those that ended at a time or later, and when each did."""
    ended = erasures.c.step_at >= since, erasures.c.step == "done"
    rows = conn.execute(select(erasures.c.account_id, erasures.c.mailbox_id, erasures.c.step_at).where(*ended))
    return [(account_id, mailbox_id, step_at) for account_id, mailbox_id, step_at in rows]


def page_of_erasures(conn: Connection, account_id: UUID, *, after: UUID | None, limit: int) -> list[Erasure]:
    """Return up to `limit` of an account's mailboxes, also those that are done, behind the mailbox id `after`."""
    mine = erasures.c.account_id == account_id, erasures.c.mailbox_id != account_id
    query = select(*_COLUMNS).where(*mine).order_by(erasures.c.mailbox_id).limit(limit)
    if after is not None:
        query = query.where(erasures.c.mailbox_id > after)
    return [Erasure(*row) for row in conn.execute(query)]


def set_step(conn: Connection, account_id: UUID, mailbox_id: UUID, step: str) -> bool:
    """Note that a step is done. Returns False where it was noted before, or a later one: replicas work side by side."""
    before = STEPS[: STEPS.index(step)]
    where = erasures.c.account_id == account_id, erasures.c.mailbox_id == mailbox_id, erasures.c.step.in_(before)
    if not conn.execute(update(erasures).where(*where).values(step=step, step_at=now(conn))).rowcount:
        return False
    wake(conn, "erasures")
    return True


def reopen(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
    """Have the receipt written again."""
    where = erasures.c.account_id == account_id, erasures.c.mailbox_id == mailbox_id
    conn.execute(update(erasures).where(*where).values(step="deleted", step_at=now(conn)))
    wake(conn, "erasures")


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one transaction deleted."""

    rows: int
    """0: nothing is left."""
    table: int
    """Which of the tables they are of. Those before it were empty."""


def delete_chunk(conn: Connection, account_id: UUID, mailbox_id: UUID, limit: int, *, first: int = 0) -> Chunk:
    """Delete up to `limit` rows of the mailbox, of one table, and add them to its counts.

    Tables before `first` are not looked at: it is the `table` of the chunk before this one, or 0.
    """
    counts = _lock(conn, account_id, mailbox_id)
    for number, (table, rows) in enumerate(_ROWS[first:], first):
        some = min(limit, _ROWS_AT_ONCE.get(table, limit))
        if count := rows.delete(conn, some, account_id=account_id, mailbox_id=mailbox_id):
            _set_counts(conn, account_id, mailbox_id, _added(counts, table.name, count))
            return Chunk(count, number)
    return Chunk(0, len(_ROWS))


def count_rows(conn: Connection, account_id: UUID, mailbox_id: UUID) -> dict[str, int]:
    """Return how many rows of the mailbox are left, by table; empty when it is gone."""
    counts = {}
    for table in MAILBOX_TABLES:
        query = select(func.count()).select_from(table)
        query = query.where(table.c.account_id == account_id, table.c.mailbox_id == mailbox_id)
        if table is events:
            query = query.where(events.c.type.not_in(KEPT_EVENTS))
        if count := conn.execute(query).scalar_one():
            counts[table.name] = count
    return counts


def add_count(conn: Connection, account_id: UUID, mailbox_id: UUID, kind: str, count: int) -> None:
    """Count something deleted that is no row of the mailbox's, such as blobs."""
    counts = _lock(conn, account_id, mailbox_id)
    _set_counts(conn, account_id, mailbox_id, _added(counts, kind, count))


def _lock(conn: Connection, account_id: UUID, mailbox_id: UUID) -> dict[str, int]:
    """Keep replicas from deleting the same rows; return what was deleted so far. Raises NotFound."""
    mine = erasures.c.account_id == account_id, erasures.c.mailbox_id == mailbox_id
    counts = conn.execute(select(erasures.c.counts).where(*mine).with_for_update()).scalar_one_or_none()
    if counts is None:
        raise NotFound(f"mailbox {mailbox_id} is not being erased")
    found: dict[str, int] = json.loads(counts)
    return found


def _added(counts: Mapping[str, int], kind: str, count: int) -> dict[str, int]:
    return {**counts, kind: counts.get(kind, 0) + count}


def _set_counts(conn: Connection, account_id: UUID, mailbox_id: UUID, counts: Mapping[str, int]) -> None:
    conn.execute(
        update(erasures)
        .where(erasures.c.account_id == account_id, erasures.c.mailbox_id == mailbox_id)
        .values(counts=json.dumps(counts, sort_keys=True))
    )
