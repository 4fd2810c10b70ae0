"""What a reply says, as text and as HTML: from what the agent wrote, the signature, and what is quoted.

HTML is sanitized, whoever wrote it: what an editor pastes comes from pages and mails of strangers. Nothing is
replaced silently, though. An image on the network is refused (a reply would load it at each reading, and tell its
server so; and where it is gone, the customer reads a hole): it can be sent along, or linked to. An image that lies in
its own URL, as editors paste them, is sent along as an inline image, as Gmail and Outlook show no other.
"""

from __future__ import annotations

import base64
import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape, unescape

from ingestd.mail import markdown
from ingestd.mail.fields import ComposeError, check, plain_line
from ingestd.mail.html_images import REMOTE_IMAGE
from ingestd.mail.html_safe import sanitize
from ingestd.mail.html_text import to_text
from ingestd.mail.limits import DEFAULT_LIMITS
from ingestd.mail.quoting import Quoted, quote_html, quote_text

_LIMITS = replace(DEFAULT_LIMITS, html_data_url_chars_max=64 * 1024 * 1024)
"""An image in a URL is bounded by the size of the reply."""
_IMAGES_MAX = 200
_IMAGE = re.compile(r"<img\b[^<>]*>")
_SOURCE = re.compile(r' src="([^"]*)"')
_DATA = re.compile(r"data:image/([a-z-]+);base64,(.*)", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TYPES = frozenset({"image/png", "image/gif", "image/jpeg", "image/webp", "image/bmp"})
_NOT_SPACE = re.compile(r"[^\S\n]")


class BodyFormat(enum.StrEnum):
    """How the agent's words are written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image that the text shows: HTML as `cid:NAME`, Markdown as `![alt](cid:NAME)`."""

    cid: str
    """The NAME; 1–64 letters, digits, dots, dashes and underscores."""
    name: str
    """Of the file."""
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Words:
    """What is to be said."""

    format: BodyFormat
    source: str
    signature: str = ""
    """Plain text."""
    quoted: Quoted | None = None
    images: Sequence[InlineImage] = ()
    bytes_max: int = 512 * 1024
    """Of what the agent wrote, images in URLs not counted."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is said."""

    text: str
    """Lines end with "\\n", the last one without."""
    html: str
    """"" for a reply that is text alone."""
    images: Sequence[InlineImage] = ()
    """In the order in which they are shown; `cid` is what the HTML names them by."""


def write_body(words: Words, id_suffix: str) -> Body:
    """Return the body; `id_suffix` makes the names of images unique in the world (RFC 2392), as in `logo.SUFFIX`.

    Raises ComposeError for what cannot be said so.
    """
    source = _lines(words.format.value, words.source)
    signature = _lines("signature", words.signature).strip("\n").rstrip()
    if words.format is BodyFormat.TEXT:
        _check_size(words, source)
        if words.images:
            raise ComposeError("inline images", "cannot be shown by plain text")
        return Body(_text(source.rstrip("\n"), signature, words.quoted), "")
    html = _sanitized(words, source)
    shown = _show_images(words, html, id_suffix)
    text = markdown.readable(source).strip("\n") if words.format is BodyFormat.MARKDOWN else to_text(html)
    _check_size(words, shown.html)
    return replace(
        shown,
        text=_text(text, signature, words.quoted),
        html=_html(shown.html.strip(), signature, words.quoted),
    )


def _check_size(words: Words, written: str) -> None:
    if (size := len(written.encode("utf-8"))) > words.bytes_max:
        raise ComposeError(words.format.value, f"has {size} bytes, the limit is {words.bytes_max}")


def _sanitized(words: Words, source: str) -> str:
    if words.format is BodyFormat.MARKDOWN:
        _check_size(words, source)
        source = markdown.to_html(source)
    html = sanitize(source, _LIMITS).html
    for image in _IMAGE.findall(html):
        target = _SOURCE.search(image)
        if target is None:
            raise ComposeError(words.format.value, "shows an image that cannot be sent; send it as an inline image")
        if target[1] == REMOTE_IMAGE:
            raise ComposeError(words.format.value, "shows an image on the network; send it along, or link to it")
    if "<img" not in html and not to_text(html).strip():
        raise ComposeError(words.format.value, "shows nothing")
    return html


def _show_images(words: Words, html: str, id_suffix: str) -> Body:
    """Return the HTML with the final ids of its images, and these. Each that is given must be shown."""
    given: dict[str, InlineImage] = {}
    for number, one in enumerate(words.images, 1):
        if not _NAME.fullmatch(one.cid):
            raise ComposeError(f"inline image {number}", "needs a name of letters, digits, dots, dashes, underscores")
        if one.cid in given:
            raise ComposeError(f"inline image {number}", "has the name of another")
        if one.content_type.lower() not in _TYPES:
            raise ComposeError(f"inline image {number}", "is no PNG, GIF, JPEG, WebP or BMP")
        plain_line(f"inline image {number}", one.name)
        given[one.cid] = one
    pictures = _Pictures(words.format.value, given, id_suffix)
    html = _IMAGE.sub(lambda image: _SOURCE.sub(pictures.named, image[0]), html)
    for number, one in enumerate(words.images, 1):
        if one.cid not in pictures.shown:
            raise ComposeError(f"inline image {number}", "is not shown by the text")
    return Body("", html, tuple(pictures.shown.values()))


class _Pictures:
    """Gives each image that HTML shows its final id."""

    def __init__(self, field: str, given: dict[str, InlineImage], suffix: str) -> None:
        self.field = field
        self.given = given
        self.suffix = suffix
        self.shown: dict[str, InlineImage] = {}
        self.pasted: dict[str, str] = {}

    def named(self, source: re.Match[str]) -> str:
        target = unescape(source[1])
        data = _DATA.fullmatch(target)
        if data is None:
            name = target[4:]
            if name not in self.given:
                raise ComposeError(self.field, "shows an inline image (cid:) that is not given")
            self.shown.setdefault(name, replace(self.given[name], cid=f"{name}.{self.suffix}"))
        else:
            name = self.pasted.get(target) or self._paste(target, data[1].lower(), data[2])
        if len(self.shown) > _IMAGES_MAX:
            raise ComposeError(self.field, f"shows more than {_IMAGES_MAX} images")
        return f' src="cid:{escape(self.shown[name].cid)}"'

    def _paste(self, target: str, kind: str, encoded: str) -> str:
        number = len(self.pasted) + 1
        while f"pasted-{number}" in self.given:
            number += 1
        kind = {"jpg": "jpeg", "pjpeg": "jpeg"}.get(kind, kind)
        name = self.pasted[target] = f" pasted {number}"  # a space, so that it is no name that can be given
        self.shown[name] = InlineImage(
            cid=f"pasted-{number}.{self.suffix}",
            name=f"image-{number}.{kind.removeprefix('x-')}",
            content_type=f"image/{kind}",
            content=_decoded(self.field, encoded),
        )
        return name


def _decoded(field: str, encoded: str) -> bytes:
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:
        raise ComposeError(field, "shows an image that cannot be read") from error


def _lines(field: str, value: str) -> str:
    # A mark of byte order has no place within a text, and readers take it away where it comes first in a part.
    lines = value.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")
    check(field, lines.replace("\n", " "))
    return lines


def _text(text: str, signature: str, quoted: Quoted | None) -> str:
    parts = [text, f"-- \n{signature}" if signature else "", quote_text(quoted) if quoted is not None else ""]
    return "\n\n".join([parts[0], *(part for part in parts[1:] if part)])


def _html(html: str, signature: str, quoted: Quoted | None) -> str:
    """RFC 3676 §4.3: "-- " alone on a line begins the signature, and programs know it in HTML, too."""
    if signature:
        lines = "<br>".join(_spaced(escape(line, quote=False)) for line in signature.split("\n"))
        html += f'<br><div class="gmail_signature">-- <br>{lines}</div>'
    if quoted is not None:
        html += f"<br>{quote_html(quoted)}"
    return f"<html><body>{html}</body></html>"


def _spaced(line: str) -> str:
    """Keep runs of spaces, as a signature is laid out in them."""
    return _NOT_SPACE.sub(" ", line).replace("  ", "&nbsp; ")
