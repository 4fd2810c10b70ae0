"""The key store: wrapped keys, the erasure ledger, and grants that wait for their revocation.

It is a database of its own. When a mailbox's key is deleted here, the mailbox's content
is unreadable wherever it still lies; that, not the deletion of rows, is the guarantee.

The ledger is a chain: each entry's hash covers the one before, so that a lost or
changed entry shows, and the content database can remember a position in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, literal, select, tuple_, update

from storage import meta
from storage.database import now
from storage.errors import KeyDestroyed
from storage.keystore_tables import keystore_meta, ledger, revocations, wrapped_keys
from storage.types import Id

REVOCATION_LIFETIME = timedelta(hours=24)
"""How long a refresh token may outlive its mailbox, wrapped, only to be revoked."""
_GENESIS = bytes(32)


@dataclass(frozen=True, slots=True)
class WrappedKey:
    account_id: UUID
    owner_id: UUID
    master_key_id: str
    created_at: datetime
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    sequence: int
    account_id: UUID
    owner_id: UUID
    entry: str
    """destroyed, revocation or receipt."""
    at: datetime
    detail: str
    """JSON, without personal data."""
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class LedgerPosition:
    sequence: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> LedgerPosition:
        sequence, _, digest = text.partition(":")
        return cls(int(sequence), bytes.fromhex(digest))


START = LedgerPosition(0, _GENESIS)
"""The position of an empty ledger."""


@dataclass(frozen=True, slots=True)
class Revocation:
    account_id: UUID
    mailbox_id: UUID
    provider: str
    created_at: datetime
    expires_at: datetime
    due_at: datetime
    attempts: int
    wrapped: bytes


def insert_key(
    conn: Connection,
    account_id: UUID,
    owner_id: UUID,
    *,
    master_key_id: str,
    wrapped: bytes,
) -> None:
    conn.execute(
        insert(wrapped_keys).values(
            account_id=account_id,
            owner_id=owner_id,
            master_key_id=master_key_id,
            created_at=now(conn),
            wrapped=wrapped,
        )
    )


def get_key(conn: Connection, account_id: UUID, owner_id: UUID) -> WrappedKey:
    """Raises KeyDestroyed where there is none: whatever it sealed is unreadable."""
    row = conn.execute(
        select(wrapped_keys).where(wrapped_keys.c.account_id == account_id, wrapped_keys.c.owner_id == owner_id)
    ).one_or_none()
    if row is None:
        raise KeyDestroyed(f"there is no key for {owner_id}")
    return WrappedKey(**row._mapping)


def list_keys(conn: Connection) -> list[WrappedKey]:
    return [WrappedKey(**row._mapping) for row in conn.execute(select(wrapped_keys))]


def count_other_keys(conn: Connection, master_key_id: str) -> int:
    """Return how many keys are wrapped by another master key."""
    query = select(func.count()).select_from(wrapped_keys).where(wrapped_keys.c.master_key_id != master_key_id)
    return conn.execute(query).scalar_one()


def page_of_other_keys(
    conn: Connection, master_key_id: str, after: tuple[UUID, UUID] | None, limit: int
) -> list[WrappedKey]:
    """Return up to `limit` keys that are wrapped by another master key, behind the account and owner `after`."""
    key = tuple_(wrapped_keys.c.account_id, wrapped_keys.c.owner_id)
    query = select(wrapped_keys).where(wrapped_keys.c.master_key_id != master_key_id).order_by(*key).limit(limit)
    if after is not None:
        query = query.where(key > tuple_(*(literal(one, Id()) for one in after)))
    return [WrappedKey(**row._mapping) for row in conn.execute(query)]


def rewrap_keys(conn: Connection, master_key_id: str, rewrapped: Sequence[tuple[WrappedKey, bytes]]) -> int:
    """Replace keys by what they are wrapped in now; return how many. One that is destroyed meanwhile stays so."""
    done = 0
    for row, wrapped in rewrapped:
        changed = conn.execute(
            update(wrapped_keys)
            .where(
                wrapped_keys.c.account_id == row.account_id,
                wrapped_keys.c.owner_id == row.owner_id,
                wrapped_keys.c.wrapped == row.wrapped,
            )
            .values(master_key_id=master_key_id, wrapped=wrapped)
        )
        done += changed.rowcount
    return done


def destroy_key(
    conn: Connection,
    account_id: UUID,
    mailbox_id: UUID,
    *,
    detail: Mapping[str, Any],
    provider: str,
    wrapped_refresh_token: bytes | None,
) -> bool:
    """Destroy a mailbox's key, say so in the ledger, and keep its refresh token for the revocation: one step.

    Returns False, and does nothing, where the key is destroyed already.
    """
    gone = conn.execute(
        delete(wrapped_keys).where(
            wrapped_keys.c.account_id == account_id,
            wrapped_keys.c.owner_id == mailbox_id,
        )
    )
    if gone.rowcount == 0:
        return False
    append_ledger(conn, account_id, mailbox_id, "destroyed", detail)
    if wrapped_refresh_token is not None:
        at = now(conn)
        conn.execute(
            insert(revocations).values(
                account_id=account_id,
                mailbox_id=mailbox_id,
                provider=provider,
                created_at=at,
                expires_at=at + REVOCATION_LIFETIME,
                due_at=at,
                attempts=0,
                wrapped=wrapped_refresh_token,
            )
        )
    return True


def destroy_account_key(conn: Connection, account_id: UUID, *, detail: Mapping[str, Any]) -> bool:
    """Destroy an account's own key, and whatever else of its keys is left, and say so in the ledger: one step.

    Returns False, and writes nothing into the ledger, where the account's own is destroyed already.
    """
    gone = conn.execute(
        delete(wrapped_keys).where(wrapped_keys.c.account_id == account_id, wrapped_keys.c.owner_id == account_id)
    )
    # Of linkings that never came to their end: nothing was ever stored under those.
    conn.execute(delete(wrapped_keys).where(wrapped_keys.c.account_id == account_id))
    if gone.rowcount:
        append_ledger(conn, account_id, account_id, "destroyed", detail)
    return bool(gone.rowcount)


def append_once(conn: Connection, account_id: UUID, owner_id: UUID, entry: str, detail: Mapping[str, Any]) -> None:
    """As `append_ledger`, unless there is such an entry of this owner: two processes may be at it."""
    ledger_head(conn, lock=True)
    same = ledger.c.account_id == account_id, ledger.c.owner_id == owner_id, ledger.c.entry == entry
    if conn.execute(select(ledger.c.sequence).where(*same).limit(1)).first() is None:
        append_ledger(conn, account_id, owner_id, entry, detail)


def forget_unused_key(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
    """Remove the key of a link that never came to be: nothing was ever stored under it."""
    conn.execute(
        delete(wrapped_keys).where(
            wrapped_keys.c.account_id == account_id,
            wrapped_keys.c.owner_id == mailbox_id,
        )
    )


def list_revocations(conn: Connection) -> list[Revocation]:
    return [Revocation(**row._mapping) for row in conn.execute(select(revocations).order_by(revocations.c.due_at))]


def postpone_revocation(conn: Connection, account_id: UUID, mailbox_id: UUID, seconds: float, wrapped: bytes) -> None:
    """Try later, with what is `wrapped` then: the provider may have given other tokens meanwhile."""
    conn.execute(
        update(revocations)
        .where(
            revocations.c.account_id == account_id,
            revocations.c.mailbox_id == mailbox_id,
        )
        .values(
            attempts=revocations.c.attempts + 1,
            due_at=now(conn) + timedelta(seconds=seconds),
            wrapped=wrapped,
        )
    )


def rewrap_revocation(conn: Connection, account_id: UUID, waiting: Revocation, wrapped: bytes) -> int:
    """Replace the token that waits; return 0 where it went, or was replaced by the provider, meanwhile."""
    changed = conn.execute(
        update(revocations)
        .where(
            revocations.c.account_id == account_id,
            revocations.c.mailbox_id == waiting.mailbox_id,
            revocations.c.wrapped == waiting.wrapped,
        )
        .values(wrapped=wrapped)
    )
    return changed.rowcount


def end_revocation(conn: Connection, account_id: UUID, mailbox_id: UUID, detail: Mapping[str, Any]) -> None:
    """Delete the token that was kept, and say in the ledger what came of it."""
    gone = conn.execute(
        delete(revocations).where(
            revocations.c.account_id == account_id,
            revocations.c.mailbox_id == mailbox_id,
        )
    )
    if gone.rowcount:
        append_ledger(conn, account_id, mailbox_id, "revocation", detail)


def append_ledger(
    conn: Connection,
    account_id: UUID,
    owner_id: UUID,
    entry: str,
    detail: Mapping[str, Any],
) -> LedgerPosition:
    head = ledger_head(conn, lock=True)
    sequence, at = head.sequence + 1, now(conn)
    text = json.dumps(detail, sort_keys=True)
    digest = _entry_hash(head.hash, sequence, account_id, owner_id, entry, at, text)
    conn.execute(
        insert(ledger).values(
            sequence=sequence,
            account_id=account_id,
            owner_id=owner_id,
            entry=entry,
            at=at,
            detail=text,
            previous_hash=head.hash,
            hash=digest,
        )
    )
    return LedgerPosition(sequence, digest)


def ledger_head(conn: Connection, *, lock: bool = False) -> LedgerPosition:
    """Return the ledger's last position. With `lock`, other writers wait until this transaction ends."""
    if lock and conn.dialect.name == "postgresql":
        conn.exec_driver_sql("LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE")
    row = conn.execute(select(ledger.c.sequence, ledger.c.hash).order_by(ledger.c.sequence.desc()).limit(1)).first()
    return START if row is None else LedgerPosition(row[0], bytes(row[1]))


