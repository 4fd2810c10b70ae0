"""A raw message with some of its text rewritten, and every byte of the rest as it was.

Rewritten are the texts (a part that is changed is encoded anew as a whole, in its own charset and transfer encoding
where these can hold it, else in UTF-8) and the header fields, in messages inside the message, too. Not looked into are
files: what is called an attachment and has a name, what is no text, what is inside of winmail.dat or of a signature
that holds the message. What is beyond the `Limits` of a parse stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pybase64

from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.content import META_CHARSET
from ingestd.mail.encoding import decode_part, encoding_of_text
from ingestd.mail.fields import fold
from ingestd.mail.headers import word_charsets
from ingestd.mail.labels import charset_name, python_codec
from ingestd.mail.limits import DEFAULT_LIMITS, Limits
from ingestd.mail.mime import Part, read_fields, read_tree
from ingestd.mail.quoted_printable import quoted_printable
from ingestd.mail.rewrite_fields import Field, parameter_words, rewrite_field
from ingestd.mail.rewrite_views import Find, rewrite_flowed, rewrite_html, rewrite_plain, rewrite_unfolded
from ingestd.mail.stubs import is_html, is_soup

__all__ = ["Field", "Find", "rewrite"]

_PLAIN = ("7bit", "8bit", "binary")
_MESSAGES = ("message/rfc822", "message/global")
_REPORTS = ("message/delivery-status", "message/disposition-notification", "message/feedback-report")
_HTML = ("text/html", "text/x-amp-html", "text/watch-html", "text/enriched", "text/richtext")
_HINTS_MAX = 20
_LINE = 76
_BLANK_LINE = re.compile(rb"\n[ \t]*\r*\n\Z|\A[ \t]*\r*\n\Z")


def rewrite(raw: bytes, find: Find, field: Field, *, limits: Limits = DEFAULT_LIMITS) -> bytes | None:
    """Return the message with all that `find` finds in its texts rewritten, and its header fields as `field` returns
    them; None where nothing changes. Never raises for any bytes, if these two do not.

    >>> rewrite(b"Subject: a\\n\\nabc", lambda text: [(1, 2, "x")] if "abc" in text else [], lambda _, value: value)
    b'Subject: a\\n\\naxc'
    """
    return _message(raw, find, field, limits, limits.depth_max)


def _message(raw: bytes, find: Find, change: Field, limits: Limits, depth: int) -> bytes | None:
    root, _, text = read_tree(raw, limits)
    bare = text is not raw
    work = _Work(text, find, change, limits, depth)
    work.hints |= dict.fromkeys([*word_charsets(root.get("subject")), *word_charsets(root.get("from"))])
    work.part(root, top=True)
    if not work.edits:
        return None
    out: list[bytes] = []
    done = 0
    for start, end, new in sorted(work.edits, key=lambda one: one[:2]):
        if start < done:
            continue  # a header that two parts share
        out += (raw[done:start], new.replace(b"\r\n", b"\r").replace(b"\n", b"\r") if bare else new)
        done = end
    return b"".join([*out, raw[done:]])


@dataclass(slots=True)
class _Work:
    """Collects what is to stand where in one message."""

    raw: bytes
    find: Find
    change: Field
    limits: Limits
    depth: int
    edits: list[tuple[int, int, bytes]] = field(default_factory=list)
    hints: dict[str, None] = field(default_factory=dict)
    html_bytes: int = 0
    """Of texts that were read as HTML: what is beyond the limit is read as it is written, by one look."""

    def part(self, part: Part, *, top: bool = False) -> None:
        label: tuple[str, str] | None = None
        if part.children:
            self._outside(part)
            for child in part.children:
                self.part(child)
        elif part.content_type in _MESSAGES and self.depth > 0:
            self._inner(part)
        elif _is_text(part, top=top):
            label = self._text(part)
        if part.head >= 0:
            self._header(part, top=top, label=label)

    def _outside(self, part: Part) -> None:
        """Rewrite what stands before the first delimiter and behind the last one."""
        regions = [(part.start, part.lead)] if part.lead > part.start else []
        regions += [(part.tail, part.end)] if 0 <= part.tail < part.end else []
        for start, end in regions:
            data = self.raw[start:end]
            text, used, _ = decode_charset(data, "", list(self.hints))
            new = rewrite_plain(text, self.find)
            if new != text:
                self.edits.append((start, end, _encoded(new, used) or new.encode("utf-8", "replace")))

    def _inner(self, part: Part) -> None:
        written = self.raw[part.start : part.end]
        inner = written if part.encoding in _PLAIN else decode_part(written, part.encoding)
        new = _message(inner, self.find, self.change, self.limits, self.depth - 1)
        if new is None:
            return
        encoding = part.encoding if part.encoding != "uuencode" else "base64"
        self.edits.append((part.start, part.end, _transfer(new, encoding, written)))

    def _text(self, part: Part) -> tuple[str, str] | None:
        """Rewrite a text; return the charset and the transfer encoding that its header is to name, where others."""
        written = self.raw[part.start : part.end]
        encoding = encoding_of_text(written, part.encoding)
        data = decode_part(written, encoding)
        label = part.parameters.get("charset", "")
        inner = ""
        if part.content_type == "text/html" and (meta := META_CHARSET.search(data, 0, 4096)) is not None:
            inner = meta[1].decode("ascii")
        hints = [*([inner] if inner else []), *self.hints]
        text, used, _ = decode_charset(data, label or inner, hints)
        if not data.isascii() and len(self.hints) < _HINTS_MAX:
            self.hints[used] = None
        new = self._rewritten(part, text)
        if new == text:
            return None
        coded = _encoded(new, used)
        told = part.content_type if part.head >= 0 else ""
        if coded is not None and decode_charset(coded, label or inner, hints)[0] == new:
            charset = label
        elif told:
            coded, charset = new.encode("utf-8", "replace"), "utf-8"
        else:
            coded, charset = coded or new.encode("utf-8", "replace"), label
        target = "base64" if encoding == "uuencode" else encoding
        if target == "7bit" and not coded.isascii() and told:
            target = "quoted-printable"
        done = _transfer(coded, target, written)
        if target in _PLAIN and told and encoding_of_text(done, target) != target:
            target = "quoted-printable"
            done = _transfer(coded, target, written)
        if target == "quoted-printable" and decode_part(done, target) != coded:
            target, done = "base64", _transfer(coded, "base64", written)
        self.edits.append((part.start, part.end, done))
        same = charset == label and (target == part.encoding or encoding_of_text(done, part.encoding) == target)
        return None if same else (charset, target)

    def _rewritten(self, part: Part, text: str) -> str:
        kind = part.content_type
        as_html = kind in _HTML or is_html(text) or is_soup(text)
        if as_html and self.html_bytes + len(text) <= self.limits.text_bytes_max:
            self.html_bytes += len(text)
            return rewrite_html(text, self.find)
        text = rewrite_plain(text, self.find)
        if part.parameters.get("format", "").lower() == "flowed":
            text = rewrite_flowed(text, self.find, delete_space=part.parameters.get("delsp", "").lower() == "yes")
        elif kind == "text/calendar":
            text = rewrite_unfolded(text, self.find)
        return text

    def _header(self, part: Part, *, top: bool, label: tuple[str, str] | None) -> None:
        places: list[tuple[int, int]] = []
        fields, body = read_fields(self.raw, part.head, part.end, self.limits, {}, top=top, ends=places)
        wanted = {} if label is None else self._labels(part, label)
        hints = tuple(self.hints)
        for (name, value), (start, end) in zip(fields, places, strict=False):
            words = wanted.pop(name, None)
            if words is not None:
                value = " ".join(words).encode("utf-8", "replace")  # noqa: PLW2901 - what it says now
            new = rewrite_field(self.raw[start:end], name, value, self.change, hints)
            if new is None and words is not None:
                spelled = self.raw[start:end].partition(b":")[0].strip().decode("ascii", "replace")
                new = fold(spelled, words).encode("utf-8", "replace")
                new = new if self.raw[start:end].endswith(b"\r\n") else new.replace(b"\r\n", b"\n")
            if new is not None:
                self.edits.append((start, end, new))
        if wanted:
            self._add(part.head if not places else places[0][0], body, places, wanted)

    def _labels(self, part: Part, label: tuple[str, str]) -> dict[str, list[str]]:
        charset, encoding = label
        parameters = part.parameters | ({"charset": charset} if charset else {})
        return {
            "content-type": parameter_words(part.content_type, parameters),
            "content-transfer-encoding": [encoding],
        }

    def _add(self, at: int, body: int, places: list[tuple[int, int]], wanted: dict[str, list[str]]) -> None:
        """Put fields that were not there before the others."""
        line_end = "\r\n" if b"\r\n" in self.raw[at : body + 2000] else "\n"
        new = "".join(fold(name.title(), words) for name, words in wanted.items())
        if not places and _BLANK_LINE.search(self.raw[at:body]) is None:
            new += "\r\n"
        self.edits.append((at, at, new.replace("\r\n", line_end).encode("utf-8", "replace")))


def _is_text(part: Part, *, top: bool) -> bool:
    """Tell whether a reader may show it as text: also what is called an attachment, where it has no name or is all."""
    kind = part.content_type
    if kind.startswith("multipart/"):
        return True  # no boundary was found, or it is too deep
    if not kind.startswith("text/") and kind not in _REPORTS:
        return False
    return part.disposition != "attachment" or not part.filename or top


def _encoded(text: str, charset: str) -> bytes | None:
    codec = python_codec(charset_name(charset.partition(",")[0]))
    if charset == "us-ascii":
        codec = "ascii"
    if codec is None:
        return None
    try:
        return text.encode(codec)
    except (UnicodeError, ValueError, LookupError):
        return None


def _transfer(data: bytes, encoding: str, was: bytes) -> bytes:
    """Return a part's bytes in a transfer encoding, with the line ends, and the end, of those that it had."""
    line_end = b"\r\n" if b"\r\n" in was or b"\n" not in was else b"\n"
    if encoding == "quoted-printable":
        return quoted_printable(data, line_end)
    if encoding != "base64":
        return data
    letters = pybase64.b64encode(data)
    lines = [letters[at : at + _LINE] for at in range(0, len(letters), _LINE)]
    end = line_end if was.endswith(b"\n") else b""
    return line_end.join(lines) + end
