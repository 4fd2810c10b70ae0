"""From the tree of parts to what a reader sees: text, HTML and the list of attachments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ingestd.mail.attachments import Attachments
from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.encoding import decode_part
from ingestd.mail.flowed import unflow
from ingestd.mail.html import sanitize, text_to_html, to_text
from ingestd.mail.inline import locate, locations_in, spellings, tie
from ingestd.mail.limits import Limits
from ingestd.mail.mime import Part, read_tree
from ingestd.mail.protected import NOTES, SMIME_SIGNED, UNREADABLE_NOTE
from ingestd.mail.rtf import decompress, rtf_body

_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)


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
    charset: str = ""
    text_bytes: int = 0
    depth: int = 0
    """Signed messages around this one."""
    locations: dict[str, str] = field(default_factory=dict)
    """Content-Location → Content-ID, for the HTML that they belong to."""
    files: Attachments = field(init=False)

    def __post_init__(self) -> None:
        self.files = Attachments(self.raw, self.limits, self.defects)

    def read_all(self, root: Part) -> list[Piece]:
        """Return what is to be read of a message: its text, or the text of what was opened, or what it is."""
        pieces = self.read(root)
        if (self.files.bodies or self.files.protection) and not any(_is_visible(piece) for piece in pieces):
            pieces = self._instead() or pieces
        ids = [one.content_id for one in self.files.found if one.content_id is not None]
        if ids:
            known, shown = spellings(ids), set[str]()
            for piece in pieces:
                piece.html, found = tie(piece.html, known)
                shown |= found
            self.files.show(shown)
        return pieces

    def _instead(self) -> list[Piece]:
        for body in self.files.bodies:
            plain, html = body.plain, body.html
            if body.rtf:
                from_rtf, html = rtf_body(decompress(body.rtf, self.limits.rtf_bytes_max), self.limits)
                plain = plain or from_rtf
            html, defects = sanitize(html, self.limits)
            self.defects.update(dict.fromkeys(defects))
            piece = Piece(plain=plain.replace("\r\n", "\n").replace("\0", ""), html=html)
            if _is_visible(piece):
                return [piece]
        claims = [note for claim, note in NOTES.items() if claim in self.files.protection]
        if not claims and SMIME_SIGNED in self.files.protection and "smime-unreadable" in self.defects:
            claims = [UNREADABLE_NOTE]
        return [Piece(plain=claims[0])] if claims else []

    def read(self, part: Part, *, inside: str = "") -> list[Piece]:
        """Return the readable pieces of a part in order, and note its attachments."""
        kind = part.content_type
        self.files.claim(part)
        if kind == "multipart/related":
            self.locations |= locations_in(part)
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
            if part.disposition_parameters.get("filename") and inside != "multipart/alternative":
                self.files.attach_text(part)
            return self._text(part, kind)
        if not inside and kind in ("text/plain", "text/html"):
            # The whole message is one text that is called an attachment: it is both.
            self.files.attach(part, inside)
            return self._text(part, kind)
        entity = self.files.open_signed(part) if self.depth < self.limits.container_depth_max else b""
        if entity:
            return self._signed(part, entity)
        self.files.attach(part, inside)
        return []

    def _signed(self, part: Part, entity: bytes) -> list[Piece]:
        """Read what was signed as if it stood where its signature is (RFC 8551 §3.5.2)."""
        root, defects, raw = read_tree(entity, self.limits)
        self.defects.update(defects)
        inner = Content(raw, self.limits, self.defects, self.charset, self.text_bytes, self.depth + 1)
        inner.files = self.files.inside(raw)
        pieces = inner.read(root)
        self.charset, self.text_bytes = inner.charset, inner.text_bytes
        self.files.adopt(inner.files, part)
        return pieces

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
        self.files.claim_text(data)
        if kind == "text/plain" and b"begin" in data:
            data = self.files.without_uu(part, data)
        label = part.parameters.get("charset", "")
        if kind == "text/html":
            return self._html(part, data, label)
        text = self._decode(data, label).replace("\r\n", "\n").replace("\r", "\n")
        if part.parameters.get("format", "").lower() == "flowed":
            text = unflow(text, part.parameters.get("delsp", "").lower() == "yes")
        if kind in ("text/enriched", "text/richtext"):
            text = re.sub(r"</?[a-zA-Z-]{1,60}>", "", text)
        return [Piece(plain=text)] if text.strip() else []

    def _html(self, part: Part, data: bytes, label: str) -> list[Piece]:
        if not label:
            meta = _META_CHARSET.search(data, 0, 4096)
            label = meta[1].decode("ascii") if meta else ""
        text = self._decode(data, label)
        if self.locations:
            text = locate(text, part, self.locations)
        html, defects = sanitize(text, self.limits)
        self.defects.update(dict.fromkeys(defects))
        return [Piece(html=html)] if html.strip() else []

    def _decode(self, data: bytes, label: str) -> str:
        text, charset, defect = decode_charset(data, label)
        if defect is not None:
            self.defects[defect] = None
        if not self.charset or self.charset == "us-ascii":
            self.charset = charset
        return text.replace("\0", "").removeprefix("\ufeff")


def _is_visible(piece: Piece) -> bool:
    return bool(piece.plain.strip() or "<img" in piece.html or to_text(piece.html))


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
