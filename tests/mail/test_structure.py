"""Messages whose parts do not stand as they should, and the text that a reader gets all the same."""

from __future__ import annotations

import base64
import quopri
import sys
import time
from dataclasses import replace

import pytest

from ingestd.mail.limits import DEFAULT_LIMITS
from ingestd.mail.mime import read_tree
from ingestd.mail.parse import parse

HEAD = b"From: Jane <jane@example.com>\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"
LETTER = "<p>Dear team,</p><p>the printer in room 5 is broken since Monday.</p>"
LETTER_TEXT = ["Dear team,", "", "the printer in room 5 is broken since Monday."]


def part(content_type: str, body: str | bytes, *, fields: str = "") -> bytes:
    data = body.encode() if isinstance(body, str) else body
    return f"Content-Type: {content_type}\r\n{fields}\r\n".encode() + data


def multipart(kind: str, *parts: bytes, boundary: str = "b", preamble: bytes = b"", epilogue: bytes = b"") -> bytes:
    delimiter = b"--" + boundary.encode()
    body = b"".join(delimiter + b"\r\n" + one + b"\r\n" for one in parts)
    return part(f"multipart/{kind}; boundary={boundary}", preamble + body + delimiter + b"--\r\n" + epilogue)


def text_of(raw: bytes) -> list[str]:
    return parse(HEAD + raw).text.splitlines()


def alternative(plain: str, html: str) -> bytes:
    return multipart("alternative", part("text/plain; charset=utf-8", plain), part("text/html; charset=utf-8", html))


@pytest.mark.parametrize(
    "stub",
    [
        "",
        " \r\n\u00a0",
        "Your email client does not support HTML.",
        "This is an HTML message. Please use an HTML capable mail program to read\r\nthis message.",
        "Ihr E-Mail-Programm unterstützt kein HTML.",
        "Votre logiciel de messagerie ne prend pas en charge le HTML.",
        "Si no puede ver este correo, consulte la versión HTML",
        "Ваш почтовый клиент не поддерживает HTML",
        "您的邮件客户端不支持HTML",
        "このメールはHTML形式です",
        "이 메일은 HTML 형식입니다",
        "https://mail.example.com/view?x=1",
        "View this email in your browser: <https://mail.example.com/x>",
        "<div><p>Dear team,</p><p>the printer</p></div>",
    ],
)
def test_a_stub_gives_way_to_the_html(stub: str) -> None:
    mail = parse(HEAD + alternative(stub, LETTER))
    assert mail.text.splitlines() == LETTER_TEXT
    assert stub.strip("\r\n \u00a0") == "" or "text-stub" in mail.defects


@pytest.mark.parametrize(
    "plain",
    [
        "Dear team,\r\n\r\nthe printer in room 5 is broken since Monday.",
        "Thanks!",
        "See https://tracker.example.com/5 and tell me what you think of the second paragraph there.",
        "Nothing of this stands in the HTML, so it may be what the customer wrote.",
    ],
)
def test_a_text_that_says_something_is_kept(plain: str) -> None:
    assert text_of(alternative(plain, LETTER)) == plain.splitlines()


def test_a_text_about_html_is_kept_where_the_html_says_the_same() -> None:
    plain = "My mail client does not support HTML."
    assert text_of(alternative(plain, f"<p>{plain}</p>")) == [plain]
    assert text_of(alternative(plain, f"<p>{plain}</p><p>Jane Doe, Example Ltd, 1 Road, Town</p>")) == [plain]


def test_a_text_that_is_only_the_beginning_gives_way() -> None:
    sentences = [f"Sentence {number} tells what the customer wants." for number in range(30)]
    text = text_of(alternative(sentences[0], "".join(f"<p>{one}</p>" for one in sentences)))
    assert [line for line in text if line] == sentences
    more = "".join(f"<p>And sentence {number} goes on about it at length.</p>" for number in range(90))
    text = text_of(alternative(" ".join(sentences[:10]), "".join(f"<p>{one}</p>" for one in sentences[:10]) + more))
    assert text[-1] == "And sentence 89 goes on about it at length."
    long = " ".join(sentences)
    assert text_of(alternative(long, f"<p>{long}</p><p>Footer.</p>")) == [long]


