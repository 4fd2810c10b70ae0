"""Making a store of a backup again: only where there is none, and never half.

The whole backup is read and compared before anything is written. Then the blobs are written, and
all rows in one transaction, which also makes the tables as they were and migrates them: what is
interrupted leaves an empty database, and blobs that the next try finds or the daemon sweeps.

A restored content database is marked: at its next start the daemon begins a new epoch, and forgets
again what the ledger names. A key store must not be older than what the content database knows of
the ledger; where no newer copy is left, `accept_stale` destroys again what the content database
names as forgotten, in the same transaction that loads the keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from sqlalchemy import Connection, func, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from ingestd.backup.blobs import read_blob, read_index
from ingestd.backup.check import check_backup
from ingestd.backup.errors import BackupUnsuitable, StoreNotEmpty
from ingestd.backup.folder import Backup
from ingestd.backup.format import RowFile, read_rows, table_of, writing
from ingestd.backup.progress import Progress, Step, quiet
from ingestd.privacy.positions import known_ledger, mark_restored, note_ledger, refuse_stale
from storage import erasures as erasure_rows
from storage import keystore, leases, schema
from storage.blobs import Blobs
from storage.database import Database
from storage.erasures import Erasure
from storage.errors import LedgerStale
from storage.keystore import LedgerEntry, LedgerPosition
from storage.keystore_tables import keystore_meta, ledger
from storage.tables import mailboxes, store_meta, workers

_LOAD_ROWS = 100
"""A row with a chunk of a raw message may have a megabyte."""
_MAY_BE_FILLED = frozenset({store_meta.name, keystore_meta.name, workers.name, "alembic_version"})
"""Tables that are filled without any data being there."""


@dataclass(frozen=True, slots=True)
class Databases:
    """The store that is restored into."""

    content: Database
    keys: Database
    blobs: Blobs
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class RestoredContent:
    key_store: str
    """fits, stale (a daemon will refuse it), or absent."""
    to_forget: int
    """Mailboxes of the backup that were forgotten since; the daemon forgets them again."""


@dataclass(frozen=True, slots=True)
class RestoredKeystore:
    content: str
    """fits, stale (it was accepted), or absent."""
    destroyed_again: int
    without_key: int
    """Mailboxes of the content database that were linked after the backup: what they hold is unreadable."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the content database knows that matters to a key store."""

    position: LedgerPosition
    erased: tuple[Erasure, ...]
    mailboxes: frozenset[UUID]


async def restore_content(into: Databases, backup: Backup, progress: Progress = quiet) -> RestoredContent:
    """Raises BackupError and StorageError; then the database is as empty as before."""
    await _check(into, into.content, schema.CONTENT, backup, progress)
    await asyncio.to_thread(put_blobs, into.blobs, backup, progress)

    def mark(conn: Connection) -> None:
        mark_restored(conn, backup.manifest.backup_id)

    await _load(into, into.content, backup, mark, progress)
    return await _compare(into)


async def restore_keystore(
    into: Databases, backup: Backup, *, accept_stale: bool = False, progress: Progress = quiet
) -> RestoredKeystore:
    """Raises BackupError and StorageError, LedgerStale for a copy that is too old; nothing is changed then."""
    await _check(into, into.keys, schema.KEYSTORE, backup, progress)
    known = await _known(into)
    entries = _ledger_of(backup)
    stale = known is not None and _is_stale(known, entries, accept_stale)
    erased = known.erased if known and stale else ()

    def destroy(conn: Connection) -> None:
        _destroy_again(conn, erased)

    await _load(into, into.keys, backup, destroy, progress)
    if stale:
        await into.content.transaction(None, _reopen, _without(entries, "receipt", erased))
        await note_ledger(into.content, into.keys)
    there = {one.owner_id for one in await into.keys.read(None, keystore.list_keys)}
    return RestoredKeystore(
        content="absent" if known is None else "stale" if stale else "fits",
        destroyed_again=len(_without(entries, "destroyed", erased)),
        without_key=len(known.mailboxes - there) if known else 0,
    )


