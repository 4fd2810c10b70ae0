"""What is new in a reply: cut where it is certain, kept where it is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.parse import parse
from ingestd.mail.quotes import strip_quotes

ATTRIBUTIONS = [
    "On Mon, 2 Mar 2026 at 10:00, Jane Doe <jane@example.com> wrote:",
    "On Mon, 2 Mar 2026 at 10:00, Jane Doe <\njane@example.com> wrote:",
    "Am 02.03.2026 um 10:00 schrieb Jane Doe <jane@example.com>:",
    "Am Mo., 2. März 2026 um 10:00 Uhr schrieb Jane Doe <\njane@example.com>:",
    "Le lun. 2 mars 2026 à 10:00, Jane Doe <jane@example.com> a écrit :",
    "El lun, 2 mar 2026 a las 10:00, Jane Doe (<jane@example.com>) escribió:",
    "Em seg., 2 de mar. de 2026 às 10:00, Jane Doe <jane@example.com> escreveu:",
    "Il giorno lun 2 mar 2026 alle ore 10:00 Jane Doe <jane@example.com> ha scritto:",
    "W dniu 2.03.2026 o 10:00, Jane Doe pisze:",
    "pon., 2 mar 2026 o 10:00 Jane Doe <jane@example.com> napisał(a):",
    "Op ma 2 mrt 2026 om 10:00 schreef Jane Doe <jane@example.com>:",
    "Jane Doe <jane@example.com>, 2 Mar 2026 Pzt, 10:00 tarihinde şunu yazdı:",
    "пн, 2 мар. 2026 г. в 10:00, Jane Doe <jane@example.com>:",
    "02.03.2026, 10:00, Jane Doe пишет:",
    "2 марта 2026 г., 10:00 +03:00 от Jane Doe <jane@example.com> написал:",
    '02.03.2026, 10:00, "Jane Doe" <jane@example.com>:',
    "пн, 2 бер. 2026 р. о 10:00 Jane Doe <jane@example.com> пише:",
    "Jane Doe <jane@example.com> 于2026年3月2日周一 10:00写道：",
    "2026年3月2日(月) 10:00 Jane Doe <jane@example.com>:",
    "2026년 3월 2일 (월) 오전 10:00, Jane Doe <jane@example.com>님이 작성:",
    "-----Original Message-----\nFrom: Jane Doe\nSent: Monday\nTo: Support\nSubject: Help",
    "-----Ursprüngliche Nachricht-----\nVon: Jane Doe",
    "-------- Исходное сообщение --------\nОт: Jane Doe",
    "________________________________\nFrom: Jane Doe\nSent: Monday, March 2, 2026\nTo: Support\nSubject: Help",
    "Von: Jane Doe\nGesendet: Montag\nAn: Support\nBetreff: Hilfe",
    "От: Jane Doe\nОтправлено: 2 марта\nКому: Support\nТема: Помощь",
    "发件人: Jane\n发送时间: 2026年3月2日\n收件人: Support\n主题: Help",
    "差出人: Jane\n送信日時: 2026年3月2日\n宛先: Support\n件名: Help",
]


@pytest.mark.parametrize("attribution", ATTRIBUTIONS)
def test_history_is_cut(attribution: str) -> None:
    assert strip_quotes(f"It works, thanks.\n\n{attribution}\n\n> Does it work?\n> Jane\n") == "It works, thanks."


@pytest.mark.parametrize(
    "text",
    [
        "On Monday my colleague wrote: it does not work.\nPlease help.",
        "Hi,\nplease see below.\n\n---------- Forwarded message ---------\nFrom: Jane\nDate: x\nSubject: y\n\nold",
        "> only a quote\n> and nothing else",
        "From: what I see, it is broken.\nTo be honest: very.",
        "a\n--\nb" + "\nc" * 40,
        "-----Original Message-----\nFrom: Jane",
    ],
)
def test_what_is_in_doubt_is_kept(text: str) -> None:
    assert strip_quotes(text) == text


def test_forwarded_mail_is_kept() -> None:
    text = "FYI\n\nFrom: Jane\nSent: Monday\nTo: Support\nSubject: Help\n\nIt is broken."
    assert strip_quotes(text, forwarded=True) == text
    assert parse(b"Subject: Fwd: Help\r\n\r\n" + text.encode()).new_text == text


def test_answers_between_quoted_lines_are_kept() -> None:
    text = "On 2 Mar 2026, Jane <jane@example.com> wrote:\n> One?\nYes.\n> Two?\nNo.\n"
    assert strip_quotes(text) == "Yes.\nNo."


@pytest.mark.parametrize("end", ["-- \nJane Doe\nExample Ltd", "Sent from my iPhone", "Отправлено с iPhone"])
def test_signatures_are_cut(end: str) -> None:
    assert strip_quotes(f"Thanks.\n\n{end}\n") == "Thanks."


def test_the_quote_of_an_html_reply_is_cut_by_its_container() -> None:
    html = b'<div>Thanks.</div><div class="gmail_quote"><div>anything at all</div><blockquote>old</blockquote></div>'
    assert parse(b"Content-Type: text/html\r\n\r\n" + html).new_text == "Thanks."


LINES = st.sampled_from(
    [*(line for one in ATTRIBUTIONS for line in one.split("\n")), "> q", "", "text", "-- ", "--", "____________"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(LINES, st.text(max_size=20)), max_size=30).map("\n".join), st.booleans())
def test_strip_never_invents_text(text: str, forwarded: bool) -> None:
    result = strip_quotes(text, forwarded=forwarded)
    assert bool(result) == bool(text.strip())
    remaining = iter(text.split("\n"))
    # The outer lines are stripped of spaces; all are lines of the text, in its order.
    assert all(any(line.strip() == other.strip() for other in remaining) for line in result.split("\n"))


@pytest.mark.parametrize(
    "line", ["On 1 Jan <a@example.com> wrote\n", "> " * 200 + "\n", "- " * 200 + "\n", "From: a\n", "1.1.1 \n"]
)
def test_hostile_text_is_read_in_time(line: str) -> None:
    begun = time.perf_counter()
    strip_quotes(line * (200_000 // len(line)))
    assert time.perf_counter() - begun < 2