NOTICE = b"This is a multi-part message in MIME format.\r\n"
TEXT = part("text/plain", "Hello")


@pytest.mark.parametrize(
    ("what_is_wrong", "raw", "text", "defect"),
    [
        ("no content type", b"\r\n" + NOTICE + b"--b\r\n" + TEXT + b"\r\n--b--\r\n", ["Hello"], "content-type-missing"),
        (
            "a boundary of another message",
            multipart("mixed", TEXT).replace(b"=b", b"=c"),
            ["Hello"],
            "boundary-missing",
        ),
        ("quotes that are not closed", multipart("mixed", TEXT).replace(b"=b", b'="b'), ["Hello"], None),
        (
            "a boundary on a line without its space",
            multipart("mixed", TEXT).replace(b"; ", b";\r\n"),
            ["Hello"],
            "header-folded-wrongly",
        ),
        (
            "a type that is only a boundary",
            multipart("mixed", TEXT).replace(b"multipart/mixed; ", b""),
            ["Hello"],
            None,
        ),
        (
            "the last delimiter missing",
            multipart("mixed", TEXT).replace(b"--b--", b""),
            ["Hello"],
            "end-boundary-missing",
        ),
        (
            "an inner multipart that does not end",
            multipart(
                "mixed", multipart("alternative", TEXT, boundary="i").replace(b"--i--", b""), part("text/plain", "Bye")
            ),
            ["Hello", "", "Bye"],
            "end-boundary-missing",
        ),
        (
            "text before the parts, and nothing in them",
            multipart("mixed", part("text/plain", ""), preamble=b"Hello\r\n"),
            ["Hello"],
            "text-outside-parts",
        ),
        (
            "text behind the parts, and nothing in them",
            multipart("mixed", part("text/plain", ""), epilogue=b"Hello\r\n"),
            ["Hello"],
            "text-outside-parts",
        ),
        ("a notice, and nothing in the parts", multipart("mixed", part("text/plain", ""), preamble=NOTICE), [], None),
        ("text before the parts", multipart("mixed", TEXT, preamble=b"Not this\r\n"), ["Hello"], None),
        (
            "the text called an attachment",
            multipart("mixed", part("text/plain", "Hello", fields="Content-Disposition: attachment\r\n")),
            ["Hello"],
            None,
        ),
        (
            "HTML called plain",
            part("text/plain", f"<!DOCTYPE html><html>{LETTER}</html>"),
            LETTER_TEXT,
            "html-called-plain",
        ),
        ("plain text called HTML", part("text/html", "one\r\ntwo &amp; three"), ["one", "two & three"], None),
        ("a type that is the wrong way round", part("plain/text", "Hello"), ["Hello"], None),
        (
            "a line that begins like the delimiter",
            multipart("mixed", part("text/plain", "Hello\r\n--bc\r\n--b c")),
            ["Hello", "--bc", "--b c"],
            None,
        ),
        ("white space behind delimiters", multipart("mixed", TEXT).replace(b"--b\r", b"--b \t\r"), ["Hello"], None),
        ("no content type, no empty line", b"--b\r\n" + TEXT + b"\r\n--b--\r\n", ["Hello"], "content-type-missing"),
        (
            "no empty line in a part",
            multipart("mixed", b"Hello there\r\nJane"),
            ["Hello there", "Jane"],
            "header-end-missing",
        ),
    ],
)
def test_broken_structures(what_is_wrong: str, raw: bytes, text: list[str], defect: str | None) -> None:
    mail = parse(HEAD + raw)
    assert mail.text.splitlines() == text
    assert defect is None or defect in mail.defects


def test_an_old_mail_that_quotes_mime_is_not_taken_for_it() -> None:
    quoted = b"Please look at this bounce:\r\n\r\n--b\r\n" + TEXT + b"\r\n--b--\r\n"
    assert text_of(b"\r\n" + quoted)[0] == "Please look at this bounce:"


