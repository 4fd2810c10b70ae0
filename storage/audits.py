"""Comparing a mailbox with its server: what became of a message, where the stored lie, which mailbox is next."""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Table, and_, func, select, update

from storage import mailboxes as mailbox_rows
from storage.database import now
from storage.leases import Held
from storage.mailboxes import MailboxState, is_mailbox
from storage.messages import Identities, by_header
from storage.quarantine import QuarantineStatus
from storage.tables import forgotten_messages, mailboxes, messages, quarantine, thread_keys, tickets


class Fate(enum.StrEnum):
    """What became of a message that lies in a mailbox."""

    TAKEN = "taken"
    """It is a message of a ticket."""
    SENT = "sent"
    """It is a reply of ours, or its copy."""
    QUARANTINED = "quarantined"
    """It could not be understood, and waits with its bytes."""
    DROPPED = "dropped"
    """It was quarantined, and a person, or its second coming, had its bytes deleted."""
    FORGOTTEN = "forgotten"
    """It was deleted here, as its ticket was older than the account keeps them, and is not taken again."""


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """A stored message, or quarantine row, whose sealed record says where it lies."""

    identity_key: bytes
    owner_id: UUID
    fate: Fate
    sealed: bytes


def page_of_places(
    conn: Connection, account_id: UUID, mailbox_id: UUID, *, quarantined: bool, after: bytes, limit: int
) -> list[StoredPlace]:
    """Return up to `limit` messages of a mailbox, or quarantine rows, behind an identity key, in the order of those."""
    table, owner, word = _shape(quarantined=quarantined)
    rows = conn.execute(
        select(table.c.identity_key, owner, word, table.c.sealed)
        .where(table.c.account_id == account_id, table.c.mailbox_id == mailbox_id, table.c.identity_key > after)
        .order_by(table.c.identity_key)
        .limit(limit)
    )
    return [StoredPlace(bytes(key), owner_id, _FATES[status], bytes(sealed)) for key, owner_id, status, sealed in rows]


def count_places(conn: Connection, account_id: UUID, mailbox_id: UUID) -> int:
    """Return how many rows `page_of_places` goes through, of both kinds."""
    return sum(
        conn.execute(
            select(func.count()).where(table.c.account_id == account_id, table.c.mailbox_id == mailbox_id)
        ).scalar_one()
        for table in (messages, quarantine)
    )


def fates_of(conn: Connection, account_id: UUID, mailbox_id: UUID, wanted: Identities) -> dict[bytes, Fate]:
    """As `messages.known_identities`, with what became of each."""
    found: dict[bytes, Fate] = {}
    for table in (forgotten_messages, quarantine, messages):  # what is a ticket message is that before all else
        here = table.c.account_id == account_id, table.c.mailbox_id == mailbox_id
        for column, keys in (("identity_key", wanted.keys), ("header_key", wanted.header_keys)):
            if keys:
                found |= _fates(conn, table, column, here, keys)
    return found


def _fates(
    conn: Connection, table: Table, column: str, here: tuple[Any, ...], keys: Collection[bytes]
) -> dict[bytes, Fate]:
    known_by = table.c[column]
    if table is forgotten_messages:
        rows = conn.execute(select(known_by).where(*here, known_by.in_(keys)))
        told = [(bytes(key), Fate.FORGOTTEN) for (key,) in rows]
    else:
        _, _, word = _shape(quarantined=table is quarantine)
        rows = conn.execute(select(known_by, word).where(*here, known_by.in_(keys)))
        told = [(bytes(key), _FATES[status]) for key, status in rows]
    return {by_header(key) if column == "header_key" else key: fate for key, fate in told}


def _shape(*, quarantined: bool) -> tuple[Table, Any, Any]:
    """Return the table, its own id, and the column that tells the fate."""
    if quarantined:
        return quarantine, quarantine.c.quarantine_id, quarantine.c.status
    return messages, messages.c.message_id, messages.c.direction


