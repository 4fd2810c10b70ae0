"""A sealed record opens in its own place and under its own key, and nowhere else."""

from __future__ import annotations

import pickle
from dataclasses import replace
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import MasterKeyWrong, SealBroken
from storage.sealing import DataKey, MasterKey, Place, new_key
from storage.types import new_id

ACCOUNT, MAILBOX, ROW = new_id(), new_id(), new_id()
SECRET = bytes(range(32))
KEY = DataKey(ACCOUNT, MAILBOX, SECRET)

places = st.builds(
    Place,
    table=st.sampled_from(["messages", "tickets", "raw_chunks"]),
    row_id=st.uuids(),
    format=st.integers(1, 65_535),
    position=st.integers(0, 2**32 - 1),
    last=st.booleans(),
)


class Record(msgspec.Struct, frozen=True):
    words: str
    count: int = 0


@given(places, st.binary(max_size=300))
def test_what_is_sealed_opens(place: Place, plain: bytes) -> None:
    sealed = KEY.seal(place, plain)
    assert KEY.open(place, sealed) == plain
    assert len(plain) < 8 or plain not in sealed


@given(places, places, st.binary(max_size=50))
def test_it_opens_in_no_other_place(place: Place, other: Place, plain: bytes) -> None:
    sealed = KEY.seal(place, plain)
    if other != place:
        with pytest.raises(SealBroken):
            KEY.open(other, sealed)


@pytest.mark.parametrize(
    "moved",
    [
        {"table": "tickets"},
        {"row_id": new_id()},
        {"format": 2},
        {"position": 1},
        {"last": False},
        # A boundary between table and row that could be shifted would let these two agree.
        {"table": "messages\x00"},
    ],
)
def test_each_part_of_the_place_is_bound(moved: dict[str, object]) -> None:
    place = Place("messages", ROW)
    sealed = KEY.seal(place, b"words")
    with pytest.raises(SealBroken):
        KEY.open(replace(place, **moved), sealed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("account_id", "mailbox_id"), [(new_id(), MAILBOX), (ACCOUNT, new_id()), (ACCOUNT, None), (MAILBOX, ACCOUNT)]
)
def test_account_and_mailbox_are_bound(account_id: UUID, mailbox_id: UUID | None) -> None:
    """Even under the same key bytes."""
    place = Place("messages", ROW)
    with pytest.raises(SealBroken):
        DataKey(account_id, mailbox_id, SECRET).open(place, KEY.seal(place, b"words"))


@given(st.binary(max_size=60), st.integers(min_value=0), st.integers(1, 255))
def test_no_changed_byte_goes_unseen(plain: bytes, at: int, flip: int) -> None:
    place = Place("messages", ROW)
    sealed = bytearray(KEY.seal(place, plain))
    sealed[at % len(sealed)] ^= flip
    with pytest.raises(SealBroken):
        KEY.open(place, bytes(sealed))


@given(st.binary(max_size=80))
def test_anything_else_is_broken_not_a_crash(data: bytes) -> None:
    with pytest.raises(SealBroken):
        KEY.open(Place("messages", ROW), data)


def test_two_seals_of_the_same_bytes_differ() -> None:
    place = Place("messages", ROW)
    assert KEY.seal(place, b"words") != KEY.seal(place, b"words")


def test_another_key_opens_nothing() -> None:
    place = Place("messages", ROW)
    with pytest.raises(SealBroken) as caught:
        DataKey(ACCOUNT, MAILBOX, new_key()).open(place, KEY.seal(place, b"words"))
    assert caught.value.__cause__ is None


@given(st.text(max_size=50), st.integers(0, 10**6))
def test_records_come_back(words: str, count: int) -> None:
    place, record = Place("tickets", ROW), Record(words, count)
    assert KEY.open_record(place, KEY.seal_record(place, record), Record) == record


def test_a_key_tells_nothing_and_stays_here() -> None:
    assert SECRET.hex() not in repr(KEY)
    assert repr(SECRET) not in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    master = MasterKey(SECRET)
    assert repr(master) == "<MasterKey>"
    assert SECRET.hex()[:16] not in master.id + KEY.fingerprint()


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_keys_have_32_bytes(length: int) -> None:
    with pytest.raises(ValueError):
        DataKey(ACCOUNT, MAILBOX, bytes(length))
    with pytest.raises(MasterKeyWrong):
        MasterKey(bytes(length))


def test_hashes_depend_on_key_and_purpose() -> None:
    value = b"kim@example.net"
    found = {
        KEY.hash("address", value),
        KEY.hash("message-id", value),
        KEY.hash("address", value + b"x"),
        DataKey(ACCOUNT, MAILBOX, new_key()).hash("address", value),
    }
    assert len(found) == 4
    assert {len(one) for one in found} == {16}
    assert KEY.hash("address", value) == DataKey(ACCOUNT, MAILBOX, SECRET).hash("address", value)


def test_a_wrapped_key_opens_for_its_owner_and_purpose_only() -> None:
    master = MasterKey(SECRET)
    wrapped = master.wrap("data key", ACCOUNT, MAILBOX, b"k" * 32)
    assert master.unwrap("data key", ACCOUNT, MAILBOX, wrapped) == b"k" * 32
    for purpose, account_id, owner_id in (
        ("revocation token", ACCOUNT, MAILBOX),
        ("data key", new_id(), MAILBOX),
        ("data key", ACCOUNT, new_id()),
    ):
        with pytest.raises(MasterKeyWrong):
            master.unwrap(purpose, account_id, owner_id, wrapped)
    with pytest.raises(MasterKeyWrong):
        MasterKey(new_key()).unwrap("data key", ACCOUNT, MAILBOX, wrapped)


@given(st.binary(max_size=80))
def test_what_is_no_wrapped_key_is_refused(data: bytes) -> None:
    with pytest.raises(MasterKeyWrong):
        MasterKey(SECRET).unwrap("data key", ACCOUNT, MAILBOX, data)
