"""Attachments: their names, which of them the HTML shows, and what lies in a text or is a message of its own."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.mail.containers import content_of, uu_files
from ingestd.mail.inline import locate, spellings, tie
from ingestd.mail.limits import Limits
from ingestd.mail.mime import read_tree
from ingestd.mail.names import safe_name, type_of
from ingestd.mail.parse import parse
from ingestd.mail.types import Attachment, ParsedMail

HEAD = b"From: Jane <jane@example.com>\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"


def multipart(subtype: str, *parts: bytes) -> bytes:
    head = HEAD + f"Content-Type: multipart/{subtype}; boundary=b\r\n\r\n".encode()
    return head + b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


def html(text: str, *headers: str) -> bytes:
    lines = "".join(f"{one}\r\n" for one in headers)
    return f"Content-Type: text/html; charset=utf-8\r\n{lines}\r\n{text}".encode()


def image(*headers: str, kind: str = "image/png; name=a.png") -> bytes:
    lines = "".join(f"{one}\r\n" for one in headers)
    return f"Content-Type: {kind}\r\n{lines}\r\nPNG".encode()


def contents(raw: bytes, mail: ParsedMail) -> list[bytes | None]:
    return [content_of(one, raw[one.offset : one.offset + one.length]) for one in mail.attachments]


# Names


@pytest.mark.parametrize(
    ("original", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\System32\\x.exe", "x.exe"),
        ("folder/", "folder"),
        ("///", "attachment.pdf"),
        ("..", "attachment.pdf"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\u2066b\u2069\u061c\u200fc.pdf", "abc.pdf"),
        ("two\r\nlines\0.pdf", "twolines.pdf"),
        ("a\u2028b.pdf", "ab.pdf"),
        ("in\u00advis\u200b\u3164ible.pdf", "invisible.pdf"),
        ("tag\U000e0041.pdf", "tag.pdf"),
        ("invoice.pdf" + " " * 90 + ".exe", "invoice.pdf .exe"),
        ("x.txt:stream", "x.txt_stream"),
        ('<a href="x">|?*', "_a href=_x_____"),
        (".htaccess", "htaccess"),
        ("trailing. . .", "trailing"),
        ("con", "_con"),
        ("NUL.tar.gz", "_NUL.tar.gz"),
        ("com1 .txt", "_com1 .txt"),
        ("console.txt", "console.txt"),
        ("e\u0301te\u0301.pdf", "été.pdf"),
        ("Счёт № 5.pdf", "Счёт № 5.pdf"),
        ("👩\u200d💻.png", "👩💻.png"),
        ("ы" * 300 + ".pdf", "ы" * 118 + ".pdf"),
        ("a" * 300, "a" * 200),
        ("a" * 190 + "." + "b" * 300, "a" * 190 + "." + "b" * 9),
        ("\ud800.pdf", "pdf"),
        ("", "attachment.pdf"),
    ],
)
def test_names_are_safe(original: str, safe: str) -> None:
    assert safe_name(original, "application/pdf") == safe


@given(st.text(max_size=400))
def test_names_are_always_safe(original: str) -> None:
    name = safe_name(original, "image/png")
    assert 0 < len(name.encode()) <= 255
    assert not set(name) & set('/\\:*?"<>|\0\r\n\u202e')
    assert name == safe_name(name, "image/png")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('Content-Disposition: attachment; filename="=?utf-8?B?0YHRh9GR0YIucGRm?="', "счёт.pdf"),
        ("Content-Disposition: attachment; filename*=utf-8''%D1%81%D1%87%D1%91%D1%82.pdf", "счёт.pdf"),
        ('Content-Disposition: attachment; filename*0="=?utf-8?B?0YHRh9"; filename*1="GR0YIucGRm?="', "счёт.pdf"),
        ("Content-Disposition: attachment; filename*0*=utf-8''%D1%81%D1; filename*1*=%87%D1%91%D1%82.pdf", "счёт.pdf"),
        ("Content-Disposition: attachment; filename*=''=?utf-8?B?0YHRh9GR0YIucGRm?=", "счёт.pdf"),
        ("Content-Disposition: attachment; filename=счёт.pdf", "счёт.pdf"),
        ("Content-Disposition: attachment; filename=a b.pdf; size=3", "a b.pdf"),
        ('Content-Type: application/pdf;\r\n name="=?koi8-r?Q?=D3=DE=A3=D4?=\r\n =?koi8-r?Q?=2Epdf?="', "счёт.pdf"),
        ("Content-Type: application/pdf name=forgotten.pdf", "forgotten.pdf"),
        ('Content-Disposition: attachment filename="a;b.pdf"', "a;b.pdf"),
        ("Content-Disposition: filename=alone.pdf", "alone.pdf"),
        ('Content-Disposition: attachment; filename="unclosed.pdf; size=3', "unclosed.pdf"),
        ("Content-Description: report.pdf", "report.pdf"),
        ("Content-Description: The report.", "attachment.pdf"),
        ("Content-Location: https://example.com/files/a%20b.pdf", "a b.pdf"),
        ("Content-Location: https://example.com/files/report.pdf", "report.pdf"),
    ],
)
def test_names_are_found(header: str, name: str) -> None:
    kind = "" if header.startswith("Content-Type") else "Content-Type: application/pdf\r\n"
    (attachment,) = parse(HEAD + f"{kind}{header}\r\n\r\nx".encode()).attachments
    assert attachment.name == name


def test_the_original_name_is_kept() -> None:
    raw = HEAD + b'Content-Type: application/pdf; name="../x\xe2\x80\xae.pdf"\r\n\r\nx'
    (attachment,) = parse(raw).attachments
    assert (attachment.name, attachment.original_name) == ("x.pdf", "../x\u202e.pdf")


@pytest.mark.parametrize(
    ("name", "kind"), [("a.JPEG", "image/jpeg"), ("a.tar.zip", "application/zip"), ("pdf", "application/octet-stream")]
)
def test_types_of_names(name: str, kind: str) -> None:
    assert type_of(name) == kind


# Images in HTML


@pytest.mark.parametrize(
    ("source", "header"),
    [
        ('"cid:logo@example.com"', "Content-ID: <logo@example.com>"),
        ("'CID:Logo@Example.com'", "Content-ID: <logo@example.com>"),
        ("cid:logo@example.com", "Content-ID: logo@example.com"),
        ('"cid:logo%40example.com"', "Content-ID: <logo@example.com>"),
        ('"cid:&lt;logo@example.com&gt;"', "Content-ID: <logo@example.com>"),
        ('"cid://logo@example.com"', "Content-ID: <logo@example.com>"),
        ('"cid:logo"', "Content-ID: logo"),
        ('"cid:lo go"', "Content-ID: <lo go>"),
        ('"cid:a&amp;b@example.com"', "Content-ID: <a&b@example.com>"),
        ('"cid:a%26b@example.com"', "Content-ID: <a&b@example.com>"),
        ('"cid:лого@example.com"', "Content-ID: <лого@example.com>"),
        ('"cid:100%25@example.com"', "Content-ID: <100%25@example.com>"),
        ('"https://example.com/logo.png"', "Content-Location: https://example.com/logo.png"),
        ('"logo.png"', "Content-Location: logo.png"),
        ('"../img/logo.png"', "Content-Location: https://example.com/img/logo.png"),
        ('"https://example.com/logo.png"', "Content-ID: <l@e>\r\nContent-Location: https://example.com/\r\n logo.png"),
    ],
)
def test_an_image_is_tied_to_the_html(source: str, header: str) -> None:
    text = html(f"<p>Hi <img src={source} alt=x></p>", "Content-Location: https://example.com/mail/1.html")
    mail = parse(multipart("related", text, image(header)))
    (attachment,) = mail.attachments
    assert attachment.inline
    assert attachment.content_id
    written = attachment.content_id.replace("&", "&amp;")
    assert mail.html == f'<p>Hi <img src="cid:{written}" alt="x"></p>'


def test_images_that_are_named_by_place_have_ids_of_their_own() -> None:
    text = html('<img src="a.png"><img src="b.png"><img src="https://example.com/other.png">')
    mail = parse(multipart("related", text, image("Content-Location: a.png"), image("Content-Location: b.png")))
    ids = [one.content_id for one in mail.attachments]
    assert len(set(ids)) == 2
    assert [f'src="cid:{one}"' in mail.html for one in ids] == [True, True]
    assert "example.com" not in mail.html


@pytest.mark.parametrize(
    ("subtype", "text", "part", "inline"),
    [
        ("related", '<img src="cid:a@b">', image("Content-ID: <a@b>", "Content-Disposition: attachment"), True),
        ("mixed", '<img src="cid:a@b">', image("Content-ID: <a@b>"), True),
        ("mixed", '<img src="cid:a@b">', image("Content-ID: <a@b>", kind="application/octet-stream; name=a.png"), True),
        ("mixed", "<p>no image</p>", image("Content-ID: <a@b>"), False),
        ("mixed", "<p>no image</p>", image("Content-ID: <a@b>", "Content-Disposition: inline"), True),
        ("mixed", "<p>no image</p>", image("Content-Disposition: attachment"), False),
        ("related", "<p>no image</p>", image("Content-ID: <a@b>"), True),
        ("related", "<p>no image</p>", image("Content-ID: <a@b>", "Content-Disposition: attachment"), False),
        ("related", "<p>no image</p>", image("Content-ID: <a@b>", kind="application/pdf; name=a.pdf"), False),
        ("mixed", "<p>no image</p>", image("Content-Disposition: inline", kind="application/pdf; name=a.pdf"), False),
        ("related", '<a href="cid:a@b">x</a>', image("Content-ID: <a@b>", kind="application/pdf; name=a.pdf"), False),
    ],
)
def test_what_is_inline(subtype: str, text: str, part: bytes, inline: bool) -> None:
    (attachment,) = parse(multipart(subtype, html(text), part)).attachments
    assert attachment.inline is inline


def test_what_names_nothing_is_left_alone() -> None:
    html = '<img src="cid:other@example.com"> src="x"'
    assert tie(html, spellings(["a@b"])) == (html, set())


def test_a_text_of_images_only() -> None:
    begun = time.process_time()
    (part,) = read_tree(b"Content-Location: https://example.com/mail/1.html\r\n\r\n", Limits())[0].walk()
    locate("<img src=x.png>" * 200_000, part, {"https://example.com/mail/x.png": "x"})
    tie('<img src="cid:x">' * 200_000, spellings(["x"]))
    assert time.process_time() - begun < 1


# Messages as attachments

INNER = b"From: a@example.org\r\nSubject: =?utf-8?B?0KHRh9GR0YI=?= 5/6\r\n\r\nThe inner text.\r\n"
INNER_BASE64 = base64.encodebytes(INNER)


@pytest.mark.parametrize(
    ("header", "body", "name"),
    [
        (b"Content-Type: message/rfc822\r\n", INNER, "Счёт 5-6.eml"),
        (b"Content-Type: message/global\r\n", INNER, "Счёт 5-6.eml"),
        (b"Content-Transfer-Encoding: base64\r\nContent-Type: message/rfc822\r\n", INNER_BASE64, "Счёт 5-6.eml"),
        (b"Content-Type: message/rfc822; name=old.eml\r\n", INNER, "old.eml"),
        (b"Content-Type: message/rfc822\r\nContent-Disposition: inline\r\n", INNER, "Счёт 5-6.eml"),
        (b"Content-Type: message/rfc822\r\n", b"From: a@example.org\r\n\r\nThe inner text.", "attachment.eml"),
    ],
)
def test_a_message_is_a_file_and_not_text(header: bytes, body: bytes, name: str) -> None:
    raw = multipart("mixed", b"Content-Type: text/plain\r\n\r\nSee below.", header + b"\r\n" + body)
    mail = parse(raw)
    assert mail.text == "See below."
    (attachment,) = mail.attachments
    assert (attachment.name, attachment.inline) == (name, False)
    assert b"The inner text." in (contents(raw, mail)[0] or b"")


def test_messages_in_a_message_are_one_file() -> None:
    inner = (
        multipart("mixed", b"Content-Type: message/rfc822\r\n\r\n" + INNER, image())
        .replace(b"=b\r", b"=c\r")
        .replace(b"--b", b"--c")
    )
    outer = multipart(
        "mixed", b"Content-Type: text/plain\r\n\r\nSee.", b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n" + inner
    )
    mail = parse(outer)
    assert (mail.text, [one.name for one in mail.attachments]) == ("See.", ["x.eml"])


# Texts as files, files in texts


def test_a_text_with_a_file_name_is_both() -> None:
    head = b"Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: inline; filename=note.txt\r\n\r\n"
    raw = multipart("mixed", head + "Grüße".encode())
    mail = parse(raw)
    assert (mail.text, [one.name for one in mail.attachments]) == ("Grüße", ["note.txt"])
    assert contents(raw, mail) == ["Grüße".encode()]


UU = b"begin 644 hi.png\r\n%:&5L;&\\\r\n`\r\nend\r\n"


@pytest.mark.parametrize(
    ("encoding", "body", "container"),
    [
        (b"7bit", b"See:\r\n" + UU + b"and:\r\n" + UU, ""),
        (b"quoted-printable", b"See:=20\r\n" + UU + b"and:\r\n" + UU, "uuencode"),
        (b"base64", base64.encodebytes(b"See:\r\n" + UU + b"and:\r\n" + UU), "uuencode"),
    ],
)
def test_uuencoded_files_are_cut_out_and_read_back(encoding: bytes, body: bytes, container: str) -> None:
    raw = HEAD + b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body
    mail = parse(raw)
    assert mail.text.split() == ["See:", "and:"]
    found = [(one.name, one.content_type, one.container) for one in mail.attachments]
    assert found == [("hi.png", "image/png", container)] * 2
    assert contents(raw, mail) == [b"hello", b"hello"]


@pytest.mark.parametrize(
    "text",
    [
        b"begin 644 cut.off\n%:&5L;&\\\n",
        b"begin the day at 9\nend\n",
        b"begin 644 nothing\nend\n",
        b" begin 644 x\n%:&5L;&\\\nend\n",
    ],
)
def test_what_only_looks_uuencoded_stays_text(text: bytes) -> None:
    mail = parse(HEAD + b"\r\n" + text)
    assert mail.attachments == ()
    assert mail.text.split() == text.decode().split()


def test_begin_lines_are_read_once() -> None:
    """Each used to be decoded up to the one end line, which took minutes."""
    begun = time.process_time()
    assert list(uu_files(b"begin 644 a\n" * 100_000 + b"end\n")) == []
    assert time.process_time() - begun < 2


# Reading back


def test_hashes_are_of_what_is_read_back() -> None:
    raw = multipart(
        "mixed",
        b"Content-Type: text/plain\r\n\r\nx",
        b"Content-Type: a/b; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC",
    )
    mail = parse(raw)
    assert contents(raw, mail) == [b"\0\1\2"]
    assert mail.attachments[0].sha256 == hashlib.sha256(b"\0\1\2").hexdigest()


@pytest.mark.parametrize("container", ["smime", "tnef", "uuencode", "zip", "smime/tnef"])
def test_a_record_that_does_not_fit_finds_nothing(container: str) -> None:
    one = Attachment("a", "a", "a/b", 1, "", None, False, 0, 3, "7bit", container, 7)
    assert content_of(one, b"abc") is None


def test_the_number_of_attachments_is_bounded() -> None:
    raw = HEAD + b"\r\n" + UU * 2000
    mail = parse(raw)
    assert len(mail.attachments) == Limits().parts_max
    assert "too-many-parts" in mail.defects
