"""Thread-Index: by the specification, and what a reply makes of its parent's."""

from __future__ import annotations

import base64
import dataclasses
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.mail.compose import compose_reply
from ingestd.mail.parse import parse
from ingestd.mail.thread_index import read_thread_index, reply_thread_index
from tests.mail.test_compose import REQUEST

GUID = bytes(range(16))
BEGUN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
FILETIME = 0x01DC_AA22_F331_A800
"""`BEGUN` in 100 ns since 1601 (MS-DTYP §2.3.3)."""
OUTLOOK = FILETIME.to_bytes(8, "big")[:6] + GUID
EXCHANGE = b"\x01" + FILETIME.to_bytes(8, "big")[:5] + GUID


def encoded(index: bytes) -> str:
    return base64.b64encode(index).decode()


def test_the_time_is_the_one_of_the_specification() -> None:
    assert (BEGUN - datetime(1601, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10 == FILETIME


@pytest.mark.parametrize(
    ("header", "after", "level"),
    [
        # 36,000,000,000 units are 0x8_61C4_6800; with the 16 bits that the header drops, and 18 dropped, 0x21871.
        (OUTLOOK, timedelta(hours=1), "00021871a0"),
        (OUTLOOK, timedelta(), "00000000a0"),
        (OUTLOOK, timedelta(days=-1), "00000000a0"),
        # 600 days: 0x1_D77B_67DA_0000, below 2**49 and so without its 18 lower bits.
        (OUTLOOK, timedelta(days=600), "75ded9f6a0"),
        # 700 days: 0x2_260F_F929_0000; the code's bit is set, 23 bits are dropped.
        (OUTLOOK, timedelta(days=700), "844c1ff2a0"),
        # Exchange drops 24 bits of the header's time: the difference is larger by 0x31A800.
        (EXCHANGE, timedelta(hours=1), "0002187da0"),
    ],
)
def test_an_answer_adds_the_difference_to_the_header_and_a_random_number(
    header: bytes, after: timedelta, level: str
) -> None:
    earlier = bytes.fromhex("0000001230")
    found = reply_thread_index(encoded(header + earlier), BEGUN + after, 0xA0)
    assert base64.b64decode(found) == header + earlier + bytes.fromhex(level)


@pytest.mark.parametrize(
    "value",
    [
        *("", "Acdc", encoded(OUTLOOK[:-1]), encoded(OUTLOOK + b"1234"), encoded(b"\x02" + OUTLOOK[1:]), "=" * 32),
        *("é" * 32, encoded(OUTLOOK) + "x", encoded(OUTLOOK + bytes(5 * 101)), encoded(OUTLOOK).replace("A", "_")),
    ],
)
def test_what_is_no_index_is_not_answered(value: str) -> None:
    assert read_thread_index(value) == ""
    assert reply_thread_index(value, BEGUN, 0) == ""


def test_a_full_index_is_not_made_longer() -> None:
    full = encoded(OUTLOOK + bytes(5 * 100))
    assert read_thread_index(full) == full
    assert reply_thread_index(full, BEGUN, 0) == ""


@given(st.binary(min_size=21, max_size=21), st.integers(0, 99), st.datetimes(timezones=st.just(UTC)))
def test_an_answer_can_be_answered(header: bytes, levels: int, at: datetime) -> None:
    parent = encoded(b"\x01" + header + bytes(5 * levels))
    answer = reply_thread_index(parent, at, 1)
    assert read_thread_index(answer) == answer
    assert base64.b64decode(answer)[:-5] == base64.b64decode(parent)


def test_a_reply_has_the_index_and_the_topic_and_they_read_back() -> None:
    parent = parse(b"From: a@example.org\r\nThread-Index: " + encoded(OUTLOOK + bytes(250)).encode() + b"\r\n\r\nx")
    index = reply_thread_index(parent.thread_index, BEGUN, 0)
    message = compose_reply(dataclasses.replace(REQUEST, subject="AW: Re: Счёт", thread_index=index))
    other = message_from_bytes(message, policy=policy.default)
    assert parse(message).thread_index == other["thread-index"] == index
    assert (other["thread-topic"], other["subject"]) == ("Счёт", "AW: Re: Счёт")


def test_a_folded_index_is_read_and_a_wrong_one_is_none() -> None:
    value = encoded(OUTLOOK + bytes(50)).encode()
    folded = value[:40] + b"\r\n " + value[40:]
    assert parse(b"Thread-Index: " + folded + b"\r\n\r\nx").thread_index == value.decode()
    assert parse(b"Thread-Index: x" + folded + b"\r\n\r\nx").thread_index == ""
