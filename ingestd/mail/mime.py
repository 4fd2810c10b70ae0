"""The parts of a message (RFC 2045, 2046), each with its exact place in the raw bytes.

Our own walk, because an attachment is later cut out of the raw message by
offset and length, which no parser at hand reports. Each level scans only the
region of its parent, so a missing end boundary inside cannot swallow what
follows outside; the cost is size × depth, and the depth is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.encoding import encoding_name
from ingestd.mail.headers import decode_value, parse_parameters
from ingestd.mail.limits import Limits

_FIELD = re.compile(rb"([!-9;-~]{1,200})[ \t]*:[ \t]*([^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)")
_BLANK = re.compile(rb"[ \t]*\r*(?:\n|\Z)")
_DELIMITER_TAIL = re.compile(rb"(--)?[ \t]*\r*(?:\n|\Z)")
_GUESSED_BOUNDARY = re.compile(
    rb"^--([^\r\n]{1,200}+)\r?\n(?:content-|mime-version:|x-[a-z-]{1,40}+:)", re.IGNORECASE | re.MULTILINE
)
# What stands before the first part for readers of 1993 (RFC 2046 §5.1.1 shows it), in the languages of its authors.
_NOTICE = re.compile(
    rb"\s*+(?:[^:\n]{0,100}(?:mime|multi-?part)[^:\n]{0,100}(?:\n[^:\n]{0,200}){0,4})?\s*", re.IGNORECASE
)
_PARAMETER_LINE = re.compile(rb"(?:boundary|charset|name|filename|format|delsp|type)[*0-9]*[ \t]*=", re.IGNORECASE)
_LOOK_LINES = 30
"""How many lines may be folded without the space that marks it: DKIM signatures are long."""
_LOOK_BYTES = 4096

Fields = list[tuple[str, bytes]]


@dataclass(slots=True)
class Part:
    """A node of the tree; `start` and `end` bound its encoded body in the raw message."""

    fields: Fields
    content_type: str
    parameters: dict[str, str]
    disposition: str
    disposition_parameters: dict[str, str]
    encoding: str
    start: int
    end: int
    children: list[Part] = field(default_factory=list)
    lead: int = -1
    """Where a multipart's first delimiter stands: what is before it belongs to no part."""
    tail: int = -1
    """Where its last delimiter ends: what is behind it belongs to no part."""
    head: int = -1
    """Where its header begins; -1 for one whose fields stand in the header of the multipart around it."""
    _values: dict[str, bytes] | None = None
    _texts: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> bytes:
        """Return the first value of a header field (lower-case name) that says something, or empty bytes."""
        if self._values is None:
            self._values = {}
            for key, value in self.fields:
                if value:
                    self._values.setdefault(key, value)
        return self._values.get(name, b"")

    def text(self, name: str, hints: tuple[str, ...] = ()) -> str:
        """Return the first value of a field, decoded; once, as each judge of a message asks for the same few.

        `hints` count at the first call only.
        """
        known = self._texts.get(name)
        if known is None:
            known = self._texts[name] = decode_value(self.get(name), hints)
        return known

    def get_all(self, name: str) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    def walk(self) -> list[Part]:
        """Return this part and all below it, in the order of the message."""
        out = [self]
        for child in self.children:
            out += child.walk()
        return out

    @property
    def filename(self) -> str:
        return self.disposition_parameters.get("filename") or self.parameters.get("name") or ""


