"""Reading a raw message back: from rows or from its blob, whole or in part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from ingestd.mail.blobs import CHUNK_BYTES, decompress_chunk, read_range
from ingestd.records import chunk_place
from storage import messages
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import SealBroken
from storage.sealing import DataKey


@dataclass(frozen=True, slots=True)
class RawPlace:
    """Where a raw message lies; `messages.Message` and a quarantine row know it."""

    owner_id: UUID
    chunks: int
    raw_place: str


async def load_raw(content: Database, blobs: Blobs, key: DataKey, place: RawPlace) -> bytes:
    """Return the whole raw message. Raises SealBroken, NotFound."""
    opened = await _open_chunks(content, blobs, key, place, 0, place.chunks - 1)
    return b"".join(_plain(chunk) for chunk in opened)


@dataclass(frozen=True, slots=True)
class RawStream:
    """A raw message that is read while it is sent."""

    size_bytes: int
    portions: AsyncIterator[bytes]


async def stream_raw(
    content: Database,
    blobs: Blobs,
    key: DataKey,
    place: RawPlace,
    size_bytes: int,
    check: Callable[[], Awaitable[object]],
) -> RawStream:
    """Return a raw message chunk by chunk, the first of them read. Raises SealBroken, NotFound, as its portions do.

    `check` is called before each of the others: who reads slowly must get no more of a mailbox that is being
    forgotten meanwhile, although its key is still at hand here.
    """
    first = await _portion(content, blobs, key, place, 0) if place.chunks else b""

    async def portions() -> AsyncIterator[bytes]:
        yield first
        for index in range(1, place.chunks):
            await check()
            yield await _portion(content, blobs, key, place, index)

    return RawStream(size_bytes, portions())


async def _portion(content: Database, blobs: Blobs, key: DataKey, place: RawPlace, index: int) -> bytes:
    (chunk,) = await _open_chunks(content, blobs, key, place, index, index)
    return _plain(chunk)


def open_raw(key: DataKey, owner_id: UUID, sealed: Sequence[bytes]) -> bytes:
    """Return the raw message of all its chunks; how many they are is sealed with each. Raises SealBroken."""
    return b"".join(_plain(chunk) for chunk in _open(key, owner_id, 0, len(sealed), sealed))


async def load_range(content: Database, blobs: Blobs, key: DataKey, place: RawPlace, offset: int, length: int) -> bytes:
    """Return `length` bytes from `offset`, reading only the chunks they lie in. Raises SealBroken, NotFound."""
    if length == 0:
        return b""
    first, last = offset // CHUNK_BYTES, (offset + length - 1) // CHUNK_BYTES
    opened = await _open_chunks(content, blobs, key, place, first, last)
    try:
        return read_range(lambda index: opened[index - first], offset, length)
    except ValueError as error:
        raise SealBroken(f"the raw message of {place.owner_id} is damaged") from error


async def _open_chunks(
    content: Database, blobs: Blobs, key: DataKey, place: RawPlace, first: int, last: int
) -> list[bytes]:
    assert key.mailbox_id is not None
    if place.raw_place == messages.BLOB:
        sealed = await asyncio.to_thread(
            blobs.get, key.account_id, key.mailbox_id, place.owner_id, first=first, last=last
        )
    else:
        sealed = await content.read(key.account_id, messages.get_chunks, place.owner_id, first=first, last=last)
    if len(sealed) != last - first + 1:
        raise SealBroken(f"the raw message of {place.owner_id} is incomplete")
    return _open(key, place.owner_id, first, place.chunks, sealed)


def _open(key: DataKey, owner_id: UUID, first: int, count: int, sealed: Sequence[bytes]) -> list[bytes]:
    """Open chunks from the place `first` on, of `count` that there are."""
    return [key.open(chunk_place(owner_id, first + index, count), chunk) for index, chunk in enumerate(sealed)]


def _plain(chunk: bytes) -> bytes:
    try:
        return decompress_chunk(chunk)
    except ValueError as error:
        raise SealBroken("a chunk of a raw message does not decompress") from error
