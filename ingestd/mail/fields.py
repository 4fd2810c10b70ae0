"""Writes header fields (RFC 5322 §2.2, RFC 2047 §2, RFC 2231 §3): checked, encoded and folded.

Written by hand, because the standard library folds a long id in References by
turning it into an encoded word, which no client reads back.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Sequence

from ingestd.mail.types import Address

LINE_CHARS = 76
_FORBIDDEN = re.compile(r"[\r\n\0]")
_ATOM_TEXT = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_ADDR = re.compile(r"[^\s<>()\[\]:;,\\\"@\x00-\x20\x7f]+@[^\s<>()\[\]:;,\\\"@\x00-\x20\x7f]+")
_ID = re.compile(r"<[^<>\s\x00-\x20\x7f]{1,500}>")
_SPACES = re.compile(" {2,}")
_WORD_BYTES = 42
"""UTF-8 bytes of one encoded word: 56 characters of base64 and 12 of frame stay below 75 (RFC 2047 §2)."""


class ComposeError(ValueError):
    """A value cannot be put into a message; `field` names it, the value itself is never quoted."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def check(field: str, value: str) -> str:
    """Return `value`, or raise ComposeError where it could end the field (CVE-2024-6923)."""
    if _FORBIDDEN.search(value):
        raise ComposeError(field, "holds a line break or NUL")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ComposeError(field, "is not valid text")
    return value


def plain_line(field: str, value: str) -> str:
    """Return a value on one line: what came in by mail may hold tabs, controls and runs of spaces, and they are shown
    as one space anyway. What joins or directs letters stays, as Persian and emoji need it, and so do other spaces.

    >>> plain_line("Subject", "a\\t\\x0b b")
    'a b'
    """
    check(field, value)
    if not value.isprintable():
        value = value.replace("\ufeff", "")
        value = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in value)
    return _SPACES.sub(" ", value).strip()


def encode_words(text: str, *, always: bool = False) -> list[str]:
    """Return the words of an unstructured value, encoded where they must be; no character is split between two.

    >>> encode_words("Re: Grüße")
    ['=?utf-8?B?UmU6IEdyw7zDn2U=?=']
    """
    plain = text.isascii() and text.isprintable() and "=?" not in text and "  " not in text and text == text.strip()
    if plain and not always and all(len(word) <= 300 for word in text.split(" ")):
        return text.split(" ")
    words, current = [], b""
    for char in text:
        data = char.encode("utf-8")
        if len(current) + len(data) > _WORD_BYTES:
            words.append(current)
            current = b""
        current += data
    words.append(current)
    return [f"=?utf-8?B?{base64.b64encode(word).decode('ascii')}?=" for word in words]


def fold(name: str, words: Sequence[str]) -> str:
    """Return a field whose words are separated by spaces or folds, with CRLF at its end."""
    lines, line = [], f"{name}:"
    for word in words:
        if len(line) + 1 + len(word) > LINE_CHARS and line != f"{name}:":
            lines.append(line)
            line = ""
        line += f" {word}"
    lines.append(line)
    return "\r\n".join(lines) + "\r\n"


def unstructured(name: str, value: str) -> str:
    """Return a field of free text."""
    return fold(name, encode_words(check(name, value)))


def address_words(field: str, addresses: Sequence[Address]) -> list[str]:
    """Return the words of an address list; raises ComposeError for an address that is none."""
    words: list[str] = []
    for index, one in enumerate(addresses):
        check(field, one.addr)
        name = plain_line(field, one.name)
        if not _ADDR.fullmatch(one.addr) or len(one.addr) > 320:
            raise ComposeError(field, "holds something that is no address")
        comma = "," if index < len(addresses) - 1 else ""
        if not name:
            words.append(f"{one.addr}{comma}")
        else:
            words += [*_phrase(name), f"<{one.addr}>{comma}"]
    return words


def _phrase(name: str) -> list[str]:
    if name.isascii() and name.isprintable() and "=?" not in name and len(name) <= 60:
        if _ATOM_TEXT.fullmatch(name) and name == " ".join(name.split()):
            return name.split(" ")
        return ['"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"']
    return encode_words(name, always=True)


def writable_id(one: str) -> bool:
    """Tell whether an id of a strange message can be put into a header of ours (RFC 5322 §3.6.4, §2.1.1).

    >>> writable_id("<a@x>"), writable_id("<ä@x>")
    (True, False)
    """
    return one.isascii() and _ID.fullmatch(one) is not None


def id_words(field: str, ids: Sequence[str]) -> list[str]:
    """Return checked ids; raises ComposeError for one without the form `<…>`."""
    for one in ids:
        check(field, one)
        if not writable_id(one):
            raise ComposeError(field, "holds something that is no message id")
    return list(ids)


def parameter(field: str, name: str, value: str) -> list[str]:
    """Return a parameter as words, each but the last ending in ";": quoted, or as RFC 2231 pieces.

    >>> parameter("x", "filename", "a b.txt")
    ['filename="a b.txt"']
    """
    check(field, value)
    # Some clients decode percent signs in a quoted value, where they stand for themselves.
    if value.isascii() and value.isprintable() and len(value) <= 60 and "%" not in value:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return [f'{name}="{escaped}"']
    pieces, current = [], "utf-8''"
    for byte in value.encode("utf-8"):
        char = chr(byte)
        text = char if char.isascii() and (char.isalnum() or char in "-._~") else f"%{byte:02X}"
        if len(current) + len(text) > 55:
            pieces.append(current)
            current = ""
        current += text
    pieces.append(current)
    if len(pieces) == 1:
        return [f"{name}*={pieces[0]}"]
    return [f"{name}*{index}*={piece}" + (";" if index < len(pieces) - 1 else "") for index, piece in enumerate(pieces)]
