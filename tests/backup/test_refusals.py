"""What is damaged, in the wrong place, or not for this store is refused, and nothing is changed by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import inspect

from ingestd.backup.check import check_backup
from ingestd.backup.errors import BackupDamaged, BackupUnsuitable, StoreNotEmpty, WrongPlace
from ingestd.backup.folder import Backup, open_backup, open_target
from ingestd.backup.format import BLOBS, MANIFEST, encode_manifest
from ingestd.backup.restore import restore_content, restore_keystore
from storage import leases, schema
from storage.types import new_id
from tests.backup.conftest import MakeUrls
from tests.backup.copies import back_up, bring_back, into, opened
from tests.stores import Stores
from tests.verify.builder import build


def _flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x10
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def _blob(backup: Path) -> Path:
    return next((backup / BLOBS).rglob("*-*-*-*-*/*/*"))


_DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit in rows": lambda path: _flip(path / "messages.rows.zst"),
    "rows cut short": lambda path: _cut(path / "raw_chunks.rows.zst"),
    "rows missing": lambda path: (path / "events.rows.zst").unlink(),
    "rows of another table": lambda path: (path / "tickets.rows.zst").rename(path / "messages.rows.zst"),
    "a flipped bit in the manifest": lambda path: _flip(path / MANIFEST),
    "a flipped bit in the manifest's end": lambda path: _flip(path / MANIFEST, 0.9),
    "a manifest cut short": lambda path: _cut(path / MANIFEST),
    "no manifest": lambda path: (path / MANIFEST).unlink(),
    "a flipped bit in a blob": lambda path: _flip(_blob(path)),
    "a blob cut short": lambda path: _cut(_blob(path)),
    "a blob missing": lambda path: _blob(path).unlink(),
    "a flipped bit in the blobs' index": lambda path: _flip(path / "blobs.rows.zst"),
}


@pytest.mark.parametrize("damage", _DAMAGES)
async def test_a_damaged_backup_is_refused(make_urls: MakeUrls, tmp_path: Path, damage: str) -> None:
    async with opened(make_urls("sqlite")) as stores:
        await _build(stores)
        made, _ = await back_up(stores, tmp_path)
    check_backup(open_backup(made.path))
    _DAMAGES[damage](made.path)
    with pytest.raises(BackupDamaged):
        check_backup(open_backup(made.path))
    async with opened(make_urls("sqlite")) as copy:
        with pytest.raises(BackupDamaged):
            await restore_content(into(copy), open_backup(made.path))
        assert await copy.content.read(None, lambda conn: inspect(conn).get_table_names()) == []
        assert list(copy.blobs.list()) == []


async def _build(stores: Stores) -> None:
    await stores.content.transaction(None, schema.upgrade, schema.CONTENT)
    await stores.keystore.transaction(None, schema.upgrade, schema.KEYSTORE)
    await build(stores)


async def test_only_an_empty_store_is_restored_into(stores: Stores, make_urls: MakeUrls, tmp_path: Path) -> None:
    await build(stores)
    content, keys = await back_up(stores, tmp_path)
    for restore, made in ((restore_content, content), (restore_keystore, keys)):
        with pytest.raises(StoreNotEmpty, match="never writes over data"):
            await restore(into(stores), made)
    async with opened(make_urls("sqlite")) as copy:
        await copy.content.transaction(None, schema.upgrade, schema.CONTENT)
        await bring_back(copy, content, keys)


async def test_not_beside_a_daemon(stores: Stores, tmp_path: Path) -> None:
    content, _ = await back_up(stores, tmp_path)
    await stores.content.transaction(None, leases.register, new_id())
    with pytest.raises(StoreNotEmpty, match="stop every one"):
        await restore_content(into(stores), content)


async def test_not_among_other_tables(stores: Stores, tmp_path: Path) -> None:
    content, _ = await back_up(stores, tmp_path)
    await stores.content.transaction(None, lambda conn: conn.exec_driver_sql("CREATE TABLE theirs (one integer)"))
    with pytest.raises(StoreNotEmpty, match="theirs"):
        await restore_content(into(stores), content)


def _rewritten(made: Backup, **changes: object) -> Backup:
    """Return the backup with another manifest, rightly written."""
    (made.path / MANIFEST).write_bytes(encode_manifest(msgspec.structs.replace(made.manifest, **changes)))
    return open_backup(made.path)


async def test_what_a_newer_version_made_is_refused(stores: Stores, make_urls: MakeUrls, tmp_path: Path) -> None:
    content, _ = await back_up(stores, tmp_path)
    newer = _rewritten(content, schema="content_9999", made_by="9.0")
    async with opened(make_urls("sqlite")) as copy:
        with pytest.raises(BackupUnsuitable, match=r"content_9999.*9\.0"):
            await restore_content(into(copy), newer)
    with pytest.raises(BackupUnsuitable, match="format 2"):
        _rewritten(content, version=2)


async def test_the_other_kind_is_refused(stores: Stores, make_urls: MakeUrls, tmp_path: Path) -> None:
    content, keys = await back_up(stores, tmp_path)
    with pytest.raises(BackupUnsuitable, match="backup of the content"):
        open_backup(content.path, schema.KEYSTORE)
    async with opened(make_urls("sqlite")) as copy:
        with pytest.raises(BackupUnsuitable):
            await restore_content(into(copy), keys)
        with pytest.raises(BackupUnsuitable):
            await restore_keystore(into(copy), content)


async def test_content_and_keys_never_meet(stores: Stores, tmp_path: Path) -> None:
    content, keys = await back_up(stores, tmp_path)
    for path, kind in (
        (content.path.parent, schema.KEYSTORE),
        (keys.path.parent, schema.CONTENT),
        (content.path.parent / "below", schema.KEYSTORE),
        (content.path, schema.KEYSTORE),
        (content.path / "below", schema.CONTENT),
        (content.path.parent.parent, schema.KEYSTORE),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(WrongPlace), open_target(path, kind):
            pass
        assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_folder_of_backups_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("keep me")
    with pytest.raises(WrongPlace, match="notes"), open_target(tmp_path, schema.CONTENT):
        pass
    with pytest.raises(WrongPlace, match="no folder"):
        open_backup(tmp_path / "nowhere")
    with pytest.raises(WrongPlace, match="no finished backup"):
        open_backup(tmp_path)


def test_two_backups_at_once_are_refused(tmp_path: Path) -> None:
    with (
        open_target(tmp_path, schema.CONTENT),
        pytest.raises(WrongPlace, match="under way"),
        open_target(tmp_path, schema.CONTENT),
    ):
        pass


async def test_files_are_the_owner_s(stores: Stores, tmp_path: Path) -> None:
    await build(stores)
    for made in await back_up(stores, tmp_path):
        found = [made.path, *made.path.rglob("*")]
        assert {one.stat().st_mode & 0o777 for one in found if one.is_dir()} == {0o700}
        assert {one.stat().st_mode & 0o777 for one in found if one.is_file()} == {0o600}


async def test_old_backups_are_deleted(stores: Stores, tmp_path: Path) -> None:
    await build(stores)
    made = [(await back_up(stores, tmp_path))[0] for _ in range(3)]
    with open_target(tmp_path / "content", schema.CONTENT) as target:
        assert target.keep(2) == 1
        assert target.finished() == [one.path for one in made[1:]]
    assert open_backup(tmp_path / "content").path == made[2].path
    check_backup(made[2])
