"""winmail.dat: its files, its text and its meeting, and streams that were made to hurt."""

from __future__ import annotations

import base64
import struct
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.containers import content_of
from ingestd.mail.limits import Limits
from ingestd.mail.mapi import read_properties
from ingestd.mail.parse import parse
from ingestd.mail.rtf import decompress, rtf_body
from ingestd.mail.tnef import Tnef, read_tnef
from ingestd.mail.types import CalendarEvent
from tests.mail import tnef_writer as w

HEAD = b"From: Jane <jane@example.com>\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"


def winmail(stream: bytes, text: str = "") -> bytes:
    return (
        HEAD
        + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        + text.encode()
        + b'\r\n--b\r\nContent-Type: application/ms-tnef; name="winmail.dat"\r\nContent-Transfer-Encoding: base64\r\n'
        + b'Content-Disposition: attachment; filename="winmail.dat"\r\n\r\n'
        + base64.encodebytes(stream)
        + b"--b--\r\n"
    )


def opened(stream: bytes) -> Tnef:
    found = read_tnef(stream)
    assert found is not None
    return found


def test_files_have_their_long_names_and_are_read_back() -> None:
    stream = w.tnef(
        w.file(b"RECHNU~1.PDF", b"%PDF-1.4", [(w.UNICODE, 0x3707, "Rechnung März.pdf")]),
        w.file(b"photo.png", b"PNG", [(w.STRING8, 0x370E, b"image/png\0"), (w.UNICODE, 0x3712, "photo@example.com")]),
    )
    raw = winmail(stream, "See the files.")
    mail = parse(raw)
    assert mail.text == "See the files."
    assert [(one.name, one.content_type, one.content_id) for one in mail.attachments] == [
        ("Rechnung März.pdf", "application/pdf", None),
        ("photo.png", "image/png", "photo@example.com"),
    ]
    contents = [content_of(one, raw[one.offset : one.offset + one.length]) for one in mail.attachments]
    assert contents == [b"%PDF-1.4", b"PNG"]


@pytest.mark.parametrize(
    ("stream", "names"),
    [
        pytest.param(
            w.tnef(w.file("счёт.doc".encode("cp1251"), b"x"), codepage=1251),
            ["счёт.doc"],
            id="a name in the codepage of the sender",
        ),
        pytest.param(
            w.tnef(w.file(b"A~1.TXT", b"x", [(w.STRING8, 0x3707, "größe.txt\0".encode("cp1252"))])),
            ["größe.txt"],
            id="an 8-bit long name",
        ),
        pytest.param(w.tnef(w.file(b"boot.ini", b"x", data_first=True)), ["boot.ini"], id="data before the name"),
        pytest.param(
            w.tnef(w.file(b"", None, [(w.UNICODE, 0x3707, "a.doc"), (w.BINARY, 0x3701, b"x")])),
            ["a.doc"],
            id="data as a property",
        ),
        pytest.param(
            w.tnef(w.attribute(2, w.TITLE, b"a\0"), w.attribute(2, w.DATA, b"x"), w.attribute(2, w.TITLE, b"b\0")),
            ["a", "b"],
            id="titles without rendering data",
        ),
        pytest.param(w.tnef(w.file(b"", b"x")), [""], id="no name"),
        pytest.param(w.tnef(w.file(b"a", b"x")) + bytes(8), ["a"], id="zeros behind the end"),
        pytest.param(w.tnef(w.file(b"a", b"x"))[:-2] + b"\xff\xff", ["a"], id="a wrong checksum"),
        pytest.param(w.tnef(), [], id="no attributes"),
    ],
)
def test_odd_streams(stream: bytes, names: list[str]) -> None:
    found = opened(stream)
    assert [one.name for one in found.files] == names
    assert all(one.data == b"x" for one in found.files[:1])
    assert not found.damaged


def test_a_message_in_the_message_gives_its_text_and_its_files() -> None:
    inner = w.tnef(
        w.attribute(1, w.SUBJECT, b"Old offer\0"),
        w.attribute(1, w.BODY, b"The offer.\0"),
        w.file(b"offer.pdf", b"%PDF"),
    )
    found = opened(w.tnef(w.file(b"Old offer", None, [(w.OBJECT, 0x3701, w.EMBEDDED + inner)])))
    assert [(one.name, one.content_type, one.data) for one in found.files] == [
        ("Old offer.txt", "text/plain", b"The offer."),
        ("offer.pdf", "", b"%PDF"),
    ]