def list_ledger(conn: Connection, after: int = 0, *, limit: int | None = None) -> list[LedgerEntry]:
    query = select(ledger).where(ledger.c.sequence > after).order_by(ledger.c.sequence).limit(limit)
    return [LedgerEntry(**row._mapping) for row in conn.execute(query)]


def find_receipt(conn: Connection, account_id: UUID, mailbox_id: UUID) -> LedgerEntry | None:
    row = conn.execute(
        select(ledger)
        .where(
            ledger.c.account_id == account_id,
            ledger.c.owner_id == mailbox_id,
            ledger.c.entry == "receipt",
        )
        .order_by(ledger.c.sequence.desc())
        .limit(1)
    ).first()
    return None if row is None else LedgerEntry(**row._mapping)


def list_endings(conn: Connection, account_id: UUID, mailbox_ids: Sequence[UUID]) -> list[LedgerEntry]:
    """Return the receipts of these mailboxes, and what came of their revocations, oldest first."""
    query = select(ledger).where(
        ledger.c.account_id == account_id,
        ledger.c.owner_id.in_(mailbox_ids),
        ledger.c.entry.in_(("receipt", "revocation")),
    )
    return [LedgerEntry(**row._mapping) for row in conn.execute(query.order_by(ledger.c.sequence))]


