"""Real databases for the tests: SQLite files and databases of a private PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storage import schema
from storage.blobs import FolderBlobs
from storage.database import Database, open_database


@dataclass(frozen=True)
class StoreUrls:
    """Where a test's content database, key store and blobs are."""

    content: str
    keystore: str
    blobs: Path


@dataclass
class Stores:
    urls: StoreUrls
    content: Database
    keystore: Database
    blobs: FolderBlobs

    @classmethod
    async def open(cls, urls: StoreUrls) -> Stores:
        stores = cls(
            urls,
            open_database(urls.content, schema.METADATA[schema.CONTENT]),
            open_database(urls.keystore, schema.METADATA[schema.KEYSTORE]),
            FolderBlobs(urls.blobs),
        )
        await stores.content.transaction(None, schema.upgrade, schema.CONTENT)
        await stores.keystore.transaction(None, schema.upgrade, schema.KEYSTORE)
        return stores

    async def close(self) -> None:
        await self.content.close()
        await self.keystore.close()


def sqlite_urls(folder: Path) -> StoreUrls:
    return StoreUrls(f"sqlite:///{folder}/content.db", f"sqlite:///{folder}/keys.db", folder / "blobs")


def postgres_urls(create_database: Callable[[], str], folder: Path) -> StoreUrls:
    return StoreUrls(create_database(), create_database(), folder / "blobs")
