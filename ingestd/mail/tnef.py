"""winmail.dat: Outlook's own envelope, which Exchange sends to the outside by mistake ([MS-OXTNEF]).

A small reader of ours and not `tnefparse`: its last release is of 2021, a count of
properties in a file of 100 bytes keeps it busy for minutes, and messages in messages have
no bound. The format is a flat list of records; what is damaged ends the reading of its
record, and what was read until then counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.headers import clean
from ingestd.mail.limits import DEFAULT_LIMITS, Limits
from ingestd.mail.mapi import Key, Properties, Value, read_properties
from ingestd.mail.rtf import decompress, rtf_body
from ingestd.mail.types import CalendarEvent

SIGNATURE = b"\x78\x9f\x3e\x22"
_HEADER_BYTES = 9
_CHECKSUM_BYTES = 2

# Attributes by their whole number, type included ([MS-OXTNEF] §2.1.3.2).
_SUBJECT = 0x00018004
_MESSAGE_CLASS = 0x00078008
_BODY = 0x0002800C
_MESSAGE_PROPERTIES = 0x00069003
_CODEPAGE = 0x00069007
_ATTACH_RENDERING = 0x00069002
_ATTACH_TITLE = 0x00018010
_ATTACH_DATA = 0x0006800F
_ATTACH_PROPERTIES = 0x00069005

# Properties ([MS-OXPROPS]).
_P_MESSAGE_CLASS = 0x001A
_P_SUBJECT = 0x0037
_P_START, _P_END = 0x0060, 0x0061
_P_ORGANIZER = (0x5D02, 0x0065)
_P_BODY = 0x1000
_P_RTF = 0x1009
_P_HTML = 0x1013
_P_DISPLAY_NAME = 0x3001
_P_DATA = 0x3701
_P_FILENAME, _P_LONG_FILENAME = 0x3704, 0x3707
_P_MIME_TAG = 0x370E
_P_CONTENT_ID = 0x3712
_P_HTML_CODEPAGE, _P_CODEPAGE = 0x3FDE, 0x3FFD
_APPOINTMENT = bytes.fromhex("0220060000000000c000000000000046")
_APPOINTMENT_LOCATION = (_APPOINTMENT, 0x8208)
_APPOINTMENT_BEGINS, _APPOINTMENT_ENDS = (_APPOINTMENT, 0x820D), (_APPOINTMENT, 0x820E)

_EMBEDDED_MESSAGE = bytes.fromhex("0703020000000000c000000000000046")
"""IID_IMessage: the object behind it is a TNEF stream of its own ([MS-OXTNEF] §2.1.3.3.15)."""
_OBJECT_PREFIX = bytes.fromhex("0000000000c000000000000046")
_METHODS = {
    "request": "REQUEST",
    "canceled": "CANCEL",
    "resp.pos": "REPLY",
    "resp.neg": "REPLY",
    "resp.tent": "REPLY",
}
# Numbers of Windows that have no codec called cpN; 1200 (UTF-16) is what some stores write for 8-bit text, too.
_CODECS = {
    65001: "utf-8",
    20127: "us-ascii",
    20866: "koi8-r",
    21866: "koi8-u",
    28591: "cp1252",
    50220: "iso-2022-jp",
    54936: "gb18030",
    1200: "",
    1201: "",
}
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class TnefFile:
    """An attachment inside: `content_type` and `content_id` are "" where nothing is said."""

    name: str = ""
    content_type: str = ""
    content_id: str = ""
    data: bytes = b""
    short_name: str = ""
    embedded: bytes = b""


@dataclass(slots=True)
class Tnef:
    """What a TNEF stream holds. Of the bodies any may be empty; `html` is not sanitized, `rtf` is still packed."""

    message_class: str = ""
    subject: str = ""
    plain: str = ""
    html: str = ""
    rtf: bytes = b""
    files: list[TnefFile] = field(default_factory=list)
    event: CalendarEvent | None = None
    damaged: bool = False


def read_tnef(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Tnef | None:
    """Return what the stream holds, or None where it is no TNEF. Never raises.

    Messages in the message are not nested in the result: their files follow, and their text is a file.
    `files` are the same for the same bytes and limits, so that their numbers can be kept.

    >>> read_tnef(b"PK") is None
    True
    """
    return _read(data, limits, 0, _Budget(limits.rtf_bytes_max))


@dataclass(slots=True)
class _Budget:
    """RTF that may still be unpacked, over all messages in the message: hundreds fit into one mail."""

    rtf_bytes: int


def _read(data: bytes, limits: Limits, depth: int, budget: _Budget) -> Tnef | None:
    if not data.startswith(SIGNATURE):
        return None
    reader = _Reader(limits)
    for level, name, value in _attributes(data, limits, reader.result):
        if level == 1:
            reader.message(name, value)
        else:
            reader.attachment(name, value)
    return reader.finish(depth, budget)


def _attributes(data: bytes, limits: Limits, result: Tnef) -> Iterator[tuple[int, int, bytes]]:
    """Yield level, number and value of each attribute. A bad checksum is no reason to lose a file."""
    at = 6
    for _ in range(limits.tnef_attributes_max):
        if at >= len(data):
            return
        head = data[at : at + _HEADER_BYTES]
        if len(head) < _HEADER_BYTES or head[0] not in (1, 2):
            # Something was appended, or the stream is cut off; zeros and line breaks only fill up.
            result.damaged = bool(data[at : at + 4096].strip(b"\0\r\n "))
            return
        name, length = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:9], "little")
        at += _HEADER_BYTES
        value = data[at : at + length]
        yield head[0], name, value
        at += length + _CHECKSUM_BYTES
        if len(value) < length:
            break
    result.damaged = True


class _Reader:
    """Collects the attributes of one stream."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.result = Tnef()
        self.codepage = "cp1252"
        self.properties: Properties = {}
        self.body = b""
        self.begun: TnefFile | None = None

    def message(self, name: int, value: bytes) -> None:
        if name == _CODEPAGE and len(value) >= 4:
            self.codepage = _codec(int.from_bytes(value[:4], "little")) or self.codepage
        elif name == _MESSAGE_CLASS:
            self.result.message_class = _legacy_class(_ended(value).decode("latin-1"))
        elif name == _SUBJECT:
            self.result.subject = self.text(value)
        elif name == _BODY:
            self.body = value
        elif name == _MESSAGE_PROPERTIES:
            self.properties |= read_properties(value, self.limits)

    def attachment(self, name: int, value: bytes) -> None:
        # Every attachment begins with its rendering data; some senders put a title alone.
        begins = name == _ATTACH_RENDERING or (name == _ATTACH_TITLE and self.begun is not None and self.begun.name)
        if begins or self.begun is None:
            if len(self.result.files) >= self.limits.parts_max:
                self.result.damaged = True
                self.begun = self.begun or TnefFile()
                return
            self.begun = TnefFile()
            self.result.files.append(self.begun)
        if name == _ATTACH_TITLE:
            self.begun.name = self.text(value)
        elif name == _ATTACH_DATA:
            self.begun.data = value
        elif name == _ATTACH_PROPERTIES:
            self._attachment_properties(self.begun, read_properties(value, self.limits))

    def _attachment_properties(self, begun: TnefFile, properties: Properties) -> None:
        # The title is an 8.3 name; the long one is a property.
        begun.name = (
            self.string(properties, _P_LONG_FILENAME)
            or begun.name
            or self.string(properties, _P_FILENAME)
            or self.string(properties, _P_DISPLAY_NAME)
        )
        begun.content_type = self.string(properties, _P_MIME_TAG).lower()
        begun.content_id = self.string(properties, _P_CONTENT_ID)
        data = properties.get(_P_DATA)
        if isinstance(data, bytes) and data.startswith(_EMBEDDED_MESSAGE):
            begun.embedded = data[16:]
            begun.data = data[16:]
        elif isinstance(data, bytes) and not begun.data:
            begun.data = data[16:] if data[3:16] == _OBJECT_PREFIX else data

    def text(self, value: bytes) -> str:
        return decode_charset(_ended(value), self.codepage)[0]

    def string(self, properties: Properties, key: Key) -> str:
        value = properties.get(key)
        if isinstance(value, str):
            return value
        return self.text(value) if isinstance(value, bytes) else ""

    def finish(self, depth: int, budget: _Budget) -> Tnef:
        result, properties = self.result, self.properties
        codepage = _codec(properties.get(_P_CODEPAGE)) or self.codepage
        self.codepage = codepage
        result.message_class = self.string(properties, _P_MESSAGE_CLASS) or result.message_class
        result.subject = clean(self.string(properties, _P_SUBJECT) or result.subject)
        self._bodies(_codec(properties.get(_P_HTML_CODEPAGE)) or codepage)
        result.event = self._event()
        files: list[TnefFile] = []
        for one in result.files:
            files += _flattened(one, self.limits, depth, budget)
        result.files = files[: self.limits.parts_max]
        return result

    def _bodies(self, html_codepage: str) -> None:
        result, limit = self.result, self.limits.text_bytes_max
        html = self.properties.get(_P_HTML)
        if isinstance(html, bytes):
            html = decode_charset(_ended(html)[:limit], html_codepage)[0]
        if isinstance(html, str):
            result.html = html[:limit]
        result.plain = self.string(self.properties, _P_BODY)[:limit] or self.text(self.body[:limit])
        packed = self.properties.get(_P_RTF)
        if isinstance(packed, bytes) and not result.html:
            result.rtf = packed

    def _event(self) -> CalendarEvent | None:
        """Return the appointment of a meeting message ([MS-OXOCAL] §2.2.1)."""
        name = self.result.message_class.lower()
        if not name.startswith(("ipm.schedule.meeting.", "ipm.appointment")):
            return None
        kind = name.removeprefix("ipm.schedule.meeting.")
        get = self.properties.get
        begins = _moment(get(_APPOINTMENT_BEGINS) or get(_P_START))
        organizer = next((a for key in _P_ORGANIZER if "@" in (a := self.string(self.properties, key))), "")
        return CalendarEvent(
            method=_METHODS.get(kind, ""),
            summary=self.result.subject[: self.limits.calendar_chars_max],
            begins=begins,
            ends=_moment(get(_APPOINTMENT_ENDS) or get(_P_END)) or begins,
            location=clean(self.string(self.properties, _APPOINTMENT_LOCATION))[: self.limits.calendar_chars_max],
            organizer=clean(organizer)[: self.limits.calendar_chars_max],
        )


