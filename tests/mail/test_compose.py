"""Replies: what is written is what was asked for, or nothing is."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.compose import AttachmentContent, ComposeError, ReplyRequest, compose_reply, needs_smtputf8
from ingestd.mail.message_id import own_message_id, own_token
from ingestd.mail.parse import parse
from ingestd.mail.types import Address, Kind

TOKEN = own_token(b"k" * 32, bytes(16))
REQUEST = ReplyRequest(
    message_id=own_message_id(TOKEN, "example.com"),
    own_token=TOKEN,
    from_=Address("support@example.com", "Example, Support"),
    to=(Address("jane@example.org", "Жанна"),),
    subject="Счёт",
    date=datetime(2026, 3, 2, 10, 0, tzinfo=UTC),
    text="Здравствуйте!\n\n.dot\nFrom here\ntrailing \n",
    boundary="b" * 24,
    in_reply_to="<2@example.org>",
    references=("<1@example.org>", "<2@example.org>"),
)


def test_a_reply_is_exact_and_the_same_every_time() -> None:
    message = compose_reply(REQUEST)
    assert message == compose_reply(REQUEST)
    assert message.isascii()
    assert b'\r\nFrom: "Example, Support" <support@example.com>\r\n' in message
    assert b"Auto-Submitted" not in message
    assert all(len(line) <= 78 for line in message.split(b"\r\n"))


def test_the_standard_library_reads_the_same() -> None:
    request = dataclasses.replace(REQUEST, attachments=(AttachmentContent("счёт 1.pdf", "application/pdf", b"%PDF"),))
    other = message_from_bytes(compose_reply(request), policy=policy.default)
    assert other["subject"] == "Re: Счёт"
    assert other["to"].addresses[0].display_name == "Жанна"
    body = other.get_body()
    assert body is not None
    assert body.get_content().splitlines() == REQUEST.text.splitlines()
    (attachment,) = other.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("счёт 1.pdf", b"%PDF")


def test_long_references_keep_the_root() -> None:
    many = tuple(f"<{'x' * 150}{i}@example.org>" for i in range(60))
    mail = parse(compose_reply(dataclasses.replace(REQUEST, references=many)))
    assert mail.references == (many[0], *many[-19:])


def test_automatic_says_so() -> None:
    assert parse(compose_reply(dataclasses.replace(REQUEST, automatic=True))).kind is Kind.AUTO_REPLY


@pytest.mark.parametrize("bad", ["a\r\nBcc: x@example.net", "a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("field", ["subject", "name", "to", "message_id", "in_reply_to", "references", "token", "file"])
def test_no_value_can_add_a_header(field: str, bad: str) -> None:
    changes: dict[str, ReplyRequest] = {
        "subject": dataclasses.replace(REQUEST, subject=bad),
        "name": dataclasses.replace(REQUEST, from_=Address("a@example.com", bad)),
        "to": dataclasses.replace(REQUEST, to=(Address(bad),)),
        "message_id": dataclasses.replace(REQUEST, message_id=f"<{bad}>"),
        "in_reply_to": dataclasses.replace(REQUEST, in_reply_to=f"<{bad}>"),
        "references": dataclasses.replace(REQUEST, references=(f"<{bad}>",)),
        "token": dataclasses.replace(REQUEST, own_token=bad),
        "file": dataclasses.replace(REQUEST, attachments=(AttachmentContent(bad, "a/b", b""),)),
    }
    with pytest.raises(ComposeError) as error:
        compose_reply(changes[field])
    assert bad not in str(error.value)


def test_a_boundary_that_occurs_is_refused() -> None:
    request = dataclasses.replace(
        REQUEST, text="--m." + "b" * 24, attachments=(AttachmentContent("a", "text/plain", b"x"),)
    )
    with pytest.raises(ComposeError, match="boundary"):
        compose_reply(request)


def test_international_addresses() -> None:
    request = dataclasses.replace(REQUEST, to=(Address("жанна@пример.example"),))
    assert needs_smtputf8([one.addr for one in request.to])
    assert parse(compose_reply(request)).to == request.to


@settings(max_examples=150, deadline=None)
@given(
    subject=st.text(st.characters(exclude_categories=["Cs"]), max_size=120),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    content=st.binary(max_size=200),
)
def test_it_composes_what_reads_back_or_refuses(subject: str, name: str, text: str, content: bytes) -> None:
    request = dataclasses.replace(
        REQUEST,
        subject=subject,
        to=(Address("jane@example.org", name),),
        text=text,
        attachments=(AttachmentContent("a.bin", "application/octet-stream", content),),
    )
    if "\0" in text or any(char in subject + name for char in "\r\n\0"):
        with pytest.raises(ComposeError):
            compose_reply(request)
    else:
        assert b"\n" not in compose_reply(request).replace(b"\r\n", b"")
