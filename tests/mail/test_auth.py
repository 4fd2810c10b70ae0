"""Authentication-Results: what the provider found out, and nothing that the sender wrote into it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.mail.auth import parse_auth
from ingestd.mail.parse import parse

GMAIL = (
    "mx.google.com; dkim=pass header.i=@example.com header.s=s; spf=pass (google.com: domain of a@example.com"
    " designates 192.0.2.1 as permitted sender) smtp.mailfrom=a@example.com; dmarc=pass (p=NONE) header.from=x"
)
# Outlook has no authserv-id.
OUTLOOK = "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=example.com; dkim=none; dmarc=fail action=none;compauth=fail"


@pytest.mark.parametrize(
    ("value", "authserv_id", "methods"),
    [
        (GMAIL, "mx.google.com", {"dkim": "pass", "spf": "pass", "dmarc": "pass"}),
        (OUTLOOK, "", {"spf": "pass", "dkim": "none", "dmarc": "fail", "compauth": "fail"}),
        ("mx.example.com 1; none", "mx.example.com", {}),
        ("MX.Example.com; dkim=fail; dkim=pass", "mx.example.com", {"dkim": "pass"}),
    ],
)
def test_what_providers_write(value: str, authserv_id: str, methods: dict[str, str]) -> None:
    result = parse_auth(value)
    assert result is not None
    assert (result.authserv_id, result.methods) == (authserv_id, methods)


@pytest.mark.parametrize(
    "value",
    [
        'mx.example.com; spf=fail smtp.mailfrom="a; dmarc=pass"@evil.example; dmarc=fail',
        "mx.example.com; spf=fail (domain of x; dmarc=pass (y) z) smtp.mailfrom=a; dmarc=fail",
        'mx.example.com; spf=fail reason="no; dmarc=pass"; dmarc=fail',
        r'mx.example.com; spf=fail smtp.mailfrom="a\"; dmarc=pass"; dmarc=fail',
        r"mx.example.com; spf=fail (a\) ; dmarc=pass ) ; dmarc=fail",
    ],
)
def test_quotes_and_comments_hold_no_results(value: str) -> None:
    """They repeat what the sender chose: his address, or the text of his server."""
    result = parse_auth(value)
    assert result is not None
    assert result.methods == {"spf": "fail", "dmarc": "fail"}


def test_encoded_words_hold_no_results() -> None:
    value = b"mx.example.com; spf=fail smtp.mailfrom==?utf-8?q?x;_dmarc=3Dpass;_?=@evil.example; dmarc=fail"
    auth = parse(b"From: a@example.com\r\nAuthentication-Results: " + value + b"\r\n\r\n").auth
    assert auth is not None
    assert auth.methods == {"spf": "fail", "dmarc": "fail"}


@pytest.mark.parametrize("value", ["", ";", "(", '"', "(" * 9000, '"' * 9000, "\\" * 9000])
def test_nothing_is_said_by_what_is_broken(value: str) -> None:
    result = parse_auth(value)
    assert result is None or result.methods == {}


@given(st.text(alphabet='ab=;()"\\ dmarcps', max_size=60))
def test_inside_a_comment_nothing_counts(inside: str) -> None:
    balanced = inside.replace("(", "").replace(")", "").replace("\\", "")
    result = parse_auth(f"mx.example.com; spf=fail ({balanced.replace(chr(34), '')}) x; dmarc=fail")
    assert result is not None
    assert result.methods.get("dmarc") == "fail"
