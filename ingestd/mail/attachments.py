"""The attachments of a message: noted with name, type, size, hash and place, and opened where mail programs would.

What is opened is read here for its contents only; the text in it goes back to `content`, which reads it as it reads
any other. `containers` finds the same bytes again later.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import unquote

import msgspec

from ingestd.mail.calendar import read_calendar
from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.containers import PLAIN_ENCODINGS, SMIME, TNEF, UUENCODE, uu_files
from ingestd.mail.encoding import decode_part
from ingestd.mail.headers import decode_value
from ingestd.mail.inline import content_id, location_id
from ingestd.mail.limits import Limits
from ingestd.mail.mime import Part, read_fields
from ingestd.mail.names import safe_name, type_of
from ingestd.mail.protected import SMIME_ENCRYPTED, SMIME_SIGNED, armor_claim, claim_of, is_smime, read_cms
from ingestd.mail.tnef import SIGNATURE, read_tnef
from ingestd.mail.types import Attachment, CalendarEvent

_MESSAGES = ("message/rfc822", "message/global", "message/news")
_CALENDARS = ("text/calendar", "text/x-vcalendar", "application/ics")
_GENERIC = ("application/octet-stream", "text/plain")
_OF_BASE64 = string.ascii_letters.encode() + b"0123456789+/= \t\n\r\v\f"
_FILE_NAME = re.compile(r"[^/\\]*\.[A-Za-z0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the encoded bytes lie in the raw message."""

    offset: int
    length: int
    encoding: str


@dataclass(slots=True)
class Body:
    """The text of something that was opened, for a message that has no other; see `Tnef` for the fields."""

    plain: str = ""
    html: str = ""
    rtf: bytes = b""


