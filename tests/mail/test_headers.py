"""Header values that break the rules, each with what is wrong with it, and what was meant."""

from __future__ import annotations

import quopri
import time

import pytest

from ingestd.mail.addresses import parse_addresses
from ingestd.mail.headers import decode_value, parse_date, parse_parameters
from ingestd.mail.parse import parse


@pytest.mark.parametrize(
    ("what_is_wrong", "raw", "text"),
    [
        ("question marks in Q", b"=?utf-8?Q?What? Why? How??=", "What? Why? How?"),
        ("a value that was cut", b"=?utf-8?B?0J/RgNC40LLQtdGC", "Привет"),
        ("a word whose end is missing before the next", b"Re: =?utf-8?Q?abc =?utf-8?Q?def?=", "Re: abc def"),
        ("a character split between words", b"=?utf-8?B?0J8=?= =?utf-8?B?0Q==?= =?utf-8?B?gA==?=", "Пр"),
        ("base64 cut between its groups", b"=?utf-8?B?0J/R?= =?utf-8?B?gNC?= =?utf-8?B?40LLQtdGC?=", "Привет"),
        ("a character split in Q", b"=?utf-8?Q?=D0?=\r\n =?utf-8?Q?=9F?=", "П"),
        ("words without white space between", b"=?utf-8?Q?a?==?utf-8?Q?b?=", "ab"),
        ("B and Q side by side", b"=?utf-8?B?0J8=?= =?utf-8?Q?=D1=80?=", "Пр"),
        ("two charsets side by side", b"=?utf-8?Q?a_?= =?koi8-r?B?8NLJ18XU?=", "a Привет"),
        ("encoded twice", b"=?utf-8?Q?=3D=3Futf-8=3FB=3F0J/RgNC4=3F=3D?=", "При"),
        ("a language", b"=?utf-8*en?Q?hi?=", "hi"),
        ("no charset", b"=??Q?=D0=9F?=", "П"),
        ("a charset that nobody knows", b"=?martian?Q?=D0=9F?=", "П"),
        ("the charset's lie", b"=?us-ascii?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("koi8-r called windows-1251", b"=?windows-1251?Q?" + "Привет".encode("koi8-r") + b"?=", "Привет"),
        ("gb2312 that is GBK", b"=?gb2312?B?6Ui7+Q==?=", "镠基"),
        ("no such encoding", b"=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
        ("a word of nothing known", b"=?broken", "=?broken"),
        ("an unknown charset that does not end", b"=?martian?Q?abc", "=?martian?Q?abc"),
        ("a folded word", b"=?utf-8?B?0J/RgNC4\r\n 0LLQtdGC?=", "Привет"),
        ("raw bytes in a word", b"=?iso-8859-1?Q?Fr\xf6sche?=", "Frösche"),
        ("raw UTF-8 beside a word", "Über =?utf-8?Q?=C3=9C?=".encode(), "Über Ü"),
        ("iso-2022-jp without a word", "こんにちは".encode("iso2022_jp"), "こんにちは"),
        ("a NUL and a line break inside", b"=?utf-8?Q?a=00b=0D=0ABcc:_x?=", "a b Bcc: x"),
    ],
)
def test_values(what_is_wrong: str, raw: bytes, text: str) -> None:
    assert parse(b"Subject: " + raw + b"\r\n\r\n").subject == text
    assert "\n" not in decode_value(raw)


@pytest.mark.parametrize("charset", ["windows-1251", "koi8-r"])
def test_a_raw_header_is_read_in_the_charset_of_the_text(charset: str) -> None:
    """Three letters say nothing, and a client that sends them raw sends the text in the same charset."""
    raw = (
        b"From: " + "Юля".encode(charset) + b" <julia@example.com>\r\nSubject: " + "НДС".encode(charset)
        + b"\r\nContent-Type: text/plain; charset=" + charset.encode() + b"\r\n\r\n" + "Добрый день".encode(charset)
    )  # fmt: skip
    mail = parse(raw)
    assert (mail.subject, mail.from_[0].name) == ("НДС", "Юля")


@pytest.mark.parametrize("charset", ["windows-1251", "koi8-r"])
def test_raw_text_is_read_in_the_charset_of_the_headers_words(charset: str) -> None:
    word = b"=?" + charset.encode() + b"?Q?" + quopri.encodestring("Добрый_день".encode(charset)) + b"?="
    assert parse(b"Subject: " + word + b"\r\n\r\n" + "НДС".encode(charset)).text == "НДС"


@pytest.mark.parametrize("charset", ["windows-1251", "koi8-r"])
def test_a_raw_file_name_is_read_in_the_charset_of_the_text_before_it(charset: str) -> None:
    raw = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset="
        + charset.encode()
        + b'\r\n\r\nx\r\n--b\r\nContent-Type: application/pdf; name="'
        + "ТЗ.pdf".encode(charset)
        + b'"\r\n\r\n%PDF\r\n--b--'
    )
    assert parse(raw).attachments[0].name == "ТЗ.pdf"


@pytest.mark.parametrize(
    ("what_is_wrong", "value", "parsed"),
    [
        ("no semicolon", "text/plain charset=utf-8", ("text/plain", {"charset": "utf-8"})),
        (
            "a comment",
            "text/plain; charset=us-ascii (Plain text); format=flowed",
            ("text/plain", {"charset": "us-ascii", "format": "flowed"}),
        ),
        (
            "no semicolon after quotes",
            'text/html; charset="utf-8" name=x',
            ("text/html", {"charset": "utf-8", "name": "x"}),
        ),
        (
            "spaces without quotes",
            "attachment; filename=my file.pdf; size=3",
            ("attachment", {"filename": "my file.pdf", "size": "3"}),
        ),
        (
            "only spaces between",
            "attachment filename=my file.pdf size=3",
            ("attachment", {"filename": "my file.pdf", "size": "3"}),
        ),
        ("brackets in a name", "a/b; name=a (1).pdf", ("a/b", {"name": "a (1).pdf"})),
        ("spaces around marks", "text / plain ; CHARSET = KOI8-R", ("text/plain", {"charset": "KOI8-R"})),
        ("a comma", "multipart/mixed, boundary=abc", ("multipart/mixed", {"boundary": "abc"})),
        (
            "two semicolons",
            "text/plain;charset=utf-8;;format=flowed",
            ("text/plain", {"charset": "utf-8", "format": "flowed"}),
        ),
        ("a name as in a URL", 'attachment; filename="%D0%9F%D1%80.pdf"', ("attachment", {"filename": "Пр.pdf"})),
        ("a percent sign that is one", "attachment; filename=50%25.pdf", ("attachment", {"filename": "50%25.pdf"})),
        ("a name in both forms", "a/b; filename=c; filename*=utf-8''a%20b", ("a/b", {"filename": "a b"})),
        (
            "a better name in the older form",
            "a/b; filename*=iso-8859-1''%3F%3F.pdf; filename=\"Пр.pdf\"",
            ("a/b", {"filename": "Пр.pdf"}),
        ),
        ("pieces out of order", "a/b; name*1=b.txt; name*0*=utf-8''a%20", ("a/b", {"name": "a b.txt"})),
        ("a character split between pieces", "a/b; name*0*=utf-8''%D0; name*1*=%9F.txt", ("a/b", {"name": "П.txt"})),
        ("words in quotes", 'a/b; name="=?koi8-r?B?8NLJ18XU?="', ("a/b", {"name": "Привет"})),
        ("quotes that do not end", 'a/b; name="x.pdf; size=3', ("a/b", {"name": "x.pdf"})),
        ("nothing before it", "charset=x", ("", {"charset": "x"})),
        ("nothing", "", ("", {})),
    ],
)
def test_parameters(what_is_wrong: str, value: str, parsed: tuple[str, dict[str, str]]) -> None:
    assert parse_parameters(value) == parsed


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('"Doe, Jane" <jane@example.com>', [("jane@example.com", "Doe, Jane")]),
        (
            "Doe, Jane <j@example.com>, Roe, Rick <r@example.com>",
            [("j@example.com", "Doe, Jane"), ("r@example.com", "Roe, Rick")],
        ),
        ("a@example.com, b@example.com", [("a@example.com", ""), ("b@example.com", "")]),
        ("jane@example.com; bob@example.com", [("jane@example.com", ""), ("bob@example.com", "")]),
        ("Jane <jane@example.com", [("jane@example.com", "Jane")]),
        ("Jane <jane@example.com, Bob <bob@example.com>", [("jane@example.com", "Jane"), ("bob@example.com", "Bob")]),
        ("Jane <<jane@example.com>>", [("jane@example.com", "Jane")]),
        ('"Jane Doe <jane@example.com>', [("jane@example.com", "Jane Doe")]),
        ("jane@example.com (Jane Doe)", [("jane@example.com", "Jane Doe")]),
        ("Jane Doe (jane@example.com)", [("jane@example.com", "Jane Doe")]),
        ("Jane Doe jane@example.com", [("jane@example.com", "Jane Doe")]),
        ("Jane Doe [mailto:jane@example.com]", [("jane@example.com", "Jane Doe")]),
        ("Jane <mailto:jane@example.com>", [("jane@example.com", "Jane")]),
        ("<Jane Doe jane@example.com>", [("jane@example.com", "")]),
        ("Jane <jane @ example.com>", [("jane@example.com", "Jane")]),
        ("=?utf-8?Q?Doe,_Jane_<x>?= <jane@example.com>", [("jane@example.com", "Doe, Jane <x")]),
        ("=?utf-8?B?SmFuZSA8amFuZUBleGFtcGxlLmNvbT4=?=", [("jane@example.com", "Jane")]),
        ("=?utf-8?Q?=22J=C3=B6rg=22?= <j@example.com>", [("j@example.com", "Jörg")]),
        ("'jane@example.com' <jane@example.com>", [("jane@example.com", "jane@example.com")]),
        ("<@a.example,@b.example:jane@example.com>", [("jane@example.com", "")]),
        ("team: Jane <jane@example.com>, bob@example.com;", [("jane@example.com", "Jane"), ("bob@example.com", "")]),
        ("undisclosed-recipients:;", []),
        ("jane@[192.0.2.1]", [("jane@[192.0.2.1]", "")]),
        ("jane@example.com.", [("jane@example.com", "")]),
        ("иван@пример.example", [("иван@пример.example", "")]),
        ("MAILER-DAEMON <>", []),
        ("Whomever", []),
    ],
)
def test_addresses(value: str, found: list[tuple[str, str]]) -> None:
    assert [(one.addr, one.name) for one in parse_addresses(value)] == found