def test_an_inner_multipart_that_shares_its_boundary_is_read_as_alternatives() -> None:
    inner = b"Content-Type: multipart/alternative; boundary=b\r\n\r\n"
    html = part("text/html", "<p>Hello</p>")
    mail = parse(HEAD + multipart("mixed", inner, TEXT, html, part("application/pdf; name=a.pdf", "%PDF")))
    assert (mail.text, "<p>Hello</p>" in mail.html, [one.name for one in mail.attachments]) == (
        "Hello",
        True,
        ["a.pdf"],
    )
    assert "boundary-shared" in mail.defects


def test_apple_mail_puts_pictures_between_html_parts_of_one_alternative() -> None:
    picture = part("image/png", "x", fields="Content-Disposition: inline; filename=a.png\r\n")
    html = multipart("mixed", part("text/html", "<p>One</p>"), picture, part("text/html", "<p>Two</p>"), boundary="i")
    mail = parse(HEAD + multipart("alternative", part("text/plain", "One\r\n\r\nTwo"), html))
    assert mail.text.splitlines() == ["One", "", "Two"]
    assert mail.html.count("<p>") == 2


def test_texts_around_an_attachment_are_all_read() -> None:
    file = part("application/pdf; name=a.pdf", "%PDF", fields="Content-Disposition: attachment\r\n")
    assert text_of(multipart("mixed", TEXT, file, part("text/plain", "Footer"))) == ["Hello", "", "Footer"]


def test_html_under_the_type_of_text_is_one_of_the_alternatives() -> None:
    mail = parse(HEAD + multipart("alternative", TEXT, part("text/plain", "<div><p>Hello</p><p>there</p></div>")))
    assert (mail.text, "<p>there</p>" in mail.html) == ("Hello", True)


def test_a_digest_is_read_where_it_stands() -> None:
    messages = [
        b"\r\nFrom: %b@example.com\r\nSubject: %b\r\n\r\nText of %b" % ((name,) * 3) for name in (b"one", b"two")
    ]
    mail = parse(HEAD + multipart("digest", *messages))
    assert [line for line in mail.text.splitlines() if line] == [
        *("From: one@example.com", "Subject: one", "Text of one"),
        *("From: two@example.com", "Subject: two", "Text of two"),
    ]
    assert len(mail.attachments) == 2


WORDS = "Grüße, der Drucker in Raum 5 ist seit Montag kaputt, bitte schicken Sie jemanden vorbei. " * 3


@pytest.mark.parametrize(
    ("what_is_wrong", "encoding", "body"),
    [
        ("base64 that is text", "base64", WORDS.encode()),
        ("text that is base64", "7bit", base64.encodebytes(WORDS.encode())),
        ("text that is quoted-printable", "8bit", quopri.encodestring(WORDS.encode())),
        (
            "base64 line by line",
            "base64",
            b"\r\n".join(base64.b64encode(WORDS.encode()[at : at + 40]) for at in range(0, 999, 40)),
        ),
        (
            "base64 with text behind it",
            "base64",
            base64.encodebytes(WORDS.encode()) + b"=\r\n-- \r\nA list's footer\r\n",
        ),
        ("a name with a dash", "Base-64", base64.encodebytes(WORDS.encode())),
        (
            "quoted-printable with padded lines",
            "quoted-printable",
            quopri.encodestring(WORDS.encode()).replace(b"=\n", b"= \r\n"),
        ),
    ],
)
def test_transfer_encodings(what_is_wrong: str, encoding: str, body: bytes) -> None:
    raw = part("text/plain; charset=utf-8", body, fields=f"Content-Transfer-Encoding: {encoding}\r\n")
    assert " ".join(text_of(raw)).strip() == WORDS.strip()


def test_a_key_in_the_text_is_no_text_in_base64() -> None:
    key = base64.encodebytes(bytes(range(256)))
    assert text_of(part("text/plain", key)) == key.decode().split()


def test_how_each_text_was_read_is_told() -> None:
    html = part("text/html", b"<meta charset=windows-1251><p>" + "Привет всем".encode("cp1251"))
    mail = parse(HEAD + multipart("alternative", part("text/plain; charset=gb2312", "你好".encode("gb18030")), html))
    assert mail.charsets == (
        "text/plain: labelled gb2312, read as gb18030",
        "text/html: labelled windows-1251, read as windows-1251",
    )
    assert parse(b"\r\nHi").charsets == ("text/plain: no label, read as us-ascii",)
    hostile = parse(b'Content-Type: text/plain; charset="x<script>\xff"\r\n\r\nHi').charsets
    assert hostile == ("text/plain: labelled xscript, read as us-ascii",)