def broken_links(entries: Iterable[LedgerEntry], after: LedgerPosition = START) -> list[int]:
    """Return the sequences of those entries that do not follow from the one before.

    `entries` are the ledger's from the position `after` on; by default the whole ledger.
    """
    broken, previous, expected = [], after.hash, after.sequence + 1
    for one in entries:
        digest = _entry_hash(
            previous,
            one.sequence,
            one.account_id,
            one.owner_id,
            one.entry,
            one.at,
            one.detail,
        )
        if one.sequence != expected or bytes(one.previous_hash) != previous or bytes(one.hash) != digest:
            broken.append(one.sequence)
        previous, expected = bytes(one.hash), one.sequence + 1
    return broken


def get_fact(conn: Connection, name: str) -> str | None:
    return meta.get(conn, keystore_meta, name)


def put_fact(conn: Connection, name: str, value: str) -> None:
    meta.put(conn, keystore_meta, name, value)


def raise_fact(conn: Connection, name: str, number: int) -> None:
    """Set a fact that is a number, unless it is as high already."""
    meta.raise_to(conn, keystore_meta, name, number)


def _entry_hash(
    previous: bytes,
    sequence: int,
    account_id: UUID,
    owner_id: UUID,
    entry: str,
    at: datetime,
    detail: str,
) -> bytes:
    moment = at.isoformat(timespec="microseconds")  # both databases keep microseconds, in UTC
    covered = "\n".join([str(sequence), str(account_id), str(owner_id), entry, moment, detail])
    return hashlib.sha256(previous + covered.encode()).digest()
