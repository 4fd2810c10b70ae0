"""HTML as text: what a reader sees, in the lines in which it is seen."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from ingestd.mail.html_safe import sanitize
from ingestd.mail.html_text import to_text
from tests.mail.test_html import HTML


def read(html: str) -> str:
    return to_text(sanitize(html).html)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>in<b>li</b>ne</p><p>two</p>", "inline\n\ntwo"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("&lt;b&gt; &amp; &amp;lt; &copy; &#8364;&nbsp;x", "<b> & &lt; © € x"),
        ("a\n  b\t<i> c</i> <b> d </b>\n e", "a b c d e"),
        ("<head><title>no</title></head><body>yes</body>", "yes"),
        ("<h1>A</h1>b<h2>C</h2><hr>d", "A\n\nb\n\nC\n\n________________________________\nd"),
        ("x <q>y</q> z", 'x "y" z'),
        ("<dl><dt>a<dd>b<dt>c<dd>d</dl>", "a\nb\nc\nd"),
        ("<span style='display:block'>a</span><span style='display:block'>b</span>c", "a\nb\nc"),
        ("", ""),
        ("<p> </p><br>&nbsp;", ""),
    ],
)
def test_text(html: str, text: str) -> None:
    assert read(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        # Gmail: a line is a <div>, an empty one a <div><br></div>.
        ("<div>a</div><div><br></div><div>b</div>", "a\n\nb"),
        ("<div><div><div>a<br></div></div></div><div><br></div><div><br></div><div>b</div>", "a\n\nb"),
        # Outlook: a line is a <p> without margins, an empty one holds a space that does not break.
        (
            "<p class=MsoNormal>a<o:p></o:p></p><p class=MsoNormal>b</p><p class=MsoNormal><o:p>&nbsp;</o:p></p>c",
            "a\nb\n\nc",
        ),
        ("<p class=x_MsoNormal>a</p><p class=x_MsoNormal>b</p>", "a\nb"),
        ("<p style='margin:0cm;margin-bottom:.0001pt'>a</p><p style='margin: 0in 0in 0in 10pt'>b</p>", "a\nb"),
        ("<p style='margin-top:0;margin-bottom:0'>a</p><p style='margin-top:0;margin-bottom:0'>b</p>", "a\nb"),
        ("<p style='margin:0 0 10px'>a</p><p>b</p>", "a\n\nb"),
        # Outlook's own lists.
        ("<p class=MsoListParagraph><![if !supportLists]>·<span>&nbsp;&nbsp;&nbsp; </span><![endif]>a</p>", "· a"),
        ("<p class=MsoListParagraph><span>12.<span>&nbsp;&nbsp; </span></span>a</p>", "12. a"),
        # Apple Mail, Thunderbird and Yahoo.
        ("<div><br class=Apple-interchange-newline>a</div>", "a"),
        ("a<span style='white-space:pre'>\t</span>b", "a\tb"),
        ("<p>a<br>\n</p>\n<p>b<br>\n</p>", "a\n\nb"),
        ("<div dir=ltr>a<br></div><div><br></div><div dir=ltr>b</div>", "a\n\nb"),
    ],
)
def test_lines_of_mail_programs(html: str, text: str) -> None:
    assert read(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
        ("a<ul><li>b</ul>c", "a\n\n- b\n\nc"),
        ("<ol><li>one<li>two</ol>", "1. one\n2. two"),
        ("<ol start=9><li>a<li value=20>b<li>c</ol>", "9. a\n20. b\n21. c"),
        ("<ol type=a><li>a<li>b</ol><ol type=I start=4><li>c</ol>", "a. a\nb. b\n\nIV. c"),
        ("<ol><li>a<ul><li>b<ol><li>c</ol></ul><li>d</ol>", "1. a\n  - b\n    1. c\n2. d"),
        ("<ul><li><p>a</p><p>b</p></li><li>c<br>d</li></ul>", "- a\n\n  b\n\n- c\n  d"),
        ("<ul><li></li><li><div>a</div></li><li><br></li></ul>", "- a"),
        ("<li>a<li>b", "- a\n- b"),
        ("<menu><li>a</menu><dir><li>b</dir>", "- a\n\n- b"),
    ],
)
def test_lists(html: str, text: str) -> None:
    assert read(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a\tb\nc"),
        ("<table><tr><th>Item<th>Price<tr><td>Chair<td>9 €</table>d", "Item\tPrice\nChair\t9 €\n\nd"),
        # Word puts a paragraph into each cell.
        ("<table><tr><td><p>a</p></td><td><p>b</p></td></tr><tr><td><p>c</p></td></tr></table>", "a\tb\nc"),
        # Pages made of tables: spacers, columns and cells of several lines.
        ("<table><tr><td>&nbsp;</td><td width=9></td><td>a</td><td> </td><td>b</td></tr></table>", "a\tb"),
        ("<table><tr><td>a<br>b</td><td>c</td></tr></table>", "a\nb\nc"),
        (f"<table><tr><td>{'a ' * 60}</td><td>b</td></tr></table>", "a " * 59 + "a\nb"),
        ("<table><tr><td><table><tr><td>a</td></tr><tr><td>b</td></tr></table></td></tr></table>c", "a\nb\n\nc"),
        ("<table><caption>a</caption><tr><td>b</table>", "a\nb"),
    ],
)
def test_tables(html: str, text: str) -> None:
    assert read(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<blockquote>a<blockquote>b</blockquote></blockquote>", "> a\n>\n> > b"),
        ("new<blockquote type=cite><p>a</p><p>b</p></blockquote>more", "new\n\n> a\n>\n> b\n\nmore"),
        ("<blockquote type=cite><ul><li>a<li>b</ul><pre>c\n  d</pre></blockquote>", "> - a\n> - b\n>\n> c\n>   d"),
        # Gmail indents with a <blockquote> without a border: the sender's own words.
        ("<blockquote style='margin:0 0 0 40px;border:none;padding:0px'>mine</blockquote>", "mine"),
        ("<blockquote class=gmail_quote style='border:none'>old</blockquote>", "> old"),
        ("<blockquote>" * 20 + "a", "> " * 8 + "a"),
    ],
)
def test_quotations(html: str, text: str) -> None:
    assert read(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="https://example.com/x">here</a>', "here <https://example.com/x>"),
        ('<a href="https://www.example.com/">example.com</a>', "example.com"),
        ('<a href="https://example.com/%D1%8F">https://example.com/я</a>', "https://example.com/я"),
        ('<a href="mailto:jane@example.com?subject=x">Jane</a>', "Jane <jane@example.com>"),
        ('<a href="mailto:jane@example.com">jane@example.com</a>', "jane@example.com"),
        ('<a href="tel:+123">call</a>', "call"),
        ('<a href="https://example.com/x"><div>block</div></a><div>c</div>', "block <https://example.com/x>\nc"),
        ('<p>a</p><p><a href="https://example.com/x">b</a></p>', "a\n\nb <https://example.com/x>"),
        ('&nbsp;<a href="https://example.com/x"><p>b</p></a>', "b <https://example.com/x>"),
        ('&nbsp;<p><a href="https://example.com/x">b</a></p>', "b <https://example.com/x>"),
        ('<a href="https://example.com/x">a<br>b</a>', "a\nb <https://example.com/x>"),
        ('<a href="https://example.com/x"><img alt="Logo" src="cid:a"></a>', "Logo <https://example.com/x>"),
        ('<a href="https://example.com/x"><img src="cid:a"></a>b', "b"),
        ('<a href="https://example.com/' + "x" * 600 + '">here</a>', "here"),
        (
            '<a href="https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fexample.com%2Fa&amp;data=1">b</a>',
            "b <https://example.com/a>",
        ),
    ],
)
def test_links(html: str, text: str) -> None:
    assert read(html) == text


@pytest.mark.parametrize(
    "html",
    [
        "<div style='display:none'>no <div>no</div> no</div>",
        "<div style='display:none'>no <div style='display:none'>no</div> no</div>",
        "<div style='DISPLAY : none !important'>no</div>",
        "<div style='display:none;max-height:0;overflow:hidden;mso-hide:all'>no</div>",
        "<div style='visibility:hidden'>no</div>",
        "<div style='opacity:0'>no</div>",
        "<div style='max-height:0px;overflow:hidden'>no</div>",
        "<span style='height:0;width:0;overflow:hidden;display:block'>no</span>",
        "<div style='font-size:0'>no</div>",
        "<div style='font-size:1px;line-height:1px;color:#fff'>no</div>",
        "<div hidden>no</div>",
        "<table style='display:none'><tr><td>no</table>",
        "<img alt=no width=1 height=1 src=https://example.com/a.gif>",
        "<img alt=no style='display:none' src=cid:a>",
        "<img alt=no hidden src=cid:a>",
        "<a href=https://example.com/x style='display:none'>no</a>",
    ],
)
def test_what_is_hidden_is_not_read(html: str) -> None:
    assert read(f"{html}<p>seen</p>") == "seen"


def test_what_is_hidden_from_outlook_alone_is_read() -> None:
    # The links that stand beside Outlook's drawn buttons.
    assert read("<a href=https://example.com/x style='mso-hide:all'>Order</a>") == "Order <https://example.com/x>"


def test_text_of_readable_size_inside_a_cell_of_none_is_read() -> None:
    # MJML sets the size of a cell to nothing, to have no gaps between pictures.
    html = "<td style='font-size:0px'>gap<div style='font-size:13px'>seen</div>gap<img alt=Logo src=cid:a></td>"
    assert read(f"<table><tr>{html}</table>") == "seen\nLogo"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("soft&shy;hyphen, zero&#8203;width, bom&#65279;", "softhyphen, zerowidth, bom"),
        ("a" + "&#847;&zwnj;&nbsp;" * 40 + "b", "a b"),
        ("<div>" + "&zwnj;&nbsp;" * 40 + "</div>b", "b"),
        ("<div>" + "&#8199;&#65279;&#847; " * 40 + "</div>b", "b"),
        # Alone they mean something.
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("a\x07\x1b[31mb", "a[31mb"),
    ],
)
def test_characters_that_cannot_be_seen(html: str, text: str) -> None:
    assert read(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<pre>a\n  b\n\n    c</pre>", "a\n  b\n\n    c"),
        ("<pre>\n\na</pre>b", "a\n\nb"),
        ("x<pre><b>a</b>\n  b</pre>y", "x\n\na\n  b\n\ny"),
        ("<div style='white-space:pre-wrap'>a\n  b</div>c\n d", "a\n  b\nc d"),
        ("<pre style='white-space:normal'>a\n b</pre>", "a b"),
        ("<listing>a\n b</listing>", "a\n b"),
    ],
)
def test_preformatted(html: str, text: str) -> None:
    assert read(html) == text


def test_images_are_read_by_their_alternative_text() -> None:
    assert read('<img alt="Logo" src="https://example.com/l.png"> Shop') == "Logo Shop"
    assert read('<img alt="Logo" style="display:block" src="cid:a">Shop') == "Logo\nShop"
    assert read('Hi<img alt="😀" src="cid:a">!') == "Hi😀!"


def test_html_that_ends_in_the_middle_is_read() -> None:
    # As where a quotation is cut off.
    assert to_text('<div><ul><li>a<a href="https://example.com/">b') == "- ab"
    assert to_text("</ul></blockquote></a></pre></td>a") == "a"


@settings(max_examples=300, deadline=None)
@given(HTML)
def test_any_text_is_lines_without_gaps(html: str) -> None:
    text = read(html)
    assert "\n\n\n" not in text
    assert text == text.strip("\n")
    assert all(line == line.rstrip() for line in text.split("\n"))
