"""Blobs in a bucket of an S3-compatible store: one object a message, under its account's and its mailbox's ids.

An object begins with how many chunks it has and the length of each, as numbers of 4 bytes, big-endian; the sealed
chunks follow. It is put by one request, so that it is there whole or not at all, and nothing unfinished is left.

obstore is Rust: no audit hook of Python's sees its connections. It goes to the endpoint that it is given and nowhere
else, as it has its credentials from us, and no proxy from the environment.

Where a bucket keeps versions, a deleted object stays as one, sealed under a key that is destroyed with its mailbox:
S3 lists and deletes versions by requests of their own, for which obstore has no call (0.12: `get` alone takes a
version). Receipts and docs/erasure.md say so.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from storage.blobs import StoredBlob, Versions
from storage.errors import NotFound, SealBroken, StorageUnavailable

_NUMBER: Final = struct.Struct(">I")
_CHUNKS_MAX: Final = 1 << 20
_HEAD_BYTES: Final = 16 * 1024
"""Read at first, where not all chunks are wanted: the index of nearly every object, and often what is wanted too."""
_DELETED_AT_ONCE: Final = 1000
"""S3's own limit of one request."""
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")
_environment = threading.Lock()


class BucketBlobs:
    """As `storage.blobs.Blobs`."""

    versions: ClassVar[Versions] = "not_deleted"

    def __init__(
        self,
        bucket: str,
        *,
        endpoint: str,
        region: str,
        access_key_id: str,
        secret_access_key: str,
        prefix: str = "",
        timeout_seconds: float = 60.0,
        retries_max: int = 4,
    ) -> None:
        """`prefix` is empty or ends with a slash."""
        self.place = f"{endpoint.rstrip('/')}/{bucket}/{prefix}"
        self._prefix = prefix
        with _no_proxy():
            self._store = S3Store(
                bucket,
                endpoint=endpoint,
                region=region,
                access_key_id=access_key_id,
                secret_access_key=secret_access_key,
                virtual_hosted_style_request=False,
                client_options={
                    "allow_http": endpoint.startswith("http://"),
                    "timeout": timedelta(seconds=timeout_seconds),
                    "connect_timeout": timedelta(seconds=min(timeout_seconds, 10.0)),
                },
                retry_config={"max_retries": retries_max, "retry_timeout": timedelta(seconds=timeout_seconds)},
            )

    def put(self, account_id: UUID, mailbox_id: UUID, owner_id: UUID, chunks: Iterable[bytes]) -> None:
        name, chunks = self._name(account_id, mailbox_id, owner_id), list(chunks)
        index = b"".join(_NUMBER.pack(number) for number in (len(chunks), *map(len, chunks)))
        with _told():
            # One request, however large: of parts that nobody completes, the store would keep what is there.
            obstore.put(self._store, name, b"".join([index, *chunks]), use_multipart=False)

    def get(
        self, account_id: UUID, mailbox_id: UUID, owner_id: UUID, *, first: int = 0, last: int | None = None
    ) -> list[bytes]:
        name = self._name(account_id, mailbox_id, owner_id)
        with _told(owner_id):
            if first == 0 and last is None:
                found = obstore.get(self._store, name).bytes().to_bytes()
                return _cut(owner_id, found, _lengths(owner_id, found))
            head = obstore.get(self._store, name, options={"range": (0, _HEAD_BYTES)}).bytes().to_bytes()
            wanted = _index_bytes(owner_id, head)
            if wanted > len(head):
                head = obstore.get_range(self._store, name, start=0, end=wanted).to_bytes()
            lengths = _lengths(owner_id, head)
            start = wanted + sum(lengths[:first])
            lengths = lengths[first:] if last is None else lengths[first : last + 1]
            end = start + sum(lengths)
            if start == end:
                return [b""] * len(lengths)
            data = head[start:end] if end <= len(head) else obstore.get_range(self._store, name, start=start, end=end)
            return _cut(owner_id, bytes(data), lengths, 0)

    def delete(self, account_id: UUID, mailbox_id: UUID, owner_id: UUID) -> None:
        with _told(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, self._name(account_id, mailbox_id, owner_id))

    def delete_mailbox(self, account_id: UUID, mailbox_id: UUID) -> int:
        return self._delete_all(self._folder(account_id, mailbox_id))

    def delete_account(self, account_id: UUID) -> int:
        return self._delete_all(f"{self._prefix}{account_id}/")

    def count(self, account_id: UUID, mailbox_id: UUID) -> int:
        with _told():
            return sum(len(page) for page in obstore.list(self._store, self._folder(account_id, mailbox_id)))

    def list(self) -> Iterator[StoredBlob]:
        with _told():
            for page in obstore.list(self._store, self._prefix or None):
                for one in page:
                    ids = _ids(one["path"].removeprefix(self._prefix), 3)
                    if ids is not None:
                        yield StoredBlob(ids[0], ids[1], ids[2], one["last_modified"])

    def mailboxes(self) -> Sequence[tuple[UUID, UUID]]:
        found = []
        with _told():
            for account in obstore.list_with_delimiter(self._store, self._prefix or None)["common_prefixes"]:
                if _ids(account.removeprefix(self._prefix), 1) is None:
                    continue
                for mailbox in obstore.list_with_delimiter(self._store, f"{account}/")["common_prefixes"]:
                    ids = _ids(mailbox.removeprefix(self._prefix), 2)
                    if ids is not None:
                        found.append((ids[0], ids[1]))
        return found

    def sweep_temporary(self, before: datetime) -> int:
        return 0

    def _delete_all(self, prefix: str) -> int:
        deleted = 0
        with _told():
            for page in obstore.list(self._store, prefix, chunk_size=_DELETED_AT_ONCE):
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(self._store, [one["path"] for one in page])
                deleted += len(page)
        return deleted

    def _folder(self, account_id: UUID, mailbox_id: UUID) -> str:
        return f"{self._prefix}{account_id}/{mailbox_id}/"

    def _name(self, account_id: UUID, mailbox_id: UUID, owner_id: UUID) -> str:
        return f"{self._folder(account_id, mailbox_id)}{owner_id}"


