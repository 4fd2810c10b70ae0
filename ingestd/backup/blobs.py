"""The blobs of a content backup: an index, and the sealed files themselves.

A blob is never changed, so one that an earlier backup in the same folder holds is linked
instead of copied, after its bytes were compared with that backup's index: a copy that has
rotted is not passed on.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from ingestd.backup.errors import BackupDamaged
from ingestd.backup.folder import Backup
from ingestd.backup.format import BLOBS, ColumnForm, read_rows
from ingestd.backup.progress import Step
from storage.blobs import Blobs, FolderBlobs
from storage.errors import NotFound, SealBroken

INDEX_COLUMNS = (
    ColumnForm("account_id", "id"),
    ColumnForm("mailbox_id", "id"),
    ColumnForm("owner_id", "id"),
    ColumnForm("size_bytes", "integer"),
    ColumnForm("sha256", "bytes"),
)
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class BlobId:
    account_id: UUID
    mailbox_id: UUID
    owner_id: UUID


@dataclass(frozen=True, slots=True)
class IndexedBlob:
    """A blob in a backup's index."""

    blob: BlobId
    size_bytes: int
    """Of its sealed chunks, each with its length."""
    sha256: bytes

    def row(self) -> list[UUID | int | bytes]:
        return [self.blob.account_id, self.blob.mailbox_id, self.blob.owner_id, self.size_bytes, self.sha256]


def blobs_of(backup: Backup) -> FolderBlobs:
    return FolderBlobs(backup.path / BLOBS)


def read_index(backup: Backup) -> Iterator[IndexedBlob]:
    """Raises BackupDamaged."""
    if backup.manifest.blobs is not None:
        for account_id, mailbox_id, owner_id, size_bytes, sha256 in read_rows(backup.path, backup.manifest.blobs):
            yield IndexedBlob(BlobId(account_id, mailbox_id, owner_id), size_bytes, sha256)


def read_blob(backup: Backup, one: IndexedBlob) -> list[bytes]:
    """Return the sealed chunks of a blob in a backup. Raises BackupDamaged."""
    blob = one.blob
    try:
        chunks = blobs_of(backup).get(blob.account_id, blob.mailbox_id, blob.owner_id)
    except (NotFound, SealBroken) as error:
        raise BackupDamaged(str(error)) from error
    if _indexed(blob, chunks) != one:
        raise BackupDamaged(f"the blob of {blob.owner_id} was changed")
    return chunks


def copy_blobs(
    source: Blobs, wanted: Sequence[BlobId], target: FolderBlobs, earlier: Backup | None, step: Step
) -> tuple[list[IndexedBlob], list[BlobId]]:
    """Copy blobs into a growing backup; return what was copied, and what is not there any more.

    Raises OSError where the copy cannot be written.
    """
    known = _known(earlier)
    copied, gone = [], []
    for blob in wanted:
        where = (blob.account_id, blob.mailbox_id, blob.owner_id)
        before = known.get(blob)
        if before and earlier and _is_whole(earlier, before) and target.link(blobs_of(earlier), *where):
            copied.append(before)
        else:
            try:
                chunks = source.get(*where)
            except (NotFound, SealBroken):
                gone.append(blob)
            else:
                target.put(*where, chunks)
                copied.append(_indexed(blob, chunks))
        step(1)
    return copied, gone


def _known(earlier: Backup | None) -> dict[BlobId, IndexedBlob]:
    try:
        return {one.blob: one for one in read_index(earlier)} if earlier else {}
    except BackupDamaged:
        return {}  # that backup is of no help, and no hindrance


def _is_whole(earlier: Backup, one: IndexedBlob) -> bool:
    try:
        read_blob(earlier, one)
    except BackupDamaged:
        return False
    return True


def _indexed(blob: BlobId, chunks: Sequence[bytes]) -> IndexedBlob:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(_LENGTH.pack(len(chunk)))
        digest.update(chunk)
        size += _LENGTH.size + len(chunk)
    return IndexedBlob(blob, size, digest.digest())
