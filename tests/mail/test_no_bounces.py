"""What only looks like a bounce: people, parcels and administrators."""

from __future__ import annotations

import pytest

from ingestd.mail.parse import parse
from ingestd.mail.types import Kind
from tests.mail.test_bounces import FAILED, SAMPLES, message


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("From: jane@example.com\nSubject: Undeliverable: my parcel\n", "It could not be delivered to my address."),
        ("From: jane@example.com\nSubject: Mail delivery failed\n", "user unknown, they say: 550 5.1.1"),
        (
            "From: jane@example.com\nSubject: Fwd: failure notice\n",
            "What is this?\n\n" + SAMPLES[0].text,
        ),
        (
            "From: Postmaster <postmaster@example.com>\nIn-Reply-To: <1@example.com>\nSubject: Re: delivery problem\n",
            "I have looked: the mailbox is full now.",
        ),
        ("From: postmaster@example.com\nSubject: Our new mail system\n", "The mail system moves on Friday."),
        ("From: Microsoft Outlook <noreply@example.com>\nSubject: Your mailbox is almost full\n", "mailbox full"),
        (
            "From: jane@example.com\nReturn-Path: <>\nSubject: Automatic reply: Delivery failed\n",
            "I am out of the office. My mailbox is full.",
        ),
        # Parcels, applications and accounts are delivered, rejected and full as well.
        (
            "From: jane@example.com\nReturn-Path: <>\nIn-Reply-To: <1@example.com>\nSubject: Out of office\n",
            "I am away.\n\n> Ihr Paket konnte nicht zugestellt werden. It could not be delivered to the address.",
        ),
        (
            "From: bank@example.com\nReturn-Path: <>\nSubject: Your application was rejected\n",
            "Your application was rejected, as the account does not exist.",
        ),
        ("From: Bounce House <info@example.com>\nSubject: Bounce house rejected\n", "It was rejected."),
    ],
)
def test_what_only_looks_like_a_bounce(header: str, text: str) -> None:
    mail = message(header, text)
    assert mail.bounce is None
    assert mail.kind in (Kind.CUSTOMER, Kind.AUTO_REPLY)


def test_a_bounce_attached_to_a_persons_mail_is_the_persons() -> None:
    inner = (
        "From: MAILER-DAEMON@mx.example.net\r\nContent-Type: multipart/report; boundary=i\r\n\r\n--i\r\n\r\nFailed.\r\n"
        f"--i\r\nContent-Type: message/delivery-status\r\n\r\n{FAILED}\r\n--i--\r\n"
    )
    mail = parse(
        b"From: jane@example.com\r\nSubject: What is this?\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n"
        b"--o\r\n\r\nSee the attached mail.\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n"
        + inner.encode()
        + b"--o--\r\n"
    )
    assert (mail.kind, mail.bounce) == (Kind.CUSTOMER, None)
