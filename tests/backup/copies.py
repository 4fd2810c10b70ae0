"""Making and restoring backups in a test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from ingestd.backup.dump import LEFT_OUT, back_up_content, back_up_keystore
from ingestd.backup.folder import Backup, open_target
from ingestd.backup.restore import Databases, restore_content, restore_keystore
from ingestd.keys import KeyRing
from ingestd.verify import Report, verify
from storage import schema
from storage.blobs import FolderBlobs
from storage.database import open_database
from tests.office import MASTER
from tests.stores import Stores, StoreUrls


async def back_up(stores: Stores, folder: Path) -> tuple[Backup, Backup]:
    """Back both databases up, each into its own place below `folder`."""
    with open_target(folder / "content", schema.CONTENT) as target:
        content = await back_up_content(stores.content, stores.blobs, target)
    with open_target(folder / "keystore", schema.KEYSTORE) as target:
        keys = await back_up_keystore(stores.keystore, target)
    return content, keys


@asynccontextmanager
async def opened(urls: StoreUrls) -> AsyncIterator[Stores]:
    """Open stores as they are: nothing is migrated."""
    stores = Stores(
        urls,
        open_database(urls.content, schema.METADATA[schema.CONTENT]),
        open_database(urls.keystore, schema.METADATA[schema.KEYSTORE]),
        FolderBlobs(urls.blobs),
    )
    try:
        yield stores
    finally:
        await stores.close()


def into(stores: Stores) -> Databases:
    return Databases(stores.content, stores.keystore, stores.blobs, lease_seconds=15)


async def bring_back(stores: Stores, content: Backup, keys: Backup) -> None:
    await restore_keystore(into(stores), keys)
    await restore_content(into(stores), content)


async def check(stores: Stores) -> Report:
    return await verify(stores.content, stores.keystore, stores.blobs, KeyRing(stores.keystore, MASTER))


def all_rows(conn: Connection, which: str) -> dict[str, list[Any]]:
    """Return every row that a backup holds, in the order of the keys."""
    return {
        table.name: [tuple(row) for row in conn.execute(select(table).order_by(*table.primary_key.columns))]
        for table in schema.METADATA[which].sorted_tables
        if table not in LEFT_OUT
    }
