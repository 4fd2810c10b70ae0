"""Blobs in files: there whole or not at all, readable by their owner only; test_all_blobs has what is so everywhere."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from storage.blobs import FolderBlobs
from storage.errors import NotFound, SealBroken
from storage.types import new_id

ACCOUNT, MAILBOX, OWNER = new_id(), new_id(), new_id()
CHUNKS = [b"first", b"", b"third" * 1000]


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def _path(blobs: FolderBlobs, owner_id: UUID = OWNER) -> Path:
    return blobs.root / str(ACCOUNT) / str(MAILBOX) / str(owner_id)


def test_nobody_else_may_read(blobs: FolderBlobs) -> None:
    before = os.umask(0)
    try:
        blobs.put(ACCOUNT, MAILBOX, OWNER, CHUNKS)
    finally:
        os.umask(before)
    path = _path(blobs)
    assert path.stat().st_mode & 0o777 == 0o600
    for folder in (path.parent, path.parent.parent, blobs.root):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_file_and_folders_are_synced_before_put_returns(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def watch_fsync(descriptor: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def watch_rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(Path, "rename", watch_rename)
    blobs.put(ACCOUNT, MAILBOX, OWNER, CHUNKS)
    assert steps[-3:] == ["file", "rename", "folder"]
    assert steps[:-3] == ["folder"] * 3  # each new folder, in its parent


def test_a_failed_put_leaves_nothing(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    blobs.put(ACCOUNT, MAILBOX, new_id(), [])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        blobs.put(ACCOUNT, MAILBOX, OWNER, CHUNKS)
    assert len(list(_path(blobs).parent.iterdir())) == 1
    with pytest.raises(NotFound):
        blobs.get(ACCOUNT, MAILBOX, OWNER)


def test_what_a_crash_leaves_is_swept_when_it_is_old(blobs: FolderBlobs) -> None:
    blobs.put(ACCOUNT, MAILBOX, OWNER, CHUNKS)
    unfinished = _path(blobs).with_name(".tmp-0123456789abcdef")
    unfinished.write_bytes(b"half")
    assert [one.owner_id for one in blobs.list()] == [OWNER]
    assert blobs.count(ACCOUNT, MAILBOX) == 2
    now = datetime.now(UTC)
    assert blobs.sweep_temporary(now - timedelta(hours=1)) == 0
    os.utime(unfinished, (0, 0))
    assert blobs.sweep_temporary(now - timedelta(hours=1)) == 1
    assert not unfinished.exists()
    assert blobs.get(ACCOUNT, MAILBOX, OWNER) == CHUNKS


@pytest.mark.parametrize("damage", [b"\xff\xff\xff\xff", b"\x00", b"\x00\x00\x00\x05four"])
def test_damage_is_seen(blobs: FolderBlobs, damage: bytes) -> None:
    blobs.put(ACCOUNT, MAILBOX, OWNER, CHUNKS)
    with open(_path(blobs), "ab") as file:
        file.write(damage)
    with pytest.raises(SealBroken):
        blobs.get(ACCOUNT, MAILBOX, OWNER)


def test_a_mailbox_goes_with_all_its_files_and_no_others(blobs: FolderBlobs) -> None:
    neighbour = new_id()
    for owner_id in (OWNER, new_id()):
        blobs.put(ACCOUNT, MAILBOX, owner_id, CHUNKS)
    blobs.put(ACCOUNT, neighbour, OWNER, CHUNKS)
    _path(blobs).with_name(".tmp-0123456789abcdef").write_bytes(b"half")
    assert blobs.delete_mailbox(ACCOUNT, MAILBOX) == 3
    assert blobs.delete_mailbox(ACCOUNT, MAILBOX) == 0
    assert blobs.count(ACCOUNT, MAILBOX) == 0
    assert [one.mailbox_id for one in blobs.list()] == [neighbour]
