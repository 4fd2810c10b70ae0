"""Mail that is made to be slow."""

from __future__ import annotations

from typing import Final

HEAD: Final = b"From: a@example.com\r\nSubject: x\r\nMIME-Version: 1.0\r\n"


def hostile_mails() -> list[bytes]:
    """Mail made to be slow: deep HTML, many attributes, many parts, long headers, quotes without end."""
    html = HEAD + b"Content-Type: text/html\r\n\r\n"
    text = HEAD + b"Content-Type: text/plain\r\n\r\n"
    part = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
    nested = b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (depth, depth) for depth in range(2000)
    )
    return [
        html + b"<div>" * 200_000 + b"x",
        html + b"<p " + b" ".join(b"a%d=1" % one for one in range(100_000)) + b">x",
        html + b"<table><tr><td>" * 50_000,
        html + b"<!--" * 200_000,
        html + b"&" * 1_000_000,
        text + b"> " * 500_000,
        text + b"On Mon, 2 Mar 2026 at 10:00, x <x@example.com> wrote\n" * 20_000,
        text + b"-" * 1_000_000,
        HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + part * 50_000,
        HEAD + nested,
        HEAD + b"To: " + b"a@example.com, " * 50_000 + b"\r\n\r\nx",
        HEAD + b"References: " + b"<1@example.com> " * 50_000 + b"\r\n\r\nx",
        HEAD + b"X: =?utf-8?q?" + b"=41" * 200_000 + b"?=\r\n\r\nx",
        b"Subject: x\r\n" * 100_000 + b"\r\nx",
    ]


def slowest_mail() -> bytes:
    """Return the one that takes our parser longest, about a second: quotes that hide where each tag ends."""
    return HEAD + b"Content-Type: text/html\r\n\r\n" + b'<a b=">" ' * 200_000 + b"x"
