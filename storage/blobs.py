"""Raw messages too large for a row: in a folder, or in a bucket (`storage.bucket`); together for each mailbox.

A blob is written before the transaction that refers to it commits, so a crash can leave
a blob without a row (the orphan sweep removes it) but never a row without its blob.

A file is a sequence of sealed chunks, each behind its length as 4 bytes, big-endian.
No library here makes a file durable this way (obstore never syncs), so these lines are ours.
"""

from __future__ import annotations

import os
import secrets
import shutil
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal, Protocol
from uuid import UUID

from storage.errors import NotFound, SealBroken

_LENGTH = struct.Struct(">I")
_CHUNK_BYTES_MAX = 64 * 1024 * 1024
_TEMPORARY = ".tmp-"

Versions = Literal["none", "not_deleted"]
"""Older versions of what is deleted: none are kept, or the place may keep some, which we cannot delete."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    account_id: UUID
    mailbox_id: UUID
    owner_id: UUID
    modified_at: datetime


class Blobs(Protocol):
    """Where blobs are kept. All calls block: run them in a thread. What cannot be reached raises StorageUnavailable,
    a folder OSError."""

    versions: ClassVar[Versions]

    @property
    def place(self) -> str:
        """Where that is, for an operator."""
        ...

    def put(self, account_id: UUID, mailbox_id: UUID, owner_id: UUID, chunks: Iterable[bytes]) -> None:
        """Store a blob so that it survives a power cut, or not at all."""
        ...

    def get(
        self, account_id: UUID, mailbox_id: UUID, owner_id: UUID, *, first: int = 0, last: int | None = None
    ) -> list[bytes]:
        """Return the sealed chunks `first` to `last`, as far as there are. Raises NotFound, SealBroken."""
        ...

    def delete(self, account_id: UUID, mailbox_id: UUID, owner_id: UUID) -> None:
        """Delete a blob, where it is."""
        ...

    def delete_mailbox(self, account_id: UUID, mailbox_id: UUID) -> int:
        """Delete all blobs of a mailbox, unfinished ones too; return how many there were."""
        ...

    def delete_account(self, account_id: UUID) -> int:
        """Delete what is left of an account's mailboxes; return how many blobs there were."""
        ...

    def count(self, account_id: UUID, mailbox_id: UUID) -> int:
        """Return how many blobs of a mailbox there are, unfinished ones too."""
        ...

    def list(self) -> Iterator[StoredBlob]:
        """Yield every finished blob. What is none is passed over."""
        ...

    def mailboxes(self) -> Sequence[tuple[UUID, UUID]]:
        """Return the account and mailbox of every one that has, or had, blobs."""
        ...

    def sweep_temporary(self, before: datetime) -> int:
        """Delete what was not finished before this time: its writer is dead. Return how many there were."""
        ...


