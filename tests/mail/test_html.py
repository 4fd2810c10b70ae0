"""HTML of strangers: what must not survive, and what must."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.html import text_to_html
from ingestd.mail.html_attributes import judge_attributes
from ingestd.mail.html_images import REMOTE_IMAGE, is_inline
from ingestd.mail.html_safe import sanitize
from ingestd.mail.html_style import clean_style
from ingestd.mail.html_tags import words
from ingestd.mail.html_text import to_text
from ingestd.mail.limits import DEFAULT_LIMITS
from ingestd.mail.parse import parse
from tests.mail.passive import active
from tests.mail.xss import VECTORS

_PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


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
    safe = sanitize(html).html
    for word in ("script", "onerror", "tracker.example", "url(", "<svg", "<form", "<iframe", "data:text"):
        assert word not in safe.lower()
    assert active(safe) == []


def test_nothing_of_the_known_tricks_stays_active() -> None:
    for number, template in enumerate(VECTORS):
        safe = sanitize(template.replace("%N", str(number))).html
        assert active(safe) == [], template
        assert sanitize(safe).html == safe, template


def test_remote_images_are_replaced_and_inline_ones_kept() -> None:
    safe = sanitize(f'<img src="https://example.com/a.png" alt="A"><img src="cid:b@example.com"><img src="{_PNG}">')
    assert safe.html.count(REMOTE_IMAGE) == 1
    assert "https://example.com" not in safe.html
    assert 'src="cid:b@example.com"' in safe.html
    assert _PNG in safe.html
    assert safe.remote_images == 1


@pytest.mark.parametrize(
    ("html", "count"),
    [
        ("<img src=https://example.com/a.png>", 1),
        ("<img src=//example.com/a.png>", 1),
        ("<img src=/a.png>", 1),
        ("<img src='ht\ntps://example.com/a.png'>", 1),
        ("<img src='cid:a@example.com'>", 0),
        ("<img>", 0),
        ("<img src=https://example.com/a.png srcset='https://example.com/b.png 2x'>", 1),
        ("<img srcset='https://example.com/b.png 2x'>", 1),
        ("<img SRCSET='https://example.com/b.png 2x' src='cid:a'>", 1),
        ("<body background=https://example.com/a.png>x", 1),
        ("<table background=https://example.com/a.png><tr background=//example.com/b.png><td background='cid:a'>x", 2),
        ("<p style='background:url(https://example.com/a.png)'>x", 1),
        ("<p style='background:url(&quot;https://example.com/a.png&quot;),u\\72l(x)'>x", 1),
        ("<p style='background:url(cid:a)'>x<p style='background:#fff'>x", 0),
        ("<p style='list-style:url(//example.com/a)'>x<p style='list-style:url(//example.com/a)'>y", 2),
        ("<input type=image src=https://example.com/a.png>", 1),
        ("<input type=text src=https://example.com/a.png>", 0),
        ("<video poster=https://example.com/a.png></video>", 1),
        ("<svg><image href=https://example.com/a.png></svg>", 1),
        ("<picture><source srcset=https://example.com/b.webp><img src=https://example.com/a.png></picture>", 1),
        (
            "<style>.a{background:url(https://example.com/a.png)} .b{background:url('https://example.com/a.png')}</style>",
            1,
        ),
        ("<style>@import url(https://example.com/a.css); @font-face{src:url(https://example.com/a.woff)}</style>", 0),
        ("<!--[if mso]><v:image src='https://example.com/a.png'/><![endif]-->", 0),
        ("<noscript><img src=https://example.com/a.png></noscript>", 1),
    ],
)
def test_images_that_would_be_loaded_are_counted(html: str, count: int) -> None:
    safe = sanitize(html)
    assert safe.remote_images == count
    assert "example.com/" not in safe.html


@pytest.mark.parametrize(
    "url",
    [
        "data:image/svg+xml;base64,PHN2Zz48L3N2Zz4=",
        "data:image/png;base64,PHN2Zz48L3N2Zz4=",
        "data:image/png,iVBORw0KGgo",
        "data:text/html;base64,iVBORw0KGgoAAA",
        "data:image/png;base64,iVBORw0KGgo<script>",
        "data:image/png;base64,iVBORw0KGgo" + "A" * 1024 * 1024,
        "cid:",
        "javascript:alert(1)",
        "blob:https://example.com/1",
    ],
)
def test_only_small_raster_images_may_lie_in_a_url(url: str) -> None:
    assert not is_inline(url)
    assert sanitize(f'<img src="{url}">').html in ("<img>", f'<img src="{REMOTE_IMAGE}">')


def test_an_image_by_another_name_than_its_type_is_shown() -> None:
    assert is_inline("data:image/jpg;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==")


@pytest.mark.parametrize(
    ("css", "left"),
    [
        ("COLOR: Red; font-size:12PX", "color:red;font-size:12px"),
        (
            "position:fixed;top:0;left:0;z-index:9;width:100%;height:100%;background-color:white",
            "background-color:white",
        ),
        ("margin:-5000px 0 0 0;margin-left:-1px;margin-top:99999px;padding:4px", "padding:4px"),
        ("transform:scale(50);filter:blur(1px);pointer-events:none;content:'x';animation:a 1s", ""),
        ("opacity:0.5;color:red", "color:red"),
        ("display:flex;display:fixed;display:block", "display:block"),
        ("background:#fff url(https://example.com/a.png) no-repeat", "background-color:#fff"),
        ("background:url(https://example.com/a.png)", ""),
        ("color:expression(alert(1))", ""),
        ("color:r\\65 d", ""),
        ("color:red/**/;/*x*/font-weight:bold", "color:red;font-weight:bold"),
        ("color:red!important", "color:red"),
        ("font-size:900px;font-family:Arial,'Segoe UI'", "font-family:arial,'segoe ui'"),
        ("margin:0cm;margin-bottom:.0001pt", "margin:0;margin-bottom:0"),
        ("line-height:0.9em;letter-spacing:-9px", "line-height:.9em"),
        ("vertical-align:9000px;vertical-align:top", "vertical-align:top"),
        ("border:1px solid rgb(0, 0, 0);border-image:url(x) 1", "border:1px solid rgb(0, 0, 0)"),
        ("display:none!important;color:red", "display:none"),
        ("visibility:hidden;color:red", "display:none"),
        ("opacity:0", "display:none"),
        ("max-height:0px;overflow:hidden", "display:none"),
        ("height:0;line-height:0", "line-height:0"),
        ("mso-hide:all", ""),
        ("font-size:1px;color:#fff", "font-size:0;color:#fff"),
        ("font-size:0.5em", "font-size:.5em"),
        ("background:url(';color:red')", ""),
        ("x" * 5000 + ";color:red", ""),
        (";:;a:;:b", ""),
    ],
)
def test_styles(css: str, left: str) -> None:
    assert clean_style(css).css == left
    assert clean_style(left).css == left


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                sorted(words("color font-size margin background display border overflow red none inherit"))
            ),
            st.sampled_from(sorted(words("""0 0px -1px 10px url(//x) rgb(0,0,0) : ; /* */ !important ' " ( ) ,"""))),
            st.text(max_size=3),
        ),
        max_size=20,
    ).map("".join)
)
def test_a_style_is_written_in_one_form(css: str) -> None:
    left = clean_style(css).css
    assert clean_style(left).css == left
    assert active(sanitize(f"<p style='{left}'>x</p>").html) == []


