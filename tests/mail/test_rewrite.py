"""A raw mail with some of its text rewritten: the words are gone for every reader, and the rest is byte for byte."""

from __future__ import annotations

import base64
import json
import os
import quopri
import re
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingestd.mail.parse import parse
from ingestd.mail.rewrite import rewrite
from tests.mail.test_structure import HEAD, HOSTILE, multipart, part

CORPORA = Path(os.environ.get("INGESTD_CORPORA", str(Path(__file__).resolve().parents[3] / "shared" / "corpora")))
WORD = "jane.roe@shop.example.com"
_FOUND = re.compile(re.escape(WORD), re.IGNORECASE)
GONE = "[gone]"


def find(text: str) -> Sequence[tuple[int, int, str]]:
    return [(*match.span(), GONE) for match in _FOUND.finditer(text)]


def change(_name: str, value: str) -> str:
    return _FOUND.sub(GONE, value)


def spans_of(pattern: re.Pattern[str], text: str) -> Sequence[tuple[int, int, str]]:
    return [(*one.span(), "x@y.example") for one in pattern.finditer(text)]


def replaced(pattern: re.Pattern[str], _name: str, value: str) -> str:
    return pattern.sub("x@y.example", value)


def rewritten(raw: bytes) -> bytes:
    new = rewrite(raw, find, change)
    assert new is not None
    assert rewrite(new, find, change) is None
    return new


def everything(raw: bytes) -> str:
    """Return all that the product reads of a message, as text."""
    return msgspec.json.encode(parse(raw)).decode()


@given(st.binary(max_size=600))
def test_bytes_that_hold_nothing_stay(raw: bytes) -> None:
    assert rewrite(raw, find, change) is None