def test_a_contact_in_the_message_stays_what_it_is() -> None:
    inner = w.tnef(w.attribute(1, w.SUBJECT, b"Jane\0"))
    found = opened(w.tnef(w.file(b"Jane", None, [(w.OBJECT, 0x3701, w.EMBEDDED + inner)])))
    assert [(one.name, one.data) for one in found.files] == [("Jane", inner)]


def test_an_ole_object_loses_the_number_of_its_interface() -> None:
    storage = bytes.fromhex("0b00000000000000c000000000000046")
    found = opened(w.tnef(w.file(b"x.doc", None, [(w.OBJECT, 0x3701, storage + b"\xd0\xcf")])))
    assert found.files[0].data == b"\xd0\xcf"


RTF = (
    rb"{\rtf1\ansi\ansicpg1252\fromhtml1 {\*\htmltag64 <p>}\htmlrtf {\f0\htmlrtf0 Gr\'fc\'dfe \u1102 ?"
    rb"{\*\htmltag72 </p>}}"
)


def stored_rtf(rtf: bytes) -> bytes:
    return struct.pack("<II", len(rtf) + 12, len(rtf)) + b"MELA" + bytes(4) + rtf


@pytest.mark.parametrize(
    ("body", "text", "html"),
    [
        ((w.UNICODE, 0x1000, "Привет"), "Привет", ""),
        ((w.STRING8, 0x1000, "Grüße\0".encode("cp1252")), "Grüße", ""),
        ((w.BINARY, 0x1013, b"<p>Hello <b>you</b></p><script>x</script>"), "Hello you", "<p>Hello <b>you</b></p>"),
        ((w.UNICODE, 0x1013, "<p>Grüße</p>"), "Grüße", "<p>Grüße</p>"),
        ((w.BINARY, 0x1009, stored_rtf(RTF)), "Grüße ю", "<p>Grüße ю</p>"),
        ((w.BINARY, 0x1009, stored_rtf(rb"{\rtf1\ansi one\par two}")), "one\ntwo", ""),
    ],
)
def test_the_body_is_the_text_of_a_mail_that_has_no_other(body: w.Property, text: str, html: str) -> None:
    stream = w.tnef(w.attribute(1, w.MESSAGE_PROPERTIES, w.properties(body)))
    alone = parse(winmail(stream, "  "))
    assert (alone.text, alone.html, alone.attachments) == (text, html, ())
    beside = parse(winmail(stream, "The text of the mail."))
    assert (beside.text, beside.html) == ("The text of the mail.", "")


def test_the_html_of_the_body_shows_its_images() -> None:
    stream = w.tnef(
        w.attribute(1, w.MESSAGE_PROPERTIES, w.properties((w.BINARY, 0x1013, b'<img src="cid:Logo@example.com">'))),
        w.file(b"logo.png", b"PNG", [(w.UNICODE, 0x3712, "logo@example.com")]),
    )
    mail = parse(winmail(stream))
    assert [(one.content_id, one.inline) for one in mail.attachments] == [("logo@example.com", True)]
    assert mail.html == '<img src="cid:logo@example.com">'


