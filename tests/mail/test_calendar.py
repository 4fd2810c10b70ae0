"""Invitations: what, when, where and by whom, in every way in which calendars write a time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.calendar import read_calendar
from ingestd.mail.limits import Limits
from ingestd.mail.parse import parse
from ingestd.mail.types import CalendarEvent

# The zone as Outlook brings it, under a name of its own.
BERLIN = """\
BEGIN:VTIMEZONE
TZID:Our zone
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE
"""


def calendar(*lines: str, zone: str = "", method: str = "REQUEST") -> bytes:
    text = (
        f"BEGIN:VCALENDAR\nMETHOD:{method}\n{zone}BEGIN:VEVENT\n" + "\n".join(lines) + "\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    return text.replace("\n", "\r\n").encode()


def only(data: bytes, label: str = "utf-8", method: str = "") -> CalendarEvent:
    (event,) = read_calendar(data, label, method).events
    return event


def test_an_invitation() -> None:
    event = only(
        calendar(
            "UID:1@example.com",
            'ORGANIZER;CN="Doe: Jane":MAILTO:jane@example.com',
            "SUMMARY;LANGUAGE=de:Grüße\\, alle\\nzusammen",
            "DTSTART;TZID=Europe/Berlin:20260302T100000",
            "DTEND;TZID=Europe/Berlin:20260302T113000",
            'LOCATION:Room \\"1\\"\\; upstairs',
            "BEGIN:VALARM",
            "SUMMARY:not the event's",
            "END:VALARM",
        )
    )
    assert event == CalendarEvent(
        method="REQUEST",
        summary="Grüße, alle zusammen",
        begins="2026-03-02T10:00:00+01:00",
        ends="2026-03-02T11:30:00+01:00",
        location='Room "1"; upstairs',
        organizer="jane@example.com",
    )


@pytest.mark.parametrize(
    ("begins", "expected"),
    [
        ("DTSTART:20260302T100000Z", "2026-03-02T10:00:00+00:00"),
        ("DTSTART:20260302T100000", "2026-03-02T10:00:00"),
        ("DTSTART;VALUE=DATE:20260302", "2026-03-02"),
        ("DTSTART:20260302", "2026-03-02"),
        ("DTSTART;VALUE=DATE:20260302T000000", "2026-03-02"),
        ("DTSTART;TZID=America/New_York:20260702T100000", "2026-07-02T10:00:00-04:00"),
        ('DTSTART;TZID="Asia/Kolkata":20260702T1000', "2026-07-02T10:00:00+05:30"),
        ("DTSTART;TZID=Our zone:20260328T100000", "2026-03-28T10:00:00+01:00"),
        ("DTSTART;TZID=Our zone:20260329T100000", "2026-03-29T10:00:00+02:00"),
        ("DTSTART;TZID=Our zone:20261025T100000", "2026-10-25T10:00:00+01:00"),
        ("DTSTART;TZID=Our zone:16000101T100000", "1600-01-01T10:00:00+01:00"),
        ("DTSTART;TZID=Unknown zone:20260302T100000", "2026-03-02T10:00:00"),
        ("DTSTART;TZID=Europe:20260302T100000", "2026-03-02T10:00:00"),
        ("DTSTART;TZID=../../etc/passwd:20260302T100000", "2026-03-02T10:00:00"),
        ("DTSTART:20260230T100000Z", ""),
        ("DTSTART:tomorrow", ""),
        ("DTSTART:20260302T235960Z", "2026-03-02T23:59:59+00:00"),
        ("SUMMARY:no time", ""),
    ],
)
def test_times(begins: str, expected: str) -> None:
    assert only(calendar(begins, zone=BERLIN)).begins == expected


@pytest.mark.parametrize(
    ("begins", "rest", "expected"),
    [
        ("DTSTART:20260302T100000Z", "DURATION:PT1H30M", "2026-03-02T11:30:00+00:00"),
        ("DTSTART;TZID=Our zone:20260328T120000", "DURATION:P1D", "2026-03-29T12:00:00+02:00"),
        ("DTSTART:20260302T100000Z", "DURATION:-PT1H", "2026-03-02T10:00:00+00:00"),
        ("DTSTART:20260302T100000Z", "DURATION:P99999D", "2299-12-15T10:00:00+00:00"),
        ("DTSTART:99991231T100000Z", "DURATION:P1W", ""),
        ("DTSTART:20260302T100000Z", "X-NOTHING:1", "2026-03-02T10:00:00+00:00"),
        ("DTSTART;VALUE=DATE:20260302", "X-NOTHING:1", "2026-03-03"),
        ("DTSTART;VALUE=DATE:20260302", "DTEND;VALUE=DATE:20260305", "2026-03-05"),
        ("X-NOTHING:1", "DURATION:PT1H", ""),
    ],
)
def test_ends(begins: str, rest: str, expected: str) -> None:
    assert only(calendar(begins, rest, zone=BERLIN)).ends == expected


def test_outlook_writes_days_as_midnights() -> None:
    times = ("DTSTART;TZID=Our zone:20260302T000000", "DTEND;TZID=Our zone:20260303T000000")
    event = only(calendar(*times, "X-MICROSOFT-CDO-ALLDAYEVENT:TRUE", zone=BERLIN))
    assert (event.begins, event.ends) == ("2026-03-02", "2026-03-03")
    event = only(calendar(*times, "X-MICROSOFT-CDO-ALLDAYEVENT:FALSE", zone=BERLIN))
    assert event.begins == "2026-03-02T00:00:00+01:00"


@pytest.mark.parametrize(
    ("rule", "january", "july"),
    [
        ("RRULE:FREQ=YEARLY;BYMONTH=4;BYDAY=1SU", "+10:30", "+10:00"),
        ("RRULE:FREQ=YEARLY;BYMONTH=4;BYMONTHDAY=1,2,3,4,5,6,7;BYDAY=SU", "+10:30", "+10:00"),
        ("RRULE:FREQ=YEARLY;BYMONTH=4;BYMONTHDAY=5", "+10:30", "+10:00"),
        ("RRULE:FREQ=YEARLY;UNTIL=20200101T000000Z;BYMONTH=4;BYDAY=1SU", "+10:30", "+10:30"),
        ("RDATE:20000101T000000", "+10:30", "+10:30"),
        ("RRULE:FREQ=YEARLY;BYMONTH=99;BYDAY=9XX", "+10:30", "+10:30"),
    ],
)
def test_rules_of_zones(rule: str, january: str, july: str) -> None:
    """Lord Howe: half an hour of summer time, in the southern summer."""
    zone = (
        "BEGIN:VTIMEZONE\nTZID:z\nBEGIN:DAYLIGHT\nDTSTART:20001001T020000\nTZOFFSETFROM:+1000\nTZOFFSETTO:+1030\n"
        "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=1SU\nEND:DAYLIGHT\nBEGIN:STANDARD\nDTSTART:19990404T030000\n"
        f"TZOFFSETFROM:+1030\nTZOFFSETTO:+1000\n{rule}\nEND:STANDARD\nEND:VTIMEZONE\n"
    )
    winter = only(calendar("DTSTART;TZID=z:20260115T100000", zone=zone))
    summer = only(calendar("DTSTART;TZID=z:20260715T100000", zone=zone))
    assert (winter.begins[19:], summer.begins[19:]) == (january, july)


def test_lines_are_unfolded_before_they_are_decoded() -> None:
    folded = calendar("SUMMARY:Grüße").replace("ü".encode(), b"\xc3\r\n \xbc")
    assert only(folded).summary == "Grüße"
    assert only(calendar("SUMMARY:Gr\n \tüße")).summary == "Gr üße"


@pytest.mark.parametrize("label", ["windows-1251", ""])
def test_the_charset_of_the_part(label: str) -> None:
    data = calendar("SUMMARY:Обсуждение договора").decode().encode("cp1251")
    assert only(data, label).summary == "Обсуждение договора"


def test_the_method_may_be_in_the_type_only() -> None:
    data = calendar("SUMMARY:x").replace(b"METHOD:REQUEST\r\n", b"")
    assert only(data, method="cancel").method == "CANCEL"
    assert only(data, method="a b\r\n1").method == "AB"


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 0),
        (b"no calendar", 0),
        (b"BEGIN:VTODO\nSUMMARY:x\nEND:VTODO", 0),
        (b"BEGIN:VEVENT\nSUMMARY:cut off", 1),
        (b"END:VEVENT\nEND:VEVENT\nBEGIN:VEVENT\nEND:VCALENDAR\nEND:VEVENT", 1),
        (b"BEGIN:VEVENT\nSUMMARY:same\nEND:VEVENT\n" * 3, 1),
        (b"".join(b"BEGIN:VEVENT\nSUMMARY:%d\nEND:VEVENT\n" % number for number in range(5000)), 20),
    ],
)
def test_broken_and_many(data: bytes, count: int) -> None:
    assert len(read_calendar(data).events) == count == min(count, Limits().calendar_events_max)


HEAD = b"From: Jane <jane@example.com>\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"


def invitation(data: bytes) -> bytes:
    """As Google sends them: an alternative without a name, and the same as a file."""
    named = b"Content-Type: application/ics\r\nContent-Disposition: attachment; filename=invite.ics\r\n\r\n"
    return (
        HEAD
        + b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n"
        + b"Content-Type: multipart/alternative; boundary=a\r\n\r\n"
        + b"--a\r\nContent-Type: text/plain\r\n\r\nYou are invited.\r\n"
        + b"--a\r\nContent-Type: text/calendar; charset=UTF-8; method=REQUEST\r\n\r\n"
        + data
        + b"\r\n--a--\r\n--m\r\n"
        + named
        + data
        + b"\r\n--m--\r\n"
    )


def test_a_mail_with_an_invitation() -> None:
    mail = parse(invitation(calendar("DTSTART:20260302T100000Z", "SUMMARY:Call", "DESCRIPTION:Hello")))
    assert mail.text == "You are invited."
    assert [(one.summary, one.begins) for one in mail.calendar] == [("Call", "2026-03-02T10:00:00+00:00")]
    assert [one.name for one in mail.attachments] == ["invite.ics", "invite.ics"]


def test_an_invitation_is_the_text_of_a_mail_that_has_no_other() -> None:
    data = calendar(
        "DTSTART:20260302T100000Z", "SUMMARY:Call", "LOCATION:Room 1", "DESCRIPTION:Dear all\\,\\nplease come."
    )
    mail = parse(HEAD + b"Content-Type: text/calendar; method=REQUEST\r\n\r\n" + data)
    assert mail.text == "Call\n2026-03-02T10:00:00+00:00\nRoom 1\n\nDear all,\nplease come."


def test_a_file_that_is_called_a_calendar_is_one() -> None:
    data = calendar("SUMMARY:Call")
    raw = HEAD + b"Content-Type: application/octet-stream; name=Termin.ICS\r\n\r\n"
    assert [one.summary for one in parse(raw + data).calendar] == ["Call"]
    assert parse(raw.replace(b".ICS", b".bin") + data).calendar == ()


def test_calendars_of_a_message_are_bounded() -> None:
    part = b"--b\r\nContent-Type: text/calendar\r\n\r\nBEGIN:VEVENT\r\nSUMMARY:%d\r\nEND:VEVENT\r\n"
    many = HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"".join(part % number for number in range(50))
    mail = parse(many)
    assert len(mail.calendar) == Limits().calendars_max
    assert len(mail.attachments) == 50


@pytest.mark.parametrize(
    "data", [b'BEGIN:VEVENT\nDTSTART;X="' * 9000, b"BEGIN:VEVENT\n" + b";A=" * 80_000, b"\n " * 120_000]
)
def test_a_calendar_that_was_made_to_hurt(data: bytes) -> None:
    begun = time.process_time()
    assert len(read_calendar(data).events) <= Limits().calendar_events_max
    assert time.process_time() - begun < 1


WORDS = (
    "BEGIN:VEVENT END:VEVENT BEGIN:VTIMEZONE BEGIN:STANDARD END:STANDARD END:VTIMEZONE TZID:z DTSTART ;TZID=z : Z "
    "00010101T000000 99991231T235959 DURATION:P99999D TZOFFSETTO:-1559 TZOFFSETFROM:+1559 SUMMARY:\\ DTEND "
    "RRULE:FREQ=YEARLY;BYMONTH=2;BYDAY=-5MO ;BYMONTHDAY=-31,30"
)
PIECES = st.sampled_from([*WORDS.split(), '"', "\n", "\n "])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=40).map("".join))
def test_reading_is_total(text: str) -> None:
    for event in read_calendar(text.encode()).events:
        (event.summary + event.begins + event.ends).encode()
