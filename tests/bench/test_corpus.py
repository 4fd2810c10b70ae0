"""The corpus is the same bytes every time, in the shares that the figures promise, and it is mail."""

from __future__ import annotations

import email
import email.policy
import hashlib
from collections import Counter

from bench.corpus import CHARSETS, Shape, corpus, mail
from ingestd.mail.parse import parse

MAILS = list(corpus(200))
SHA256 = "5971cf33918e22f03a2b4cac835dc0c8937d60cf024546c6881fc268bc8ad681"


def test_the_bytes_are_those_that_figures_were_measured_on() -> None:
    """Who changes the corpus changes what every figure means: compare with no figure from before."""
    assert hashlib.sha256(b"".join(one.raw for one in MAILS)).hexdigest() == SHA256


def test_a_mail_depends_on_its_seed_and_index_alone() -> None:
    assert mail(57) == MAILS[57]
    assert [one.raw for one in corpus(3, first=100)] == [one.raw for one in MAILS[100:103]]
    assert mail(57, seed=2).raw != MAILS[57].raw


def test_it_is_lazy() -> None:
    endless = corpus(10**12)
    assert next(endless).index == 0


def test_every_ten_have_the_shares_of_shapes() -> None:
    for begin in range(0, len(MAILS), 10):
        shapes = Counter(one.shape for one in MAILS[begin : begin + 10])
        assert shapes == {Shape.SMALL: 7, Shape.HTML: 2, Shape.LARGE: 1}


def test_sizes_are_about_what_the_shape_says() -> None:
    for one in corpus(1000):
        assert 0.75 < len(one.raw) / one.shape.value < 1.25, one.index
    for shape in Shape:
        sizes = [len(one.raw) for one in MAILS if one.shape is shape]
        assert 0.9 < sum(sizes) / len(sizes) / shape.value < 1.1


def test_every_mail_says_to_our_parser_what_it_was_made_of() -> None:
    for one in MAILS:
        parsed = parse(one.raw)
        assert parsed.defects == ()
        assert parsed.message_id == one.message_id
        assert parsed.in_reply_to == ((one.in_reply_to,) if one.in_reply_to else ())
        assert parsed.subject
        assert parsed.from_[0].name
        assert parsed.text
        assert bool(parsed.attachments) is (one.shape is Shape.LARGE)
        assert bool(parsed.html) or one.shape is Shape.SMALL


def test_every_mail_is_without_fault_to_the_standard_library() -> None:
    for one in MAILS:
        message = email.message_from_bytes(one.raw, policy=email.policy.default)
        for part in message.walk():
            assert part.defects == []
            if not part.is_multipart():
                assert part.get_content()


def test_lines_are_those_of_mail() -> None:
    """RFC 5322 §2.1.1 and §2.3: CRLF and nothing else, at most 998 characters."""
    for one in MAILS:
        lines = one.raw.split(b"\r\n")
        assert all(b"\n" not in line and b"\r" not in line and len(line) <= 998 for line in lines)


def test_there_are_replies_to_mails_before_them() -> None:
    by_id = {one.message_id: one for one in MAILS}
    replies = [one for one in MAILS if one.in_reply_to]
    assert 0.3 < len(replies) / len(MAILS) < 0.5
    for one in replies:
        parent = by_id[one.in_reply_to]
        assert parent.index < one.index
        assert parse(parent.raw).from_ == parse(one.raw).from_
        assert parse(one.raw).references[-1] == one.in_reply_to


def test_every_charset_is_there() -> None:
    assert {one.charset for one in MAILS} == set(CHARSETS)
    assert set(CHARSETS) == {"utf-8", "koi8-r", "windows-1251", "iso-8859-1", "gb18030", "iso-2022-jp"}


def test_addresses_are_examples() -> None:
    for one in MAILS:
        parsed = parse(one.raw)
        for address in (*parsed.from_, *parsed.to):
            assert address.addr.endswith("@example.com")
        assert parsed.message_id.endswith("@example.com>")