async def _check(into: Databases, database: Database, which: str, backup: Backup, progress: Progress) -> None:
    """Refuse what cannot be restored, before anything is written."""
    manifest = backup.manifest
    if manifest.kind != which:
        raise BackupUnsuitable(f"{backup.path} is a backup of another kind ({manifest.kind})")
    if manifest.schema not in schema.known(which):
        raise BackupUnsuitable(
            f"the backup has schema {manifest.schema}, which this version of ingestd does not know: it was made by "
            f"{manifest.made_by}; restore it with that version, or with a newer one"
        )
    await database.read(None, _refuse_data, which, into.lease_seconds)
    await asyncio.to_thread(check_backup, backup, progress)


def _refuse_data(conn: Connection, which: str, lease_seconds: float) -> None:
    """Raise StoreNotEmpty unless there are no tables of ours, or only empty ones, and no others."""
    ours = schema.METADATA[which].tables
    found = set(inspect(conn).get_table_names())
    if strange := sorted(found - set(ours) - _MAY_BE_FILLED):
        raise StoreNotEmpty(f"the {which} database holds tables that are not ours ({strange[0]}): use one of its own")
    current = schema.current(conn)
    if current is not None and current not in schema.known(which):
        raise BackupUnsuitable(f"the {which} database has schema {current}: a newer version of ingestd made it")
    if workers.name in found and which == schema.CONTENT and leases.others_alive(conn, None, lease_seconds):
        raise StoreNotEmpty("a daemon is running on this database: stop every one before a restore")
    for name in sorted(found & set(ours) - _MAY_BE_FILLED):
        if rows := conn.execute(select(func.count()).select_from(ours[name])).scalar_one():
            raise StoreNotEmpty(
                f"the {which} database is not empty ({name}: {rows}), and a restore never writes over data: move it "
                "away (SQLite: the file with its -wal and -shm; PostgreSQL: name a new database in the "
                "configuration) and restore again. To prepare an empty one use `ingestd migrate`: "
                "`ingestd init` makes an account"
            )


def put_blobs(blobs: Blobs, backup: Backup, progress: Progress) -> None:
    """Write the blobs before the rows that refer to them, as always."""
    count = backup.manifest.blobs.rows if backup.manifest.blobs else 0
    with progress("blobs", count) as step, writing(blobs.place):
        for one in read_index(backup):
            blob = one.blob
            blobs.put(blob.account_id, blob.mailbox_id, blob.owner_id, read_blob(backup, one))
            step(1)


async def _load(
    into: Databases, database: Database, backup: Backup, finish: Callable[[Connection], None], progress: Progress
) -> None:
    which = backup.manifest.kind

    def load(conn: Connection) -> None:
        if not database.is_sqlite:
            conn.execute(text("SET LOCAL statement_timeout = 0"))
            conn.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        _refuse_data(conn, which, into.lease_seconds)  # again: reading the backup has taken its time
        fill(conn, which, backup, progress)
        schema.upgrade(conn, which)
        finish(conn)

    try:
        await database.transaction(None, load)
    except DBAPIError:
        raise BackupUnsuitable("the rows of the backup do not fit into the tables of its own schema") from None


def fill(conn: Connection, which: str, backup: Backup, progress: Progress = quiet) -> None:
    """Make the tables as they were when the backup was made, and load its rows, in this transaction.

    The database must be empty: its tables are made anew.
    """
    schema.METADATA[which].drop_all(conn)
    conn.execute(text("DROP TABLE IF EXISTS alembic_version"))
    schema.upgrade(conn, which, backup.manifest.schema)
    with progress("rows", backup.manifest.rows) as step:
        for file in backup.manifest.tables:
            _fill_table(conn, backup, file, step)
    if conn.dialect.name == "postgresql":
        # What is deferred to the commit would keep a migration from altering these tables.
        conn.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


def _fill_table(conn: Connection, backup: Backup, file: RowFile, step: Step) -> None:
    table = table_of(file)
    rows = (dict(zip(table.c.keys(), row, strict=True)) for row in read_rows(backup.path, file))
    while batch := list(islice(rows, _LOAD_ROWS)):
        conn.execute(insert(table), batch)
        step(len(batch))


