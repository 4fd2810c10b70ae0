"""Real databases for the tests: SQLite files and databases of a private PostgreSQL server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storage import schema
from storage.blobs import Blobs, FolderBlobs
from storage.database import Database, open_database
from tests import compiled
from tests.servers.postgres import PostgresServer


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
    blobs: Blobs

    @classmethod
    def connect(cls, urls: StoreUrls) -> Stores:
        """Return databases that are migrated already."""
        stores = cls(
            urls,
            open_database(urls.content, schema.METADATA[schema.CONTENT]),
            open_database(urls.keystore, schema.METADATA[schema.KEYSTORE]),
            FolderBlobs(urls.blobs),
        )
        compiled.reuse(stores.content)
        compiled.reuse(stores.keystore)
        return stores

    @classmethod
    async def open(cls, urls: StoreUrls) -> Stores:
        stores = cls.connect(urls)
        await stores.content.transaction(None, schema.upgrade, schema.CONTENT)
        await stores.keystore.transaction(None, schema.upgrade, schema.KEYSTORE)
        return stores

    async def close(self) -> None:
        compiled.keep(self.content)
        compiled.keep(self.keystore)
        await self.content.close()
        await self.keystore.close()


def sqlite_urls(folder: Path) -> StoreUrls:
    return StoreUrls(f"sqlite:///{folder}/content.db", f"sqlite:///{folder}/keys.db", folder / "blobs")


def postgres_urls(create_database: Callable[[], str], folder: Path) -> StoreUrls:
    return StoreUrls(create_database(), create_database(), folder / "blobs")


def migrated_once(urls: StoreUrls) -> StoreUrls:
    """Migrate databases that will be copied."""

    async def migrate() -> None:
        await (await Stores.open(urls)).close()

    asyncio.run(migrate())
    return urls


def sqlite_copies(migrated: StoreUrls, folder: Path) -> StoreUrls:
    urls = sqlite_urls(folder)
    for source, target in ((migrated.content, urls.content), (migrated.keystore, urls.keystore)):
        shutil.copy(source.removeprefix("sqlite:///"), target.removeprefix("sqlite:///"))
    return urls


def postgres_copies(server: PostgresServer, migrated: StoreUrls, folder: Path) -> StoreUrls:
    return StoreUrls(
        server.create_database(migrated.content), server.create_database(migrated.keystore), folder / "blobs"
    )
