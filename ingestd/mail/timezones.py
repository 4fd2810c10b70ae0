"""The offset of a local time: from the database of zones, or from the rules that a calendar brings (VTIMEZONE)."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

_IANA = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{1,30}(?:/[A-Za-z0-9_+-]{1,30}){1,2}|UTC|GMT")
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)(\d\d)?")
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_BYDAY = re.compile(r"([+-]?\d)?(MO|TU|WE|TH|FR|SA|SU)")


@dataclass(frozen=True, slots=True)
class Observance:
    """One of a zone's two times (RFC 5545 §3.6.5): from `start` (local), again each year as `rule` says."""

    start: datetime
    to: timedelta
    before: timedelta
    rule: dict[str, str]


def iana_offset(moment: datetime, zone: str) -> timedelta | None:
    """Return the offset of a local time in a zone of the IANA database; None where the name is none of its.

    The database is read from the system, as the tables of charsets are; its rules are newer than those in a mail.
    """
    if not _IANA.fullmatch(zone):
        return None
    try:
        return moment.replace(tzinfo=ZoneInfo(zone)).utcoffset()
    except (ValueError, KeyError, OSError, OverflowError):  # ZoneInfoNotFoundError is a KeyError; a folder an OSError
        return None


def read_offset(value: str) -> timedelta | None:
    """Read a UTC offset of RFC 5545 §3.3.14.

    >>> read_offset("-0530")
    datetime.timedelta(days=-1, seconds=66600)
    """
    match = _OFFSET.fullmatch(value.strip())
    if match is None or int(match[2]) > 15:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]), seconds=int(match[4] or 0))
    return -offset if match[1] == "-" else offset


def fixed_offset(offset: timedelta) -> str:
    """Write an offset as in ISO 8601.

    >>> fixed_offset(timedelta(hours=-3, minutes=-30))
    '-03:30'
    """
    minutes = round(abs(offset.total_seconds()) / 60)
    return f"{'-' if offset < timedelta() else '+'}{minutes // 60:02}:{minutes % 60:02}"


def offset_at(moment: datetime, observances: Sequence[Observance]) -> timedelta:
    """Return the offset that holds at a local time; before the first observance, the one that it ends."""
    latest: tuple[datetime, timedelta] | None = None
    for one in observances:
        onset = _onset(one, moment)
        if onset is not None and (latest is None or onset > latest[0]):
            latest = (onset, one.to)
    if latest is not None:
        return latest[1]
    return min(observances, key=lambda one: one.start).before


def _onset(one: Observance, moment: datetime) -> datetime | None:
    """Return when the observance last began by `moment`, or None."""
    if one.start > moment:
        return None
    if one.rule.get("FREQ") != "YEARLY":
        return one.start
    until = one.rule.get("UNTIL", "")[:8]
    for year in (moment.year, moment.year - 1):
        day = _day_of_rule(one, year)
        if day is None:
            continue
        onset = one.start.replace(year=year, month=day[0], day=day[1])
        if one.start <= onset <= moment and not (until.isdigit() and onset.strftime("%Y%m%d") > until):
            return onset
    # Over since some year: its last beginning counts, and any later observance wins over it.
    return one.start


def _day_of_rule(one: Observance, year: int) -> tuple[int, int] | None:
    """Return month and day on which a yearly rule falls: BYMONTH=3;BYDAY=-1SU, or BYMONTHDAY=8,9,…;BYDAY=SU."""
    month = _number(one.rule.get("BYMONTH", ""), one.start.month)
    if not 1 <= month <= 12 or not 1 <= year <= 9999:
        return None
    length = calendar.monthrange(year, month)[1]
    allowed = [_number(text, 0) for text in one.rule.get("BYMONTHDAY", "").split(",")[:31] if text]
    days = [day if day > 0 else length + 1 + day for day in allowed] or list(range(1, length + 1))
    by_day = _BYDAY.fullmatch(one.rule.get("BYDAY", ""))
    if by_day is None:
        return (month, min(days[0] if allowed else one.start.day, length))
    weekday = _WEEKDAYS.index(by_day[2])
    fitting = sorted(day for day in days if 1 <= day <= length and calendar.weekday(year, month, day) == weekday)
    ordinal = int(by_day[1]) if by_day[1] else 1
    index = ordinal - 1 if ordinal > 0 else ordinal
    return (month, fitting[index]) if -len(fitting) <= index < len(fitting) else None


def _number(text: str, default: int) -> int:
    return int(text) if re.fullmatch(r"-?\d{1,4}", text) else default
