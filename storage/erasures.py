"""How far the forgetting of a mailbox has come, and the deletion of its rows in small chunks.

An account that is being closed has a row of its own here, with its id in the place of a mailbox's (`storage.closures`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Table, delete, func, insert, select, tuple_, update

from storage.database import now, wake
from storage.errors import NotFound
from storage.tables import MAILBOX_TABLES, erasures, events, uploads

KEPT_EVENTS = ("mailbox.disconnected", "erasure.completed")
"""What the helpdesk must still be able to read: ids and times, nothing else."""
_ROWS_AT_ONCE: Final[Mapping[Table, int]] = {uploads: 4}
"""Of tables with large rows: SQLite overwrites what it deletes, and others wait for that."""


@dataclass(frozen=True, slots=True)
class Erasure:
    account_id: UUID
    mailbox_id: UUID
    step: str
    """requested → unreadable → deleted → done."""
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
        query = query.where(erasures.c.step != "done")
    return [Erasure(*row) for row in conn.execute(query)]


def page_of_erasures(conn: Connection, account_id: UUID, *, after: UUID | None, limit: int) -> list[Erasure]:
    """Return up to `limit` of an account's mailboxes, also those that are done, behind the mailbox id `after`."""
    mine = erasures.c.account_id == account_id, erasures.c.mailbox_id != account_id
    query = select(*_COLUMNS).where(*mine).order_by(erasures.c.mailbox_id).limit(limit)
    if after is not None:
        query = query.where(erasures.c.mailbox_id > after)
    return [Erasure(*row) for row in conn.execute(query)]


def set_step(conn: Connection, account_id: UUID, mailbox_id: UUID, step: str) -> None:
    conn.execute(
        update(erasures)
        .where(erasures.c.account_id == account_id, erasures.c.mailbox_id == mailbox_id)
        .values(step=step, step_at=now(conn))
    )
    wake(conn, "erasures")


def delete_chunk(conn: Connection, account_id: UUID, mailbox_id: UUID, limit: int) -> int:
    """Delete up to `limit` rows of the mailbox and add them to its counts; return how many, 0 at the end."""
    for table in MAILBOX_TABLES:
        count = _delete_some(conn, account_id, mailbox_id, table, min(limit, _ROWS_AT_ONCE.get(table, limit)))
        if count:
            _count(conn, account_id, mailbox_id, {table.name: count})
            return count
    return 0


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
    """Count something deleted that is no row, such as blobs."""
    _count(conn, account_id, mailbox_id, {kind: count})


def _delete_some(conn: Connection, account_id: UUID, mailbox_id: UUID, table: Table, limit: int) -> int:
    key = list(table.primary_key.columns)
    query = select(*key).where(table.c.account_id == account_id, table.c.mailbox_id == mailbox_id).limit(limit)
    if table is events:
        query = query.where(events.c.type.not_in(KEPT_EVENTS))
    rows: list[Any] = [tuple(row) for row in conn.execute(query)]
    if rows:
        conn.execute(delete(table).where(tuple_(*key).in_(rows)))
    return len(rows)


def _count(conn: Connection, account_id: UUID, mailbox_id: UUID, more: Mapping[str, int]) -> None:
    counts = get_erasure(conn, account_id, mailbox_id).deleted
    for kind, count in more.items():
        counts[kind] = counts.get(kind, 0) + count
    conn.execute(
        update(erasures)
        .where(erasures.c.account_id == account_id, erasures.c.mailbox_id == mailbox_id)
        .values(counts=json.dumps(counts, sort_keys=True))
    )