class _Walker:
    def __init__(self, raw: bytes, limits: Limits) -> None:
        self.raw = raw
        self.limits = limits
        self.defects: dict[str, None] = {}
        self.parts = 0
        self.hints: tuple[str, ...] = ()
        """The charset of the last text: raw 8-bit names of the files behind it are probably in it."""

    def defect(self, word: str) -> None:
        self.defects[word] = None

    def part(self, start: int, end: int, depth: int, default_type: str) -> Part:
        self.parts += 1
        fields, body = read_fields(self.raw, start, end, self.limits, self.defects, top=depth == 0)
        part = make_part(fields, body, end, default_type, self.hints)
        part.head = start
        if part.content_type.startswith("text/") and "charset" in part.parameters:
            self.hints = (part.parameters["charset"],)
        if depth == 0 and b"/" not in part.get("content-type"):
            self._recover_type(part)
        if part.content_type.startswith("multipart/"):
            self._split(part, depth)
        elif part.content_type == "message/rfc822" and depth == 0 and part.encoding not in ("base64", "uuencode"):
            # The whole message is one forwarded message (some gateways): read that one.
            part.children.append(self.part(part.start, part.end, depth + 1, "text/plain"))
        return part

    def _recover_type(self, part: Part) -> None:
        """Read a body that begins with a delimiter as what it is, where a gateway lost the field that says so."""
        guess = _GUESSED_BOUNDARY.search(self.raw, part.start, min(part.end, part.start + _LOOK_BYTES))
        if guess is None or not is_notice(self.raw[part.start : guess.start()]):
            return
        boundary = guess[1].rstrip(b" \t")
        if self.raw.find(b"\n--" + boundary + b"--", guess.end(), part.end) >= 0:
            part.content_type = "multipart/mixed"
            part.parameters["boundary"] = boundary.decode("utf-8", "replace")
            self.defect("content-type-missing")

    def _split(self, part: Part, depth: int) -> None:
        if depth >= self.limits.depth_max:
            self.defect("too-deep")
            return
        regions = self._regions(part)
        default = "message/rfc822" if part.content_type == "multipart/digest" else "text/plain"
        self._undelimited(part, default)
        for start, end in regions:
            if self.parts >= self.limits.parts_max:
                self.defect("too-many-parts")
                break
            if _BLANK.fullmatch(self.raw, start, end):
                continue
            part.children.append(self.part(start, end, depth + 1, default))
        self._adopt(part)

    def _undelimited(self, part: Part, default: str) -> None:
        """Read the first part of a multipart whose first delimiter is missing: its header follows the multipart's."""
        at = [index for index, (name, _) in enumerate(part.fields) if name == "content-type"][1:2]
        if not at or part.lead < 0 or self.parts >= self.limits.parts_max:
            return
        if is_notice(self.raw[part.start : part.lead]):
            return
        child = make_part(part.fields[at[0] :], part.start, self._before(part.lead), default, self.hints)
        if not child.content_type.startswith(("multipart/", "message/")):
            self.defect("boundary-missing")
            self.parts += 1
            part.children.append(child)
            part.lead = part.start

    def _adopt(self, part: Part) -> None:
        """Give an inner multipart that shares our boundary its parts back: the texts that follow it here."""
        boundary = part.parameters.get("boundary")
        kept: list[Part] = []
        inner: Part | None = None
        for child in part.children:
            shares = child.content_type.startswith("multipart/") and child.parameters.get("boundary") == boundary
            if shares and not child.children and child.start >= child.end:
                self.defect("boundary-shared")
                inner = child
                kept.append(child)
            elif inner is not None and child.content_type.startswith("text/") and not child.filename:
                inner.children.append(child)
            else:
                inner = None
                kept.append(child)
        part.children = kept

    def _regions(self, part: Part) -> list[tuple[int, int]]:
        boundary = part.parameters.get("boundary", "").rstrip().encode("utf-8", "replace")
        regions = self._between(part, boundary) if boundary else []
        if regions:
            return regions
        self.defect("boundary-missing")
        guess = _GUESSED_BOUNDARY.search(self.raw, part.start, part.end)
        if guess is not None:
            return self._between(part, guess[1].rstrip(b" \t"))
        return []

    def _between(self, part: Part, boundary: bytes) -> list[tuple[int, int]]:
        """Return the body parts' regions. The line break before a boundary belongs to it (RFC 2046 §5.1.1)."""
        delimiter = b"--" + boundary
        regions: list[tuple[int, int]] = []
        begun: int | None = None
        # find, not a pattern: compiling one for every boundary cost a fifth of the whole parse.
        at = part.start if self.raw.startswith(delimiter, part.start, part.end) else self._next(delimiter, part, -1)
        for _ in range(self.limits.delimiters_max):
            if at < 0 or len(regions) > self.limits.parts_max:
                break
            tail = _DELIMITER_TAIL.match(self.raw, at + len(delimiter), part.end)
            if tail is not None:
                part.lead = at if part.lead < 0 else part.lead
                if begun is not None:
                    regions.append((begun, max(begun, self._before(at))))
                begun = None if tail[1] else tail.end()
                part.tail = -1 if tail[1] is None else tail.end() if part.tail < 0 else part.tail
            at = self._next(delimiter, part, at)
        if begun is not None:
            self.defect("end-boundary-missing")
            regions.append((begun, part.end))
        return regions

    def _next(self, delimiter: bytes, part: Part, at: int) -> int:
        """Return where the next line begins with `delimiter`, -1 where none does."""
        found = self.raw.find(b"\n" + delimiter, part.start if at < 0 else at + len(delimiter), part.end)
        return found + 1 if found >= 0 else -1

    def _before(self, position: int) -> int:
        if self.raw[position - 1 : position] == b"\n":
            position -= 1
            if self.raw[position - 1 : position] == b"\r":
                position -= 1
        return position