@pytest.mark.parametrize(
    ("href", "kept"),
    [
        ("https://example.com/a?b=c#d", "https://example.com/a?b=c#d"),
        ("HTTP://EXAMPLE.COM", "HTTP://EXAMPLE.COM"),
        (" https://example.com", "https://example.com"),
        ("mailto:jane@example.com?subject=x", "mailto:jane@example.com?subject=x"),
        ("tel:+123", "tel:+123"),
        ("www.example.com/a", "http://www.example.com/a"),
        ("//example.com/a", "https://example.com/a"),
        ("javascript:alert(1)", None),
        ("java\tscript:alert(1)", None),
        ("vbscript:x", None),
        ("data:text/html,x", None),
        ("cid:a", None),
        ("file:///etc/passwd", None),
        ("/admin", None),
        ("#top", None),
        ("", None),
    ],
)
def test_links_keep_their_target_and_tell_it_nothing(href: str, kept: str | None) -> None:
    safe = sanitize(f'<a href="{href}" target=_blank>a</a>').html
    assert 'rel="noopener noreferrer nofollow"' in safe
    assert "target" not in safe
    assert (f'href="{kept}"' in safe) if kept else ("href" not in safe)


def test_names_that_a_page_may_look_up_are_gone() -> None:
    assert sanitize('<p id="body" class="admin-only MsoNormal"><a name="cookie">x</a></p>').html == (
        '<p class="MsoNormal"><a rel="noopener noreferrer nofollow">x</a></p>'
    )