def test_the_label_inside_the_html_counts_where_the_outer_one_is_wrong() -> None:
    html = b"<html><head><meta http-equiv=Content-Type content='text/html; charset=koi8-r'></head>" + "НДС".encode(
        "koi8-r"
    )
    assert parse(HEAD + part("text/html; charset=us-ascii", html)).text == "НДС"


HOSTILE = {
    "nested multiparts that share a boundary": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * 20_000,
    "nested multiparts": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (at, at) for at in range(20_000)
    ),
    "a boundary in every place": b"Content-Type: multipart/mixed; boundary=-\r\n\r\n" + b"-" * 2_000_000,
    "lines that begin like the delimiter": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b x\n" * 300_000,
    "empty parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\n" * 300_000,
    "no boundary, and many lines of dashes": b"Content-Type: multipart/mixed\r\n\r\n"
    + (b"--" + b" " * 198 + b"\n") * 10_000,
    "parts of digests of digests": b"Content-Type: multipart/digest; boundary=b\r\n\r\n"
    + b"--b\n\nContent-Type: multipart/digest; boundary=b\n\n" * 20_000,
    "fields": b"X-A: b\r\n" * 200_000,
    "folds": b"Subject: a" + b"\r\n b" * 200_000,
    "lines that are no fields": b"Subject: a\r\n" + b"b\r\n" * 200_000,
    "fields between lines that are none": b"Subject: a\r\n" + b"b\r\nTo: c\r\n" * 100_000,
    "spaces before the header": b" \r\n" * 300_000,
    "quoted-printable": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"= " * 700_000,
    "base64 in padded pieces": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"AA==" * 300_000,
    "enriched text": b"Content-Type: text/enriched\r\n\r\n" + b"<param>" * 150_000 + b"<" * 300_000,
    "soft breaks": b"Content-Type: text/plain; format=flowed\r\n\r\n" + b"> > a \n" * 150_000,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_structures_cost_what_their_length_says(what: str) -> None:
    begun = time.process_time()
    parse(HOSTILE[what])
    parse(HEAD + HOSTILE[what])
    assert time.process_time() - begun < 6


def test_a_search_for_delimiters_stops_at_its_limit() -> None:
    limits = replace(DEFAULT_LIMITS, delimiters_max=50)
    many = part("multipart/mixed; boundary=b", b"--b x\n" * 100 + b"--b\n" + TEXT + b"\n--b--")
    assert parse(HEAD + many).text == "Hello"
    assert "Hello" in parse(HEAD + many, limits=limits).text  # it was given up, and all is read as text


def test_the_steps_of_the_walk_grow_with_the_message_and_no_faster() -> None:
    """Counted, not timed: calls of Python functions, of which the walk makes a fixed number for each line."""

    def calls(lines: int) -> int:
        raw = part("multipart/mixed; boundary=b", b"--b\n" * lines + b"--b x\n" * lines + b"To: a\nb\n" * lines)
        count = 0

        def note(*_: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(note)
        try:
            read_tree(HEAD + raw, DEFAULT_LIMITS)
        finally:
            sys.setprofile(None)
        return count

    assert calls(8000) < 2.5 * calls(4000)


def test_a_first_part_without_its_delimiter() -> None:
    raw = (
        b"From: jane@example.com\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n"
        b"Content-Type: multipart/alternative; boundary=i\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        b"Plain\r\n--i\r\nContent-Type: text/html\r\n\r\n<p>Plain</p>\r\n--i--\r\n--o--\r\n"
    )
    mail = parse(raw)
    assert (mail.text, mail.html, mail.attachments) == ("Plain", "<p>Plain</p>", ())
    assert "boundary-missing" in mail.defects


def test_two_types_of_a_multipart_that_has_its_delimiters_are_one() -> None:
    raw = (
        b"Content-Type: multipart/mixed; boundary=o\r\nContent-Type: text/plain\r\n\r\n"
        b"This is a multi-part message in MIME format.\r\n--o\r\n\r\nHello\r\n--o--\r\n"
    )
    assert parse(raw).text == "Hello"