def _flattened(one: TnefFile, limits: Limits, depth: int, budget: _Budget) -> list[TnefFile]:
    """Return the file; for an embedded message its text as a file, and then its files."""
    if not one.embedded or depth >= limits.container_depth_max:
        return [one]
    inner = _read(one.embedded, limits, depth + 1, budget)
    if inner is None:
        return [one]
    name = inner.subject or one.name or "message"
    plain, html = inner.plain, inner.html
    if inner.rtf and not plain:
        unpacked = decompress(inner.rtf, budget.rtf_bytes)
        budget.rtf_bytes -= len(unpacked)
        plain, html = rtf_body(unpacked, limits)
    body = (html or plain).encode("utf-8", "replace")
    suffix, kind = (".html", "text/html") if html else (".txt", "text/plain")
    text = [replace(one, name=name + suffix, content_type=kind, data=body)] if body else []
    # A contact or a distribution list has neither: then it stays what it is.
    return [*text, *inner.files] or [one]


def _ended(value: bytes) -> bytes:
    return value.rstrip(b"\0")


def _codec(codepage: Value | None) -> str:
    if not isinstance(codepage, int) or not 0 < codepage < 70_000:
        return ""
    if codepage in _CODECS:
        return _CODECS[codepage]
    if 28591 < codepage < 28606:
        return f"iso-8859-{codepage - 28590}"
    return f"cp{codepage}"


def _legacy_class(name: str) -> str:
    """Return the class under its present name ([MS-OXTNEF] §2.1.3.3.1)."""
    old = {
        "IPM.Microsoft Schedule.MtgReq": "IPM.Schedule.Meeting.Request",
        "IPM.Microsoft Schedule.MtgRespP": "IPM.Schedule.Meeting.Resp.Pos",
        "IPM.Microsoft Schedule.MtgRespN": "IPM.Schedule.Meeting.Resp.Neg",
        "IPM.Microsoft Schedule.MtgRespA": "IPM.Schedule.Meeting.Resp.Tent",
        "IPM.Microsoft Schedule.MtgCncl": "IPM.Schedule.Meeting.Canceled",
        "IPM.Microsoft Mail.Note": "IPM.Note",
    }
    return old.get(name, name)


def _moment(filetime: Value | None) -> str:
    """Return a FILETIME (100 ns since 1601, UTC) as ISO 8601, or ""."""
    if not isinstance(filetime, int) or not 0 < filetime < 2_650_467_744_000_000_000:  # the year 10000
        return ""
    return (_EPOCH + timedelta(seconds=filetime // 10_000_000)).isoformat()
