"""The mails of the stories, made byte by byte: what customers, strangers and mail servers write."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.secrecy import SECRECY

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Mail:
    """One raw mail, and the words in it that no log may show."""

    raw: bytes
    words: tuple[str, ...]
    message_id: str = ""


def mail(
    sender: str,
    to: str,
    subject: str,
    body: str,
    *,
    message_id: str | None = None,
    in_reply_to: str = "",
    extra: Sequence[str] = (),
    attachment: tuple[str, bytes] | None = None,
) -> Mail:
    """Return a mail; `message_id` "" leaves the header out, None makes one."""
    if message_id is None:
        message_id = f"<story-{next(_numbers)}@customer.example.net>"
    head = [f"From: {sender}", f"To: {to}", f"Subject: {_word(subject)}", *extra]
    head += [f"Message-ID: {message_id}"] if message_id else []
    head += [f"In-Reply-To: {in_reply_to}", f"References: {in_reply_to}"] if in_reply_to else []
    text = ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "", body]
    lines = ["MIME-Version: 1.0", *text]
    if attachment is not None:
        name, content = attachment
        lines = ["MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="story"', "", "--story", *text]
        lines += ["--story", "Content-Type: application/octet-stream", "Content-Transfer-Encoding: base64"]
        lines += [f'Content-Disposition: attachment; filename="{name}"', ""]
        lines += [base64.b64encode(content).decode(), "--story--"]
    raw = "\r\n".join([*head, *lines, ""]).encode()
    words = [subject, *body.splitlines(), *re.findall(r"[^\s<>]+@[^\s<>]+", f"{sender} {to}"), message_id]
    if attachment is not None:
        words.append(attachment[0])
    SECRECY.remember(words)
    return Mail(raw, tuple(word for word in dict.fromkeys(words) if len(word) > 3), message_id)


def bounce_of(reply: bytes, recipient: str, to: str) -> Mail:
    """Return the bounce (RFC 3464) that a mail server writes about `reply`, with its header."""
    header = reply.partition(b"\r\n\r\n")[0].decode()
    lines = [
        "Return-Path: <>",
        "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>",
        f"To: {to}",
        "Subject: Undelivered Mail Returned to Sender",
        f"Message-ID: <bounce-{next(_numbers)}@mx.example.net>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="dsn"',
        "",
        "--dsn",
        "Content-Type: text/plain",
        "",
        "Your message could not be delivered.",
        "--dsn",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; mx.example.net",
        "",
        f"Final-Recipient: rfc822; {recipient}",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user",
        "",
        "--dsn",
        "Content-Type: text/rfc822-headers",
        "",
        header,
        "",
        "--dsn--",
        "",
    ]
    return Mail("\r\n".join(lines).encode(), (recipient, to))


def header_of(raw: bytes, name: str) -> str:
    """Return a header's value, unfolded; "" where it is not there."""
    head = re.sub(rb"\r?\n[ \t]+", b" ", raw.partition(b"\r\n\r\n")[0]).decode("utf-8", "replace")
    found = re.search(rf"^{re.escape(name)}: ?(.*?)\r?$", head, re.MULTILINE | re.IGNORECASE)
    return found[1].strip() if found else ""


def _word(subject: str) -> str:
    return subject if subject.isascii() else f"=?utf-8?b?{base64.b64encode(subject.encode()).decode()}?="