_FATES = {
    "in": Fate.TAKEN,
    "out": Fate.SENT,
    QuarantineStatus.HELD.value: Fate.QUARANTINED,
    QuarantineStatus.TAKEN.value: Fate.TAKEN,
    QuarantineStatus.DROPPED.value: Fate.DROPPED,
}


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """A stored message that was looked for by its Message-ID."""

    message_id: UUID
    ticket_number: int
    ticket_status: str
    direction: str
    kind: str
    received_at: datetime
    created_at: datetime
    muted: bool
    merged_from_id: UUID | None
    sealed: bytes


def find_known(
    conn: Connection, account_id: UUID, mailbox_id: UUID, thread_key: bytes, limit: int
) -> list[KnownMessage]:
    """Return up to `limit` messages of a mailbox that are known by a Message-ID, those that came first before others.

    They are sorted here: asked for an order, SQLite goes through all messages in that order, however few are known.
    """
    rows = conn.execute(
        select(
            messages.c.message_id,
            tickets.c.number,
            tickets.c.status,
            *(messages.c[name] for name in list(KnownMessage.__dataclass_fields__)[3:]),
        )
        .select_from(
            thread_keys.join(
                messages,
                and_(
                    messages.c.account_id == thread_keys.c.account_id,
                    messages.c.message_id == thread_keys.c.message_id,
                ),
            ).join(
                tickets,
                and_(tickets.c.account_id == messages.c.account_id, tickets.c.ticket_id == messages.c.ticket_id),
            )
        )
        .where(
            thread_keys.c.account_id == account_id,
            thread_keys.c.mailbox_id == mailbox_id,
            thread_keys.c.thread_key == thread_key,
        )
        .limit(limit)
    )
    return sorted((KnownMessage(*row) for row in rows), key=lambda one: one.message_id)


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A message that waits in quarantine."""

    quarantine_id: UUID
    reason: str
    received_at: datetime
    created_at: datetime
    size_bytes: int
    chunks: int
    raw_place: str


def newest_held(conn: Connection, account_id: UUID, mailbox_id: UUID, limit: int) -> list[HeldMessage]:
    """Return up to `limit` messages that wait in the quarantine of a mailbox, the newest first."""
    rows = conn.execute(
        select(*(quarantine.c[name] for name in HeldMessage.__dataclass_fields__))
        .where(
            quarantine.c.account_id == account_id,
            quarantine.c.mailbox_id == mailbox_id,
            quarantine.c.status == QuarantineStatus.HELD,
        )
        .order_by(quarantine.c.quarantine_id.desc())
        .limit(limit)
    )
    return [HeldMessage(*row) for row in rows]


def list_due(conn: Connection, worker_id: UUID, *, every: timedelta, limit: int) -> list[Held]:
    """Return mailboxes that this process holds, that are read, and that were compared longer ago than `every`, or
    never since they were linked so long ago; those that waited longest come first."""
    since = func.coalesce(mailboxes.c.audited_at, mailboxes.c.created_at)
    rows = conn.execute(
        select(mailboxes.c.account_id, mailboxes.c.mailbox_id, mailboxes.c.fence)
        .where(
            and_(
                mailboxes.c.worker_id == worker_id,
                mailboxes.c.state == MailboxState.ACTIVE,
                since <= now(conn) - every,
            )
        )
        .order_by(since)
        .limit(limit)
    )
    return [Held(*row) for row in rows]


def note_audit(conn: Connection, account_id: UUID, mailbox_id: UUID, *, fence: int | None, unaccounted: int) -> None:
    """Note that a mailbox was compared just now, and how many of its messages were not accounted for; a person's
    request owns no fence. Raises FenceLost, NotFound."""
    if fence is None:
        mailbox_rows.hold_unfenced(conn, account_id, mailbox_id)
    else:
        mailbox_rows.hold(conn, account_id, mailbox_id, fence)
    conn.execute(
        update(mailboxes)
        .where(is_mailbox(account_id, mailbox_id))
        .values(audited_at=now(conn), unaccounted=unaccounted)
    )
