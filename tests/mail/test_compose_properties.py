"""Replies of any content: what is written reads back equal, by our parser and by the standard library, or is refused
with the field that is wrong."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.body import BodyFormat, InlineImage
from ingestd.mail.compose import AttachmentContent, ComposeError, compose_reply, reply_subject, thread_topic
from ingestd.mail.fields import plain_line
from ingestd.mail.html_safe import sanitize
from ingestd.mail.limits import Limits
from ingestd.mail.parse import parse
from ingestd.mail.quoting import Quoted
from ingestd.mail.types import Address
from tests.mail.test_compose import REQUEST

PNG = bytes.fromhex("89504e470d0a1a0a0000000d")
ANYTHING = st.characters(exclude_categories=["Cs"])
NASTY = st.sampled_from(
    [
        *("\r\n", "\n", "\r", "\0", "\u2028", "\x85", "\x0b", "=?utf-8?B?", "?=", '"', "\\", "<", ">", ",", ";", "@"),
        *("--", ".", "From ", "begin 644 a\n", "<p>", "<script>", "![](cid:a)", "<img src=cid:a>", "\u200d", "\ufeff"),
        *(" ", "\t"),
    ]
)
TEXT = st.lists(NASTY | st.text(ANYTHING, max_size=40), max_size=12).map("".join)
NAME = st.lists(NASTY | st.text(ANYTHING, max_size=20), max_size=4).map("".join)


def stdlib(message: bytes) -> EmailMessage:
    found = message_from_bytes(message, policy=policy.default)
    assert isinstance(found, EmailMessage)
    assert all(not part.defects for part in found.walk())
    return found


def squeezed(text: str) -> str:
    return "".join(text.split())


def lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


@settings(max_examples=150, deadline=None)
@given(subject=TEXT, name=NAME, text=TEXT, file=NAME, content=st.binary(max_size=200))
def test_a_text_reads_back_or_is_refused(subject: str, name: str, text: str, file: str, content: bytes) -> None:
    request = dataclasses.replace(
        REQUEST,
        subject=subject,
        to=(Address("jane@example.org", name),),
        text=text,
        attachments=(AttachmentContent(file, "application/octet-stream", content),),
    )
    bad = [field for field, value in (("Subject", subject), ("To", name)) if re.search(r"[\r\n\0]", value)]
    bad += ["text"] if "\0" in text else []
    bad += ["attachment name"] if re.search(r"[\r\n\0]", file) else []
    if bad:
        with pytest.raises(ComposeError) as error:
            compose_reply(request)
        assert error.value.field in bad
        return
    message = compose_reply(request)
    other = stdlib(message)
    assert parse(message).subject == other["subject"] == reply_subject(plain_line("", subject))
    # The standard library puts a space between two encoded words of a name, against RFC 2047 §6.2.
    assert squeezed(other["to"].addresses[0].display_name) == squeezed(plain_line("", name))
    body = other.get_body()
    assert isinstance(body, EmailMessage)
    assert lines(body.get_content()) == lines(text.replace("\ufeff", ""))
    (attachment,) = other.iter_attachments()
    assert attachment.get_content() == content
    named = plain_line("", file).replace("=?", "_?")[:250].strip()
    assert (attachment.get_filename() or "") == unquote(named).strip()  # it takes off brackets and quotes


@settings(max_examples=150, deadline=None)
@given(
    source=TEXT,
    form=st.sampled_from([BodyFormat.MARKDOWN, BodyFormat.HTML]),
    signature=TEXT,
    quoted=TEXT,
    author=NAME,
    html=st.booleans(),
)
def test_every_part_reads_back_or_is_refused(
    source: str, form: BodyFormat, signature: str, quoted: str, author: str, html: bool
) -> None:
    """With one inline image, which the text shows or not."""
    written_at = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
    quote = Quoted(Address("anna@example.org", author), written_at, quoted, sanitize(quoted).html if html else "", 1000)
    images = (InlineImage("a", "a.png", "image/png", PNG),) if "cid:a" in source else ()
    request = dataclasses.replace(
        REQUEST, text=source, format=form, signature=signature, quoted=quote, images=images, boundary="b" * 30
    )
    try:
        message = compose_reply(request)
    except ComposeError as refused:
        field = refused.field
        assert field in (form.value, "signature", "inline image 1")
        return
    other, mail = stdlib(message), parse(message, limits=Limits(html_tags_max=10**6))
    text_part, html_part = other.get_body(["plain"]), other.get_body(["html"])
    assert isinstance(text_part, EmailMessage)
    assert isinstance(html_part, EmailMessage)
    assert lines(mail.text).split() == lines(text_part.get_content()).strip().split() or "begin 644" in message.decode()
    inner = html_part.get_content().removeprefix("<html><body>").rstrip("\r\n").removesuffix("</body></html>")
    # What is sanitized again is what was written: our own copy shows what the customer sees.
    assert sanitize(inner).html == inner.replace("\r\n", "\n").replace("\xa0", "&nbsp;")
    shown = [part for part in other.walk() if part.get_content_type() == "image/png"]
    assert [part.get_content() for part in shown] == [PNG for _ in images]
    for part in shown:
        assert f'src="cid:{part["content-id"].strip("<>")}"' in inner
    assert b"\n" not in message.replace(b"\r\n", b"")


@settings(max_examples=200, deadline=None)
@given(subject=TEXT)
def test_a_subject_has_one_prefix_and_a_topic_none(subject: str) -> None:
    once = reply_subject(subject)
    assert reply_subject(once) == once
    assert thread_topic(thread_topic(subject)) == thread_topic(subject) == thread_topic(once)