def is_notice(text: bytes) -> bool:
    """Return whether what stands before the first part is only for readers without MIME."""
    return _NOTICE.fullmatch(text[:_LOOK_BYTES]) is not None


def make_part(
    fields: Fields, start: int, end: int, default_type: str = "text/plain", hints: Sequence[str] = ()
) -> Part:
    """Build a leaf from its header fields."""
    content_type, parameters = default_type, dict[str, str]()
    disposition, disposition_parameters, encoding = "", dict[str, str](), "7bit"
    seen: set[str] = set()
    for name, value in fields:
        if not name.startswith("content-") or name in seen:
            continue
        seen.add(name)
        if name == "content-type":
            given, parameters = parse_parameters(_text(value, hints))
            content_type = _plausible_type(given, default_type, parameters)
        elif name == "content-disposition":
            disposition, disposition_parameters = parse_parameters(_text(value, hints))
        elif name == "content-transfer-encoding":
            encoding = encoding_name(_text(value))
    return Part(fields, content_type, parameters, disposition, disposition_parameters, encoding, start, end)


def _plausible_type(given: str, default_type: str, parameters: dict[str, str]) -> str:
    if "/" in given and len(given) < 130:
        return "text/plain" if given == "plain/text" else given
    if parameters.get("boundary"):
        return "multipart/mixed"
    return {"text": "text/plain", "html": "text/html"}.get(given, default_type)


def _text(value: bytes, hints: Sequence[str] = ()) -> str:
    return value.decode("ascii") if value.isascii() else decode_charset(value, "", hints)[0]


def read_fields(
    raw: bytes,
    start: int,
    end: int,
    limits: Limits,
    defects: dict[str, None],
    *,
    top: bool = False,
    ends: list[tuple[int, int]] | None = None,
) -> tuple[Fields, int]:
    """Return the header fields of a region and where its body starts; put where each begins and ends into `ends`.

    A line that is no field continues the one before where known fields follow
    it, and begins the body where they do not: both are real (folding without
    the space; a lost empty line).
    """
    fields: Fields = []
    position = _skip_blank(raw, start, end) if top else start
    stop = min(end, start + limits.header_bytes_max)
    places: list[int] = []
    while position < stop:
        blank = _BLANK.match(raw, position, end) if raw[position] in b" \t\r\n" else None
        if blank is not None:
            return fields, max(blank.end(), position + 1) if blank.end() > position else end
        match = _FIELD.match(raw, position, stop)
        if match is not None and (top or fields or _is_mime_field(match[1])):
            if len(fields) < limits.header_fields_max:
                places.append(position)
                fields.append((match[1].lower().decode("ascii"), _unfold(match[2])[: limits.value_bytes_max]))
                if ends is not None:
                    ends.append((position, match.end()))
            else:
                defects["too-many-fields"] = None
            position = match.end()
            continue
        next_line = raw.find(b"\n", position, stop) + 1 or stop
        if top and raw.startswith((b"From ", b">From "), position) and _field_follows(raw, position, stop):
            position = next_line  # an mbox separator that was left in place
            continue
        if not fields or not (_PARAMETER_LINE.match(raw, position, stop) or _field_follows(raw, position, stop)):
            defects["header-end-missing"] = None
            return _without_text(fields, places, position)
        defects["header-folded-wrongly"] = None
        _fold(fields, raw[position:next_line], limits.folds_bytes_max)
        if ends is not None:
            ends[-1] = ends[-1][0], next_line
        position = next_line
    if stop < end:
        defects["header-too-long"] = None
        separator = re.compile(rb"\n\r?\n").search(raw, stop, end)
        return fields, separator.end() if separator else end
    return fields, end