_PIECES = st.sampled_from(
    [
        *(b"Content-Type: text/plain\r\n", b"Content-Type: text/html; charset=utf-16\n", b"\r\n", b"\n\n", b"--b\r\n"),
        *(b"Content-Type: multipart/mixed; boundary=b\r\n", b"--b--\r\n", WORD.encode(), b"<a href='", b"&#106;", b"="),
        *(b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\n", b"> ", b" \r\n"),
        *(b"Content-Type: message/rfc822\r\n", b"Content-Type: text/plain; format=flowed; charset=koi8-r\r\n", b"\xff"),
        *(b"From: ", b"Subject: =?utf-8?B?", base64.b64encode(WORD.encode()), b"?=", b"\r", b"\0", b"begin 644 a\r\n"),
        *(
            b"Content-Disposition: attachment; filename*0*=utf-8''",
            quopri.encodestring(WORD.encode()),
            b"\xc3\xbc",
            b";",
        ),
    ]
)


@given(st.lists(_PIECES, max_size=30).map(b"".join))
@example(b"\r\r" + WORD.encode())
@example(b"--b\r\n" + WORD.encode())
def test_no_bytes_raise_and_nothing_is_left_in_what_is_read(raw: bytes) -> None:
    new = rewrite(raw, find, change)
    if new is not None:
        assert rewrite(new, find, change) is None or len(new) < 4 * len(raw) + 1000


TEXTS = {
    "7bit": part("text/plain", f"Write to {WORD}, please"),
    "8bit": part("text/plain; charset=iso-8859-1", f"Grüße an {WORD}!".encode("latin-1")),
    "quoted-printable": part(
        "text/plain; charset=iso-8859-1",
        quopri.encodestring(("ü" * 10 + f" {WORD} " + "x" * 90).encode("latin-1")).replace(b"\n", b"\r\n"),
        fields="Content-Transfer-Encoding: quoted-printable\r\n",
    ),
    "a soft break in the word": part(
        "text/plain", "a jane.ro=\r\ne@shop.example.com b", fields="Content-Transfer-Encoding: quoted-printable\r\n"
    ),
    "base64": part(
        "text/plain; charset=utf-8",
        base64.encodebytes(f"Grüße an {WORD}!\r\n".encode()).replace(b"\n", b"\r\n"),
        fields="Content-Transfer-Encoding: base64\r\n",
    ),
    "koi8-r": part("text/plain; charset=koi8-r", f"Привет, {WORD}, как дела".encode("koi8-r")),
    "shift_jis": part("text/plain; charset=shift_jis", f"こんにちは {WORD} です".encode("cp932")),
    "iso-2022-jp": part("text/plain; charset=iso-2022-jp", f"こんにちは {WORD} です".encode("iso2022_jp")),
    "utf-16": part(
        "text/plain; charset=utf-16",
        base64.encodebytes(f"Grüße {WORD}".encode("utf-16")),
        fields="Content-Transfer-Encoding: base64\r\n",
    ),
    "no such charset": part("text/plain; charset=nonsense", f"Grüße {WORD}".encode()),
    "broken bytes": part("text/plain; charset=utf-8", f"Grüße {WORD} ".encode() * 3 + b"\xff\xfe\xc3"),
    "HTML": part("text/html", f"<p title='{WORD}'>Hi <b>x</b><a href=\"mailto:{WORD}?a=b\">me</a></p>"),
    "HTML, percent signs": part("text/html", '<p>Hi <a href="mailto:jane.roe%40shop.example.com">me</a></p>'),
    "HTML, entities": part("text/html", "<p>&#106;ane.roe&commat;shop&#x2e;example.com &amp; b</p>"),
    "HTML, tags in the word": part("text/html", "<p>jane.<b>roe</b>@<wbr>shop.ex<span>am</span>ple.com</p>"),
    "HTML, what is invisible": part("text/html; charset=utf-8", "<p>jane.roe@shop.exam\u200b&shy;ple.com</p>"),
    "HTML called plain": part("text/plain", f"<!DOCTYPE html><html><p>jane.roe&#64;shop.example.com {WORD}</p></html>"),
    "plain text called HTML": part("text/html", f"one\r\n{WORD} &amp; three"),
    "flowed": part("text/plain; format=flowed; delsp=yes", "> a jane.roe@shop. \r\n> example.com b \r\n> c\r\nd"),
    "a multipart without its parts": part("multipart/mixed; boundary=x", f"Hello {WORD}"),
    "text around the parts": multipart("mixed", part("text/plain", ""), preamble=f"Hello {WORD}\r\n".encode()),
    "text behind the parts": multipart("mixed", part("text/plain", ""), epilogue=f"Hello {WORD}\r\n".encode()),
    "no header at all": b"\r\n" + WORD.encode(),
    "a text called an attachment": part(
        "text/plain", WORD, fields="Content-Disposition: attachment; filename=a.txt\r\n"
    ),
    "a report": multipart(
        "report; report-type=delivery-status",
        part("text/plain", "It failed"),
        part(
            "message/delivery-status", f"Reporting-MTA: dns; a\r\n\r\nFinal-Recipient: rfc822; {WORD}\r\nStatus: 5.1.1"
        ),
    ),
    "a calendar": part(
        "text/calendar", f"BEGIN:VCALENDAR\r\nORGANIZER:mailto:jane.roe@shop.exam\r\n ple.com\r\nX:{WORD}"
    ),
    "enriched": part("text/enriched", f"<bold>a</bold> {WORD}"),
}


ALONE = ("text around the parts", "text behind the parts", "a text called an attachment")
"""Read only where there is nothing else."""


@pytest.mark.parametrize("what", TEXTS)
def test_a_word_goes_from_every_kind_of_text(what: str) -> None:
    beside = HEAD + multipart("mixed", TEXTS[what], part("text/html", "<p>b</p>"), boundary="o")
    for raw in [HEAD + TEXTS[what]] if what in ALONE else [HEAD + TEXTS[what], beside]:
        new = rewritten(raw)
        assert "shop" not in everything(new)
        was, now = parse(raw), parse(new)
        # Where it was found whole, it is replaced in its place, and nothing else is.
        if WORD in was.text and "mailto" not in was.text:
            assert now.text == was.text.replace(WORD, GONE)
        assert (now.subject, now.from_, now.message_id, now.kind) == (was.subject, was.from_, was.message_id, was.kind)


def test_what_is_not_changed_stays_byte_for_byte() -> None:
    file = part("application/pdf; name=a.pdf", b"%PDF \x00\xff " + WORD.encode(), fields="X-Odd:   a\t b\r\n")
    named = part("text/plain", WORD, fields="Content-Disposition: attachment; filename=a.txt\r\n")
    other = part("text/html; charset=koi8-r", b"<P   CLASS=x>a&nbsp;&#32;<br/ >")
    raw = HEAD + multipart("mixed", part("text/plain", f"a {WORD}"), other, file, named, preamble=b"Notice\r\n")
    assert rewritten(raw) == raw.replace(f"a {WORD}".encode(), f"a {GONE}".encode(), 1)


def test_html_around_the_word_is_not_written_anew() -> None:
    html = "<!doctype html><P CLASS=x>a&nbsp;<b >{}</b><br/ >\n\t<!-- {} --><a HREF='mailto:{}' x>b</a>&copy c <"
    raw = HEAD + part("text/html", html.replace("{}", WORD))
    assert rewritten(raw) == HEAD + part("text/html", html.replace("{}", GONE))


def test_what_an_image_in_its_own_url_is_made_of_is_no_text() -> None:
    image = f'<img src="data:image/png;base64,{WORD}">'
    raw = HEAD + part("text/html", f"<p>{WORD}</p>{image}")
    assert rewritten(raw).endswith(f"<p>{GONE}</p>{image}".encode())


def test_a_flowed_text_keeps_its_other_lines() -> None:
    raw = HEAD + part("text/plain; format=flowed", f"one \r\n{WORD} \r\n two\r\n-- \r\nJane \r\n")
    assert rewritten(raw) == raw.replace(WORD.encode(), GONE.encode())


def test_a_charset_that_cannot_hold_the_new_text_gives_way() -> None:
    raw = HEAD + part("text/plain; charset=iso-8859-1; format=flowed", f"Grüße {WORD}".encode("latin-1"))
    new = rewrite(raw, lambda text: [(at, at + len(WORD), "✂") for at in [text.find(WORD)] if at >= 0], change)
    assert new is not None
    assert (parse(new).text, parse(new).charset) == ("Grüße ✂", "utf-8")
    assert b'format="flowed"' in new
    plain = b"Subject: x\r\n\r\n" + WORD.encode()
    new = rewrite(plain, lambda text: [(0, len(WORD), "Grüße ✂")] if WORD in text else [], change)
    assert new is not None
    assert (parse(new).text, parse(new).subject) == ("Grüße ✂", "x")


def test_messages_in_a_message_are_gone_into() -> None:
    inner = f"From: {WORD}\r\nSubject: About {WORD}\r\n\r\nHello {WORD}\r\n"
    deep = part("message/rfc822", HEAD + multipart("mixed", part("message/rfc822", inner), boundary="i"))
    encoded = part("message/rfc822", base64.encodebytes(inner.encode()), fields="Content-Transfer-Encoding: base64\r\n")
    named = part("message/rfc822; name=a.eml", inner, fields="Content-Disposition: attachment; filename=a.eml\r\n")
    raw = HEAD + multipart("mixed", part("text/plain", "See below"), deep, encoded, named)
    new = rewritten(raw)
    assert WORD.encode() not in new
    assert len(parse(new).attachments) == 3
    assert base64.b64encode(inner.replace(WORD, GONE).encode())[:40] in new
    whole = b"Content-Type: message/rfc822\r\n\r\n" + inner.encode()
    assert WORD not in everything(rewritten(whole))


def test_a_text_at_the_bare_carriage_return() -> None:
    raw = f"Subject: {WORD}\rFrom: a@example.com\r\rHello {WORD}\rBye\r".encode()
    assert rewritten(raw) == raw.replace(WORD.encode(), GONE.encode())


FIELDS = [
    (f"Subject: Re: {WORD} again", f"Subject: Re: {GONE} again"),
    ("Subject: a\r\n jane.roe@shop.example.com\r\n b", f"Subject: a {GONE} b"),
    (f"From: Jane <{WORD}>", f"From: Jane <{GONE}>"),
    (f"To: =?utf-8?Q?D=C3=B6e=2C_Jane?= <{WORD}>, b@example.com", f"To: =?utf-8?Q?D=C3=B6e=2C_Jane?= <{GONE}>, b@"),
    (
        f"Received: from a (a [192.0.2.1])\r\n\tby b for <{WORD}>;\r\n\tMon",
        f"Received: from a (a [192.0.2.1]) by b for <{GONE}>;",
    ),
]


@pytest.mark.parametrize(("line", "wanted"), FIELDS)
def test_a_field_keeps_what_is_around_the_word(line: str, wanted: str) -> None:
    raw = f"X-Before: a\r\n{line}\r\nX-After:  b\r\n\r\nHello\r\n".encode()
    new = rewritten(raw).decode()
    assert wanted in new.replace("\r\n ", " ")
    assert new.startswith("X-Before: a\r\n")
    assert new.endswith("X-After:  b\r\n\r\nHello\r\n")


def test_a_word_in_encoded_words() -> None:
    word = base64.b64encode(f"Grüße, {WORD}".encode()).decode()
    raw = f"From: =?utf-8?B?{word}?= <a@example.com>, b@example.com\r\nSubject: =?utf-8?B?{word}?=\r\n\r\nHi".encode()
    mail = parse(rewritten(raw))
    assert mail.subject == f"Grüße, {GONE}"
    assert [(one.name, one.addr) for one in mail.from_] == [
        (f"Grüße, {GONE}", "a@example.com"),
        ("", "b@example.com"),
    ]


def test_a_word_of_which_half_is_encoded() -> None:
    subject, name = b"=?utf-8?Q?jane=2Eroe=40?=shop.example.com", b"=?utf-8?Q?jane.roe=40sh?=op.example.com"
    raw = b"Subject: %b\r\nFrom: %b <a@b.example>\r\n\r\n" % (subject, name)
    mail = parse(rewritten(raw))
    assert mail.subject == GONE
    assert [one.addr for one in mail.from_] == ["a@b.example"]


def test_raw_eight_bit_fields() -> None:
    raw = f"Subject: Grüße {WORD}\r\n\r\nHi".encode()
    assert rewritten(raw) == raw.replace(WORD.encode(), GONE.encode())


def test_the_name_of_a_file_is_rewritten_and_the_boundary_never() -> None:
    file = part(
        f'application/pdf; name="{WORD}"',
        "%PDF",
        fields="Content-Disposition: attachment;\r\n filename*0*=utf-8''%C3%BC-jane.roe; filename*1*=%40"
        "shop.example.com\r\n",
    )
    raw = HEAD + multipart("mixed", part("text/plain", "Hi"), file, boundary=WORD.replace("@", "'"))
    found = re.compile("jane.roe.shop.example.com")
    new = rewrite(raw, lambda text: [], lambda _, value: found.sub(GONE, value))
    assert new is not None
    assert [one.name for one in parse(new).attachments] == [f"ü-{GONE}"]
    assert parse(new).text == "Hi"


def test_no_value_ends_its_field() -> None:
    new = rewrite(b"Subject: a\r\nFrom: b\r\n\r\n", lambda text: [], lambda _, value: "x\r\nBcc: y\r\n\r\n\0z")
    assert new is not None
    assert [line.partition(b":")[0] for line in new.splitlines()] == [b"Subject", b"From", b""]


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_mail_costs_what_its_length_says(what: str) -> None:
    for raw in (HOSTILE[what], HEAD + HOSTILE[what], HEAD + HOSTILE[what] + WORD.encode()):
        begun = time.process_time()
        rewrite(raw, find, change)
        assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "unit", ["<", "<a", "<a =", "<a x='", '<a x="', "&", "&#1", "<!--", "\t\n", "\u200b", "a<b>", "<a b=c>", "="]
)
def test_hostile_html_costs_what_its_length_says(unit: str) -> None:
    begun = time.process_time()
    rewrite(HEAD + part("text/html; charset=utf-8", unit * (2_000_000 // len(unit.encode()))), find, change)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("name", ["Subject", "From", "Content-Disposition", "Content-Type"])
@pytest.mark.parametrize("unit", ["=?utf-8?Q?a?= ", "<a@b.example>, ", '"', "(", "; filename*1=a", "\r\n a", "=?"])
def test_hostile_fields_cost_what_their_length_says(name: str, unit: str) -> None:
    begun = time.process_time()
    rewrite(f"{name}: {WORD} {unit * (200_000 // len(unit))}\r\n\r\nHi".encode(), find, change)
    assert time.process_time() - begun < 5


@pytest.mark.skipif(not CORPORA.exists(), reason="no corpora: set INGESTD_CORPORA")
def test_real_mail() -> None:
    """Of each real mail: nothing found, nothing changed; its sender's address goes from all that is read."""
    seen = 0
    for manifest in sorted(CORPORA.glob("*/manifest.jsonl")):
        rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        for row in [one for one in rows if one["kind"] == "mail"][::17]:
            raw = (manifest.parent / row["file"]).read_bytes()
            assert rewrite(raw, find, change) is None, row["file"]
            was = parse(raw)
            address = was.from_[0].addr if was.from_ else ""
            if not address.isascii() or len(address) < 8:
                continue
            pattern = re.compile(re.escape(address), re.IGNORECASE)
            new = rewrite(raw, partial(spans_of, pattern), partial(replaced, pattern))
            assert new is not None, row["file"]
            now = parse(new)
            seen += 1
            assert not pattern.search(now.text + now.subject + now.from_[0].addr + now.html), row["file"]
            assert len(now.attachments) == len(was.attachments), row["file"]
    assert seen > 20