class FolderBlobs:
    """Blobs in a folder: one folder a mailbox, one file a message. As `Blobs`."""

    versions: ClassVar[Versions] = "none"

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def place(self) -> str:
        return str(self.root)

    def put(
        self,
        account_id: UUID,
        mailbox_id: UUID,
        owner_id: UUID,
        chunks: Iterable[bytes],
    ) -> None:
        """Store a blob so that it survives a power cut, or not at all."""
        folder = self._folder(account_id, mailbox_id)
        _make_folders(folder, self.root)
        temporary = folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for chunk in chunks:
                    file.write(_LENGTH.pack(len(chunk)))
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(folder / str(owner_id))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(folder)

    def link(self, other: FolderBlobs, account_id: UUID, mailbox_id: UUID, owner_id: UUID) -> bool:
        """Have the same blob as another folder by a hard link, durably; False where the file system has none."""
        folder = self._folder(account_id, mailbox_id)
        _make_folders(folder, self.root)
        try:
            (folder / str(owner_id)).hardlink_to(other._folder(account_id, mailbox_id) / str(owner_id))
        except OSError:
            return False
        _sync_folder(folder)
        return True

    def get(
        self,
        account_id: UUID,
        mailbox_id: UUID,
        owner_id: UUID,
        *,
        first: int = 0,
        last: int | None = None,
    ) -> list[bytes]:
        """Return the sealed chunks `first` to `last`. Raises NotFound, SealBroken."""
        try:
            with open(self._folder(account_id, mailbox_id) / str(owner_id), "rb") as file:
                chunks = []
                position = 0
                while (last is None or position <= last) and (head := file.read(_LENGTH.size)):
                    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else _CHUNK_BYTES_MAX + 1
                    if length > _CHUNK_BYTES_MAX:
                        raise SealBroken(f"the blob of {owner_id} is damaged")
                    if position < first:
                        file.seek(length, os.SEEK_CUR)
                    elif len(chunk := file.read(length)) == length:
                        chunks.append(chunk)
                    else:
                        raise SealBroken(f"the blob of {owner_id} is cut short")
                    position += 1
        except FileNotFoundError:
            raise NotFound(f"the blob of {owner_id} is missing") from None
        return chunks

    def delete(self, account_id: UUID, mailbox_id: UUID, owner_id: UUID) -> None:
        folder = self._folder(account_id, mailbox_id)
        with suppress(FileNotFoundError):
            (folder / str(owner_id)).unlink()
            _sync_folder(folder)

    def delete_mailbox(self, account_id: UUID, mailbox_id: UUID) -> int:
        """Delete all blobs of a mailbox, unfinished ones too; return how many there were."""
        folder = self._folder(account_id, mailbox_id)
        if not folder.is_dir():
            return 0
        count = sum(1 for _ in folder.iterdir())
        shutil.rmtree(folder)
        _sync_folder(folder.parent)
        return count

    def delete_account(self, account_id: UUID) -> int:
        """Delete what is left of an account's mailboxes, and its own folder; return how many files there were."""
        count = 0
        for of_account, mailbox_id in self.mailboxes():
            if of_account == account_id:
                count += self.delete_mailbox(account_id, mailbox_id)
        with suppress(OSError):  # something of the operator's lies in it, or it is not there
            (self.root / str(account_id)).rmdir()
            _sync_folder(self.root)
        return count

    def count(self, account_id: UUID, mailbox_id: UUID) -> int:
        """Return how many files of a mailbox there are, unfinished ones too."""
        folder = self._folder(account_id, mailbox_id)
        return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0

    def list(self) -> Iterator[StoredBlob]:
        """Yield every finished blob. What is none (lost+found, a person's notes) is passed over."""
        for file in self.root.glob("*/*/*"):
            try:
                account_id, mailbox_id, owner_id = (UUID(name) for name in file.relative_to(self.root).parts)
                modified = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            except (ValueError, FileNotFoundError):
                continue
            yield StoredBlob(account_id, mailbox_id, owner_id, modified)

    def mailboxes(self) -> Sequence[tuple[UUID, UUID]]:
        """Return the account and mailbox of every folder."""
        return [
            (UUID(mailbox.parent.name), UUID(mailbox.name)) for mailbox in self.root.glob("*/*") if _is_ids(mailbox)
        ]

    def sweep_temporary(self, before: datetime) -> int:
        """Delete unfinished files older than `before`: their writer is dead."""
        count = 0
        for file in self.root.glob(f"*/*/{_TEMPORARY}*"):
            if datetime.fromtimestamp(file.stat().st_mtime, UTC) < before:
                file.unlink(missing_ok=True)
                count += 1
        return count

    def _folder(self, account_id: UUID, mailbox_id: UUID) -> Path:
        return self.root / str(account_id) / str(mailbox_id)


def _is_ids(folder: Path) -> bool:
    """Whether it is a mailbox's folder, and not something of the operator's (lost+found)."""
    try:
        UUID(folder.parent.name), UUID(folder.name)
    except ValueError:
        return False
    return folder.is_dir()


def _make_folders(folder: Path, root: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if path.is_relative_to(root) and not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
