"""Making a backup of a store at work.

All rows come from one snapshot: a read transaction in WAL mode on SQLite, REPEATABLE READ on
PostgreSQL. No writer waits for it, and it waits for none. Rows are read one by one, so that
nothing which was deleted, but still lies in the database's files, gets into a backup.

Blobs are copied after the snapshot: a blob is stored before the transaction that refers to it
commits, so every row of the snapshot has its blob by then. What is gone when its turn comes was
deleted meanwhile together with its row, or the store itself has lost it, which is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select, text, union_all

from ingestd.backup.blobs import INDEX_COLUMNS, BlobId, copy_blobs
from ingestd.backup.errors import BackupError
from ingestd.backup.folder import Backup, Target, open_backup
from ingestd.backup.format import BLOBS, Manifest, RowFile, forms_of, write_rows, writing
from ingestd.backup.progress import Progress, quiet
from ingestd.privacy.positions import known_ledger
from storage import keystore, schema
from storage.blobs import Blobs, FolderBlobs
from storage.database import Database
from storage.keystore_tables import revocations
from storage.mailboxes import MailboxState
from storage.messages import BLOB
from storage.tables import mailboxes, messages, quarantine, uploads, workers
from storage.types import new_id

LEFT_OUT = (workers, revocations, uploads)
"""Never in a backup: leases of processes; refresh tokens of forgotten mailboxes, which may be kept for 24 h only, and
in a backup would be kept for as long as that is; and files that wait for a reply for a day, a row of 25 MB each."""
_FETCH_ROWS = 100
"""A row with a chunk of a raw message may have a megabyte."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    schema: str
    ledger: str
    tables: tuple[RowFile, ...]
    blobs: list[BlobId]
    left_out: dict[str, int]


async def back_up_content(content: Database, blobs: Blobs, target: Target, progress: Progress = quiet) -> Backup:
    """Back up the content database and the blobs into a folder that holds content backups.

    Raises StorageUnavailable, BackupError where the copy cannot be written.
    """
    at = datetime.now(UTC)
    with writing(target.path), target.growing(at) as growing:
        earlier = _newest(target)
        snapshot = await content.read(None, _take, schema.CONTENT, growing, progress)
        with progress("blobs", len(snapshot.blobs)) as step:
            into = FolderBlobs(growing / BLOBS)
            into.root.mkdir(mode=0o700)
            copied, gone = await asyncio.to_thread(copy_blobs, blobs, snapshot.blobs, into, earlier, step)
        index = write_rows(growing, BLOBS, INDEX_COLUMNS, (one.row() for one in copied), lambda _more: None)
        missing = await content.read(None, _count_live, gone)
        return target.publish(growing, _manifest(content, schema.CONTENT, at, snapshot, index, missing))


async def back_up_keystore(keys: Database, target: Target, progress: Progress = quiet) -> Backup:
    """Back up the key store into a folder that holds key store backups. Raises as `back_up_content`."""
    at = datetime.now(UTC)
    with writing(target.path), target.growing(at) as growing:
        snapshot = await keys.read(None, _take, schema.KEYSTORE, growing, progress)
        return target.publish(growing, _manifest(keys, schema.KEYSTORE, at, snapshot, None, 0))


def _take(conn: Connection, which: str, folder: Path, progress: Progress) -> _Snapshot:
    """Write all tables, as they are at one moment."""
    _hold_snapshot(conn)
    tables = [one for one in schema.METADATA[which].sorted_tables if one not in LEFT_OUT]
    with progress("rows", sum(_count(conn, one) for one in tables)) as step:
        files = tuple(write_rows(folder, str(one.name), forms_of(one), _rows(conn, one), step) for one in tables)
    is_content = which == schema.CONTENT
    return _Snapshot(
        schema=schema.current(conn) or "",
        ledger=str(known_ledger(conn) if is_content else keystore.ledger_head(conn)),
        tables=files,
        blobs=_blob_ids(conn) if is_content else [],
        left_out={} if is_content else {str(revocations.name): _count(conn, revocations)},
    )


def _hold_snapshot(conn: Connection) -> None:
    """Let all that this transaction reads be of one moment; on SQLite every transaction does."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        # Reading it all takes its time, and so may the disk that it is written to.
        conn.execute(text("SET LOCAL statement_timeout = 0"))
        conn.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def _rows(conn: Connection, table: Table) -> Iterator[Sequence[Any]]:
    # In the order of the keys, so that they are loaded in that order, too.
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_FETCH_ROWS)
    yield from conn.execute(query)


def _count(conn: Connection, table: Table) -> int:
    return conn.execute(select(func.count()).select_from(table)).scalar_one()


def _blob_ids(conn: Connection) -> list[BlobId]:
    """Return the blobs that rows of the snapshot refer to."""
    owners = ((messages, messages.c.message_id), (quarantine, quarantine.c.quarantine_id))
    queries = [
        select(table.c.account_id, table.c.mailbox_id, owner_id).where(table.c.raw_place == BLOB)
        for table, owner_id in owners
    ]
    return [BlobId(*row) for row in conn.execute(union_all(*queries))]


def _count_live(conn: Connection, gone: Sequence[BlobId]) -> int:
    """Return how many of the missing blobs still have their row, in a mailbox that is not being forgotten."""
    if not gone:
        return 0
    staying = select(mailboxes.c.mailbox_id).where(mailboxes.c.state != MailboxState.DISCONNECTING)
    open_mailboxes, live = set(conn.execute(staying).scalars()), set(_blob_ids(conn))
    return sum(one in live and one.mailbox_id in open_mailboxes for one in gone)


def _newest(target: Target) -> Backup | None:
    """Return the backup whose blobs need not be copied again; one that is damaged helps nobody."""
    finished = target.finished()
    try:
        return open_backup(finished[-1]) if finished else None
    except BackupError:
        return None


def _manifest(
    database: Database, which: str, at: datetime, snapshot: _Snapshot, index: RowFile | None, missing: int
) -> Manifest:
    return Manifest(
        kind=which,
        backup_id=new_id(),
        created_at=at,
        made_by=version("ingestd"),
        engine="sqlite" if database.is_sqlite else "postgresql",
        schema=snapshot.schema,
        ledger=snapshot.ledger,
        tables=snapshot.tables,
        blobs=index,
        blobs_missing=missing,
        left_out=snapshot.left_out,
    )
