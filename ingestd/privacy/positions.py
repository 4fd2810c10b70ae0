"""Each database remembers where the other one stood, so that a stale copy of either is recognised.

The content database keeps the ledger's position that it knows; the key store keeps the
content database's generation, which every start of a daemon raises. What a restored
content database had forgotten is forgotten again, and its unfinished replies are not
sent by themselves: they may have left before the restore.

A copy that was made and put back within one run of a daemon has the same generation as
what it replaced. So `ingestd restore` marks what it restores, and the mark goes only when
all of this has been done.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Connection, delete, select, update

from ingestd.privacy import requests
from ingestd.privacy.person_requests import request_person_again
from storage import keystore, meta
from storage.accounts import draw_numbers
from storage.database import Database, now
from storage.errors import LedgerStale, NotFound
from storage.events import NewEvent, insert_about
from storage.keystore import START, LedgerEntry, LedgerPosition
from storage.outbox import ReplyStatus
from storage.tables import accounts, attempts, outbox, store_meta

log = structlog.get_logger()

_LEDGER = "ledger"
_GENERATION = "generation"
_EPOCH = "epoch"
_RESTORED = "restored"
_SEQUENCES_SKIPPED = 1_000_000_000
"""More events than any account has between a backup and its loss; 2^53, as far as JSON counts, is nine million such."""


async def note_ledger(content: Database, keys: Database) -> None:
    """Let the content database know the ledger's newest position."""
    head = await keys.read(None, keystore.ledger_head)
    await content.transaction(None, meta.put, store_meta, _LEDGER, str(head))


def known_ledger(conn: Connection) -> LedgerPosition:
    """Return the ledger's position that the content database knows."""
    text = meta.get(conn, store_meta, _LEDGER)
    return LedgerPosition.parse(text) if text else START


def epoch(conn: Connection) -> int:
    """Return the content database's epoch; a restore begins a new one."""
    return int(meta.get(conn, store_meta, _EPOCH) or 1)


async def reconcile(content: Database, keys: Database) -> int:
    """At the start of a daemon: compare the two databases; return how many mailboxes, accounts and persons are to be
    forgotten again.

    Raises LedgerStale where the key store is older than what the content database knows.
    """
    known = await content.read(None, known_ledger)
    entries = await keys.read(None, keystore.list_ledger)
    refuse_stale(known, entries)
    # The key store first: processes that start together raise the content database's number first.
    noted = int(await keys.read(None, keystore.get_fact, _GENERATION) or 0)
    restored = await content.read(None, _is_restored, noted)
    if restored and (unknown := await content.transaction(None, _begin_epoch_once, noted)) is not None:
        log.warning("restore.detected", replies=unknown)
    again = 0
    for entry in entries:
        if entry.entry == "destroyed" and (restored or entry.sequence > known.sequence):
            again += await _forget_again(content, entry)
        elif entry.entry == "person" and (restored or entry.sequence > known.sequence):
            again += await _erase_again(content, entry)
    await note_ledger(content, keys)
    await _raise_generation(content, keys)
    return again


def mark_restored(conn: Connection, backup_id: UUID) -> None:
    """Let the next start of a daemon know that this content database is a restored copy."""
    meta.put(conn, store_meta, _RESTORED, str(backup_id))


def refuse_stale(known: LedgerPosition, entries: list[LedgerEntry]) -> None:
    """Raise LedgerStale where the ledger does not hold the position that the content database knows."""
    if broken := keystore.broken_links(entries):
        raise LedgerStale(f"the key store's ledger is damaged at entry {broken[0]}")
    if known.sequence == 0:
        return
    same = next((entry for entry in entries if entry.sequence == known.sequence), None)
    if same is None or bytes(same.hash) != known.hash:
        raise LedgerStale(
            f"the key store is older than entry {known.sequence} of its ledger, which the content database knows: "
            "a stale copy of the key store was restored; restore the newest one"
        )


def _is_restored(conn: Connection, noted: int) -> bool:
    """Whether this content database is a restored copy; `noted` is the generation that the key store knows."""
    if meta.get(conn, store_meta, _RESTORED):
        return True
    return int(meta.get(conn, store_meta, _GENERATION) or 0) < noted


def _begin_epoch_once(conn: Connection, noted: int) -> int | None:
    """As `begin_epoch`; None where a process that started together with us has done it, and may be at work."""
    return begin_epoch(conn) if _is_restored(conn, noted) else None


async def _raise_generation(content: Database, keys: Database) -> None:
    mine = int(await content.read(None, meta.get, store_meta, _GENERATION) or 0)
    noted = int(await keys.read(None, keystore.get_fact, _GENERATION) or 0)
    generation = max(mine, noted) + 1
    # The content database first: a crash in between must not look like a restore.
    await content.transaction(None, _begin_generation, generation)
    await keys.transaction(None, keystore.raise_fact, _GENERATION, generation)


def _begin_generation(conn: Connection, generation: int) -> None:
    meta.raise_to(conn, store_meta, _GENERATION, generation)
    # Last, when everything is done that a restored copy needs: a crash before does it again.
    conn.execute(delete(store_meta).where(store_meta.c.name == _RESTORED))


def begin_epoch(conn: Connection) -> int:
    """After a restore: every unfinished reply may have been sent already, so nothing is sent by itself.

    They are looked for in Sent; those that are not there wait for a person. Returns how many.
    Events go on far behind the last one: a helpdesk's cursor may be of the log that was lost, and
    must not pass over new events that have its old numbers.
    """
    meta.put(conn, store_meta, _EPOCH, str(epoch(conn) + 1))
    at = now(conn)
    unfinished = (ReplyStatus.QUEUED, ReplyStatus.SENDING, ReplyStatus.DEFERRED, ReplyStatus.UNKNOWN)
    skipped = accounts.c.next_event_sequence + _SEQUENCES_SKIPPED
    conn.execute(update(accounts).values(next_event_sequence=skipped))
    news = (outbox.c.account_id, outbox.c.mailbox_id, outbox.c.message_id)
    told = conn.execute(select(*news).where(outbox.c.status.in_(set(unfinished) - {ReplyStatus.UNKNOWN}))).all()
    changed = conn.execute(
        update(outbox)
        .where(outbox.c.status.in_(unfinished))
        .values(status=ReplyStatus.UNKNOWN, status_since=at, due_at=at, reason="restored")
    )
    conn.execute(
        update(attempts).where(attempts.c.ended_at.is_(None)).values(ended_at=at, outcome="unknown", stage="restored")
    )
    for account_id, mailbox_id, message_id in told:
        _, sequence = draw_numbers(conn, account_id, events=1)
        about = NewEvent("reply.unknown", mailbox_id, None, message_id, "restored")
        insert_about(conn, account_id, sequence, about)
    return changed.rowcount


async def _erase_again(content: Database, entry: LedgerEntry) -> int:
    """A person's erasure that this copy does not have; with one that it has, it goes on by itself."""
    try:
        wanted = bytes.fromhex(msgspec.json.decode(entry.detail)["address_key"])
        return int(await request_person_again(content, entry, wanted))
    except NotFound:
        return 0


async def _forget_again(content: Database, entry: LedgerEntry) -> int:
    try:
        if entry.owner_id == entry.account_id:
            return int(await content.transaction(entry.account_id, requests.request_close, "restored"))
        asked = await content.transaction(entry.account_id, requests.request_disconnect, entry.owner_id)
    except NotFound:
        return 0
    return int(asked)
