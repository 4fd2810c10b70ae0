"""A record is compressed where it is large, and those of earlier versions are read as they are."""

from __future__ import annotations

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from storage import packing
from storage.errors import SealBroken
from storage.packing import pack, unpack
from storage.sealing import DataKey, Place, new_key
from storage.types import new_id

KEY = DataKey(new_id(), new_id(), new_key())
PLACE = Place("messages", new_id())


class Record(msgspec.Struct, frozen=True):
    text: str
    raw: bytes = b""


@given(st.builds(Record, text=st.text(), raw=st.binary()), st.integers(1, 2000))
def test_what_is_packed_is_unpacked(record: Record, times: int) -> None:
    record = Record(record.text * times, record.raw * times)
    assert unpack(pack(record), Record) == record


def test_a_mail_takes_less_room_than_its_text() -> None:
    record = Record("Guten Tag, wo bleibt meine Bestellung?\n" * 200)
    assert len(pack(record)) * 10 < len(record.text)


def test_what_compression_would_not_make_smaller_stays_as_it_is() -> None:
    record = Record("", raw=b"".join(new_key() for _ in range(100)))
    assert pack(record) == msgspec.msgpack.encode(record)


def test_a_record_that_an_earlier_version_sealed_opens() -> None:
    record = Record("text " * 1000)
    sealed = KEY.seal(PLACE, msgspec.msgpack.encode(record))
    assert KEY.open_record(PLACE, sealed, Record) == record
    assert len(KEY.seal_record(PLACE, record)) * 10 < len(sealed)


def test_a_damaged_record_is_told_as_one() -> None:
    packed = pack(Record("text " * 1000))
    for damaged in (packed[:-1], packed[:6], packed[:4] + bytes(20), zstandard.compress(b"no record"), b"\x93"):
        with pytest.raises(ValueError, match=r".+"):
            unpack(damaged, Record)
        with pytest.raises(SealBroken):
            KEY.open_record(PLACE, KEY.seal(PLACE, damaged), Record)


def test_a_record_that_claims_to_be_huge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record("x" * 10_000)
    packed = pack(record)
    monkeypatch.setattr(packing, "_PLAIN_BYTES_MAX", 5_000)
    with pytest.raises(ValueError, match="too large"):
        unpack(packed, Record)
    assert unpack(pack(record), Record) == record  # over what is unpacked, nothing is packed
