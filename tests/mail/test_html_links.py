"""Links whose text names another host than their target, and hosts that are made to look like others."""

from __future__ import annotations

import pytest

from ingestd.mail.html_links import ascii_host, host_of, is_deceptive, unwrap
from ingestd.mail.html_safe import sanitize
from ingestd.mail.html_text import to_text


@pytest.mark.parametrize(
    ("href", "text", "shown"),
    [
        ("https://evil.example/", "https://bank.example/login", "evil.example"),
        ("https://evil.example/", "www.bank.example", "evil.example"),
        ("https://evil.example/", "bank.example", "evil.example"),
        ("https://evil.example/", "Log in at paypal.com now", "evil.example"),
        ("https://evil.example/", "<b>bank</b>.example", "evil.example"),
        ("https://evil.example/", "<img alt='www.bank.example' src=cid:a>", "evil.example"),
        ("https://bank.example.evil.example/", "bank.example", "bank.example.evil.example"),
        ("https://evil.example/bank.example", "bank.example", "evil.example"),
        ("https://bank.example@evil.example/", "here", "evil.example"),
        ("https:\\\\evil.example\\x", "https://bank.example", "evil.example"),
        ("https:evil.example", "https://bank.example", "evil.example"),
        ("http://ev%69l.example/", "https://bank.example", "evil.example"),
        ("https://evil.example/", "https://evil.example@bank.example/", "evil.example"),
        ("https://evil.example/", "bank\u3002example", "evil.example"),
        ("https://evil.example/", "www.bank\u2044.evil.example", "evil.example"),
        ("https://evil.example/", "www.\u202eelpmaxe.live\u202c", "evil.example"),
        ("https://аpple.example/", "here", "xn--pple-43d.example"),
        ("https://xn--pple-43d.example/", "apple.example", "xn--pple-43d.example"),
        ("https://аррӏе.example/", "here", "xn--80ak6aa92e.example"),
        ("mailto:evil@evil.example", "support@bank.example", "evil@evil.example"),
    ],
)
def test_a_target_that_the_text_hides_is_shown(href: str, text: str, shown: str) -> None:
    safe = sanitize(f'<p><a href="{href}">{text}</a>!</p>')
    assert safe.mismatched_links == 1
    assert f'</a><span style="color:#b00020" title="link target"> [{shown}]</span>!' in safe.html
    assert f"[{shown}]!" in to_text(safe.html)
    again = sanitize(safe.html)
    assert again == safe._replace(defects=())


@pytest.mark.parametrize(
    ("href", "text"),
    [
        ("https://example.com/x", "example.com"),
        ("https://www.example.com/x", "http://example.com"),
        ("https://click.example.com/x", "www.example.com"),
        ("https://example.com/x", "shop.example.com"),
        ("https://EXAMPLE.com:443/x", "Example.COM."),
        ("https://example.com/report.pdf", "report.pdf"),
        ("https://example.com/x", "Read more. Or not."),
        ("https://example.com/x", "e.g. version 1.2.3 of index.html"),
        ("https://example.com/x", "1.5 kg"),
        ("https://пример.example/", "пример.example"),
        ("https://xn--e1afmkfd.example/", "пример.example"),
        ("https://münchen.example/", "here"),
        ("https://日本語.example/", "日本語.example"),
        ("https://example.com/x", "exam\u200bple.com"),
        ("https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fexample.com%2Fx&data=1", "example.com"),
        ("https://urldefense.com/v3/__https://example.com/x__;!!abc", "https://example.com/x"),
        ("https://urldefense.proofpoint.com/v2/url?u=https-3A__example.com_x&d=1", "https://example.com/x"),
        ("mailto:jane@example.com", "jane@example.com"),
        ("mailto:jane@example.com?subject=x", "Write to us"),
        ("tel:+123", "www.example.com"),
        ("https://example.com/x", ""),
    ],
)
def test_a_link_that_says_where_it_leads_is_left_alone(href: str, text: str) -> None:
    safe = sanitize(f'<a href="{href}">{text}</a>')
    assert safe.mismatched_links == 0
    assert "link target" not in safe.html


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://user:pass@example.com:8080/x?y#z", "example.com"),
        ("ht\ttp:/\n/example.com", "example.com"),
        ("https://EXAMPLE.com.", "example.com"),
        ("https://ｅｘａｍｐｌｅ.com", "example.com"),
        ("https://xn--!!.example/", "xn--!!.example"),
        ("https://", ""),
        ("mailto:a@example.com", ""),
        ("", ""),
    ],
)
def test_hosts_are_read_as_browsers_read_them(url: str, host: str) -> None:
    assert host_of(url) == host


def test_scripts_of_one_language_go_together() -> None:
    assert not is_deceptive("東京タワーabc.example")
    assert is_deceptive("exаmple.com")
    assert is_deceptive("exam\u202eple.com")


def test_a_host_is_shown_in_ascii_whatever_it_holds() -> None:
    for host in ("exа\u202e\u0000mple.com", "a" * 300, "<b>", "\ud800.example", ""):
        assert ascii_host(host).isascii()


def test_what_is_no_wrapper_is_not_opened() -> None:
    for url in (
        "https://evil.example/?url=https%3A%2F%2Fbank.example",
        "https://safelinks.protection.outlook.com.evil.example/?url=https%3A%2F%2Fbank.example",
        "https://eur01.safelinks.protection.outlook.com/?url=javascript:alert(1)",
    ):
        assert unwrap(url) == url