def test_a_sender_without_an_address_keeps_the_name() -> None:
    assert [(one.addr, one.name) for one in parse(b"From: Accounting Robot\r\n\r\n").from_] == [
        ("", "Accounting Robot")
    ]
    assert parse(b"From: Robot\r\nSender: robot@example.com\r\n\r\n").from_ == ()
    assert [one.addr for one in parse(b"From: Doe Jane, jane@example.com\r\n\r\n").from_] == ["jane@example.com"]


@pytest.mark.parametrize(
    ("value", "iso"),
    [
        ("Mon, 2 Mar 2026 10:00:00 +0100 (CET)", "2026-03-02T10:00:00+01:00"),
        ("2 Mar 26 10:00 EST", "2026-03-02T10:00:00-05:00"),
        ("2026-03-02T10:00:00Z", "2026-03-02T10:00:00+00:00"),
        ("2026-03-02 10:00:00.123 +0300", "2026-03-02T10:00:00+03:00"),
        ("Whenever", None),
        ("2026-13-45T10:00:00Z", None),
    ],
)
def test_dates(value: str, iso: str | None) -> None:
    moment = parse_date(value)
    assert (moment.isoformat() if moment else None) == iso


@pytest.mark.parametrize(
    ("what_is_wrong", "head", "subject", "text"),
    [
        (
            "a fold without its space",
            b"Subject: one\r\ntwo three\r\nFrom: a@example.com\r\n\r\nHi",
            "one two three",
            "Hi",
        ),
        (
            "folds without spaces, with colons",
            b"DKIM-Signature: v=1;\r\nh=from:to\r\n:cc; b=x\r\ny\r\nSubject: one\r\nFrom: a@example.com\r\n\r\nHi",
            "one",
            "Hi",
        ),
        (
            "a parameter without its space",
            b"Subject: x\r\nContent-Type: text/plain;\r\ncharset=koi8-r\r\n\r\n\xf0\xd2\xc9",
            "x",
            "При",
        ),
        ("no empty line before the text", b"Subject: x\r\nFrom: a@example.com\r\nthis is text", "x", "this is text"),
        (
            "no empty line, and text like a field",
            b"Subject: x\r\nProblem: it smokes\r\nand burns",
            "x",
            "Problem: it smokes\r\nand burns",
        ),
        ("a space in the empty line", b"Subject: x\r\n \r\nthis is text", "x", "this is text"),
        ("a space before the colon", b"Subject : x\r\n\r\nHi", "x", "Hi"),
        ("a first field that is empty", b"Subject:\r\nSubject: x\r\n\r\nHi", "x", "Hi"),
        ("twice", b"Subject: x\r\nSubject: y\r\n\r\nHi", "x", "Hi"),
    ],
)
def test_header_blocks(what_is_wrong: str, head: bytes, subject: str, text: str) -> None:
    mail = parse(head)
    assert (mail.subject, mail.text.splitlines()) == (subject, text.splitlines())


UNITS = (
    *('"\\"', "(\\(", "((", "<", "a@b:c", "a:", '"', "(", "=?a?q?", "@", " ", "a", "<@a:", "(()", "x [mailto:", "a,"),
    *("=?a?b?=", "=?a?q??", "; ", ";a=", ' x=" ', "\\", " \t", "a b ", ";a*0*=''", "%41", "Doe, "),
)


@pytest.mark.parametrize("unit", UNITS)
def test_values_cost_what_their_length_says(unit: str) -> None:
    """Each of these was, or could be, tried again from every one of its characters."""
    value = (unit * (64 * 1024 // len(unit))).encode()
    raw = b"To: " + value + b"\r\nSubject: " + value + b"\r\nContent-Type: a/b; x" + value + b"\r\nReferences: " + value
    begun = time.process_time()
    parse(raw + b"\r\n\r\nHi")
    assert time.process_time() - begun < 3
