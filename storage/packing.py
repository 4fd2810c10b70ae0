"""A record as bytes: msgpack, and where that is worth it as a zstd frame.

A mail's text and HTML are several times as large as what is left of them, and are written twice by each database (its
log and its pages). The two forms are told apart by their first byte: a record is a msgpack map, which never begins
as a frame does (RFC 8878 §3.1.1).
"""

from __future__ import annotations

import threading
from typing import Final, TypeVar

import msgspec
import zstandard

_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_LEVEL: Final = 1
"""Those above take longer, and gain four in a hundred."""
_PACKED_BYTES_MIN: Final = 512
"""What is smaller gains nothing."""
_PLAIN_BYTES_MAX: Final = 256 * 1024 * 1024

T = TypeVar("T")


class _OfThread(threading.local):
    """One for each thread, as sharing one crashes; not one a call, as its tables are larger than most records."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_OF_THREAD = _OfThread()


def pack(record: msgspec.Struct) -> bytes:
    """Return the record's bytes.

    >>> class Note(msgspec.Struct):
    ...     text: str
    >>> pack(Note("x")), len(pack(Note("x" * 10_000))) < 100
    (b'\\x81\\xa4text\\xa1x', True)
    """
    plain = msgspec.msgpack.encode(record)
    if not _PACKED_BYTES_MIN <= len(plain) <= _PLAIN_BYTES_MAX:
        return plain
    packed = _OF_THREAD.compressor.compress(plain)
    return packed if len(packed) < len(plain) else plain


def unpack(packed: bytes, kind: type[T]) -> T:
    """Return the record. Raises ValueError for bytes that are no `kind`."""
    plain = packed
    if packed.startswith(_MAGIC):
        try:
            if not 0 <= zstandard.frame_content_size(packed) <= _PLAIN_BYTES_MAX:
                raise ValueError("a record is too large")
            plain = _OF_THREAD.decompressor.decompress(packed)
        except zstandard.ZstdError as error:
            raise ValueError("a record is damaged") from error
    return msgspec.msgpack.decode(plain, type=kind)
