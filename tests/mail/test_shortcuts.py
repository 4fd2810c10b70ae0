"""What a cheap test passes over, the full one finds nothing in; what a shorter way reads, the long one reads alike."""

from __future__ import annotations

import binascii
import random
import re
import threading
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_tz

import pybase64
import pytest

from ingestd.mail import attribution, encoding, forwarded, guess, html_attributes, html_scan, stubs
from ingestd.mail.addresses import parse_addresses
from ingestd.mail.blobs import compress_chunks, decompress_chunk
from ingestd.mail.headers import parse_date, parse_parameters
from ingestd.mail.html_safe import sanitize
from ingestd.mail.html_tags import KINDS
from ingestd.mail.labels import python_codec
from ingestd.mail.limits import DEFAULT_LIMITS, Limits
from ingestd.mail.words import LANGUAGES
from tests.mail.texts import CHARSETS, TEXTS

_AROUND = (
    "",
    " ",
    "  ",
    "\t",
    ">",
    "> > ",
    "*",
    "**",
    "_",
    "|",
    "\u00a0",
    "-----",
    "----- ",
    "====",
    "\u200e",
    "#",
    '"',
)
_BEHIND = ("", " ", ":", "：", " :", "*", " -----", "====", "\u00a0", "\u200f:", "|", ".", "\t")


def _phrases() -> list[str]:
    found = [
        term
        for words in LANGUAGES
        for terms in (words.forwarded, words.begin_forwarded, words.original, words.above)
        for term in terms.split("|")
        if term
    ]
    found += [
        "forwarded message",
        "Fwd: mail",
        "weitergeleitete Nachricht",
        "转发邮件",
        "原始邮件",
        "轉寄郵件",
        "пересылаемое сообщение",
        "전달된 메시지",
        "Begin forwarded message",
        "начало переадресованного сообщения",
        "以下是转发的邮件",
    ]
    return [*found, *map(str.upper, found), *map(str.title, found)]


def test_no_line_above_a_forwarded_message_is_passed_over() -> None:
    seen = 0
    for phrase in _phrases():
        for before in _AROUND:
            for behind in _BEHIND:
                line = before + phrase + behind
                separates = attribution.is_forward_separator(line) or (
                    forwarded._may_be_separator(line) and forwarded._SEPARATOR.match(line) is not None
                )
                seen += separates
                assert not (separates and attribution.is_no_separator(line)), line
                assert not (separates and not attribution.separators([line])), line
    assert seen > 1000
    assert attribution.is_no_separator("The printer is broken.")


def test_lines_that_are_passed_over_together_are_those_that_are_passed_over_one_by_one() -> None:
    above = [term for words in LANGUAGES for term in words.above.split("|") if term]
    phrases = [*_phrases(), *above, *map(str.upper, above), "Thank you.", "Jane wrote", "İlt", "x", ""]
    lines = [before + phrase + behind for phrase in phrases for before in _AROUND for behind in _BEHIND]
    lines += [chr(one) + "x" for one in range(0x3100)]
    for line, odd in zip(lines, attribution.unusual(lines), strict=True):
        assert odd or attribution.is_ordinary(line), line
    sure = set(range(len(lines))) - set(attribution.separators(lines))
    assert len(sure) > 1000
    assert all(attribution.is_no_separator(lines[at]) for at in sure)


def test_no_line_that_may_end_an_attribution_is_ordinary() -> None:
    for end in (
        "wrote",
        "道",
        "écrit",
        "작성",
        "yazdı",
        "пишет",
        "--",
        "wrote: ",
        "wrote*_ \u200f",
        "<jane@example.com>",
    ):
        assert not attribution.is_ordinary(f"Jane {end}"), end
        assert not attribution.is_ordinary(f"  Jane {end}"), end
    assert attribution.is_ordinary("Thank you. It works now.")
    assert attribution.is_ordinary("  I wrote to you")


@pytest.mark.parametrize(
    "text",
    [
        "View this mail ONLINE",
        "Trouble reading this? See it on the Web",
        "Im Browser ansehen",
        "Dans votre navigateur",
        "En tu navegador",
        "No seu navegador",
        "Nel browser",
        "Открыть в браузере",
        "Відкрити у браузері",
        "Obejrzyj w przeglądarce",
        "In uw browser",
        "TARAYICIDA aç",
        "Tarayıcıda aç",
        "在浏览器中查看",
        "在瀏覽器中查看",
        "ブラウザで見る",
        "브라우저에서 보기",
    ],
)
def test_no_text_about_browsers_is_passed_over(text: str) -> None:
    assert stubs._ONLINE.search(text) is not None
    assert stubs._says_no_html(text)


