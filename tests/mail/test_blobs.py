"""Chunks of the raw message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.mail.blobs import compress_chunks, decompress_chunk, read_range


@given(st.binary(max_size=200), st.integers(1, 40), st.data())
def test_any_range_reads_back(raw: bytes, chunk_bytes: int, data: st.DataObject) -> None:
    chunks = compress_chunks(raw, chunk_bytes)
    offset = data.draw(st.integers(0, len(raw)))
    length = data.draw(st.integers(0, len(raw) - offset))
    read: list[int] = []

    def reader(index: int) -> bytes:
        read.append(index)
        return chunks[index]

    assert read_range(reader, offset, length, chunk_bytes) == raw[offset : offset + length]
    assert len(read) <= length // chunk_bytes + 2


def test_damage_and_bombs_are_refused() -> None:
    (chunk,) = compress_chunks(bytes(1000))
    with pytest.raises(ValueError, match="size"):
        decompress_chunk(chunk, 999)
    with pytest.raises(ValueError, match="damaged"):
        decompress_chunk(b"no zstd frame")
    with pytest.raises(ValueError, match="beyond"):
        read_range(lambda _: chunk, 990, 20)
