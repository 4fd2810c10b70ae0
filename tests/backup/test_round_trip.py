"""What a backup holds comes back: every row, every blob, on the same engine and on the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, select, update

from ingestd.backup.check import check_backup
from ingestd.backup.dump import back_up_content
from ingestd.backup.folder import open_target
from ingestd.backup.format import BLOBS, ColumnForm, read_rows, write_rows
from ingestd.backup.restore import fill, restore_content
from ingestd.desk import Desk
from storage import schema
from storage.keystore_tables import revocations
from storage.tables import messages, store_meta
from storage.types import new_id
from tests.backup.conftest import MakeUrls
from tests.backup.copies import all_rows, back_up, bring_back, check, into, opened
from tests.office import Office, mail
from tests.stores import Stores, StoreUrls
from tests.verify.builder import build


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
async def test_every_row_and_blob_comes_back(stores: Stores, make_urls: MakeUrls, target: str, tmp_path: Path) -> None:
    world = await build(stores)
    content, keys = await back_up(stores, tmp_path)
    async with opened(make_urls(target)) as copy:
        await bring_back(copy, content, keys)
        assert (await check(copy)).violations == []
        for database, original, which in (
            (copy.content, stores.content, schema.CONTENT),
            (copy.keystore, stores.keystore, schema.KEYSTORE),
        ):
            await database.read(None, schema.check, which)
            there, here = [await one.read(None, all_rows, which) for one in (database, original)]
            there["store_meta"] = [row for row in there.get("store_meta", []) if row[0] != "restored"]
            here.setdefault("store_meta", [])
            assert there == here
            assert which == schema.KEYSTORE or min(len(here[name]) for name in ("messages", "attempts", "grants")) > 0
        where = (world.account, world.mailbox, world.large_message)
        assert copy.blobs.get(*where) == stores.blobs.get(*where)


async def test_tokens_of_forgotten_mailboxes_are_left_out(stores: Stores, tmp_path: Path) -> None:
    await build(stores)

    def count(conn: Connection) -> int:
        return conn.execute(select(func.count()).select_from(revocations)).scalar_one()

    assert await stores.keystore.read(None, count) == 1
    _, keys = await back_up(stores, tmp_path)
    assert keys.manifest.left_out == {"revocations": 1}
    assert "revocations" not in {one.table for one in keys.manifest.tables}


def test_a_backup_at_work_is_of_one_moment(store_urls: StoreUrls, make_urls: MakeUrls, tmp_path: Path) -> None:
    """Between two tables of the backup a writer commits mails, with a blob, and the backup does not see them."""
    reading, written = threading.Event(), threading.Event()
    counts: list[int] = []

    @contextmanager
    def halting(what: str, _count: int) -> Iterator[Callable[[int], None]]:
        def step(_more: int) -> None:
            if what == "rows" and not reading.is_set():
                reading.set()
                assert written.wait(60)

        yield step

    async def work() -> None:
        async with opened(store_urls) as stores:
            office = await _office(stores)
            await office.take(*_mails(0))
            ready.set()
            assert await asyncio.to_thread(reading.wait, 60)
            await office.take(*_mails(1))
            counts.append(await stores.content.read(None, _count_messages))
            written.set()

    async def copy() -> None:
        async with opened(store_urls) as stores:
            with open_target(tmp_path / "content", schema.CONTENT) as target:
                made = await back_up_content(stores.content, stores.blobs, target, halting)
            _, keys = await back_up(stores, tmp_path / "later")
        async with opened(make_urls("sqlite")) as restored:
            await bring_back(restored, made, keys)
            assert (await check(restored)).violations == []
            counts.append(await restored.content.read(None, _count_messages))
            assert made.manifest.blobs
            counts.append(made.manifest.blobs.rows)

    ready = threading.Event()

    def run_work() -> None:
        try:
            asyncio.run(work())
        finally:
            ready.set()
            written.set()

    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(run_work)
        assert ready.wait(60)
        asyncio.run(copy())
        worker.result()
    assert counts == [4, 2, 1]


async def _office(stores: Stores) -> Office:
    await stores.content.transaction(None, schema.upgrade, schema.CONTENT)
    await stores.keystore.transaction(None, schema.upgrade, schema.KEYSTORE)
    office = await Office.open(stores)
    office.desk = Desk(stores.content, stores.blobs, office.keys, blob_bytes_min=500)
    return office


def _mails(batch: int) -> list[bytes]:
    noise = " ".join(str(hash(str(number))) for number in range(200))
    return [
        mail(f"Small {batch}", message_id=f"<small-{batch}@example.org>"),
        mail(f"Large {batch}", message_id=f"<large-{batch}@example.org>", text=noise),
    ]


def _count_messages(conn: Connection) -> int:
    return conn.execute(select(func.count()).select_from(messages)).scalar_one()


async def test_blobs_are_shared_with_the_backup_before(stores: Stores, tmp_path: Path) -> None:
    await build(stores)
    first, _ = await back_up(stores, tmp_path)
    second, _ = await back_up(stores, tmp_path)
    files = [next((one.path / BLOBS).rglob("*-*-*-*-*/*/*")) for one in (first, second)]
    assert files[0] != files[1]
    assert files[0].stat().st_ino == files[1].stat().st_ino
    check_backup(second)

    damaged = bytearray(files[0].read_bytes())
    damaged[100] ^= 1
    files[0].write_bytes(damaged)
    third, _ = await back_up(stores, tmp_path)
    check_backup(third)


async def test_a_blob_that_the_store_has_lost_is_told(stores: Stores, tmp_path: Path) -> None:
    world = await build(stores)
    whole, _ = await back_up(stores, tmp_path / "whole")
    assert whole.manifest.blobs_missing == 0
    stores.blobs.delete(world.account, world.mailbox, world.large_message)
    content, _ = await back_up(stores, tmp_path)
    assert content.manifest.blobs_missing == 1
    check_backup(content)


async def test_what_was_deleted_is_not_in_a_backup(stores: Stores, tmp_path: Path) -> None:
    def put(conn: Connection) -> None:
        conn.execute(store_meta.insert().values(name="gone", value="Zeugenwort"))

    def take(conn: Connection) -> None:
        conn.execute(delete(store_meta).where(store_meta.c.name == "gone"))

    await stores.content.transaction(None, put)
    before, _ = await back_up(stores, tmp_path / "before")
    await stores.content.transaction(None, take)
    after, _ = await back_up(stores, tmp_path / "after")
    found = []
    for one in (before, after):
        (file,) = (file for file in one.manifest.tables if file.table == "store_meta")
        found.append([row for row in read_rows(one.path, file) if "Zeugenwort" in row])
    assert [len(one) for one in found] == [1, 0]


async def test_a_restored_copy_can_be_backed_up_again(stores: Stores, make_urls: MakeUrls, tmp_path: Path) -> None:
    await build(stores)
    content, keys = await back_up(stores, tmp_path)
    async with opened(make_urls("sqlite")) as copy:
        await bring_back(copy, content, keys)
        again, _ = await back_up(copy, tmp_path / "again")
    assert [(one.table, one.rows) for one in again.manifest.tables if one.table != "store_meta"] == [
        (one.table, one.rows) for one in content.manifest.tables if one.table != "store_meta"
    ]


async def test_an_unfinished_restore_is_only_blobs(stores: Stores, make_urls: MakeUrls, tmp_path: Path) -> None:
    """Blobs that lie there already are no obstacle: the database's disk may be all that was lost."""
    world = await build(stores)
    content, _ = await back_up(stores, tmp_path)
    async with opened(make_urls("sqlite")) as copy:
        copy.blobs.put(world.account, world.mailbox, world.large_message, [b"another"])
        await restore_content(into(copy), content)
        where = (world.account, world.mailbox, world.large_message)
        assert copy.blobs.get(*where) == stores.blobs.get(*where)