@dataclass(slots=True)
class Attachments:
    """Collects while the tree is walked."""

    raw: bytes
    limits: Limits
    defects: dict[str, None]
    found: list[Attachment] = field(default_factory=list)
    events: list[CalendarEvent] = field(default_factory=list)
    protection: dict[str, None] = field(default_factory=dict)
    bodies: list[Body] = field(default_factory=list)
    calendars: int = 0
    tnefs: int = 0

    def attach(self, part: Part, inside: str) -> None:
        """Note a part as an attachment, or what is in it."""
        if part.encoding == "base64" and _unmarked_text(self.raw[max(part.start, part.end - 4096) : part.end]):
            self.defects["base64-broken"] = None
        data = decode_part(memoryview(self.raw)[part.start : part.end], part.encoding)
        if not data and not part.filename and part.content_type.startswith("text/"):
            return
        if data.startswith(SIGNATURE) and self._open_tnef(part, data):
            return
        name = part.filename or self._name_inside(part, data)
        if is_smime(part):
            self._note_protection(part, data)
        if part.content_type in _CALENDARS or (part.content_type in _GENERIC and name.lower().endswith(".ics")):
            self._read_calendar(part, data)
        identity = content_id(part.get("content-id"))
        if not identity and inside == "multipart/related" and part.get("content-location"):
            identity = location_id(part)
        is_image = part.content_type.startswith("image/")
        self._note(
            name,
            part.content_type,
            data,
            _place(part),
            identity=identity,
            # A file that is no image is never hidden in a text that does not show it: Outlook relates PDFs, too.
            inline=is_image
            and part.disposition != "attachment"
            and (part.disposition == "inline" or (inside == "multipart/related" and bool(identity))),
        )

    def attach_text(self, part: Part) -> None:
        """Note a text part that is a file, too: its sender gave the text a name (Netscape, some scripts)."""
        data = decode_part(self.raw[part.start : part.end], part.encoding)
        if data:
            self._note(part.filename, part.content_type, data, _place(part))

    def open_signed(self, part: Part) -> bytes:
        """Return the MIME entity of an opaque signed part (RFC 8551 §3.5.2); nothing where it holds none."""
        if not is_smime(part):
            return b""
        cms = read_cms(decode_part(self.raw[part.start : part.end], part.encoding), self.limits)
        if cms.entity:
            self.protection[SMIME_SIGNED] = None
        return cms.entity

    def inside(self, raw: bytes) -> Attachments:
        """Return a collector for an entity inside, on the same limits."""
        return Attachments(raw, self.limits, self.defects, calendars=self.calendars, tnefs=self.tnefs)

    def adopt(self, inner: Attachments, part: Part) -> None:
        """Take over what was found in the entity of `part`."""
        self.calendars, self.tnefs = inner.calendars, inner.tnefs
        outer = _place(part)
        for one in inner.found:
            if not self._has_room():
                return
            self.found.append(
                msgspec.structs.replace(
                    one,
                    container=f"{SMIME}/{one.container}" if one.container else SMIME,
                    inner=((one.offset, one.length, one.encoding), *one.inner),
                    offset=outer.offset,
                    length=outer.length,
                    encoding=outer.encoding,
                )
            )
        self.events += inner.events
        self.protection |= inner.protection
        self.bodies += inner.bodies

    def claim(self, part: Part) -> None:
        """Note what a part claims about its protection."""
        found = claim_of(part)
        if found:
            self.protection[found] = None

    def claim_text(self, data: bytes) -> None:
        """Note what a text claims about its protection."""
        found = armor_claim(data)
        if found:
            self.protection[found] = None

    def without_uu(self, part: Part, data: bytes) -> bytes:
        """Cut uuencoded files out of a text and note them as attachments."""
        out: list[bytes] = []
        position = 0
        for index, file in enumerate(uu_files(data)):
            if not self._has_room():
                break
            name = decode_charset(file.name)[0]
            if part.encoding in PLAIN_ENCODINGS:
                self._note(
                    name,
                    type_of(name),
                    file.content,
                    Place(part.start + file.start, file.end - file.start, UUENCODE),
                )
            else:
                self._note(name, type_of(name), file.content, _place(part), container=UUENCODE, index=index)
            out.append(data[position : file.start])
            position = file.end
        return b"".join([*out, data[position:]])

    def show(self, shown: Collection[str]) -> None:
        """Mark as inline what the HTML shows."""
        self.found = [
            msgspec.structs.replace(one, inline=True) if one.content_id in shown and not one.inline else one
            for one in self.found
        ]

    def _open_tnef(self, part: Part, data: bytes) -> bool:
        """Note the files of a winmail.dat; say whether that is all there is, so that the file itself is none."""
        self.tnefs += 1
        tnef = read_tnef(data, self.limits) if self.tnefs <= self.limits.tnefs_max else None
        if tnef is None:
            return False
        for index, one in enumerate(tnef.files):
            self._note(
                one.name,
                one.content_type if "/" in one.content_type else type_of(one.name),
                one.data,
                _place(part),
                identity=content_id(one.content_id.encode("utf-8", "replace")),
                container=TNEF,
                index=index,
            )
        if tnef.event is not None and self._calendar_has_room():
            self.events.append(tnef.event)
        if tnef.plain.strip() or tnef.html.strip() or tnef.rtf:
            self.bodies.append(Body(tnef.plain, tnef.html, tnef.rtf))
        if tnef.damaged:
            self.defects["tnef-broken"] = None
        return not tnef.damaged

    def _note_protection(self, part: Part, data: bytes) -> None:
        kind = part.parameters.get("smime-type", "").lower()
        claim = read_cms(data, self.limits).claim
        if claim == SMIME_ENCRYPTED or (not claim and "enveloped" in kind):
            self.protection[SMIME_ENCRYPTED] = None
        elif kind == "signed-data" or (claim == SMIME_SIGNED and part.filename.lower() in ("", "smime.p7m")):
            self.protection[SMIME_SIGNED] = None
            self.defects["smime-unreadable"] = None

    def _read_calendar(self, part: Part, data: bytes) -> None:
        self.calendars += 1
        if self.calendars > self.limits.calendars_max:
            return
        calendar = read_calendar(
            data, part.parameters.get("charset", ""), part.parameters.get("method", ""), self.limits
        )
        # The same invitation comes twice, as an alternative and as a file (Google, Outlook).
        self.events += [one for one in calendar.events if one not in self.events and self._calendar_has_room()]
        if calendar.text:
            self.bodies.append(Body(calendar.text))

    def _calendar_has_room(self) -> bool:
        return len(self.events) < self.limits.calendar_events_max

    def _name_inside(self, part: Part, data: bytes) -> str:
        """Return a name for a part that has none: a message is named by its subject."""
        if part.content_type not in _MESSAGES:
            location = unquote(part.text("content-location").rpartition("/")[2])
            hints = (part.text("content-description"), location)
            return next((hint for hint in hints if _FILE_NAME.fullmatch(hint)), "")
        fields, _ = read_fields(data, 0, len(data), self.limits, {}, top=True)
        subject = next((decode_value(value) for name, value in fields if name == "subject"), "")
        return subject.replace("/", "-").replace("\\", "-")[:120] + ".eml" if subject else ""

    def _has_room(self) -> bool:
        if len(self.found) < self.limits.parts_max:
            return True
        self.defects["too-many-parts"] = None
        return False

    def _note(
        self,
        name: str,
        kind: str,
        data: bytes,
        place: Place,
        *,
        identity: str = "",
        inline: bool = False,
        container: str = "",
        index: int = 0,
    ) -> None:
        if not self._has_room():
            return
        self.found.append(
            Attachment(
                name=safe_name(name, kind, self.limits.name_chars_max),
                original_name=name[:1000],
                content_type=kind,
                size_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                content_id=identity or None,
                inline=inline,
                offset=place.offset,
                length=place.length,
                encoding=place.encoding,
                container=container,
                index=index,
            )
        )


def _place(part: Part) -> Place:
    return Place(part.start, part.end - part.start, part.encoding)


def _unmarked_text(encoded: bytes) -> bool:
    return encoded.translate(None, _OF_BASE64) != b""