@contextlib.contextmanager
def _no_proxy() -> Iterator[None]:
    """The client reads these when it is made."""
    with _environment:
        kept = {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
        for name in kept:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(kept)


@contextlib.contextmanager
def _told(owner_id: UUID | None = None) -> Iterator[None]:
    """Raise our own errors; the library's texts hold addresses and answers of the store."""
    try:
        yield
    except (BaseError, FileNotFoundError, PermissionError) as error:
        if owner_id is not None and isinstance(error, FileNotFoundError):
            raise NotFound(f"the blob of {owner_id} is missing") from None
        raise StorageUnavailable(f"the bucket cannot be reached, or refuses us ({type(error).__name__})") from None


def _index_bytes(owner_id: UUID, head: bytes) -> int:
    """Return how long the index is, of which the first number at least is there."""
    count = _NUMBER.unpack_from(head)[0] if len(head) >= _NUMBER.size else _CHUNKS_MAX + 1
    if count > _CHUNKS_MAX:
        raise SealBroken(f"the blob of {owner_id} is damaged")
    return _NUMBER.size * (1 + count)


def _lengths(owner_id: UUID, data: bytes) -> list[int]:
    wanted = _index_bytes(owner_id, data)
    if len(data) < wanted:
        raise SealBroken(f"the blob of {owner_id} is cut short")
    return [one[0] for one in _NUMBER.iter_unpack(data[_NUMBER.size : wanted])]


def _cut(owner_id: UUID, data: bytes, lengths: Sequence[int], start: int | None = None) -> list[bytes]:
    """Return the chunks of these lengths; they begin behind the index, or at `start`."""
    at = _NUMBER.size * (1 + len(lengths)) if start is None else start
    if len(data) - at != sum(lengths):
        raise SealBroken(f"the blob of {owner_id} is cut short, or too long")
    chunks = []
    for length in lengths:
        chunks.append(data[at : at + length])
        at += length
    return chunks


def _ids(path: str, count: int) -> list[UUID] | None:
    """Return the ids that a path is made of; None where it is not."""
    parts = path.strip("/").split("/")
    try:
        return [UUID(one) for one in parts] if len(parts) == count else None
    except ValueError:
        return None
