"""HTML of strangers: what must not survive, and what must be readable."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.html import before_quote
from ingestd.mail.html_safe import REMOTE_IMAGE, sanitize
from ingestd.mail.html_text import to_text


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg><image href='https://tracker.example/x'/></svg>",
        "<style>@import url(https://tracker.example/x)</style>",
        "<div style=\"background:url('https://tracker.example/x')\">a</div>",
        '<div style="color:red;background-image:url(https://tracker.example/x)">a</div>',
        "<form action=https://tracker.example/x><input name=a></form>",
        "<iframe src=https://tracker.example/x></iframe>",
        "<object data=https://tracker.example/x></object>",
        "<a href='javascript:alert(1)'>a</a>",
        "<a href='data:text/html,<script>alert(1)</script>'>a</a>",
        "<meta http-equiv=refresh content='0;url=https://tracker.example/x'>",
        "<base href=https://tracker.example/>",
        "<link rel=stylesheet href=https://tracker.example/x>",
        "<img srcset='https://tracker.example/x 2x'>",
        "<video poster=https://tracker.example/x></video>",
        "<table background=https://tracker.example/x><tr><td>a</table>",
        "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
    ],
)
def test_nothing_runs_and_nothing_loads(html: str) -> None:
    safe = sanitize(html)[0].lower()
    for word in ("script", "onerror", "tracker.example", "url(", "<svg", "<form", "<iframe", "data:text"):
        assert word not in safe


def test_remote_images_are_replaced_and_inline_ones_kept() -> None:
    safe = sanitize('<img src="https://example.com/a.png" alt="A"><img src="cid:b@example.com">')[0]
    assert REMOTE_IMAGE in safe
    assert "https://example.com" not in safe
    assert 'src="cid:b@example.com"' in safe


def test_links_tell_the_other_side_nothing() -> None:
    assert 'rel="noopener noreferrer nofollow"' in sanitize('<a href="https://example.com/">a</a>')[0]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>in<b>li</b>ne</p><p>two</p>", "inline\n\ntwo"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<blockquote>a<blockquote>b</blockquote></blockquote>", "> a\n>\n> > b"),
        ('<a href="https://example.com/x">here</a>', "here <https://example.com/x>"),
        ('<a href="https://example.com/">example.com</a>', "example.com"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("&lt;b&gt; &amp; &nbsp;x", "<b> & \xa0x"),
        ('<div style="display:none">preheader <div>x</div></div>seen', "seen"),
        ("<head><title>no</title></head><body>yes</body>", "yes"),
        ('<img alt="Logo" src="https://example.com/l.png"> Shop', "Logo Shop"),
    ],
)
def test_text(html: str, text: str) -> None:
    assert to_text(sanitize(html)[0]) == text


def test_containers_of_quotes_survive_sanitizing() -> None:
    assert before_quote(sanitize('<p>new</p><div class="gmail_quote other"><p>old</p></div>')[0]) == "new"
    assert before_quote(sanitize('<p>new</p><div id="divRplyFwdMsg">old</div>')[0]) == "new"
    assert before_quote(sanitize("<p>new</p>")[0]) is None


@pytest.mark.parametrize(
    ("name", "html", "defect"),
    [
        ("nested", "<div>" * 100_000 + "x", "html-too-deep"),
        ("nested tables", "<table><tr><td>" * 30_000 + "x", "html-too-deep"),
        ("attributes", "<div " + " ".join(f"a{i}=1" for i in range(100_000)) + ">x", "html-too-many-attributes"),
        (
            "attributes in a row",
            "<div " + "".join(f"a{i}='>'" for i in range(100_000)) + ">x",
            "html-too-many-attributes",
        ),
        ("slashes", "<div " + "/".join(f"a{i}" for i in range(100_000)) + ">x", "html-too-many-attributes"),
        ("long", "x" * 3_000_000, "html-too-long"),
    ],
)
def test_hostile_html_is_read_in_time(name: str, html: str, defect: str) -> None:
    begun = time.perf_counter()
    safe, defects = sanitize(html)
    assert "x" in to_text(safe)
    assert defect in defects
    assert time.perf_counter() - begun < 5


TAGS = st.sampled_from(
    [
        "<b>",
        "</b>",
        "<p>",
        "<div class=gmail_quote>",
        "</div>",
        "<img src=https://example.com/>",
        "<a href=//x>",
        "&lt;",
        "&",
        "<table>",
        "<td>",
        "<script>",
        "</script>",
        "<style>",
        "<svg>",
        "<math>",
        "<![CDATA[",
        "<!--",
        "-->",
        '"',
        ">",
        "<",
        "x",
        '<p style="color:red;position:fixed">',
        "<noscript>",
        "<textarea>",
        "<title>",
        "<plaintext>",
        "<template>",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(TAGS, st.text(max_size=5)), max_size=30).map("".join))
def test_sanitize_is_idempotent_and_safe(html: str) -> None:
    once = sanitize(html)[0]
    assert sanitize(once)[0] == once
    assert "<script" not in once
    assert 'src="https' not in once
    to_text(once)