def test_rows_keep_their_values(tmp_path: Path) -> None:
    columns = tuple(ColumnForm(kind, kind) for kind in ("id", "instant", "bytes", "boolean", "integer", "text"))
    rows: list[list[Any]] = [
        [new_id(), datetime(2026, 3, 1, 9, 30, 0, 123456, UTC), b"\x00\xff", True, -(2**63), "Käthe 李"],
        [new_id(), datetime(1969, 12, 31, tzinfo=UTC), b"", False, 2**63 - 1, ""],
        [None] * 6,
    ]
    written = write_rows(tmp_path, "values", columns, iter(rows), lambda _more: None)
    assert written.rows == 3
    assert list(read_rows(tmp_path, written)) == rows


async def test_a_changed_value_shows(stores: Stores, make_urls: MakeUrls, tmp_path: Path) -> None:
    """The control of the first test: it would see one changed column."""
    await build(stores)
    content, keys = await back_up(stores, tmp_path)

    def change(conn: Connection) -> None:
        conn.execute(update(messages).values(kind="other"))

    async with opened(make_urls("sqlite")) as copy:
        await bring_back(copy, content, keys)
        await copy.content.transaction(None, change)
        assert await copy.content.read(None, all_rows, schema.CONTENT) != await stores.content.read(
            None, all_rows, schema.CONTENT
        )


async def test_what_was_just_loaded_can_be_migrated(stores: Stores, make_urls: MakeUrls, tmp_path: Path) -> None:
    """In the same transaction: PostgreSQL alters no table with checks that wait for the commit."""
    await build(stores)
    content, _ = await back_up(stores, tmp_path)

    def load(conn: Connection) -> None:
        fill(conn, schema.CONTENT, content)
        for name in ("messages", "participants"):
            conn.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN later integer")

    engine = "sqlite" if stores.content.is_sqlite else "postgresql"
    async with opened(make_urls(engine)) as copy:
        await copy.content.transaction(None, load)
        assert await copy.content.read(None, _count_messages) == len(
            (await stores.content.read(None, all_rows, schema.CONTENT))["messages"]
        )
