"""Messages as they should not be, each named for what is wrong with it, and what is read all the same."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.encoding import decode_part
from ingestd.mail.limits import Limits
from ingestd.mail.parse import parse
from ingestd.mail.transform import transform
from ingestd.mail.types import Address, Kind

HEAD = b"From: Jane <jane@example.com>\r\nMessage-ID: <1@example.com>\r\n"


def text_mail(content_type: bytes, body: bytes, encoding: bytes = b"8bit") -> bytes:
    return HEAD + b"Content-Type: " + content_type + b"\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("what_is_wrong", "raw", "text", "defect"),
    [
        (
            "utf-8 called us-ascii",
            text_mail(b"text/plain; charset=us-ascii", "Grüße".encode()),
            "Grüße",
            "charset-wrong",
        ),
        ("utf-8 without a label", text_mail(b"text/plain", "Grüße".encode()), "Grüße", "charset-unlabelled"),
        (
            "utf-8 called latin-1",
            text_mail(b"text/plain; charset=iso-8859-1", "Привет".encode()),
            "Привет",
            "charset-wrong",
        ),
        ("cp1252 called latin-1", text_mail(b"text/plain; charset=iso-8859-1", b"\x8012"), "€12", None),
        ("gb18030 called gb2312", text_mail(b"text/plain; charset=gb2312", "镕基".encode("gb18030")), "镕基", None),
        (
            "koi8-r without a label",
            text_mail(b"text/plain", "Добрый день, у меня вопрос".encode("koi8-r")),
            "Добрый день, у меня вопрос",
            "charset-unlabelled",
        ),
        (
            "windows-1251 without a label",
            text_mail(b"text/plain", "Добрый день, у меня вопрос".encode("cp1251")),
            "Добрый день, у меня вопрос",
            "charset-unlabelled",
        ),
        ("an unknown label", text_mail(b"text/plain; charset=martian", b"hello"), "hello", None),
        ("a codec that is no charset", text_mail(b"text/plain; charset=rot13", b"hello"), "hello", None),
        (
            "text after base64",
            text_mail(b"text/plain", b"SGVsbG8=\r\n-- \r\nList footer\r\n", b"base64"),
            "Hello",
            None,
        ),
        ("base64 without padding", text_mail(b"text/plain", b"SGVsbG8", b"base64"), "Hello", None),
        (
            "no empty line after the header",
            b"Subject: x\r\nthis is text\r\nmore",
            "this is text\r\nmore",
            "header-end-missing",
        ),
        ("bare CR line ends", b"Subject: x\r\rHello\rthere", "Hello\nthere", "bare-cr"),
        ("an mbox separator", b"From jane Mon Mar 2\nSubject: x\n\nHello", "Hello", None),
        ("empty lines before the header", b"   \r\n\r\nSubject: x\r\n\r\nHello", "Hello", None),
        (
            "multipart without a boundary",
            text_mail(b"multipart/mixed", b"--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b--"),
            "Hello",
            "boundary-missing",
        ),
        (
            "multipart that never ends",
            text_mail(b"multipart/mixed; boundary=b", b"--b\r\nContent-Type: text/plain\r\n\r\nHello"),
            "Hello",
            "end-boundary-missing",
        ),
        ("a multipart that is none", text_mail(b"multipart/mixed; boundary=b", b"Hello"), "Hello", "boundary-missing"),
    ],
)
def test_text_of_broken_mail(what_is_wrong: str, raw: bytes, text: str, defect: str | None) -> None:
    mail = parse(raw)
    assert mail.text.splitlines() == text.splitlines()
    if defect is not None:
        assert defect in mail.defects


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        (b"=?utf-8?B?0J8=?= =?utf-8?B?0YA=?=", "Пр"),
        (b"=?utf-8?Q?=D0?= =?utf-8?Q?=9F?=", "П"),
        (b"=?iso-8859-1?Q?Fr\xf6sche?=", "Frösche"),
        ("Grüße".encode(), "Grüße"),
        ("Привет, Мир".encode("koi8-r"), "Привет, Мир"),
        (b"=?utf-8?q?with space inside?=", "with space inside"),
        (b"a\x00b =?utf-8?q?=0D=0ABcc:_x?=", "a b  Bcc: x"),
        (b"=?broken", "=?broken"),
        (b"first\r\n second", "first second"),
    ],
)
def test_subject(raw: bytes, subject: str) -> None:
    assert parse(b"Subject: " + raw + b"\r\n\r\n").subject == subject


MIXED = (
    HEAD
    + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSee file.\r\n"
    + b"--b\r\nContent-Type: application/pdf; name*=utf-8''%D1%81%D1%87%D1%91%D1%82.pdf\r\n"
    + b"Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0x\r\nLjQK\r\n--b--\r\n"
)


def test_an_attachment_is_cut_from_the_raw_message() -> None:
    (attachment,) = parse(MIXED).attachments
    cut = MIXED[attachment.offset : attachment.offset + attachment.length]
    assert cut == b"JVBERi0x\r\nLjQK"
    content = decode_part(cut, attachment.encoding)
    assert content == b"%PDF-1.4\n"
    assert (attachment.size_bytes, attachment.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (attachment.name, attachment.inline) == ("счёт.pdf", False)


def test_uuencoded_text_is_an_attachment() -> None:
    raw = HEAD + b"\r\nSee:\r\n\r\nbegin 644 hi.txt\r\n%:&5L;&\\\r\n`\r\nend\r\n"
    mail = parse(raw)
    (attachment,) = mail.attachments
    assert mail.text == "See:"
    assert decode_part(raw[attachment.offset :][: attachment.length], attachment.encoding) == b"hello"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\x.exe", "x.exe"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        (".htaccess", "htaccess"),
        ("a" * 300 + ".pdf", "a" * 196 + ".pdf"),
        ("", "attachment.pdf"),
    ],
)
def test_names_are_safe(name: str, safe: str) -> None:
    raw = (
        HEAD
        + b'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="'
        + (name.replace("\\", "\\\\").encode() + b'"\r\n\r\nx')
    )
    assert parse(raw).attachments[0].name == safe


def test_addresses_and_ids() -> None:
    mail = parse(
        b'From: "Doe, Jane" <jane@example.com>\r\nTo: =?utf-8?q?a=2C_b?= <a@example.com>, team: b@example.com;\r\n'
        b"Delivered-To: Support+x@Example.com\r\nIn-Reply-To: <p@example.com>\r\n"
        b"References: <r@example.com>\r\n <p@ example.com>\r\nDate: Mon, 2 Mar 2026 10:00:00 +0100\r\n\r\n"
    )
    assert mail.from_ == (Address("jane@example.com", "Doe, Jane"),)
    assert mail.to == (Address("a@example.com", "a, b"), Address("b@example.com"))
    assert mail.delivered_to == ("support+x@example.com",)
    assert (mail.in_reply_to, mail.references) == (("<p@example.com>",), ("<r@example.com>", "<p@example.com>"))
    assert mail.date is not None
    assert mail.date.isoformat() == "2026-03-02T10:00:00+01:00"


def test_repeated_fields_are_read_once_and_told() -> None:
    mail = parse(b"From: a@example.com\r\nFrom: b@example.com\r\n\r\n")
    assert [one.addr for one in mail.from_] == ["a@example.com"]
    assert "repeated-from" in mail.defects


DSN = (
    b"From: Mail Delivery System <MAILER-DAEMON@example.net>\r\nReturn-Path: <>\r\nAuto-Submitted: auto-replied\r\n"
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nIt failed.\r\n"
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n"
    b"Final-Recipient: rfc822; gone@example.org\r\nAction: %s\r\nStatus: 5.0.0\r\n"
    b"Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
    b"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <ours@example.com>\r\n"
    b"X-Ingestd-Id: " + b"a" * 52 + b"\r\n--b--\r\n"
)


def test_a_bounce() -> None:
    mail = parse(DSN % b"failed")
    assert mail.kind is Kind.BOUNCE
    assert mail.bounce is not None
    assert mail.bounce.recipients == ("gone@example.org",)
    assert (mail.bounce.status, mail.bounce.reply_codes, mail.bounce.permanent) == (("5.1.1",), ("550",), True)
    assert mail.bounce.original_message_ids == ("<ours@example.com>",)
    assert mail.bounce.own_tokens == ("a" * 52,)
    assert mail.own_tokens == ()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (DSN % b"delayed", Kind.DELAY_NOTICE),
        (DSN % b"delivered", Kind.RECEIPT),
        (b"Auto-Submitted: auto-replied\r\nSubject: x\r\n\r\n", Kind.AUTO_REPLY),
        (b"Auto-Submitted: no\r\nSubject: x\r\n\r\n", Kind.CUSTOMER),
        (b"Subject: Automatic reply: x\r\n\r\n", Kind.AUTO_REPLY),
        (b"X-Auto-Response-Suppress: All\r\nSubject: x\r\n\r\n", Kind.CUSTOMER),
        (b"List-Id: <news.example.com>\r\nSubject: x\r\n\r\n", Kind.BULK),
        (b"Precedence: bulk\r\nSubject: x\r\n\r\n", Kind.BULK),
        (b"From: jane@example.com\r\nSubject: My mail was rejected\r\n\r\nuser unknown, they say", Kind.CUSTOMER),
        (b"Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse", Kind.COMPLAINT),
        (b"Content-Type: message/disposition-notification\r\n\r\nDisposition: displayed", Kind.RECEIPT),
    ],
)
def test_kinds(raw: bytes, kind: Kind) -> None:
    assert parse(raw).kind is kind


def test_only_the_topmost_authentication_results_count() -> None:
    mail = parse(
        b"Authentication-Results: mx.example.com; dmarc=fail (p=none) header.from=example.org\r\n"
        b"Authentication-Results: mx.example.com; dmarc=pass\r\n\r\n"
    )
    assert mail.auth is not None
    assert (mail.auth.authserv_id, mail.auth.methods) == ("mx.example.com", {"dmarc": "fail"})


def test_limits_hold() -> None:
    limits = Limits(parts_max=5, depth_max=3, addresses_max=2, references_max=2, text_bytes_max=10)
    many = (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n" * 9
    )
    assert len(parse(many, limits=limits).attachments) < 5
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(50))
    assert "too-deep" in parse(nested, limits=limits).defects
    assert len(parse(b"To: " + b"a@example.com," * 9 + b"\r\n\r\n", limits=limits).to) == 2
    assert parse(b"References: <a@x> <b@x> <c@x>\r\n\r\n", limits=limits).references == ("<a@x>", "<c@x>")
    assert len(parse(b"\r\n" + b"y" * 99, limits=limits).text) <= 10


PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"--b",
        b"--",
        b"Content-Type: ",
        b"multipart/mixed; boundary=b",
        b"text/html",
        b"<div>",
        b"Content-Transfer-Encoding: ",
        b"base64",
        b"=?utf-8?B?",
        b"?=",
        b"message/rfc822",
        b"From: ",
        b"<a@b.c>",
        b",",
        b"charset=",
        b"utf-16",
        b"hz",
        b"iso-2022-jp",
        b"\xff\xfe",
        b"\x1b$B",
        b"begin 644 a\n",
        b"end\n",
        b"filename*0*=",
        b"'",
        b"message/delivery-status",
        b"Final-Recipient: ",
        b"Date: ",
        b"References: ",
        b"&#x110000;",
        b"<blockquote>",
        b'"',
        b"(",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=60).map(b"".join))
def test_parse_is_total(raw: bytes) -> None:
    mail = parse(raw)
    assert mail.new_text == "" or mail.text != ""
    assert all(0 <= one.offset + one.length <= len(raw) for one in mail.attachments)
    mail.text.encode()  # no lone surrogates: what is stored must be text
    mail.subject.encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: text/plain; charset=utf-7\r\n\r\nHalf: +2AA- a character",
        b"Subject: =?utf-7?q?+2AA-?= x\r\n\r\nx",
        b"Content-Disposition: attachment; filename*=utf-7''%2b2AA-.txt\r\n\r\nx",
    ],
)
def test_half_a_surrogate_pair_becomes_a_replacement_character(raw: bytes) -> None:
    """UTF-7 can spell it; it cannot leave the parser process, and the mail would be quarantined for it."""
    encoded = msgspec.msgpack.encode(transform(raw))
    assert "\N{REPLACEMENT CHARACTER}".encode() in encoded


def test_utf_7_that_is_whole_is_read() -> None:
    mail = parse(b"Content-Type: text/plain; charset=utf-7\r\n\r\nGr+APwA3w-e +2D3eAA-")
    assert mail.text == "Grüße \N{GRINNING FACE}"
    assert mail.defects == ("from-missing", "message-id-missing")
