"""Authentication-Results: only what the provider says, and nothing that a sender can put into its mouth."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.mail.auth import is_believed, parse_auth, provider_verdict
from ingestd.mail.parse import parse
from ingestd.mail.thread import Authentication, authentication_of
from ingestd.mail.types import AuthResult

PASS, FAIL, NONE = Authentication.PASS, Authentication.FAIL, Authentication.NONE


def judge(value: str, sender: str = "anna@example.org", *names: str) -> Authentication:
    """Return what one header, under the name of mx.example.com, says of a sender."""
    mail = parse(f"Authentication-Results: {value}\r\nFrom: {sender}\r\n\r\nx\r\n".encode())
    verdict = provider_verdict(mail.auth_results, names or ("mx.example.com",), several=False)
    return authentication_of(verdict, sender.rpartition("@")[2])


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ("dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=example.org", PASS),
        ("dmarc=pass(p=NONE,sp=QUARANTINE) header.from=example.org", PASS),  # Yahoo: no space
        ("dmarc=pass header.from=anna@example.org", PASS),  # Mail.ru: the address
        ("dmarc = pass header.from = example.org", PASS),
        ("dmarc/1=pass header.from=example.org", PASS),
        ("dkim=fail; spf=pass smtp.mailfrom=bounces.example.org; dmarc=pass header.from=example.org", PASS),
        (
            "spf=pass (x: domain of example.org) smtp.mail=a@example.org; dkim=pass header.i=@example.org",
            PASS,
        ),  # Yandex
        ("dkim=pass spf=pass (x) smtp.mailfrom=example.org", PASS),  # Zoho: no semicolon
        ("spf=none; dkim=pass header.d=example.org; dmarc=none header.from=example.org", PASS),
        ("dkim=unknown; spf=softfail smtp.mailfrom=example.org; dmarc=unknown header.from=example.org", NONE),
        ("dkim=pass header.d=evil.example; spf=pass smtp.mailfrom=evil.example; dmarc=none", NONE),
        ("dkim=pass header.d=mail.example.org", NONE),
        ("dkim=pass header.d=org", NONE),
        ("dkim=pass header.d=notexample.org", NONE),
        ("dkim=neutral header.d=example.org; spf=neutral smtp.mailfrom=example.org", NONE),
        ("dmarc=pass header.from=evil.example", NONE),
        ("none", NONE),
        ("dkim=pass header.d=example.org; dmarc=fail (p=NONE) header.from=example.org", FAIL),
        ("dkim=fail header.d=example.org; spf=softfail smtp.mailfrom=example.org", FAIL),
        ("dmarc=fail; dmarc=pass header.from=example.org", FAIL),
        ("dmarc=pass header.from=example.org; dmarc=fail", FAIL),
    ],
)
def test_what_a_provider_says(value: str, verdict: Authentication) -> None:
    assert judge(f"mx.example.com; {value}") is verdict


def test_a_signature_of_a_domain_speaks_for_those_below_it() -> None:
    assert judge("mx.example.com; dkim=pass header.d=example.org", "anna@shop.example.org") is PASS
    assert judge("mx.example.com; dmarc=pass header.from=xn--bcher-kva.example", "anna@bücher.example") is PASS


def test_microsofts_header_names_nobody() -> None:
    value = (
        "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=example.org; dkim=none (message not signed)\r\n"
        " header.d=none;dmarc=pass action=none header.from=example.org;compauth=pass reason=100"
    )
    assert judge(value, "anna@example.org", "") is PASS
    assert judge(value, "anna@example.org", "mx.example.com") is Authentication.ABSENT
    assert judge("dkim=none (message not signed) header.d=none;dmarc=none action=none", "a@example.org", "") is NONE


@pytest.mark.parametrize(
    "spf",
    [
        'spf=pass (x: domain of "a; dmarc=pass"@e.example) smtp.mailfrom="a; dmarc=pass header.from=example.org"@e',
        'spf=pass smtp.mailfrom="a\\"; dmarc=pass header.from=example.org"@evil.example',
        "spf=pass (domain of a(b)c; dmarc=pass header.from=example.org) smtp.mailfrom=evil.example",
        'spf=pass (a " b; dmarc=pass header.from=example.org) smtp.mailfrom=evil.example',
        "spf=pass (a \\) dmarc=pass header.from=example.org) smtp.mailfrom=evil.example",
        "spf=pass smtp.mailfrom==?utf-8?q?x=3B_dmarc=3Dpass_header.from=3Dexample.org?=@evil.example",
        'spf=pass reason="dmarc=pass header.from=example.org" smtp.mailfrom=evil.example',
    ],
    ids=[
        "quoted local part",
        "escaped quote",
        "nested comment",
        "quote in comment",
        "escaped",
        "encoded word",
        "reason",
    ],
)
def test_a_sender_cannot_speak_through_the_providers_header(spf: str) -> None:
    assert judge(f"mx.example.com; {spf}; dmarc=none header.from=evil.example") is NONE


def _results(*values: str) -> tuple[AuthResult, ...]:
    return parse(b"".join(f"Authentication-Results: {one}\r\n".encode() for one in values) + b"\r\nx").auth_results


def test_only_the_topmost_of_the_providers_counts() -> None:
    found = _results("relay.example.net; dmarc=pass", "mx.example.com; dmarc=fail", "mx.example.com; dmarc=pass")
    verdict = provider_verdict(found, ("mx.example.com",), several=False)
    assert verdict is not None
    assert verdict.methods == {"dmarc": "fail"}
    assert provider_verdict(found, ("mx.example.org",), several=False) is None


def test_a_provider_may_write_a_header_for_each_method() -> None:
    """Fastmail does; it removes those that came with the mail."""
    found = _results(
        "mx6.example.net; x-csa=none",
        "mx6.example.net; arc=none (no signatures found)",
        "mx6.example.net; dkim=pass header.d=example.org",
        "mx5.example.net; dmarc=none header.from=example.org",
        "mx5.example.net; dmarc=fail header.from=example.org",
        "evil.example; spf=pass smtp.mailfrom=evil.example",
    )
    verdict = provider_verdict(found, ("*.example.net",), several=True)
    assert verdict is not None
    assert (verdict.methods["dmarc"], verdict.dkim_domains, verdict.spf_domain) == ("none", ("example.org",), "")
    alone = provider_verdict(found, ("*.example.net",), several=False)
    assert alone is not None
    assert authentication_of(alone, "example.org") is NONE


@pytest.mark.parametrize(
    ("name", "names", "believed"),
    [
        ("mx.example.com", ("mx.example.com",), True),
        ("mx.example.com", ("*.example.com",), True),
        ("a.b.example.com", ("*.example.com",), True),
        ("evilexample.com", ("*.example.com",), False),
        ("example.com", ("*.example.com",), False),
        ("", ("mx.example.com",), False),
        ("", ("",), True),
        ("mx.example.com", ("",), False),
    ],
)
def test_names(name: str, names: tuple[str, ...], believed: bool) -> None:
    assert is_believed(name, names) is believed


@given(st.text(max_size=300) | st.text(alphabet='";()\\= \tdkimspfarc.@a', max_size=300))
def test_any_value_is_read(value: str) -> None:
    found = parse_auth(value)
    assert found is None or all(
        method in ("dkim", "spf", "dmarc", "arc", "iprev", "auth", "compauth") for method in found.methods
    )


@pytest.mark.parametrize("filling", ["(", " ", '"', "\\", ";", "= ", "a=", "(a)", '"a', "\\("])
def test_a_long_value_takes_no_long_time(filling: str) -> None:
    began = time.process_time()
    parse_auth("mx.example.com; dkim=pass " + filling * 200_000)
    assert time.process_time() - began < 0.5


@given(st.text(alphabet="ab=; dmarcps", max_size=60))
def test_inside_a_comment_nothing_counts(inside: str) -> None:
    result = parse_auth(f"mx.example.com; spf=fail ({inside}) x; dmarc=fail")
    assert result is not None
    assert result.methods.get("dmarc") == "fail"
