"""From the tree of parts to what a reader sees: text, HTML and the list of attachments."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import unescape

from ingestd.mail.attachments import Attachments
from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.encoding import decode_part, encoding_of_text
from ingestd.mail.flowed import from_enriched, unflow
from ingestd.mail.html import text_to_html
from ingestd.mail.html_safe import sanitize
from ingestd.mail.html_text import to_text
from ingestd.mail.inline import locate, locations_in, spellings, tie
from ingestd.mail.limits import Limits
from ingestd.mail.mime import Part, is_notice, read_tree
from ingestd.mail.protected import NOTES, SMIME_SIGNED, UNREADABLE_NOTE
from ingestd.mail.rtf import decompress, rtf_body
from ingestd.mail.stubs import has_no_tags, is_html, is_soup, is_stub

META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_LABEL = re.compile(r"[^A-Za-z0-9_.:+-]+")
_CHARSETS_MAX = 20


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
    """Signed and digested messages around this one."""
    charsets: dict[str, None] = field(default_factory=dict)
    """How each text was read, in order."""
    hints: dict[str, None] = field(default_factory=dict)
    """The charsets in which texts beyond ASCII were read: what has no label is probably in one of them."""
    locations: dict[str, str] = field(default_factory=dict)
    """Content-Location → Content-ID, for the HTML that they belong to."""
    remote_images: int = 0
    mismatched_links: int = 0
    files: Attachments = field(init=False)

    def __post_init__(self) -> None:
        self.files = Attachments(self.raw, self.limits, self.defects)

    def read_all(self, root: Part) -> list[Piece]:
        """Return what is to be read of a message: its text, or the text of what was opened, or what it is."""
        pieces = self.read(root)
        if (self.files.bodies or self.files.protection) and not any(_is_visible(piece) for piece in pieces):
            pieces = self._instead() or pieces
        if not any(piece.plain.strip() or piece.html for piece in pieces):
            listed = len(self.files.found)
            pieces = list(self._lost(root)) or pieces
            del self.files.found[listed:]  # a part that is read a second time has no second set of files
        ids = [one.content_id for one in self.files.found if one.content_id is not None]
        if ids:
            known, shown = spellings(ids), set[str]()
            for piece in pieces:
                piece.html, found = tie(piece.html, known)
                shown |= found
            self.files.show(shown)
        return pieces

    def _lost(self, root: Part) -> Iterable[Piece]:
        """Read what no reader would show, where there is nothing else: it may be what the customer wrote."""
        for part in root.walk():
            alone = not part.filename and not part.children and _could_be_text(part.content_type)
            if alone and (pieces := self._text(part, part.content_type)):
                return pieces  # some gateways call the text an attachment
        outside = self.raw[root.start : root.lead] if root.lead >= 0 else b""
        outside = (b"" if is_notice(outside) else outside) + (self.raw[root.tail : root.end] if root.tail >= 0 else b"")
        text = self._decode(outside[: self.limits.text_bytes_max], "", "text/plain")
        if not text.strip():
            return []
        self.defects["text-outside-parts"] = None
        return [Piece(plain=text.replace("\r\n", "\n").replace("\r", "\n"))]

    def _instead(self) -> list[Piece]:
        for body in self.files.bodies:
            plain, html = body.plain, body.html
            if body.rtf:
                from_rtf, html = rtf_body(decompress(body.rtf, self.limits.rtf_bytes_max), self.limits)
                plain = plain or from_rtf
            shown = self._sanitized(html)
            piece = Piece(plain=plain.replace("\r\n", "\n").replace("\0", ""), html=join_html(shown))
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
        return self._other(part, inside)

    def _other(self, part: Part, inside: str) -> list[Piece]:
        """Note what is no text as an attachment; of messages that are wrapped in it, return the pieces."""
        deeper = self.depth < self.limits.container_depth_max
        entity = self.files.open_signed(part) if deeper else b""
        if entity:
            return self._signed(part, entity)
        self.files.attach(part, inside)
        if deeper and inside == "multipart/digest" and part.content_type == "message/rfc822":
            return self._digested(part)
        return []

    def _signed(self, part: Part, entity: bytes) -> list[Piece]:
        """Read what was signed as if it stood where its signature is (RFC 8551 §3.5.2)."""
        root, defects, raw = read_tree(entity, self.limits)
        self.defects.update(defects)
        inner = Content(raw, self.limits, self.defects, self.charset, self.text_bytes, depth=self.depth + 1)
        inner.files = self.files.inside(raw)
        inner.charsets, inner.hints = self.charsets, self.hints
        pieces = inner.read(root)
        self._learn(inner)
        self.files.adopt(inner.files, part)
        return pieces

    def _learn(self, inner: Content) -> None:
        """Take over what was counted in a message inside this one."""
        self.charset, self.text_bytes = inner.charset, inner.text_bytes
        self.remote_images += inner.remote_images
        self.mismatched_links += inner.mismatched_links

    def _digested(self, part: Part) -> list[Piece]:
        """Read a message of a digest where it stands (RFC 2046 §5.1.5); its attachments are in its own attachment."""
        root, _, raw = read_tree(decode_part(self.raw[part.start : part.end], part.encoding), self.limits)
        inner = Content(raw, self.limits, self.defects, self.charset, self.text_bytes, depth=self.depth + 1)
        inner.charsets, inner.hints = self.charsets, self.hints
        text = join_text(inner.read(root))
        self._learn(inner)
        head = [f"{name.title()}: {value}" for name in ("from", "date", "subject") if (value := root.text(name))]
        return [Piece(plain="\n".join([*head, "", text]))] if head or text else []

    def _alternative(self, part: Part) -> list[Piece]:
        """Return one piece that can be read as either, and behind it what is no alternative of it after all."""
        merged = Piece()
        rest: list[Piece] = []
        for child in part.children:
            pieces = self.read(child, inside=part.content_type)
            if merged.plain and child.content_type == "text/plain" and pieces and is_soup(pieces[0].plain):
                pieces = self._sanitized(pieces[0].plain)  # the HTML under the wrong type
            html = join_html(pieces)
            plain = "\n\n".join(piece.plain for piece in pieces if piece.plain.strip())
            if html and not merged.html:
                # All of one child: Apple Mail puts pictures between several HTML parts.
                merged.html = html
                merged.plain = merged.plain or plain
            elif plain and not html and not merged.plain:
                merged.plain = plain
            elif child.content_type not in ("text/enriched", "text/richtext"):
                rest += pieces
        if merged.plain and merged.html and is_stub(merged.plain, merged.html):
            self.defects["text-stub"] = None
            merged.plain = ""
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
        if kind in ("text/x-amp-html", "text/watch-html"):
            return []
        encoding = encoding_of_text(encoded, part.encoding)
        if encoding != part.encoding:
            self.defects["encoding-wrong"] = None
        data = decode_part(encoded, encoding)
        self.files.claim_text(data)
        if kind == "text/plain" and b"begin" in data:
            data = self.files.without_uu(part, data)
        label = part.parameters.get("charset", "")
        if kind == "text/html":
            return self._html(part, data, label)
        text = self._decode(data, label, kind).replace("\r\n", "\n").replace("\r", "\n")
        if kind == "text/plain" and is_html(text):
            self.defects["html-called-plain"] = None
            return self._sanitized(text)
        if part.parameters.get("format", "").lower() == "flowed":
            text = unflow(text, part.parameters.get("delsp", "").lower() == "yes")
        if kind in ("text/enriched", "text/richtext"):
            text = from_enriched(text)
        return [Piece(plain=text)] if text.strip() else []

    def _html(self, part: Part, data: bytes, label: str) -> list[Piece]:
        meta = META_CHARSET.search(data, 0, 4096)
        inner = meta[1].decode("ascii") if meta else ""
        text = self._decode(data, label or inner, part.content_type, [inner] if inner else [])
        if has_no_tags(text):
            text = unescape(text).replace("\r\n", "\n").replace("\r", "\n")
            return [Piece(plain=text)] if text.strip() else []
        if self.locations:
            text = locate(text, part, self.locations)
        return self._sanitized(text)

    def _sanitized(self, text: str) -> list[Piece]:
        safe = sanitize(text, self.limits)
        self.defects.update(dict.fromkeys(safe.defects))
        self.remote_images += safe.remote_images
        self.mismatched_links += safe.mismatched_links
        return [Piece(html=safe.html)] if safe.html.strip() else []

    def _decode(self, data: bytes, label: str, kind: str, hints: Iterable[str] = ()) -> str:
        text, charset, defect = decode_charset(data, label, [*hints, *self.hints])
        if defect is not None:
            self.defects[defect] = None
        if not self.charset or self.charset == "us-ascii":
            self.charset = charset
        if len(self.charsets) < _CHARSETS_MAX:
            claim = f"labelled {_LABEL.sub('', label)[:40]}" if label else "no label"
            self.charsets[f"{kind}: {claim}, read as {charset}"] = None
        if not data.isascii() and len(self.hints) < _CHARSETS_MAX:
            self.hints[charset] = None
        return text.replace("\0", "").removeprefix("\ufeff")


def _could_be_text(content_type: str) -> bool:
    main, _, kind = content_type.partition("/")
    return (main == "text" and kind not in ("calendar", "vcard", "x-vcard", "directory", "css", "x-amp-html")) or (
        content_type in ("message/delivery-status", "message/disposition-notification")
    )


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
