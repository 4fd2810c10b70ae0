"""A database that version 0.1 has filled is migrated, whole, readable, and worked on.

`v0.1` holds what the code of 0.1 wrote (`make_v0_1`): sealed rows of every kind, blobs, a mailbox whose
forgetting had only come as far as its key, and one that is forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, column, insert, select, table

from ingestd.backup.folder import open_backup
from ingestd.backup.progress import quiet
from ingestd.backup.restore import fill, put_blobs
from ingestd.lock import StoreLock
from storage import erasures, schema
from storage.blobs import FolderBlobs
from storage.database import Database, now, open_database
from storage.tables import accounts, workers
from storage.types import new_id
from tests.backup.desk import configure, daemon, done, ingestd
from tests.stores import StoreUrls

_WRITTEN = Path(__file__).parent / "v0.1"
_REVISIONS = {schema.CONTENT: "content_0001", schema.KEYSTORE: "keystore_0001"}


def _open(urls: StoreUrls, which: str) -> Database:
    return open_database(urls.content if which == schema.CONTENT else urls.keystore, schema.METADATA[which])


async def _write(urls: StoreUrls) -> None:
    """Make both databases as 0.1 left them, at its schema."""
    for which, revision in _REVISIONS.items():
        backup = open_backup(_WRITTEN / which, which)
        database = _open(urls, which)
        try:
            await database.transaction(None, fill, which, backup)
            assert await database.read(None, schema.current) == revision
        finally:
            await database.close()
    put_blobs(FolderBlobs(urls.blobs), open_backup(_WRITTEN / schema.CONTENT), quiet)


def _first_accounts(conn: Connection) -> list[str]:
    return [str(one) for one in conn.execute(select(accounts.c.account_id).order_by(accounts.c.account_id)).scalars()]


def _steps(conn: Connection) -> list[str]:
    return sorted(one.step for one in erasures.list_erasures(conn, unfinished=False))


def _read(urls: StoreUrls, function: Any) -> Any:
    async def inside() -> Any:
        database = _open(urls, schema.CONTENT)
        try:
            return await database.read(None, function)
        finally:
            await database.close()

    return asyncio.run(inside())


def test_what_0_1_wrote_is_read_on(store_urls: StoreUrls, tmp_path: Path) -> None:
    config = configure(tmp_path / "desk", store_urls)
    asyncio.run(_write(store_urls))
    for command in ("verify", "run"):
        refused = ingestd(config, command)
        assert refused.exit_code == 1, refused.output
        assert "ingestd migrate" in refused.output

    migrated = json.loads(done(config, "migrate", "--json"))
    assert migrated["changed"] is True

    report = json.loads(done(config, "verify", "--json"))
    assert report["violations"] == []
    assert report["checked"]["records_open"] > 30
    account, *_ = _read(store_urls, _first_accounts)
    shown = done(config, "ticket", "show", "1", "--account", account, "--full")
    assert "Drucker für Käthe" in shown
    assert "It does not print." in shown
    assert "Wir sehen nach." in shown
    assert _read(store_urls, _steps) == ["done", "unreadable"]

    with daemon(config) as until:
        until(lambda: _read(store_urls, _steps) == ["done", "done"], "what 0.1 had begun to forget is forgotten")
        assert "Drucker für Käthe" in done(config, "ticket", "show", "1", "--account", account)
    assert json.loads(done(config, "verify", "--json"))["violations"] == []


def _register_as_before(conn: Connection) -> None:
    """Take a lease as a release did that knew no shares."""
    at = now(conn)
    columns = (workers.c.worker_id, workers.c.started_at, workers.c.heartbeat_at)
    conn.execute(
        insert(table(workers.name, *(column(one.name, one.type) for one in columns))).values((new_id(), at, at))
    )


@contextlib.contextmanager
def _an_older_daemon(urls: StoreUrls) -> Iterator[None]:
    """What the other processes see of a daemon that runs on the store."""

    async def register() -> None:
        database = _open(urls, schema.CONTENT)
        try:
            await database.transaction(None, _register_as_before)
        finally:
            await database.close()

    if urls.content.startswith("sqlite:///"):
        with StoreLock(Path(urls.content.removeprefix("sqlite:///"))):
            yield
    else:
        asyncio.run(register())
        yield


def test_nothing_is_migrated_beneath_a_running_daemon(store_urls: StoreUrls, tmp_path: Path) -> None:
    config = configure(tmp_path / "desk", store_urls)
    asyncio.run(_write(store_urls))
    with _an_older_daemon(store_urls):
        for command in ("migrate", "init"):
            refused = ingestd(config, command)
            assert refused.exit_code == 1, refused.output
            assert "run" in refused.output
        assert _read(store_urls, schema.current) == "content_0001"


def test_a_backup_of_0_1_is_restored_and_migrated(store_urls: StoreUrls, tmp_path: Path) -> None:
    config = configure(tmp_path / "desk", store_urls)
    for which in _REVISIONS:
        done(config, "restore", which, str(_WRITTEN / which))
    assert json.loads(done(config, "verify", "--json"))["violations"] == []
    account, *_ = _read(store_urls, _first_accounts)
    assert "Drucker für Käthe" in done(config, "ticket", "show", "1", "--account", account)
