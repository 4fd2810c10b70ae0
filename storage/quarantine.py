"""The quarantine: messages that could not be understood, with their bytes.

A row stays when its bytes have gone, to a ticket message or for good: its identity is
what keeps the same mail from coming in again from the mailbox.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, and_, delete, func, insert, select, update

from storage.database import now
from storage.errors import Conflict, NotFound
from storage.mailboxes import readable
from storage.messages import ROWS, Raw, insert_chunks
from storage.tables import mailboxes, quarantine, raw_chunks


class QuarantineStatus(enum.StrEnum):
    """What became of a quarantined message."""

    HELD = "held"
    """It waits for a person, with its bytes."""
    TAKEN = "taken"
    """A replay understood it: it is the ticket message of the same id, which has the bytes now."""
    DROPPED = "dropped"
    """Its bytes are gone."""


@dataclass(frozen=True, slots=True)
class NewQuarantine:
    quarantine_id: UUID
    mailbox_id: UUID
    identity_key: bytes
    reason: str
    received_at: datetime
    raw: Raw
    sealed: bytes
    header_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    account_id: UUID
    quarantine_id: UUID
    mailbox_id: UUID
    identity_key: bytes
    header_key: bytes | None
    status: QuarantineStatus
    reason: str
    """Why the parser gave up, last: timeout, memory or crash."""
    received_at: datetime
    created_at: datetime
    size_bytes: int
    chunks: int
    raw_place: str
    replays: int
    """How often a replay failed."""
    replayed_at: datetime | None
    sealed: bytes


_COLUMNS = [quarantine.c[name] for name in Quarantined.__dataclass_fields__]


def insert_quarantine(conn: Connection, account_id: UUID, new: Sequence[NewQuarantine]) -> None:
    if not new:
        return
    at = now(conn)
    rows: list[dict[str, Any]] = [
        {
            "account_id": account_id,
            "quarantine_id": one.quarantine_id,
            "mailbox_id": one.mailbox_id,
            "identity_key": one.identity_key,
            "header_key": one.header_key,
            "status": QuarantineStatus.HELD,
            "reason": one.reason,
            "received_at": one.received_at,
            "created_at": at,
            "size_bytes": one.raw.size_bytes,
            "chunks": one.raw.chunks,
            "raw_place": one.raw.place,
            "sealed": one.sealed,
        }
        for one in new
    ]
    conn.execute(insert(quarantine), rows)
    insert_chunks(conn, account_id, [(one.quarantine_id, one.mailbox_id, one.raw) for one in new])


def get_quarantined(conn: Connection, account_id: UUID, quarantine_id: UUID) -> Quarantined:
    """Raises NotFound, also while its mailbox is being forgotten."""
    row = conn.execute(_select(account_id).where(quarantine.c.quarantine_id == quarantine_id)).one_or_none()
    if row is None:
        raise NotFound(f"no quarantined message {quarantine_id}")
    return _quarantined(row)


def list_quarantined(
    conn: Connection,
    account_id: UUID,
    *,
    mailbox_id: UUID | None = None,
    statuses: Collection[QuarantineStatus] = (QuarantineStatus.HELD,),
    after: UUID | None = None,
    limit: int = 100,
) -> list[Quarantined]:
    """Return up to `limit` quarantined messages behind the id `after`, in the order in which they came."""
    query = _select(account_id).where(quarantine.c.status.in_(statuses))
    if mailbox_id is not None:
        query = query.where(quarantine.c.mailbox_id == mailbox_id)
    if after is not None:
        query = query.where(quarantine.c.quarantine_id > after)
    rows = conn.execute(query.order_by(quarantine.c.quarantine_id).limit(limit))
    return [_quarantined(row) for row in rows]


def count_held(conn: Connection, account_id: UUID, mailbox_id: UUID) -> int:
    """Return how many messages of a mailbox wait in the quarantine."""
    held = quarantine.c.mailbox_id == mailbox_id, quarantine.c.status == QuarantineStatus.HELD
    query = select(func.count()).select_from(quarantine).where(quarantine.c.account_id == account_id, *held)
    count: int = conn.execute(query).scalar_one()
    return count


def note_replay(conn: Connection, account_id: UUID, quarantine_id: UUID, reason: str) -> None:
    """Note that a replay failed, and why. Raises Conflict where the message is held no more."""
    values = {"replays": quarantine.c.replays + 1, "replayed_at": now(conn), "reason": reason}
    _change(conn, account_id, quarantine_id, values)


def hand_over(conn: Connection, account_id: UUID, quarantine_id: UUID, sealed: bytes) -> None:
    """Leave the raw message to the ticket message of the same id, which this transaction wrote.

    `sealed` is a record without content. Raises Conflict where the message is held no more.
    """
    values = {"status": QuarantineStatus.TAKEN, "replayed_at": now(conn), **_without_bytes(sealed)}
    _change(conn, account_id, quarantine_id, values)


def drop(conn: Connection, account_id: UUID, quarantine_id: UUID, sealed: bytes) -> None:
    """Delete the raw message; its identity stays, so that it does not come back.

    `sealed` is a record without content. A blob is left to the caller, after the commit.
    Raises Conflict where the message is held no more.
    """
    _change(conn, account_id, quarantine_id, {"status": QuarantineStatus.DROPPED, **_without_bytes(sealed)})
    delete_raw(conn, account_id, quarantine_id)


def delete_raw(conn: Connection, account_id: UUID, quarantine_id: UUID) -> None:
    """Delete what lies in rows of the raw message. A blob is left to the caller, after the commit."""
    owned = raw_chunks.c.account_id == account_id, raw_chunks.c.owner_id == quarantine_id
    conn.execute(delete(raw_chunks).where(*owned))


def _without_bytes(sealed: bytes) -> dict[str, Any]:
    return {"sealed": sealed, "chunks": 0, "raw_place": ROWS}


def _change(conn: Connection, account_id: UUID, quarantine_id: UUID, values: dict[str, Any]) -> None:
    changed = conn.execute(
        update(quarantine)
        .where(
            quarantine.c.account_id == account_id,
            quarantine.c.quarantine_id == quarantine_id,
            quarantine.c.status == QuarantineStatus.HELD,
        )
        .values(values)
    )
    if changed.rowcount != 1:
        raise Conflict(f"message {quarantine_id} is not in quarantine any more")


def _select(account_id: UUID) -> Select[Any]:
    inside = quarantine.join(
        mailboxes,
        and_(mailboxes.c.account_id == quarantine.c.account_id, mailboxes.c.mailbox_id == quarantine.c.mailbox_id),
    )
    return select(*_COLUMNS).select_from(inside).where(quarantine.c.account_id == account_id, readable(account_id))


def _quarantined(row: Any) -> Quarantined:
    values = dict(zip(Quarantined.__dataclass_fields__, row, strict=True))
    values["status"] = QuarantineStatus(values["status"])
    return Quarantined(**values)