@pytest.mark.parametrize(
    ("message_class", "method"),
    [
        (b"IPM.Schedule.Meeting.Request", "REQUEST"),
        (b"IPM.Microsoft Schedule.MtgReq", "REQUEST"),
        (b"IPM.Schedule.Meeting.Canceled", "CANCEL"),
        (b"IPM.Schedule.Meeting.Resp.Neg", "REPLY"),
        (b"IPM.Appointment", ""),
    ],
)
def test_a_meeting(message_class: bytes, method: str) -> None:
    ticks = int((datetime(2026, 3, 1, 9, tzinfo=UTC) - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10**7
    stream = w.tnef(
        w.attribute(1, w.MESSAGE_CLASS, message_class + b"\0"),
        w.attribute(
            1,
            w.MESSAGE_PROPERTIES,
            w.properties(
                (w.UNICODE, 0x0037, "Planning"),
                (w.TIME, (w.APPOINTMENT, 0x820D), ticks),
                (w.TIME, (w.APPOINTMENT, 0x820E), ticks + 36_000_000_000),
                (w.UNICODE, (w.APPOINTMENT, 0x8208), "Room 1"),
                (w.UNICODE, 0x0065, "jane@example.com"),
            ),
        ),
    )
    mail = parse(winmail(stream, "Come."))
    assert mail.calendar == (
        CalendarEvent(
            method=method,
            summary="Planning",
            begins="2026-03-01T09:00:00+00:00",
            ends="2026-03-01T10:00:00+00:00",
            location="Room 1",
            organizer="jane@example.com",
        ),
    )


def test_a_stream_that_is_cut_off_is_kept_beside_what_was_read() -> None:
    stream = w.tnef(w.file(b"a.txt", b"whole"), w.file(b"b.txt", b"a longer one"))
    raw = winmail(stream[:-10], "x")
    mail = parse(raw)
    assert [one.name for one in mail.attachments] == ["a.txt", "b.txt", "winmail.dat"]
    assert "tnef-broken" in mail.defects
    last = mail.attachments[-1]
    assert content_of(last, raw[last.offset : last.offset + last.length]) == stream[:-10]


def test_properties_end_where_one_is_damaged() -> None:
    good = w.properties((w.INTEGER, 0x3FDE, 1251), (w.UNICODE, 0x1000, "abc"))
    assert read_properties(good) == {0x3FDE: 1251, 0x1000: "abc"}
    assert read_properties(good[:-3]) == {0x3FDE: 1251}
    unknown_type = struct.pack("<IHH", 2, 0x00AA, 0x1234) + good[4:]
    assert read_properties(unknown_type) == {}


def test_values_of_which_there_are_several() -> None:
    words = b"".join(struct.pack("<I", 4) + text.encode("utf-16-le") for text in ("ab", "cd"))
    data = struct.pack("<IHHI", 3, 0x101F, 0x1234, 2) + words
    data += struct.pack("<HHI", 0x1002, 0x1235, 3) + struct.pack("<HHHH", 7, 8, 9, 0)  # padded to four bytes
    data += struct.pack("<HHI", 0x0003, 0x1236, 5)
    assert read_properties(data) == {0x1234: "ab", 0x1235: 7, 0x1236: 5}


def test_a_property_that_is_named_by_a_word_is_stepped_over() -> None:
    word = "Keywords\0".encode("utf-16-le")
    named = struct.pack("<HH", w.INTEGER, 0x8001) + bytes(16) + struct.pack("<II", 1, len(word)) + word
    named += bytes(-len(word) % 4) + struct.pack("<I", 1)
    data = struct.pack("<I", 2) + named + struct.pack("<HHI", w.INTEGER, 0x3FDE, 1251)
    assert read_properties(data) == {0x3FDE: 1251}


def nested(depth: int) -> bytes:
    stream = w.tnef(w.file(b"core.txt", b"x"))
    for _ in range(depth):
        stream = w.tnef(w.file(b"m", None, [(w.OBJECT, 0x3701, w.EMBEDDED + stream)]))
    return stream


def test_depth_is_bounded() -> None:
    assert [one.name for one in opened(nested(3)).files] == ["core.txt"]
    assert [one.name for one in opened(nested(60)).files] == ["m"]


def message_properties(*given: w.Property) -> bytes:
    return w.tnef(w.attribute(1, w.MESSAGE_PROPERTIES, w.properties(*given)))


def bomb() -> bytes:
    return struct.pack("<II", 9, 2**32 - 1) + b"LZFu" + bytes(4) + b"\xff" * 2_000_000


@pytest.mark.parametrize(
    "stream",
    [
        w.tnef(w.attribute(1, w.MESSAGE_PROPERTIES, struct.pack("<I", 0xFFFFFFFF))),
        w.tnef(w.attribute(1, w.MESSAGE_PROPERTIES, struct.pack("<IHHI", 1, 0x101F, 1, 0xFFFFFFFF) + bytes(400_000))),
        w.tnef(w.attribute(1, w.MESSAGE_PROPERTIES, struct.pack("<IHHI", 1, 0x1002, 1, 0xFFFFFFFF))),
        w.tnef(struct.pack("<BII", 2, w.DATA, 0xFFFFFFFF)),
        w.tnef(*[w.file(b"a", b"x")] * 3000),
        w.tnef(*[w.attribute(1, 0x12345678, b"")] * 100_000),
        message_properties((w.BINARY, 0x1009, stored_rtf(b"{\\rtf1" + b"{" * 500_000))),
        message_properties((w.BINARY, 0x1009, bomb())),
    ],
)
def test_a_stream_that_was_made_to_hurt(stream: bytes) -> None:
    begun = time.process_time()
    assert read_tnef(stream) is not None
    assert time.process_time() - begun < 2


def packed(*tokens: bytes | tuple[int, int]) -> bytes:
    """Compress by hand: literals, and references as (offset, length)."""
    out, run = b"", list(tokens)
    for at in range(0, len(run), 8):
        group = run[at : at + 8]
        out += bytes([sum(1 << bit for bit, one in enumerate(group) if isinstance(one, tuple))])
        out += b"".join(one if isinstance(one, bytes) else struct.pack(">H", one[0] << 4 | one[1] - 2) for one in group)
    return struct.pack("<II", len(out) + 12, 1000) + b"LZFu" + bytes(4) + out


def test_rtf_is_unpacked() -> None:
    # Examples 1 and 2 of [MS-OXRTFCP] §3.1 and §3.2; the second reads what it writes.
    simple = "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    assert decompress(bytes.fromhex(simple), 1000) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    crossing = "1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0"
    assert decompress(bytes.fromhex(crossing), 1000) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"


def test_what_is_unpacked_is_bounded() -> None:
    assert decompress(packed(b"a", *[(207, 17)] * 200), 100) == b"a" * 100
    assert decompress(packed(b"a", (3000, 4)), 100) == b"a\0\0\0\0"  # a place that nothing was written to
    assert decompress(b"", 100) == decompress(b"LZFu" * 4, 100) == b""


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (rb"{\rtf1\ansi\ansicpg1251 \'cf\'f0\'e8\'e2\'e5\'f2}", "Привет"),
        (
            rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset204 Arial;}}\f1 \'cf\'f0\'e8\f0  ok}",
            "При ok",
        ),
        (rb"{\rtf1\ansi{\fonttbl{\f1\fcharset128 MS Gothic;}}\f1 \'93\'fa\'96{}{\'7b}", "日本"),
        (rb"{\rtf1\uc1 \u1055?\u1088\'3f\uc2\u1080 ??!}", "При!"),
        (rb"{\rtf1 \u-10179?\u-8704?}", "\N{GRINNING FACE}"),
        (rb"{\rtf1 half \u-10179?}", "half \N{REPLACEMENT CHARACTER}"),
        (rb"{\rtf1{\info{\author Jane}}{\*\unknown x}shown{\v hidden}}", "shown"),
        (
            rb'{\rtf1 see {\field{\*\fldinst HYPERLINK "https://example.com/x"}{\fldrslt here}}.}',
            "see here <https://example.com/x>.",
        ),
        (rb"{\rtf1 a\bin3 }}}b\~c\{\\}", "ab\u00a0c{\\"),
        (rb"{\rtf1 a\tab b\line c\par\par d\emdash}", "a\tb\nc\n\nd—"),
        (b"{\\rtf1 cut off \\", "cut off"),
        (b"not rtf", ""),
    ],
)
def test_rtf_is_read(rtf: bytes, text: str) -> None:
    assert rtf_body(rtf) == (text, "")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_reading_is_total(data: st.DataObject) -> None:
    stream = bytearray(
        w.tnef(
            w.attribute(
                1, w.MESSAGE_PROPERTIES, w.properties((w.BINARY, 0x1009, packed(b"{", (0, 9), b"x", (207, 9))))
            ),
            w.file(b"a", b"x", [(w.UNICODE, 0x3707, "long"), (w.OBJECT, 0x3701, w.EMBEDDED + nested(1))]),
        )
    )
    for at, value in data.draw(
        st.dictionaries(st.integers(6, len(stream) - 1), st.integers(0, 255), max_size=8)
    ).items():
        stream[at] = value
    found = opened(bytes(stream[: data.draw(st.integers(6, len(stream)))]))
    assert len(found.files) <= Limits().parts_max
    rtf = data.draw(
        st.lists(st.sampled_from([b"{", b"}", b"\\", b"u-10179", b"'9", b"bin9 ", b"*", b"f1", b"\xff", b"fonttbl"]))
    )
    text, html = rtf_body(b"{\\rtf" + b"".join(rtf))
    (text + html).encode()


def test_only_some_are_opened_in_one_message() -> None:
    part = b"--b\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    stream = base64.encodebytes(w.tnef(w.file(b"a.txt", b"x")))
    mail = parse(HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + (part + stream) * 5 + b"--b--\r\n")
    opened_count = Limits().tnefs_max
    assert [one.name for one in mail.attachments] == ["a.txt"] * opened_count + ["winmail.dat"] * (5 - opened_count)


def test_the_rtf_of_many_messages_in_a_message_is_bounded() -> None:
    rtf = stored_rtf(b"{\\rtf1 " + b"x" * 1000 + b"}")
    inner = w.tnef(w.attribute(1, w.MESSAGE_PROPERTIES, w.properties((w.BINARY, 0x1009, rtf))))
    stream = w.tnef(*[w.file(b"m", None, [(w.OBJECT, 0x3701, w.EMBEDDED + inner)])] * 5)
    found = read_tnef(stream, Limits(rtf_bytes_max=2500))
    assert found is not None
    # What is not unpacked any more is still a file.
    assert [one.name for one in found.files] == ["m.txt"] * 3 + ["m"] * 2
    assert [len(one.data) for one in found.files[:2]] == [1000, 1000]
