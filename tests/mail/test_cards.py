"""Which numbers are taken for those of cards, and what is left of them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.mail.cards import find_cards, mask_cards
from ingestd.mail.parse import parse

# What the schemes publish for tests.
VISA, MASTERCARD, AMEX = "4111 1111 1111 1111", "5555 5555 5555 4444", "3782 822463 10005"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (VISA, "**** **** **** 1111"),
        ("4111111111111111", "************1111"),
        ("4111-1111-1111-1111", "****-****-****-1111"),
        ("Card:4111\u00a01111\u00a01111\u00a01111.", "Card:****\u00a0****\u00a0****\u00a01111."),
        (f"> {VISA[:9]}\r\n> {VISA[10:]}", "> **** ****\r\n> **** 1111"),
        (MASTERCARD, "**** **** **** 4444"),
        ("2223003122003222", "************3222"),
        (AMEX, "**** ****** *0005"),
        ("371449635398431", "***********8431"),
        ("3056 930902 5904", "**** ****** 5904"),
        ("6011111111111117", "************1117"),
        ("3530111333300000", "************0000"),
        ("6205500000000000004", "***************0004"),
        ("6304000000000000", "************0000"),
        ("4222 222 222 222", "**** *** **2 222"),
        (f"{VISA} 123", "**** **** **** 1111 123"),
        (f"{VISA} 12/27", "**** **** **** 1111 12/27"),
        (f"{VISA} {MASTERCARD}", "**** **** **** 1111 **** **** **** 4444"),
        (f"a;12,{VISA},b", "a;12,**** **** **** 1111,b"),
        (f"({VISA})", "(**** **** **** 1111)"),
    ],
)
def test_a_card_number_is_masked(text: str, masked: str) -> None:
    for start, end, new in reversed(find_cards(text)):
        text = text[:start] + new + text[end:]
    assert text == masked


@pytest.mark.parametrize(
    "text",
    [
        *("4111 1111 1111 1112", "4111111111111112", "411111111111111", "41111111111111111111"),
        *("1234567812345670", "9111111111111111", "0000000000000000", "4006381333931"),
        *("+4911111111111111", "DE12 4111 1111 1111 1111 00", "ORDER4111111111111111", "4111111111111111a"),
        *("0.4111111111111111", "4111  1111  1111  1111", "4111\n1111\n1111\n1111", "411 1111 1111 1111 11"),
        *("2026-11-29 08:41:21", "192.0.2.1 192.0.2.2", "+49 30 1234 5678 9012 3456"),
    ],
)
def test_another_number_stays(text: str) -> None:
    assert find_cards(text) == []


def test_of_order_numbers_few_are_hit() -> None:
    hit = sum(bool(find_cards(str(2026_0000_0000_0000 + number * 7919))) for number in range(10_000))
    assert hit == 0
    hit = sum(bool(find_cards(str(number * 999_983 % 10**16).zfill(16))) for number in range(1, 20_001))
    assert hit < 20_000 * 0.03


@given(st.text(alphabet="0123456789 -\n>41a+.", max_size=80))
def test_what_is_masked_is_not_found_again(text: str) -> None:
    found = find_cards(text)
    for start, end, masked in reversed(found):
        assert len(masked) == end - start
        assert sum(map(str.isdigit, masked)) == 4
        text = text[:start] + masked + text[end:]
    assert [one for one in find_cards(text) if "*" in text[one[0] : one[1]]] == []


def test_texts_and_subjects_are_masked_and_files_are_not() -> None:
    raw = (
        f"From: a@example.com\r\nSubject: =?utf-8?Q?My_card_=E2=82=AC_{VISA.replace(' ', '_')}?=\r\nX-Order: {VISA}\r\n"
        f"Thread-Topic: {VISA}\r\nMessage-ID: <4111111111111111@example.com>\r\n"
        'Content-Type: multipart/mixed; boundary="4111111111111111"\r\n\r\n--4111111111111111\r\n'
        "Content-Type: text/html; charset=utf-8\r\n\r\n"
        f"<td>4111<b>-1111</b>&#45;1111-1111</td><a href='/?c={VISA}'>\r\n"
        "--4111111111111111\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=a.csv\r\n"
        f"\r\n{VISA}\r\n--4111111111111111--\r\n"
    ).encode()
    new = mask_cards(raw)
    assert new is not None
    mail = parse(new)
    assert (mail.subject, mail.text) == ("My card € **** **** **** 1111", "****-****-****-1111")
    assert (mail.message_id, len(mail.attachments)) == ("<4111111111111111@example.com>", 1)
    assert new.count(VISA.encode()) == 2  # the field that nobody reads, and the file


@pytest.mark.parametrize("unit", ["1", "1 ", "1111 ", "4111 ", "2200 2200 2200 2200 ", "4111-1111\n", "1111 1", "3 "])
def test_a_text_full_of_digits_costs_what_its_length_says(unit: str) -> None:
    begun = time.process_time()
    find_cards(unit * (500_000 // len(unit)))
    assert time.process_time() - begun < 6
