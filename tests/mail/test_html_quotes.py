"""The history in the HTML of a reply: removed with the clients' own containers, or where lines prove it."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.html_quotes import cut_history
from ingestd.mail.html_safe import sanitize
from ingestd.mail.html_text import to_text
from ingestd.mail.parse import parse
from ingestd.mail.types import ParsedMail
from tests.mail.html_replies import (
    JANE,
    OLD,
    SENT,
    apple,
    fastmail,
    gmail,
    gmx,
    mail_ru,
    older_apple,
    older_gmail,
    outlook_desktop,
    outlook_mac,
    outlook_mobile,
    outlook_web,
    protonmail,
    roundcube,
    samsung,
    tables,
    thunderbird,
    yahoo,
    yandex,
    zoho,
)
from tests.mail.replies import ANSWERS, INTRODUCTIONS


def reply(html: str, plain: str = "", subject: str = "Re: Help") -> ParsedMail:
    """Parse a message with this HTML, alone or beside a text."""
    head = f"Subject: {subject}\r\nIn-Reply-To: <a@example.com>\r\nMIME-Version: 1.0\r\n"
    if not plain:
        return parse(f"{head}Content-Type: text/html; charset=utf-8\r\n\r\n{html}".encode())
    parts = "".join(
        f"--b\r\nContent-Type: text/{kind}; charset=utf-8\r\n\r\n{body}\r\n"
        for kind, body in (("plain", plain), ("html", html))
    )
    return parse(f"{head}Content-Type: multipart/alternative; boundary=b\r\n\r\n{parts}--b--\r\n".encode())


def words(html: str) -> list[str]:
    return to_text(html).split()


ATTRIBUTING = (
    gmail,
    older_gmail,
    apple,
    older_apple,
    thunderbird,
    yahoo,
    yandex,
    mail_ru,
    protonmail,
    fastmail,
    zoho,
    roundcube,
)
ATTRIBUTED = [
    pytest.param(client, ANSWERS[language], rows[0][2].replace("\n", " "), id=f"{client.__name__}: {language}")
    for client in ATTRIBUTING
    for language, rows in INTRODUCTIONS.items()
]


@pytest.mark.parametrize(("client", "answer", "intro"), ATTRIBUTED)
def test_the_quote_beneath_an_attribution_is_removed(client, answer: str, intro: str) -> None:  # type: ignore[no-untyped-def]
    intro = intro.replace("<", "&lt;").replace(">", "&gt;")
    mail = reply(client(answer, intro))
    assert mail.new_text == answer
    assert words(mail.new_html) == answer.split()
    assert any(why.startswith("html: ") for why in mail.quote_cut)
    assert "Does it work?" in mail.text
    assert "Does it work?" in mail.html


@pytest.mark.parametrize(
    "client", [gmail, thunderbird, yahoo, protonmail, roundcube, zoho], ids=lambda one: one.__name__
)
def test_a_container_needs_no_language(client) -> None:  # type: ignore[no-untyped-def]
    mail = reply(client("Sea.", "Jane Doe kirjutas midagi"))
    assert mail.new_text == "Sea."
    assert words(mail.new_html) == ["Sea."]


HEADED = [
    pytest.param(client, ANSWERS[language], language, id=f"{client.__name__}: {language}")
    for client in (outlook_web, outlook_mobile, outlook_desktop, outlook_mac, samsung, gmx, tables)
    for language in SENT
]


@pytest.mark.parametrize(("client", "answer", "language"), HEADED)
def test_history_beneath_a_header_block_is_removed(client, answer: str, language: str) -> None:  # type: ignore[no-untyped-def]
    mail = reply(client(answer, language))
    assert mail.new_text == answer
    assert words(mail.new_html) == answer.split()
    assert "Does it work?" in mail.text


@pytest.mark.parametrize("client", [outlook_web, outlook_mobile, outlook_mac], ids=lambda one: one.__name__)
def test_what_is_forwarded_is_kept(client) -> None:  # type: ignore[no-untyped-def]
    mail = reply(client("FYI", "en"), subject="FW: Help")
    assert "Does it work?" in mail.new_text
    assert mail.new_html == ""


@pytest.mark.parametrize("subject", ["Fwd: Help", "Re: Help"])
def test_a_forward_in_gmails_container_is_kept(subject: str) -> None:
    intro = f"---------- Forwarded message ---------<br>From: {JANE}<br>Date: Mon, Mar 2, 2026<br>Subject: Help"
    html = f'<div>FYI</div><div class="gmail_quote"><div class="gmail_attr">{intro}</div>{OLD}</div>'
    mail = reply(html, subject=subject)
    assert "Does it work?" in mail.new_text
    assert mail.new_html == ""


def test_answers_between_gmails_quotes_are_kept_with_what_they_answer() -> None:
    html = (
        '<div>See here.</div><div class="gmail_quote"><div class="gmail_attr">On Mon, Mar 2, 2026 at 10:00 AM Jane '
        '&lt;jane@example.com&gt; wrote:</div><blockquote class="gmail_quote">One?</blockquote><div>Yes.</div>'
        '<blockquote class="gmail_quote">Two?</blockquote><div>No.</div>'
        '<blockquote class="gmail_quote">Bye</blockquote></div>'
    )
    mail = reply(html)
    assert [line for line in mail.new_text.split("\n") if line.strip("> ")][2:] == ["> One?", "Yes.", "> Two?", "No."]
    assert words(mail.new_html) == mail.new_text.split()
    assert "answers between quoted lines kept" in mail.quote_cut


def test_an_answer_beneath_the_quote_is_kept_and_the_quote_removed() -> None:
    html = f'<div>Hello<div class="moz-cite-prefix">Jane:</div><blockquote type="cite">{OLD}</blockquote>Yes.</div>'
    mail = reply(html)
    assert mail.new_text.split() == ["Hello", "Yes."]
    assert mail.new_html == "<div>Hello<br>Yes.</div>"


def test_an_answer_in_gmails_container_is_kept() -> None:
    html = (
        '<div class="gmail_quote"><div class="gmail_attr">On Mon, 2 Mar 2026 at 10:00 Jane &lt;jane@example.com&gt; '
        f'wrote:</div><blockquote class="gmail_quote">{OLD}</blockquote><div>Yes, it does.</div></div>'
    )
    mail = reply(html)
    assert mail.new_text == "Yes, it does."
    assert words(mail.new_html) == ["Yes,", "it", "does."]


def test_history_in_which_the_answers_stand_is_kept() -> None:
    mail = reply(outlook_web("My answers are below in red.", "en"))
    assert "Does it work?" in mail.new_text
    assert mail.new_html == ""


def test_an_image_above_the_history_is_the_customers() -> None:
    mail = reply(outlook_desktop('Look:</p><p><img src="cid:a@example.com"></p><p>', "en"))
    assert mail.new_html.count("<img") == 1
    assert words(mail.new_html) == ["Look:"]


def test_an_answer_that_is_only_an_image_is_kept() -> None:
    mail = reply(
        gmail('<img src="cid:a@example.com">', "On Mon, Mar 2, 2026 at 10:00 AM Jane &lt;j@example.com&gt; wrote:")
    )
    assert mail.new_html.count("<img") == 1
    assert "Does" not in mail.new_html


@pytest.mark.parametrize(
    "html",
    [
        "<p>Nothing is quoted.</p>",
        '<p>Indented:</p><blockquote style="margin:0 0 0 40px"><p>mine</p><p>too</p><p>and this</p></blockquote>',
        f'<div class="gmail_quote"><blockquote class="gmail_quote">{OLD}</blockquote></div>',
        "<p>Look at this:</p><table><tr><td>From:</td><td>Paris</td></tr><tr><td>To:</td><td>Berlin</td></tr></table>",
        '<div>Signed</div><div class="gmail_signature">Jane</div>',
    ],
    ids=["nothing", "indentation", "only a quote", "a table", "a signature"],
)
def test_what_is_in_doubt_is_kept(html: str) -> None:
    mail = reply(html)
    assert mail.new_text == mail.text
    assert mail.new_html == ""


def test_a_message_that_answers_nothing_keeps_its_quotes() -> None:
    html = outlook_web("Look at this", "en")
    mail = parse(f"Subject: Help\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}".encode())
    assert "Does it work?" in mail.new_text
    assert mail.new_html == ""


def test_a_container_in_the_html_says_where_the_text_is_to_be_cut() -> None:
    plain = "Sea.\n\nJane Doe kirjutas midagi\n\nDoes it work?\n\nJane"
    mail = reply(thunderbird("Sea.", "Jane Doe kirjutas midagi"), plain)
    assert mail.new_text == "Sea."
    assert mail.quote_cut == ("html: container moz-cite-prefix", "html: container cite")


def test_text_and_html_that_differ_are_judged_by_themselves() -> None:
    mail = reply(gmail("Something else", "Jane kirjutas:"), "Yes.\n\n-- \nBob")
    assert mail.new_text == "Yes."
    assert words(mail.new_html) == ["Something", "else"]


@pytest.mark.parametrize(
    "name", ["gmail_quote", "yahoo_quoted", "moz-cite-prefix", "ntes-mailmaster-quote", "airmail_on"]
)
def test_containers_survive_sanitizing(name: str) -> None:
    assert f'class="{name}"' in sanitize(f'<div class="{name} other">x</div>').html


TAGS = ["div", "p", "blockquote", "b", "table", "tr", "td", "span", "pre", "ul", "li", "a"]
PIECES = st.sampled_from(
    [
        *(f"<{tag}>" for tag in TAGS),
        *(f"</{tag}>" for tag in TAGS),
        "<br>",
        "<hr>",
        "<img src=cid:a>",
        '<div class="gmail_quote">',
        '<div class="gmail_attr">',
        '<blockquote class="gmail_quote">',
        '<blockquote type="cite">',
        '<div class="yahoo_quoted">',
        '<div id="divRplyFwdMsg">',
        '<hr id="stopSpelling">',
        '<span id="OLK_SRC_BODY_SECTION">',
        '<div class="moz-cite-prefix">',
        "one",
        "two",
        "three\nfour",
        "&lt;",
        "From: Jane<br>",
        "Sent: Monday<br>",
        "To: Bob<br>",
        "Subject: Help<br>",
        "On Mon, 2 Mar 2026 at 10:00, Jane &lt;jane@example.com&gt; wrote:",
        '<div style="white-space:pre-wrap">',
        "-- Forwarded message --",
        "&gt; q<br>",
        '<a title="x>y" href="https://example.com">',
    ]
)


def tags_are_balanced(html: str) -> bool:
    stack: list[str] = []
    for closing, name in re.findall(r"<(/?)([a-z0-9]+)(?:[^>\"]|\"[^\"]*\")*>", html):
        if name in ("br", "hr", "img", "wbr", "col"):
            continue
        if not closing:
            stack.append(name)
        elif not stack or stack.pop() != name:
            return False
    return not stack


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_what_is_left_is_well_formed_and_invents_nothing(html: str) -> None:
    safe = sanitize(f"<p>new</p>{html}").html
    cut = cut_history(safe)
    if cut is None:
        return
    assert tags_are_balanced(cut.html)
    remaining = iter(re.sub(r"<[^>]*>", " ", safe).split())
    assert all(any(word == other for other in remaining) for word in re.sub(r"<[^>]*>", " ", cut.html).split())
    assert cut.html.startswith("<p>new")


@pytest.mark.parametrize(
    "piece",
    [
        '<div class="gmail_quote">',
        "<blockquote>",
        '<blockquote type="cite">a</blockquote>',
        "<div>On Mon, 2 Mar 2026</div>",
        "<div>From: Jane</div>",
        "<br>",
        "<hr>",
        "<p>a",
        "<td>",
        '<div class="gmail_attr">a</div>',
        "<pre>\n\n",
        "&lt;",
        "<b>",
        '<div class="gmail_quote"><blockquote class="gmail_quote">a</blockquote>b</div>',
        "<img src=cid:a>",
        '<span id="zwchr">',
    ],
)
def test_hostile_html_is_read_in_time(piece: str) -> None:
    safe = sanitize("<p>new</p>" + piece * (300_000 // len(piece))).html
    begun = time.process_time()
    cut_history(safe)
    assert time.process_time() - begun < 4
