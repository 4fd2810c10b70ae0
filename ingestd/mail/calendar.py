"""Invitations (iCalendar, RFC 5545, and what calendars send by mail: RFC 5546, 6047): what, when, where, by whom."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from ingestd.mail.charset import decode as decode_charset
from ingestd.mail.headers import clean
from ingestd.mail.limits import DEFAULT_LIMITS, Limits
from ingestd.mail.timezones import Observance, fixed_offset, iana_offset, offset_at, read_offset
from ingestd.mail.types import CalendarEvent

_FOLD = re.compile(rb"\r?\n[ \t]")
_LINE = re.compile(r"([A-Za-z0-9-]{1,60})((?>(?:[^\":]|\"[^\"]*\")*)):(.*)", re.DOTALL)
_PARAMETER = re.compile(r";([A-Za-z0-9-]{1,60})=(\"[^\"]*\"|[^;\"]*)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)?(Z?))?")
_DURATION = re.compile(r"([+-]?)P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,8})S)?)?")
_ADDRESS = re.compile(r"(?:mailto:)?\s*([^\s<>\"]{1,254}@[^\s<>\"]{1,254})", re.IGNORECASE)
_ALL_DAY = "X-MICROSOFT-CDO-ALLDAYEVENT"
"""Outlook writes a day as its two midnights, and says so here ([MS-OXCICAL] §2.1.3.1.1.20.28)."""
_READ = frozenset({"SUMMARY", "DTSTART", "DTEND", "DURATION", "LOCATION", "ORGANIZER", "DESCRIPTION", _ALL_DAY})


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    parameters: dict[str, str]
    value: str


@dataclass(slots=True)
class Calendar:
    """What a calendar says; `text` is for a message that has no other."""

    events: list[CalendarEvent] = field(default_factory=list)
    text: str = ""


def read_calendar(data: bytes, label: str = "", method: str = "", limits: Limits = DEFAULT_LIMITS) -> Calendar:
    """Return the events of a decoded text/calendar part; none where it is no calendar. Never raises.

    `label` and `method` are the parameters of its Content-Type. Times keep their offset: of a zone that the
    database of zones or the calendar itself knows; else they are local times without one. The end of a day-long
    event is the day after it, as RFC 5545 §3.6.1 has it.

    >>> read_calendar(b"BEGIN:VEVENT\\nDTSTART:20260302T100000Z\\nSUMMARY:Call\\nEND:VEVENT").events[0].begins
    '2026-03-02T10:00:00+00:00'
    """
    # Unfolded as bytes, since many fold in the middle of a character (RFC 5545 §3.1).
    unfolded = _FOLD.sub(b"", data[: limits.calendar_bytes_max])
    lines = decode_charset(unfolded, label or "utf-8")[0].splitlines()
    reader = _Reader(method, limits)
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is not None:
            reader.line(match[1].upper(), match[2], match[3])
    return reader.finish()


class _Reader:
    def __init__(self, method: str, limits: Limits) -> None:
        self.method = method
        self.limits = limits
        self.inside: list[str] = []
        self.event: dict[str, _Line] = {}
        self.events: list[dict[str, _Line]] = []
        self.zones: dict[str, list[Observance]] = {}
        self.zone: list[Observance] = []
        self.zone_name = ""
        self.observance: dict[str, str] = {}

    def line(self, name: str, parameters: str, value: str) -> None:
        if name == "BEGIN":
            self.begin(value.strip().upper())
        elif name == "END":
            self.end(value.strip().upper())
        elif self.inside and self.inside[-1] == "VEVENT":
            if name in _READ:
                self.event.setdefault(name, _Line(name, _parameters(parameters), value))
        elif self.inside and self.inside[-1] in ("STANDARD", "DAYLIGHT"):
            self.observance.setdefault(name, value)
        elif self.inside and self.inside[-1] == "VTIMEZONE":
            if name == "TZID":
                self.zone_name = value.strip()
        elif name == "METHOD":
            self.method = value

    def begin(self, component: str) -> None:
        if len(self.inside) < 10:
            self.inside.append(component)
        if component == "VEVENT":
            self.event = {}
        elif component == "VTIMEZONE":
            self.zone, self.zone_name = [], ""
        elif component in ("STANDARD", "DAYLIGHT"):
            self.observance = {}

    def end(self, component: str) -> None:
        if component not in self.inside:
            return
        while self.inside.pop() != component:
            pass
        if component == "VEVENT":
            if len(self.events) < self.limits.calendar_events_max:
                self.events.append(self.event)
        elif component == "VTIMEZONE":
            if self.zone and len(self.zones) < self.limits.calendar_events_max:
                self.zones[self.zone_name] = self.zone
        elif component in ("STANDARD", "DAYLIGHT") and len(self.zone) < self.limits.calendar_observances_max:
            found = read_observance(self.observance)
            self.zone += [found] if found is not None else []

    def finish(self) -> Calendar:
        if self.inside and "VEVENT" in self.inside and len(self.events) < self.limits.calendar_events_max:
            self.events.append(self.event)  # cut off: what was said so far still counts
        method = re.sub(r"[^A-Z-]", "", self.method.upper())[:20]
        found = Calendar()
        for one in self.events:
            event = self._event(one, method)
            if event in found.events:
                continue
            found.events.append(event)
            if not found.text:
                found.text = _text(event, _unescape(one["DESCRIPTION"].value) if "DESCRIPTION" in one else "")
        return found

    def _event(self, lines: dict[str, _Line], method: str) -> CalendarEvent:
        if _ALL_DAY in lines and lines[_ALL_DAY].value.strip().upper() == "TRUE":
            lines = {name: _as_day(line) if name in ("DTSTART", "DTEND") else line for name, line in lines.items()}
        begins = self._moment(lines.get("DTSTART"))
        ends = self._moment(lines.get("DTEND"))
        if not ends and begins:
            ends = self._end_of(lines, begins)
        organizer = _ADDRESS.match(lines["ORGANIZER"].value.strip()) if "ORGANIZER" in lines else None
        return CalendarEvent(
            method=method,
            summary=self._short(lines.get("SUMMARY")),
            begins=begins,
            ends=ends,
            location=self._short(lines.get("LOCATION")),
            organizer=organizer[1] if organizer is not None else "",
        )

    def _short(self, line: _Line | None) -> str:
        return " ".join(clean(_unescape(line.value)).split())[: self.limits.calendar_chars_max] if line else ""

    def _moment(self, line: _Line | None, plus: timedelta = timedelta()) -> str:
        match = _TIME.fullmatch(line.value.strip()) if line is not None else None
        if line is None or match is None:
            return ""
        year, month, day, hour, minute, second = (int(one) if one else 0 for one in match.groups()[:6])
        try:
            if match[4] is None or line.parameters.get("VALUE", "").upper() == "DATE":
                return (date(year, month, day) + plus).isoformat()
            # A leap second is the last second of its minute here.
            moment = datetime(year, month, day, hour, minute, min(second, 59)) + plus  # noqa: DTZ001
        except (ValueError, OverflowError):
            return ""
        return moment.isoformat() + self._offset(moment, line.parameters.get("TZID", ""), utc=bool(match[7]))

    def _offset(self, moment: datetime, zone: str, *, utc: bool) -> str:
        if utc:
            return "+00:00"
        found = iana_offset(moment, zone)
        if found is None and zone in self.zones:
            found = offset_at(moment, self.zones[zone])
        return fixed_offset(found) if found is not None else ""

    def _end_of(self, lines: dict[str, _Line], begins: str) -> str:
        """Return the end of an event that has a duration, or nothing (RFC 5545 §3.6.1)."""
        match = _DURATION.fullmatch(lines["DURATION"].value.strip()) if "DURATION" in lines else None
        if match is None:
            return self._moment(lines["DTSTART"], timedelta(days=1)) if len(begins) == len("2026-03-02") else begins
        weeks, days, hours, minutes, seconds = (int(one) if one else 0 for one in match.groups()[1:])
        length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        return self._moment(lines["DTSTART"], length) if match[1] != "-" else begins


def read_observance(lines: dict[str, str]) -> Observance | None:
    """Return one STANDARD or DAYLIGHT of a VTIMEZONE, or None where it cannot be read."""
    begins = _TIME.match(lines.get("DTSTART", "").strip())
    to = read_offset(lines.get("TZOFFSETTO", ""))
    if begins is None or to is None:
        return None
    rule = dict(part.split("=", 1) for part in lines.get("RRULE", "").upper().split(";") if "=" in part)
    try:
        start = datetime(*(int(one or 0) for one in begins.groups()[:6]))  # type: ignore[arg-type]  # noqa: DTZ001
    except (ValueError, OverflowError):
        return None
    before = read_offset(lines.get("TZOFFSETFROM", ""))
    return Observance(start, to, to if before is None else before, rule)


def _parameters(text: str) -> dict[str, str]:
    return {match[1].upper(): match[2].strip('"') for match in _PARAMETER.finditer(text)}


def _as_day(line: _Line) -> _Line:
    at_midnight = re.fullmatch(r"\s*(\d{8})T0000(?:00)?\s*", line.value)
    return _Line(line.name, {}, at_midnight[1]) if at_midnight is not None else line


def _unescape(value: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] in "nN" else match[1], value)


def _text(event: CalendarEvent, description: str) -> str:
    times = " – ".join(dict.fromkeys(one for one in (event.begins, event.ends) if one))
    head = "\n".join(one for one in (event.summary, times, event.location) if one)
    return "\n\n".join(one for one in (head, description.replace("\0", "").strip()) if one)
