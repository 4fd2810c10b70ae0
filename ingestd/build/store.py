"""A store: what is enough to read, to reply and to disconnect. The command line builds nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from config import Bucket, Settings
from ingestd.desk import Desk
from ingestd.keys import KeyRing
from storage import schema
from storage.blobs import Blobs, FolderBlobs
from storage.database import Database, DatabaseLimits, open_database
from storage.sealing import MasterKey


@dataclass(frozen=True, slots=True)
class Store:
    """The databases, blobs and keys: all that reading, replying and disconnecting need."""

    settings: Settings
    content: Database
    keystore: Database
    blobs: Blobs
    keys: KeyRing
    desk: Desk

    def folders(self) -> dict[str, Path]:
        """Return the folders of this machine in which it keeps something, by what."""
        found = {"blobs": self.blobs.root} if isinstance(self.blobs, FolderBlobs) else {}
        for name, database in (("content", self.content), ("keystore", self.keystore)):
            if (path := database.sqlite_path) is not None:
                found[name] = path.parent
        return found

    async def check_schema(self) -> None:
        """Raises SchemaMismatch, StorageUnavailable."""
        await self.content.read(None, schema.check, schema.CONTENT)
        await self.keystore.read(None, schema.check, schema.KEYSTORE)


@contextlib.asynccontextmanager
async def open_store(settings: Settings, *, check: bool = True) -> AsyncIterator[Store]:
    """Open the store; close it at the end. With `check`, raises SchemaMismatch for another schema than ours."""
    storage = settings.storage
    limits = DatabaseLimits(
        busy_timeout_seconds=storage.busy_timeout_seconds,
        pool_size=storage.pool_size,
        attempts_max=storage.transaction_attempts_max,
        backoff_initial_seconds=storage.transaction_backoff.initial_seconds,
        backoff_max_seconds=storage.transaction_backoff.max_seconds,
        statement_seconds_max=storage.statement_seconds_max,
    )
    content = open_database(storage.database, schema.METADATA[schema.CONTENT], limits=limits)
    keystore = open_database(storage.keystore, schema.METADATA[schema.KEYSTORE], limits=limits)
    before = settings.keys.previous_master_key_bytes()
    keys = KeyRing(keystore, MasterKey(settings.keys.master_key_bytes()), None if before is None else MasterKey(before))
    blobs = FolderBlobs(storage.blobs_dir) if storage.bucket is None else _bucket(storage.bucket)
    desk = Desk(content, blobs, keys, blob_bytes_min=storage.blob_bytes_min)
    store = Store(settings, content, keystore, blobs, keys, desk)
    try:
        if check:
            await store.check_schema()
        yield store
    finally:
        await content.close()
        await keystore.close()


def _bucket(settings: Bucket) -> Blobs:
    # Here, as most stores have none, and every command would load it.
    from storage.bucket import BucketBlobs  # noqa: PLC0415

    return BucketBlobs(
        settings.name,
        endpoint=settings.endpoint,
        region=settings.region,
        access_key_id=settings.access_key_id.get_secret_value(),
        secret_access_key=settings.secret_access_key.get_secret_value(),
        prefix=settings.prefix,
        timeout_seconds=settings.timeout_seconds,
        retries_max=settings.retries_max,
    )
