"""What a reply shows: text, Markdown and HTML, images, signature and quotation."""

from __future__ import annotations

import base64
import dataclasses
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from ingestd.mail.body import BodyFormat, InlineImage
from ingestd.mail.compose import AttachmentContent, ComposeError, ReplyRequest, compose_reply
from ingestd.mail.html_images import REMOTE_IMAGE
from ingestd.mail.markdown import readable
from ingestd.mail.parse import parse
from ingestd.mail.quoting import Quoted
from ingestd.mail.types import Address, ParsedMail
from tests.mail.test_compose import REQUEST

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")
LOGO = InlineImage("logo", "logo.png", "image/png", PNG)
ANNA = Address("anna@example.org", "Anna Müller")
FILE = AttachmentContent("a.txt", "text/plain", b"x")
MARKDOWN, HTML = BodyFormat.MARKDOWN, BodyFormat.HTML


def request(**changes: Any) -> ReplyRequest:
    return dataclasses.replace(REQUEST, **changes)


def read(**changes: Any) -> ParsedMail:
    return parse(compose_reply(request(**changes)))


def quoted(text: str = "It does not print.", html: str = "", bytes_max: int = 10_000) -> Quoted:
    return Quoted(ANNA, datetime(2026, 3, 1, 9, 5, tzinfo=UTC), text, html, bytes_max)


def structure(message: bytes) -> Any:
    def of(part: Any) -> Any:
        kind = part.get_content_type()
        return (kind, [of(one) for one in part.get_payload()]) if part.is_multipart() else kind

    return of(message_from_bytes(message, policy=policy.default))


TEXT_AND_HTML = ("multipart/alternative", ["text/plain", "text/html"])
WITH_IMAGE = ("multipart/related", [TEXT_AND_HTML, "image/png"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "text/plain"),
        ({"attachments": (FILE,)}, ("multipart/mixed", ["text/plain", "text/plain"])),
        ({"format": MARKDOWN, "text": "*a*"}, TEXT_AND_HTML),
        ({"format": HTML, "text": "<p>a"}, TEXT_AND_HTML),
        ({"format": MARKDOWN, "text": "![](cid:logo)", "images": (LOGO,)}, WITH_IMAGE),
        (
            {"format": HTML, "text": "<img src=cid:logo>", "images": (LOGO,), "attachments": (FILE,)},
            ("multipart/mixed", [WITH_IMAGE, "text/plain"]),
        ),
    ],
)
def test_each_level_is_there_only_where_it_is_needed(changes: dict[str, Any], expected: Any) -> None:
    assert structure(compose_reply(request(**changes))) == expected


def test_related_names_its_root_and_its_images_have_ids_of_their_own_in_the_world() -> None:
    message = message_from_bytes(
        compose_reply(request(format=MARKDOWN, text="![the logo](cid:logo)", images=(LOGO,))), policy=policy.default
    )
    assert isinstance(message, EmailMessage)
    assert message.get_param("type") == "multipart/alternative"
    (image,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    name = image["content-id"].strip("<>")
    assert name.startswith("logo.")
    assert name.endswith("@example.com")
    assert image.get_content_disposition() == "inline"
    html = message.get_body(["html"])
    assert html is not None
    assert f'<img src="cid:{name}" alt="the logo">' in html.get_content()


def test_markdown_is_its_own_text_and_raw_html_in_it_stands_for_itself() -> None:
    mail = read(format=MARKDOWN, text="Dear *Jane*,\nsee [the manual](https://example.com/m) <script>alert(1)</script>")
    assert mail.text == "Dear *Jane*,\nsee the manual <https://example.com/m> <script>alert(1)</script>"
    assert "<em>Jane</em>" in mail.html
    assert '<a href="https://example.com/m"' in mail.html
    assert "&lt;script&gt;" in mail.html


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("`[a](b)` and\\\n[a](b)", "`[a](b)` and\na <b>"),
        ("```\n[a](b)\n```\n[a](mailto:b@example.com)", "```\n[a](b)\n```\na <b@example.com>"),
        ("    [a](b)\n\n\\*not\\*", "    [a](b)\n\n*not*"),
        ("![](cid:x)![a map](cid:y)", "[a map]"),
        ("[https://example.com](https://example.com)", "https://example.com"),
        ('[a](<b c> "title")', "a <b c>"),
    ],
)
def test_markdown_is_made_readable(markdown: str, text: str) -> None:
    assert readable(markdown) == text


def test_html_is_sanitized_and_has_a_text() -> None:
    mail = read(
        format=HTML, text='<p onclick="x()">Dear <b>Jane</b>,</p><script>alert(1)</script><ol><li>one<li>two</ol>'
    )
    assert mail.text == "Dear Jane,\n\n1. one\n2. two"
    assert "script" not in mail.html
    assert "onclick" not in mail.html


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<p>a<img src='https://example.com/t.gif'>", "on the network"),
        (f"<p>a<img src='{REMOTE_IMAGE}'>", "on the network"),
        ("<p>a<img src='file:///C:/a.png'>", "cannot be sent"),
        ("<p>a<img src='blob:https://example.com/1'>", "cannot be sent"),
        ("<p>a<img src='data:image/svg+xml;base64,PHN2Zz4='>", "cannot be sent"),
        ("<p>a<img src='cid:other'>", "is not given"),
        ("<script>a</script>", "shows nothing"),
        ("", "shows nothing"),
        ("<p>" + "a" * 5001, "the limit is 5000"),
    ],
)
def test_html_that_cannot_be_sent_as_it_is_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ComposeError, match=f"^html: .*{reason}"):
        compose_reply(request(format=HTML, text=text, text_bytes_max=5000))