def test_one_address_is_read_as_in_a_list() -> None:
    words = ("Jane", "Doe", "=?utf-8?q?J=C3=A4ne?=", "'Jane'", "Dr.", "[x]", "o'Hara", "\t", "  ", "=?x", "Ünal")
    hosts = (
        "jane@example.com",
        "'jane@example.com'",
        "jane@example.com.",
        "a=b@example.com",
        "=?utf-8?q?a?=@b.example",
    )
    rng = random.Random(1)
    for _ in range(3000):
        name = " ".join(rng.choices(words, k=rng.randint(0, 4)))
        value = f"{name}{rng.choice(('', ' ', '  '))}<{rng.choice(hosts)}>{rng.choice(('', ' '))}"
        # Behind a comma nothing follows, but the value is a list now, and is read token by token.
        assert parse_addresses(value) == parse_addresses(f"{value},"), value


def _by_the_library(value: str) -> datetime | None:
    parts = parsedate_tz(value)
    if parts is None:
        return None
    try:
        moment = datetime(*parts[:6], tzinfo=timezone(timedelta(seconds=parts[9])) if parts[9] else UTC)
        moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment


def test_a_usual_date_is_read_as_the_library_reads_it() -> None:
    rng = random.Random(1)
    known = 0
    for _ in range(20_000):
        value = (
            f"{rng.choice(('', 'Mon, ', 'Xyz, ', 'mon, '))}{rng.choice((0, 1, '05', 9, 28, 29, 30, 31, 32))} "
            f"{rng.choice(('Jan', 'Feb', 'Mar', 'Dec', 'Mai', 'may'))} "
            f"{rng.choice(('0000', '0001', '0068', '0099', '0100', '1969', '2026', '9999'))} "
            f"{rng.choice(('00', '10', '23', '24'))}:{rng.choice(('00', '59', '60'))}:{rng.choice(('00', '59', '60'))} "
            f"{rng.choice('+-')}{rng.choice(('0000', '0100', '0530', '2359', '2400', '9999', '0060'))}"
            f"{rng.choice(('', ' (CET)', ' (x)'))}"
        )
        found, expected = parse_date(value), _by_the_library(value)
        assert (found, found and found.utcoffset()) == (expected, expected and expected.utcoffset()), value
        known += found is not None
    assert known > 1000


@pytest.mark.parametrize("name", ["title", "STYLE", "x", "href", "data-x"])
@pytest.mark.parametrize(
    "value", ["", "a", "a>b", "a<b", "a\nb", "a'b", "a=b", "color:red", "https://example.com/?a=1&b=2"]
)
@pytest.mark.parametrize("behind", ["", " ", "/", " b", " b=c", ' b="c', "\n"])
def test_the_usual_form_of_an_attribute_is_read_as_any_other(name: str, value: str, behind: str) -> None:
    usual = f'<p>x<a {name}="{value}"{behind}>y</a> z"> w</p>'
    other = f'<p>x<a  {name}="{value}"{behind}>y</a> z"> w</p>'  # two spaces are not usual
    assert sanitize(usual) == sanitize(other)


def test_what_is_remembered_of_a_header_is_not_changed_by_who_asked() -> None:
    main, parameters = parse_parameters("text/plain; charset=utf-8")
    parameters["charset"] = "x"
    assert parse_parameters("text/plain; charset=utf-8") == (main, {"charset": "utf-8"})


def test_threads_compress_at_once() -> None:
    raws = [random.Random(one).randbytes(200_000) + b"x" * 100_000 for one in range(4)]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            chunks = compress_chunks(raws[index], 65_536)
            if b"".join(decompress_chunk(chunk) for chunk in chunks) != raws[index]:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(raws))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


_COMMON = (
    "p",
    "div",
    "b",
    "a",
    "td",
    "tr",
    "table",
    "span",
    "br",
    "img",
    "p",
    "li",
    "ul",
    "td",
    "tr",
    "h1",
    "TD",
    "Br",
)
_RARE = (*KINDS, "html", "head", "meta", "o:p", "x", "BODY")
_WRITTEN = ("", " ", ' class="x"', ' href="https://e.example/?a=1&b"', " width=10", " x", ' a="b"/', " /", "\n y='z'")
_STRANGE = (' a = "b"', ' a="<b>"', ' a="x', ' a=b"c', ' ="x"', ' srcset="/y 2x"', ' a="<!--"', f' a="{"q" * 600}"')
_ELSE = (
    *("a & b", "<", "<3", "</", "<!--", "-->", "<!-- <p> -->", "<!doctype html>", "<![CDATA[", "]]>", "\xa0", '"', ">"),
    *("<style>", "</style>", "<style>p{}</style>", "<title>t</title>", "<textarea>", "<a@b.example>", "<b", '<p x="'),
    *('<!-- <a href="-->">', "<xml>", "</xml>", "\n\n"),
)