async def _compare(into: Databases) -> RestoredContent:
    """Say how the key store fits the content database that was just restored."""
    if not await _has_schema(into.keys):
        return RestoredContent("absent", 0)
    entries = await into.keys.read(None, keystore.list_ledger)
    known = await into.content.read(None, _read_known)
    try:
        refuse_stale(known.position, entries)
    except LedgerStale:
        return RestoredContent("stale", 0)
    destroyed = {one.owner_id for one in entries if one.entry == "destroyed"}
    return RestoredContent("fits", len(destroyed & known.mailboxes))


async def _known(into: Databases) -> _Known | None:
    """Return what the content database knows, None where there is none yet."""
    if not await _has_schema(into.content):
        return None
    if await into.content.read(None, leases.others_alive, None, into.lease_seconds):
        raise StoreNotEmpty("a daemon is running on the content database: stop every one before a restore")
    return await into.content.read(None, _read_known)


async def _has_schema(database: Database) -> bool:
    path = database.sqlite_path
    if path is not None and not path.exists():
        return False  # asking would make the file
    return await database.read(None, schema.current) is not None


def _read_known(conn: Connection) -> _Known:
    return _Known(
        position=known_ledger(conn),
        # Of one that was only requested the daemon itself destroys the key.
        erased=tuple(one for one in erasure_rows.list_erasures(conn, unfinished=False) if one.step != "requested"),
        mailboxes=frozenset(conn.execute(select(mailboxes.c.mailbox_id)).scalars()),
    )


def _ledger_of(backup: Backup) -> list[LedgerEntry]:
    """Return the ledger that a key store backup holds. Raises LedgerStale for one that is damaged."""
    (file,) = (one for one in backup.manifest.tables if one.table == ledger.name)
    names = [form.name for form in file.columns]
    entries = [LedgerEntry(**dict(zip(names, row, strict=True))) for row in read_rows(backup.path, file)]
    if broken := keystore.broken_links(entries):
        raise LedgerStale(f"the ledger of this backup is damaged at entry {broken[0]}")
    return entries


def _is_stale(known: _Known, entries: list[LedgerEntry], accept_stale: bool) -> bool:
    """Raises LedgerStale unless a stale copy is accepted."""
    try:
        refuse_stale(known.position, entries)
    except LedgerStale:
        if accept_stale:
            return True
        raise LedgerStale(
            f"this copy of the key store ends at entry {len(entries)} of the erasure ledger, and the content database "
            f"knows entry {known.position.sequence}: it is from before a mailbox was forgotten, and may hold keys "
            "that open what must stay unreadable. Restore a newer copy; where none is left, `--accept-stale` destroys "
            "those keys again"
        ) from None
    return False


def _without(entries: Iterable[LedgerEntry], kind: str, erased: Iterable[Erasure]) -> list[Erasure]:
    """Return those erasures of which the ledger holds no such entry."""
    there = {one.owner_id for one in entries if one.entry == kind}
    return [one for one in erased if one.mailbox_id not in there]


def _destroy_again(conn: Connection, erased: Iterable[Erasure]) -> None:
    """Destroy the keys of what was forgotten after the copy was made, and say so in the ledger."""
    detail = {"fingerprint": "unknown", "provider": "unknown", "reason": "stale_copy"}
    for one in _without(keystore.list_ledger(conn), "destroyed", erased):
        where = (one.account_id, one.mailbox_id)
        # False: linked after the copy was made, so there is no key; the ledger must know of it all the same.
        if not keystore.destroy_key(conn, *where, detail=detail, provider="unknown", wrapped_refresh_token=None):
            keystore.append_ledger(conn, *where, "destroyed", detail)
        if not one.is_of_account:
            keystore.append_ledger(conn, *where, "revocation", {"attempts": 0, "outcome": "unknown"})


def _reopen(conn: Connection, without_receipt: Iterable[Erasure]) -> None:
    """Have the receipts written again that went with the ledger's newer entries."""
    for one in without_receipt:
        if one.step == "done":
            erasure_rows.reopen(conn, one.account_id, one.mailbox_id)
