"""From the tree of parts to what a reader sees: text, HTML and the list of attachments."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.encoding import decode_part, decode_uu
from ingestd.mail.flowed import unflow
from ingestd.mail.headers import decode_value, message_ids
from ingestd.mail.html import text_to_html
from ingestd.mail.html_safe import sanitize
from ingestd.mail.html_text import to_text
from ingestd.mail.limits import Limits
from ingestd.mail.mime import Part, read_fields
from ingestd.mail.names import safe_name
from ingestd.mail.types import Attachment

_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_UU_BEGIN = re.compile(rb"^begin(?:-base64)? [0-7]{3,4} ([^\r\n]{1,255})\r?\n", re.MULTILINE)
_UU_END = re.compile(rb"^end[ \t]*\r?(?:\n|\Z)", re.MULTILINE)


@dataclass(slots=True)
class Piece:
    """A stretch of the message to be read: as plain text, as sanitized HTML, or either (alternatives)."""

    plain: str = ""
    html: str = ""


@dataclass(slots=True)
class Content:
    """Collects while the tree is walked."""

    raw: bytes
    limits: Limits
    defects: dict[str, None]
    attachments: list[Attachment] = field(default_factory=list)
    charset: str = ""
    text_bytes: int = 0
    remote_images: int = 0
    mismatched_links: int = 0

    def read(self, part: Part, *, inside: str = "") -> list[Piece]:
        """Return the readable pieces of a part in order, and note its attachments."""
        kind = part.content_type
        if part.children:
            if kind == "multipart/alternative":
                return self._alternative(part)
            pieces: list[Piece] = []
            for child in part.children:
                pieces += self.read(child, inside=kind)
            return pieces
        if kind.startswith("multipart/"):
            # No boundary was found: what is there is read as text, so that it is not lost.
            return self._text(part, "text/plain")
        if self._is_text(part, inside):
            return self._text(part, kind)
        if not inside and kind in ("text/plain", "text/html"):
            # The whole message is one text that is called an attachment: it is both.
            self._attach(part, inside)
            return self._text(part, kind)
        self._attach(part, inside)
        return []

    def _alternative(self, part: Part) -> list[Piece]:
        merged = Piece()
        rest: list[Piece] = []
        for child in part.children:
            for piece in self.read(child, inside=part.content_type):
                if piece.plain.strip() and not piece.html and not merged.plain:
                    merged.plain = piece.plain
                elif piece.html and not merged.html:
                    merged.html = piece.html
                    merged.plain = merged.plain or piece.plain
                elif piece.plain.strip() or piece.html:
                    rest.append(piece)
        return [merged, *rest] if merged.plain or merged.html else rest

    def _is_text(self, part: Part, inside: str) -> bool:
        if part.content_type not in ("text/plain", "text/html", "text/enriched", "text/x-amp-html", "text/watch-html"):
            return part.content_type == "text/richtext" and not part.filename
        if part.disposition == "attachment":
            return False
        # Netscape sent the text itself as `inline; filename=`, Apple Mail sends attached text files so: a name makes
        # it a file, unless it is an alternative or no text came before it.
        return not part.filename or inside == "multipart/alternative" or self.text_bytes == 0

    def _text(self, part: Part, kind: str) -> list[Piece]:
        room = self.limits.text_bytes_max - self.text_bytes
        encoded = self.raw[part.start : part.end]
        if len(encoded) > room:
            self.defects["text-too-long"] = None
            encoded = encoded[: max(0, room)]
        self.text_bytes += len(encoded)
        data = decode_part(encoded, part.encoding)
        if kind in ("text/x-amp-html", "text/watch-html"):
            return []
        if kind == "text/plain" and b"begin" in data:
            data = self._without_uu(part, data)
        label = part.parameters.get("charset", "")
        if kind == "text/html":
            return self._html(data, label)
        text = self._decode(data, label).replace("\r\n", "\n").replace("\r", "\n")
        if part.parameters.get("format", "").lower() == "flowed":
            text = unflow(text, part.parameters.get("delsp", "").lower() == "yes")
        if kind in ("text/enriched", "text/richtext"):
            text = re.sub(r"</?[a-zA-Z-]{1,60}>", "", text)
        return [Piece(plain=text)] if text.strip() else []

    def _html(self, data: bytes, label: str) -> list[Piece]:
        if not label:
            meta = _META_CHARSET.search(data, 0, 4096)
            label = meta[1].decode("ascii") if meta else ""
        safe = sanitize(self._decode(data, label), self.limits)
        self.defects.update(dict.fromkeys(safe.defects))
        self.remote_images += safe.remote_images
        self.mismatched_links += safe.mismatched_links
        return [Piece(html=safe.html)] if safe.html.strip() else []

    def _decode(self, data: bytes, label: str) -> str:
        text, charset, defect = decode_charset(data, label)
        if defect is not None:
            self.defects[defect] = None
        if not self.charset or self.charset == "us-ascii":
            self.charset = charset
        return text.replace("\0", "").removeprefix("\ufeff")

    def _without_uu(self, part: Part, data: bytes) -> bytes:
        """Cut uuencoded files out of a text and note them as attachments."""
        out: list[bytes] = []
        position = 0
        for match in _UU_BEGIN.finditer(data):
            if match.start() < position:
                continue
            end = _UU_END.search(data, match.end())
            if end is None:
                break
            decoded = decode_uu(data[match.end() : end.start()])
            if not decoded or len(self.attachments) >= self.limits.parts_max:
                continue
            name = decode_charset(match[1])[0]
            plain = part.encoding in ("7bit", "8bit", "binary")
            offset = part.start + match.start() if plain else -1
            self._note(
                name, "application/octet-stream", decoded, None, False, offset, end.end() - match.start(), "uuencode"
            )
            out.append(data[position : match.start()])
            position = end.end()
        return b"".join([*out, data[position:]])

    def _attach(self, part: Part, inside: str) -> None:
        content_id = next(iter(message_ids(decode_value(part.get("content-id")))), None)
        encoded = self.raw[part.start : part.end]
        if part.encoding == "base64" and _unmarked_text(encoded):
            self.defects["base64-broken"] = None
        data = decode_part(encoded, part.encoding)
        if not data and not part.filename and part.content_type.startswith("text/"):
            return
        inline = (
            part.disposition != "attachment"
            and (part.disposition == "inline" or content_id is not None)
            and (part.content_type.startswith("image/") or inside == "multipart/related")
        )
        name = part.filename or self._name_inside(part)
        self._note(
            name,
            part.content_type,
            data,
            content_id.strip("<>") if content_id else None,
            inline,
            part.start,
            part.end - part.start,
            part.encoding,
        )

    def _name_inside(self, part: Part) -> str:
        """A forwarded message is named by its subject."""
        if part.content_type != "message/rfc822":
            description = decode_value(part.get("content-description"))
            return description if "." in description[-6:] else ""
        fields, _ = read_fields(self.raw, part.start, part.end, self.limits, {}, top=True)
        subject = next((decode_value(value) for name, value in fields if name == "subject"), "")
        return subject.replace("/", "-").replace("\\", "-")[:120] + ".eml" if subject else ""

    def _note(
        self,
        name: str,
        kind: str,
        data: bytes,
        content_id: str | None,
        inline: bool,
        offset: int,
        length: int,
        encoding: str,
    ) -> None:
        self.attachments.append(
            Attachment(
                name=safe_name(name, kind, self.limits.name_chars_max),
                original_name=name[:1000],
                content_type=kind,
                size_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                content_id=content_id,
                inline=inline,
                offset=offset,
                length=length,
                encoding=encoding,
            )
        )


def _unmarked_text(encoded: bytes) -> bool:
    return re.search(rb"[^A-Za-z0-9+/=\s]", encoded[-4096:]) is not None


def join_text(pieces: list[Piece]) -> str:
    """Return what a reader sees as plain text."""
    return "\n\n".join(text for piece in pieces if (text := _piece_text(piece)))


def _piece_text(piece: Piece) -> str:
    return (piece.plain if piece.plain.strip() else to_text(piece.html)).strip()


def join_html(pieces: list[Piece]) -> str:
    """Return one sanitized document, "" where no piece is HTML."""
    if not any(piece.html for piece in pieces):
        return ""
    return "\n".join(piece.html or text_to_html(piece.plain) for piece in pieces)