@pytest.mark.parametrize(
    ("images", "text", "reason"),
    [
        ((LOGO,), "no image", "inline image 1: is not shown"),
        ((LOGO, LOGO), "![](cid:logo)", "inline image 2: has the name"),
        ((dataclasses.replace(LOGO, cid="a b"),), "![](cid:a%20b)", "inline image 1: needs a name"),
        ((dataclasses.replace(LOGO, content_type="image/svg+xml"),), "![](cid:logo)", "inline image 1: is no PNG"),
        ((dataclasses.replace(LOGO, name="a\r\nb"),), "![](cid:logo)", "inline image 1: holds a line break"),
        ((), "![](https://example.com/a.png)", "markdown: shows an image on the network"),
    ],
)
def test_an_image_that_is_not_shown_or_not_there_is_refused(
    images: tuple[InlineImage, ...], text: str, reason: str
) -> None:
    with pytest.raises(ComposeError, match=reason):
        compose_reply(request(format=MARKDOWN, text=text, images=images))


def test_plain_text_shows_no_image() -> None:
    with pytest.raises(ComposeError, match="inline images"):
        compose_reply(request(images=(LOGO,)))


def test_what_only_looks_like_an_image_is_text() -> None:
    mail = read(format=MARKDOWN, text='`<img src="cid:logo">` and " src="cid:x" y')
    assert mail.attachments == ()


def test_a_pasted_image_is_sent_along_once() -> None:
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    own = dataclasses.replace(LOGO, cid="pasted-1")
    text = f"<p>a<img src='{url}'><img src='cid:pasted-1'><img src='{url}'>"
    mail = read(format=HTML, text=text, images=(own,), text_bytes_max=500)
    assert [one.name for one in mail.attachments] == ["image-2.png", "logo.png"]
    assert all(one.inline for one in mail.attachments)
    assert mail.html.count('src="cid:') == 3
    assert "data:" not in mail.html


def test_the_signature_stands_behind_its_mark_and_our_own_reader_knows_it() -> None:
    for form in BodyFormat:
        message = compose_reply(
            request(format=form, text="Yes.", signature="Jane <b>\n  Example Ltd\n", attachments=())
        )
        mail = parse(message)
        assert "\n\n-- \nJane <b>\n" in mail.text
        assert mail.new_text == "Yes."
        if form is not BodyFormat.TEXT:
            assert '<div class="gmail_signature">-- <br>Jane &lt;b&gt;<br>&nbsp; Example Ltd</div>' in mail.html


def test_a_quotation_stands_beneath_the_signature_and_our_own_reader_cuts_it() -> None:
    for form in BodyFormat:
        mail = read(format=form, text="Yes.", signature="Jane", quoted=quoted("One.\n> Two.\n\nThree."))
        assert mail.text.endswith(
            "-- \nJane\n\nOn Sun, 1 Mar 2026 at 09:05, Anna Müller <anna@example.org> wrote:\n"
            "> One.\n>> Two.\n>\n> Three."
        )
        assert mail.new_text == "Yes."
        if form is not BodyFormat.TEXT:
            assert '<blockquote class="gmail_quote" type="cite"' in mail.html
            assert "One." not in mail.new_html


def test_quoted_html_keeps_its_form_and_names_its_images() -> None:
    html = '<p>It <b>burns</b>: <img src="cid:a" alt="the printer"><img src="cid:b"></p>'
    mail = read(format=HTML, text="<p>Oh.", quoted=quoted(html=html))
    assert "<p>It <b>burns</b>: [the printer]</p>" in mail.html


@pytest.mark.parametrize("html", ["", "<p>" + "<b>long</b>" * 1000])
def test_a_quotation_is_bounded(html: str) -> None:
    mail = read(format=HTML, text="<p>Oh.", quoted=quoted("ä" * 20 + "\n" + "long " * 1000, html, bytes_max=100))
    assert mail.text.endswith(f"> {'ä' * 20}\n> […]")
    assert len(mail.html) < 1000


def test_what_a_customer_wrote_never_keeps_an_answer_from_being_sent() -> None:
    author = Address("anna@example.org", "A\r\nB\0\x07")
    strange = dataclasses.replace(quoted("a\0\ufeffb\ud800\r\n\x1b[1m", "<p>\0a\ud800</p>"), author=author)
    mail = read(format=HTML, text="<p>Oh.", quoted=strange)
    assert "A B <anna@example.org> wrote:\n> ab\n> [1m" in mail.text
