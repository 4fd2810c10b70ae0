"""The corpus: mails as a helpdesk gets them, made from a seed, the same bytes on every machine and Python.

Of each ten mails seven are of about 5 KB (text, often with a small HTML twin), two are of about 40 KB of HTML
and one is of about 300 KB with attachments. Two of five answer one of the fifty before them: same
correspondent, In-Reply-To, References and a quotation. Charsets are UTF-8, KOI8-R, Windows-1251, ISO-8859-1, GB18030
and ISO-2022-JP.

A mail depends on the seed and its index alone, so a corpus is read lazily, in parts, or by several processes.
Of `random` only seeding and `Random.random` are used: no more is promised to stay the same.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

from bench.mime import CRLF, attachment, encoded_words, multipart, text_part
from bench.words import LANGUAGES, Language, between, pick, sentence

SEED = 1
"""Of the corpus that the figures are measured on."""
_BEGIN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_SECONDS_APART = 97
_REPLY_SHARE = 0.4
_REPLY_WINDOW = 50
_REFERENCES_MAX = 10


class Shape(enum.Enum):
    SMALL = 5_000
    """Bytes, about: each mail lies within a fifth of it."""
    HTML = 40_000
    LARGE = 300_000


_SHAPES = tuple({"S": Shape.SMALL, "H": Shape.HTML, "L": Shape.LARGE}[letter] for letter in "SSHSSLSHSS")
"""Of each ten mails, in this order: every stretch of ten has the right shares."""


@dataclass(frozen=True, slots=True)
class _Style:
    language: str
    charset: str
    encoding: str


_STYLES = (
    _Style("en", "utf-8", "7bit"),
    _Style("de", "utf-8", "quoted-printable"),
    _Style("ru", "utf-8", "base64"),
    _Style("zh", "utf-8", "8bit"),
    _Style("ja", "utf-8", "base64"),
    _Style("ru", "koi8-r", "8bit"),
    _Style("ru", "windows-1251", "base64"),
    _Style("de", "iso-8859-1", "quoted-printable"),
    _Style("zh", "gb18030", "base64"),
    _Style("ja", "iso-2022-jp", "7bit"),
)
CHARSETS = tuple(dict.fromkeys(style.charset for style in _STYLES))

_FILES: Mapping[str, str] = {
    "invoice.pdf": "application/pdf",
    "Bildschirmfoto-Störung.png": "image/png",
    "договор.pdf": "application/pdf",
    "delivery-note.docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


@dataclass(frozen=True, slots=True)
class CorpusMail:
    index: int
    shape: Shape
    charset: str
    message_id: str
    """With angle brackets."""
    in_reply_to: str
    """"" for a mail that begins a conversation."""
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Conversation:
    """What all mails of a conversation share: it follows from the first one's index."""

    style: _Style
    name: str
    address: str
    subject: str


def corpus(count: int, *, seed: int = SEED, first: int = 0) -> Iterator[CorpusMail]:
    """Yield the mails `first` to `first + count - 1`, each made when it is asked for."""
    return (mail(index, seed=seed) for index in range(first, first + count))


def mail(index: int, *, seed: int = SEED) -> CorpusMail:
    """Return one mail.

    >>> mail(7).raw == mail(7).raw
    True
    """
    rng = _random(seed, index, "mail")
    ancestors = _ancestors(seed, index)
    talk = _conversation(seed, ancestors[0] if ancestors else index)
    shape = _SHAPES[index % len(_SHAPES)]
    head = _head(rng, talk, index, seed, ancestors)
    body = _body(rng, talk, shape, shape.value - len(head), bool(ancestors))
    return CorpusMail(
        index=index,
        shape=shape,
        charset=talk.style.charset,
        message_id=_message_id(seed, index),
        in_reply_to=_message_id(seed, ancestors[-1]) if ancestors else "",
        raw=head + body,
    )


def _random(seed: int, index: int, purpose: str) -> Random:
    return Random(f"{seed} {index} {purpose}")  # noqa: S311  (the same every time, which is what it is for)


def _message_id(seed: int, index: int) -> str:
    return f"<corpus.{seed}.{index}@example.com>"


def _ancestors(seed: int, index: int) -> list[int]:
    """Return the mails that this one answers, the first of the conversation first; none for a new one."""
    found: list[int] = []
    while (parent := _parent(seed, found[-1] if found else index)) is not None:
        found.append(parent)
    return found[::-1]


def _parent(seed: int, index: int) -> int | None:
    rng = _random(seed, index, "parent")
    if index == 0 or rng.random() >= _REPLY_SHARE:
        return None
    return between(rng, max(0, index - _REPLY_WINDOW), index - 1)


def _conversation(seed: int, root: int) -> _Conversation:
    rng = _random(seed, root, "conversation")
    style = pick(rng, _STYLES)
    language = LANGUAGES[style.language]
    return _Conversation(
        style=style,
        name=pick(rng, language.names),
        address=f"customer{between(rng, 1, 5000)}@example.com",
        subject=sentence(rng, language).rstrip(language.stop),
    )