def _without_text(fields: Fields, places: list[int], body: int) -> tuple[Fields, int]:
    """Give unknown fields right before the text back to it: "Problem: the printer"."""
    known = len(fields)
    while known > 1 and not _is_mime_field(fields[known - 1][0].encode("ascii")):
        known -= 1
    return fields[:known], places[known] if known < len(fields) else body


def _fold(fields: Fields, line: bytes, bytes_max: int) -> None:
    name, value = fields[-1]
    if len(value) < bytes_max:
        fields[-1] = name, value + b" " + line.strip()[:bytes_max]


def _skip_blank(raw: bytes, position: int, end: int) -> int:
    while position < end and (blank := _BLANK.match(raw, position, end)) is not None and blank.end() > position:
        position = blank.end()
    return position


def _field_follows(raw: bytes, position: int, stop: int) -> bool:
    """Return whether one of the next lines is a field that everybody knows, and no line before it is empty."""
    if raw.startswith(b"--", position):
        return False
    for _ in range(_LOOK_LINES):
        position = raw.find(b"\n", position, stop) + 1
        if position == 0 or raw.startswith(b"--", position) or _BLANK.match(raw, position, stop) is not None:
            return False  # a delimiter: what follows are fields of a part
        match = _FIELD.match(raw, position, stop)
        if match is not None and _is_mime_field(match[1]):
            return True
    return False


def _is_mime_field(name: bytes) -> bool:
    # A part without header that begins with "Note: …" is text, not a field. Forwarded messages have any field.
    lower = name.lower()
    return lower.startswith((b"content-", b"x-", b"mime-")) or lower in _FIRST_FIELDS


_FIRST_FIELDS = frozenset(
    b"received return-path from to subject date message-id delivered-to dkim-signature authentication-results sender "
    b"reply-to cc bcc importance priority precedence thread-topic thread-index references in-reply-to user-agent "
    b"arc-seal arc-message-signature arc-authentication-results domainkey-signature received-spf errors-to "
    b"disposition-notification-to return-receipt-to auto-submitted organization comments keywords sensitivity "
    b"resent-from resent-to resent-date resent-message-id resent-sender feedback-id list-id list-unsubscribe list-help "
    b"list-post list-subscribe list-archive list-owner accept-language msip_labels status".split()
)


def _unfold(value: bytes) -> bytes:
    return value.replace(b"\r\n", b"").replace(b"\n", b"").strip(b" \t\r")


def read_tree(raw: bytes, limits: Limits) -> tuple[Part, dict[str, None], bytes]:
    """Return the tree, the defects (as an ordered set), and the bytes that the offsets count in.

    Those bytes are `raw` except where it has bare CR line ends only: these are
    read as LF, one byte for one, so the offsets hold for `raw` too.
    """
    text = raw
    bare = b"\n" not in raw and b"\r" in raw
    if bare:
        text = raw.replace(b"\r", b"\n")
    walker = _Walker(text, limits)
    if bare:
        walker.defect("bare-cr")
    root = walker.part(0, len(text), 0, "text/plain")
    return root, walker.defects, text