def test_numbers_of_tables_are_bounded() -> None:
    safe = sanitize("<table width=9999999 border=1><tr><td colspan=99999 rowspan=2 height='1e9'>x</table>").html
    assert safe == '<table border="1"><tbody><tr><td rowspan="2">x</td></tr></tbody></table>'


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert sanitize("<p>a\ud800b<img src=https://example.com/></p>").remote_images == 1


def test_each_thread_counts_its_own() -> None:
    mails = [f"<img src=https://example.com/{n}>" * n for n in range(20)] * 5
    with ThreadPoolExecutor(4) as pool:
        assert [safe.remote_images for safe in pool.map(sanitize, mails)] == list(range(20)) * 5


def test_a_parsed_mail_has_the_counts() -> None:
    html = '<img src=https://example.com/a.png><a href="https://evil.example/">www.bank.example</a>'
    mail = parse(b"From: a@example.com\r\nContent-Type: text/html\r\n\r\n" + html.encode())
    assert (mail.remote_images, mail.mismatched_links) == (1, 1)


TAGS = st.sampled_from(
    [
        *("<b>", "</b>", "<p>", "</p>", "<i>", "</i>", "<span>", "</span>", "<li>", "<ul>", "</ul>", "<h1>", "</h2>"),
        *("<table>", "</table>", "<tr>", "<td>", "</td>", "<th>", "<caption>", "<tbody>", "<form>", "</form>", "<br/>"),
        *("<div class=gmail_quote>", "</div>", "<blockquote type=cite>", "</blockquote>", "<pre>\n", "</pre>", "<hr>"),
        *("<img src=https://example.com/>", "<a href=//x.example>", "<a href=http://a.example>b.example</a>", "</a>"),
        *(
            "<script>",
            "</script>",
            "<style>",
            "</style>",
            "<svg>",
            "</svg>",
            "<math>",
            "<title>",
            "<textarea>",
            "<xmp>",
        ),
        *("<noscript>", "<plaintext>", "<template>", "<select>", "<option>", "<iframe>", "<object>", "<frameset>"),
        *(
            "<![CDATA[",
            "]]>",
            "<!--",
            "-->",
            "--!>",
            "<!-->",
            "<!x>",
            "<?x>",
            "</3",
            "<o:p>",
            "</o:p>",
            "<x@y.example>",
        ),
        *('"', "'", ">", "<", "=", "&lt;", "&", "&nbsp;", " ", "\n", "x", "\x00", "\u200b", '<a b="', '<p ="x">'),
        *('<p style="color:red;position:fixed">', "<p style='display:none'>", "<BODY onload=x>", '<p a=b=">">'),
    ]
)
HTML = st.lists(st.one_of(TAGS, st.text(max_size=5)), max_size=40).map("".join)


@settings(max_examples=500, deadline=None)
@given(HTML)
def test_sanitize_is_idempotent_and_leaves_nothing_active(html: str) -> None:
    once = sanitize(html)
    twice = sanitize(once.html)
    assert twice.html == once.html
    assert twice.mismatched_links == once.mismatched_links
    assert active(once.html) == []
    to_text(once.html)


def test_text_beside_html_is_written_as_the_sanitizer_writes_it() -> None:
    shown = text_to_html("a\xa0b < c & d")
    assert sanitize(shown).html == shown


def test_a_value_with_angle_brackets_hides_no_attribute() -> None:
    safe = sanitize("""<p title='a > b < "c"' id=x style="position:fixed">d</p>""").html
    assert safe == '<p title="a &gt; b &lt; &quot;c&quot;">d</p>'
    raw, images = judge_attributes(
        """<p title="a > b" id="x"><img src="https://example.com/a.png" alt="<">""", DEFAULT_LIMITS
    )
    assert (raw.count("id="), raw.count("example.com"), images) == (0, 0, 1)
