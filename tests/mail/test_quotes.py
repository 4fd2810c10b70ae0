"""What is new in a reply: cut where it is certain, kept where it is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.parse import parse
from ingestd.mail.quotes import Stripped, strip_quotes
from tests.mail.replies import ANSWERS, CUT, INTRODUCTIONS, KEPT, SIGNATURES

ROWS = [
    pytest.param(ANSWERS[language], marked, intro, id=f"{language}: {client}")
    for language, rows in INTRODUCTIONS.items()
    for client, marked, intro in rows
]


@pytest.mark.parametrize(("answer", "marked", "intro"), ROWS)
def test_history_is_cut(answer: str, marked: bool, intro: str) -> None:
    quote = "> " if marked else ""
    text = f"{answer}\n\n{intro}\n\n{quote}Does it work?\n{quote}\n{quote}Jane\n"
    assert strip_quotes(text).text == answer


@pytest.mark.parametrize(("answer", "marked", "intro"), ROWS)
def test_an_answer_beneath_the_quote_is_kept(answer: str, marked: bool, intro: str) -> None:
    if marked:
        assert strip_quotes(f"{intro}\n> Does it work?\n>\n> Jane\n\n{answer}\n").text == answer


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_what_is_in_doubt_is_kept(text: str) -> None:
    assert strip_quotes(text).text == text.strip()


HISTORY = "On Mon, 2 Mar 2026 at 10:00, Jane <jane@example.com> wrote:\n> Does it work?\n>\n> Jane"
OUTLOOK = "From: Jane <jane@example.com>\nSent: Monday, March 2, 2026 10:00 AM\nTo: Support\nSubject: Help\n\nDoes it?"


@pytest.mark.parametrize(("text", "new"), CUT.values(), ids=CUT)
def test_what_is_certain_is_cut(text: str, new: str) -> None:
    assert strip_quotes(text).text == new.strip()


@pytest.mark.parametrize(
    "answer",
    [
        "Please see my answers below.",
        "My comments are in red.",
        "Answered inline.",
        "See below.",
        "Meine Antworten stehen unten im Text.",
        "Siehe unten.",
        "Mes réponses sont ci-dessous.",
        "Respuestas abajo en rojo.",
        "Respostas abaixo.",
        "Le risposte sono qui sotto.",
        "Odpowiedzi poniżej.",
        "Antwoorden hieronder.",
        "Cevaplarım aşağıda.",
        "Ответы ниже.",
        "Відповіді нижче.",
        "回复如下。",
        "回答は以下です。",
        "답변은 아래에 있습니다.",
    ],
)
def test_history_in_which_the_answers_stand_is_kept(answer: str) -> None:
    text = f"{answer}\n\n{OUTLOOK}\n\nYes, it does."
    assert strip_quotes(text) == Stripped(
        text, ("history kept: answers stand in it",), OUTLOOK.split("\n", maxsplit=1)[0]
    )


def test_forwarded_mail_is_kept() -> None:
    text = "FYI\n\nFrom: Jane\nSent: Monday\nTo: Support\nSubject: Help\n\nIt is broken.\n\n-- \nJane"
    assert strip_quotes(text, forwarded=True).text == text
    assert parse(b"Subject: Fwd: Help\r\nIn-Reply-To: <a@example.com>\r\n\r\n" + text.encode()).new_text == text


def test_a_header_block_in_a_message_that_answers_nothing_is_content() -> None:
    body = f"Look at this.\n\n{OUTLOOK}".encode()
    assert "Does it?" in parse(b"Subject: A question\r\n\r\n" + body).new_text
    assert parse(b"Subject: AW: A question\r\n\r\n" + body).new_text == "Look at this."
    assert parse(b"Subject: A question\r\nIn-Reply-To: <a@example.com>\r\n\r\n" + body).new_text == "Look at this."


@pytest.mark.parametrize("signature", SIGNATURES)
def test_signatures_are_cut(signature: str) -> None:
    assert strip_quotes(f"Thanks, it works.\n\n{signature}\n").text == "Thanks, it works."


@pytest.mark.parametrize("line", ["- Jane", "— Jane Doe", "-jane"])
def test_the_senders_name_beneath_a_text_is_a_signature(line: str) -> None:
    assert strip_quotes(f"Which city?\n\n{line}", sender="Jane Doe").text == "Which city?"
    assert strip_quotes(f"Which city?\n\n{line}", sender="Bob Roe").text == f"Which city?\n\n{line}"
    assert parse(f"From: Jane Doe <j@example.com>\r\n\r\nWhich?\r\n\r\n{line}".encode()).new_text == "Which?"


def test_what_was_cut_is_said() -> None:
    assert strip_quotes(f"Yes.\n\n-- \nBob\n\n{HISTORY}").why == ("attribution line", "quoted lines", "signature")
    assert strip_quotes(f"Yes.\n\n{OUTLOOK}").why == ("header block",)
    assert strip_quotes("Yes.").why == ()


SNIPPETS = st.sampled_from(
    [
        *(line for rows in INTRODUCTIONS.values() for _, _, intro in rows for line in intro.split("\n")),
        *(
            "> q",
            ">",
            "",
            "text",
            "-- ",
            "--",
            "____________",
            "```",
            "See below.",
            "Sent from my iPhone",
            "- Jane Doe",
        ),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(SNIPPETS, st.text(max_size=20)), max_size=30).map("\n".join), st.booleans(), st.booleans())
def test_strip_never_invents_text(text: str, forwarded: bool, marks: bool) -> None:
    result = strip_quotes(text, forwarded=forwarded, marks=marks).text
    assert bool(result) == bool(text.strip())
    remaining = iter(text.split("\n"))
    # The outer lines are stripped of spaces; all are lines of the text, in its order.
    assert all(any(line.strip() == other.strip() for other in remaining) for line in result.split("\n"))


@pytest.mark.parametrize(
    "line",
    [
        "On 1 Jan <a@example.com> wrote\n",
        "On Monday, 2 March 2026, at 10:00 <\n",
        "> " * 200 + "\n",
        ">",
        "On ",
        "-",
        "- " * 200 + "\n",
        "From: a\n",
        "1.1.1 \n",
        "-- \n",
        "```\n",
        ">\n\n",
        "a\n> b\n",
        "Sent from my a\n",
        "wrote:\n",
        ":\n",
        "<" * 300 + "@\n",
        "From:\n\n",
        "(" * 300 + "\n",
        "https://example.com/\n> a\n",
        "confidential recipient message \n",
        "a@b:\n",
        "x <\n>\n",
    ],
)
def test_hostile_text_is_read_in_time(line: str) -> None:
    text = line * (200_000 // len(line))
    begun = time.process_time()
    strip_quotes(text)
    strip_quotes("On Mon, 2 Mar 2026, Jane <j@example.com> wrote:\n> a\n" + text)
    assert time.process_time() - begun < 2
