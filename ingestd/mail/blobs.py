"""The raw message as independent zstd frames, so that a part is read without the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable

import zstandard

CHUNK_BYTES = 1024 * 1024
"""Plain bytes of a chunk; the last one is shorter. The chunk of a plain offset is `offset // CHUNK_BYTES`."""

_LEVEL = 3


class _OfThread(threading.local):
    """One for each thread, as sharing one crashes; not one a call, as its tables are as large as many a message."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)


_OF_THREAD = _OfThread()


def compress_chunks(raw: bytes, chunk_bytes: int = CHUNK_BYTES) -> list[bytes]:
    """Compress `raw` chunk by chunk; no bytes make no chunk.

    >>> [len(decompress_chunk(c, 4)) for c in compress_chunks(b"abcdefghij", 4)]
    [4, 4, 2]
    """
    view = memoryview(raw)
    return [_OF_THREAD.compressor.compress(view[at : at + chunk_bytes]) for at in range(0, len(raw), chunk_bytes)]


def decompress_chunk(chunk: bytes, chunk_bytes: int = CHUNK_BYTES) -> bytes:
    """Return the plain bytes of one chunk. Raises ValueError for one that is damaged or too large."""
    try:
        size = zstandard.frame_content_size(chunk)
        if not 0 <= size <= chunk_bytes:
            raise ValueError("chunk has a wrong size")
        return zstandard.ZstdDecompressor().decompress(chunk, max_output_size=chunk_bytes)
    except zstandard.ZstdError as error:
        raise ValueError("chunk is damaged") from error


def read_range(read_chunk: Callable[[int], bytes], offset: int, length: int, chunk_bytes: int = CHUNK_BYTES) -> bytes:
    """Return `length` plain bytes from `offset`; `read_chunk(index)` gives a compressed chunk.

    >>> chunks = compress_chunks(b"abcdefghij", 4)
    >>> read_range(chunks.__getitem__, 3, 5, 4)
    b'defgh'
    """
    if offset < 0 or length < 0:
        raise ValueError("offset and length must not be negative")
    if length == 0:
        return b""
    first, last = offset // chunk_bytes, (offset + length - 1) // chunk_bytes
    plain = b"".join(decompress_chunk(read_chunk(index), chunk_bytes) for index in range(first, last + 1))
    start = offset - first * chunk_bytes
    part = plain[start : start + length]
    if len(part) != length:
        raise ValueError("range lies beyond the message")
    return part