def _html(rng: random.Random, odd: float) -> str:
    """Return HTML as mail has it, with so large a share of what is none."""
    out: list[str] = []
    opened: list[str] = []
    for _ in range(rng.choice((5, 20, 100))):
        if rng.random() < odd:
            out.append(rng.choice(_ELSE))
            name, written = rng.choice(_RARE), rng.choice((*_WRITTEN, *_STRANGE))
            out.append(f"<{rng.choice(('', '/'))}{name}{written}>" if rng.random() < 0.5 else "")
        elif opened and rng.random() < 0.4:
            out.append(f"</{opened.pop()}>")
        elif rng.random() < 0.4:
            out.append("\r\n" if opened and opened[-1] in ("table", "tbody", "tr") and rng.random() < 0.9 else "text")
        else:
            inside = {"table": "tr", "tbody": "tr", "tr": "td"}.get(opened[-1] if opened else "")
            name = inside if inside and rng.random() < 0.9 else rng.choice(_COMMON)
            out.append(f"<{name}{rng.choice(_WRITTEN)}>")
            opened += [] if name in ("br", "img", "Br") else [name]
    return "".join([*out, *(f"</{name}>" for name in reversed(opened))])


def test_html_is_scanned_by_states_as_tag_by_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    limits = (DEFAULT_LIMITS, DEFAULT_LIMITS, Limits(html_depth_max=45), Limits(html_reopened_max=2))
    cases = [(_html(rng, rng.choice((0, 0.02, 0.2))) * rng.choice((1, 1, 30)), rng.choice(limits)) for _ in range(1000)]
    by_states = [html_scan.scan(html, limit) for html, limit in cases]
    monkeypatch.setattr(html_scan._Scanner, "_ordinary", lambda _self: 0)
    assert by_states == [html_scan.scan(html, limit) for html, limit in cases]


def test_usual_links_and_images_are_judged_as_all_others() -> None:
    values = ("https://e.example/x", "http://e.example", "HTTPS://e.example", "cid:a", "x", "javascript:x", "<img src=")
    rng = random.Random(1)
    for _ in range(2000):
        one, other = rng.choice(values), rng.choice(values)
        tags = (
            f'<a href="{one}" rel="noopener">a "<</a>',
            f'<a href="{one}" title="{other}" rel="noopener">a</a>',
            f'<img src="{one}" alt="{other}">',
            f'<img title="{other}" src="{one}" style="background:url({other})">',
            f'<p title="{other}">https://e.example "> src="https://e.example"</p>',
        )
        html = "".join(rng.choices(tags, k=3)).replace('"<<', '"&lt;&lt;')
        judge = html_attributes._Judge(DEFAULT_LIMITS)
        each = re.split(r'(<[a-z]+ (?:[^"<>]|"[^"]*")*>)', html)
        shown = "".join(judge.tag(piece) if piece[:1] == "<" and piece[1] != "/" else piece for piece in each)
        images = sum(judge.images.get(piece, 0) for piece in each)
        assert html_attributes.judge_attributes(html, DEFAULT_LIMITS) == (shown, images), html


def test_base64_is_decoded_as_the_library_decodes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    cases = []
    for _ in range(5000):
        data = bytearray(binascii.b2a_base64(rng.randbytes(rng.choice((1, 2, 3, 60, 200))), newline=rng.random() < 0.5))
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.randrange(2)] = rng.choice((b"=", b"==", b"-", b"_", b"A", b"\xff", b"\r\n", b" ", b"*"))
        cases.append(bytes(data))
    fast = [encoding.decode_part(data, "base64") for data in cases]
    for window in (4, 17, 64):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoding, "_WINDOW_BYTES", window)
            assert fast == [encoding.decode_part(memoryview(data), "base64") for data in cases]

    def refuse(*_args: object, **_kwargs: object) -> bytes:
        raise binascii.Error

    monkeypatch.setattr(pybase64, "b64decode", refuse)
    assert fast == [encoding.decode_part(data, "base64") for data in cases]


def test_no_reading_costs_less_than_the_least() -> None:
    rng = random.Random(1)
    found = 0
    for language, charsets in CHARSETS.items():
        for charset in charsets:
            codec = python_codec(charset)
            if codec is None or not guess.knows(codec):
                continue
            for _ in range(15):
                begin = rng.randrange(len(TEXTS[language]))
                stretches = guess.sample(TEXTS[language][begin : begin + rng.randrange(2, 40)].encode(codec, "replace"))
                for labelled in ("cp1252", "koi8-r", "gb18030"):
                    reading = guess.rate(stretches, labelled)
                    favoured = rng.choice(((), ("iso8859-15",), ("cp1251", "cp437")))
                    best = guess.likeliest(stretches, (*favoured, labelled)) if stretches else None
                    if reading is not None and best is not None and best.charset != labelled:
                        found += 1
                        assert best.bits >= guess.least_bits(reading, favoured)
    assert found > 100


def test_one_piece_of_base64_is_read_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the windows are what reads a file without a fault."""
    content = bytes(range(256)) * 9
    monkeypatch.setattr(encoding, "_WINDOW_BYTES", 100)
    monkeypatch.setattr(encoding, "_decode_base64", lambda _data: b"in one piece")
    assert encoding.decode_part(memoryview(binascii.b2a_base64(content)), "base64") == content