def _head(rng: Random, talk: _Conversation, index: int, seed: int, ancestors: list[int]) -> bytes:
    """Return the header as a provider hands it over, but for what describes the body."""
    charset, at = talk.style.charset, _BEGIN + timedelta(seconds=index * _SECONDS_APART)
    subject = f"Re: {talk.subject}" if ancestors else talk.subject
    lines = [
        "Delivered-To: support@example.com",
        *_received(rng, at),
        "Authentication-Results: mx.example.com; dkim=pass header.d=example.com; spf=pass; dmarc=pass",
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=2026;",
        f"\tbh={_token(rng, 32)};",
        f"\tb={_token(rng, 48)}",
        f"\t {_token(rng, 48)}",
        f"From: {encoded_words(talk.name, charset)} <{talk.address}>",
        "To: Support <support@example.com>",
        f"Subject: {encoded_words(subject, charset)}",
        f"Date: {format_datetime(at)}",
        f"Message-ID: {_message_id(seed, index)}",
    ]
    if ancestors:
        named = [_message_id(seed, one) for one in ancestors[-_REFERENCES_MAX:]]
        lines += [f"In-Reply-To: {named[-1]}", "References: " + f"{CRLF} ".join(named)]
    return (CRLF.join([*lines, "MIME-Version: 1.0"]) + CRLF).encode("ascii")


def _received(rng: Random, at: datetime) -> Iterator[str]:
    for hop in ("mx.example.com", "relay.example.com", "mail.example.com"):
        yield f"Received: from {hop} (host{between(rng, 1, 99)}.example.com [192.0.2.{between(rng, 1, 254)}])"
        yield f"\tby in.example.com with ESMTPS id {between(rng, 10**8, 10**9)};"
        yield f"\t{format_datetime(at)}"


def _token(rng: Random, size_bytes: int) -> str:
    return base64.b64encode(_noise(rng, size_bytes)).decode()


def _noise(rng: Random, size_bytes: int) -> bytes:
    """Return bytes that do not compress, as those of pictures and PDFs."""
    return hashlib.shake_256(str(rng.random()).encode()).digest(size_bytes)


def _body(rng: Random, talk: _Conversation, shape: Shape, room_bytes: int, is_reply: bool) -> bytes:
    """Return the rest of a mail, of about `room_bytes`, a tenth more or less."""
    room_bytes = room_bytes * between(rng, 90, 110) // 100
    if shape is Shape.SMALL:
        return _small(rng, talk, room_bytes, is_reply)
    if shape is Shape.HTML:
        return _alternative(rng, talk, room_bytes, is_reply)
    body = _alternative(rng, talk, 6_000, is_reply)
    count = between(rng, 1, 3)
    size_bytes = (room_bytes - len(body)) * 57 // 78 // count  # base64: 78 bytes a line of 57
    names = list(_FILES)[:count] if between(rng, 0, 1) else list(_FILES)[-count:]
    files = [attachment(name, _FILES[name], _noise(rng, size_bytes)) for name in names]
    return multipart("mixed", _boundary(rng), [body, *files])


def _small(rng: Random, talk: _Conversation, room_bytes: int, is_reply: bool) -> bytes:
    style = talk.style
    if rng.random() < 0.5:
        return text_part("plain", _text(rng, talk, room_bytes, is_reply), style.charset, style.encoding)
    return _alternative(rng, talk, room_bytes, is_reply, text_share=0.4)


def _alternative(
    rng: Random, talk: _Conversation, room_bytes: int, is_reply: bool, *, text_share: float = 0.15
) -> bytes:
    style = talk.style
    text = _text(rng, talk, int(room_bytes * text_share), is_reply)
    plain = text_part("plain", text, style.charset, style.encoding)
    html = text_part("html", _html(rng, talk, room_bytes - len(plain)), style.charset, style.encoding)
    return multipart("alternative", _boundary(rng), [plain, html])


def _boundary(rng: Random) -> str:
    return f"=_{between(rng, 10**11, 10**12)}"


def _text(rng: Random, talk: _Conversation, room_bytes: int, is_reply: bool) -> str:
    language = LANGUAGES[talk.style.language]
    quotation = _quotation(rng, language, talk.name) if is_reply else []
    lines, left = list(quotation), room_bytes - _encoded_bytes(quotation, talk.style)
    fresh: list[str] = []
    while left > 0 or not fresh:
        line = sentence(rng, language)
        left -= _encoded_bytes([line], talk.style)
        fresh.append(line)
    return CRLF.join([*fresh, "", *lines, "-- ", talk.name, ""])


def _quotation(rng: Random, language: Language, name: str) -> list[str]:
    quoted = [f"> {sentence(rng, language)}" for _ in range(between(rng, 2, 6))]
    return [language.wrote.format(name=name), *quoted, ""]


def _html(rng: Random, talk: _Conversation, room_bytes: int) -> str:
    """Return a page as mail programs write it: a style sheet, and tables of paragraphs with links and pictures."""
    language = LANGUAGES[talk.style.language]
    lines = [
        "<html><head><style>p{margin:0 0 1em} .cell{padding:8px;font-family:sans-serif}</style></head><body>",
        '<table width="600" cellpadding="0" cellspacing="0" border="0">',
    ]
    left = room_bytes - _encoded_bytes(lines, talk.style)
    while left > 0:
        page = between(rng, 1, 999)
        row = [
            '<tr><td class="cell" style="color:#333333;border-bottom:1px solid #dddddd" align="left"><p>',
            f"{sentence(rng, language)} {sentence(rng, language)}",
            f'<a href="https://www.example.com/offer/{page}?from=mail">{sentence(rng, language)}</a>',
            f'<img src="https://img.example.com/{page}.png" width="120" height="80" alt=""></p></td></tr>',
        ]
        left -= _encoded_bytes(row, talk.style)
        lines += row
    return CRLF.join([*lines, "</table></body></html>", ""])


def _encoded_bytes(lines: list[str], style: _Style) -> int:
    """Return about how many bytes these lines take in the mail."""
    data = CRLF.join([*lines, ""]).encode(style.charset)
    if style.encoding == "base64":
        return len(data) * 78 // 57
    if style.encoding == "quoted-printable":
        return len(data) + 2 * sum(byte > 126 or byte == ord("=") for byte in data)
    return len(data)
