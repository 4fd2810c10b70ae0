"""The first look at HTML: it loses no words, and leaves a tree builder nothing to guess and nothing to do twice."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html import unescape

import nh3
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestd.mail.html_safe import sanitize
from ingestd.mail.html_scan import scan
from ingestd.mail.html_tags import SHOWN, words
from ingestd.mail.html_text import to_text
from ingestd.mail.limits import Limits
from tests.mail.test_html import HTML


@pytest.mark.parametrize(
    ("html", "text"),
    [
        # Comments end where HTML 5 says, and where they are never closed at the first ">".
        ("a<!-- b -->c", "ac"),
        ("a<!-->b", "ab"),
        ("a<!--->b", "ab"),
        ("a<!--b--!>c", "ac"),
        ("a<!-- b > c", "a c"),
        ("a<!-- b", "a b"),
        # Outlook's conditional comments: hidden ones are for Outlook alone, revealed ones for all.
        ("a<!--[if mso]><b>no</b><![endif]-->b", "ab"),
        ("a<!--[if !mso]><!--><b>yes</b><!--<![endif]-->b", "ayesb"),
        ("a<!--[if !mso]>-->yes<!--<![endif]-->b", "ayesb"),
        ("a<![if !supportLists]>yes<![endif]>b", "ayesb"),
        ("<!--[if gte mso 9]><xml><o:OfficeDocumentSettings/></xml><![endif]-->a", "a"),
        ("<xml><o:OfficeDocumentSettings><o:PixelsPerInch>96</o:PixelsPerInch></o:OfficeDocumentSettings></xml>a", "a"),
        ("<xml>my own</xml>", "my own"),
        ("<?xml version='1.0'?><!DOCTYPE html PUBLIC 'x'><?xml:namespace prefix = o />a", "a"),
        ("a<o:p>&nbsp;</o:p>b<o:p></o:p>", "a b"),
        ("<![CDATA[a <b> c]]>", "a <b> c"),
        ("<![CDATA[a", "a"),
        # What is not shown goes with its content, and only if it ends.
        ("<title>no</title><style>p{}</style><script>if (a<b) c('</p>')</script>a", "a"),
        ("<STYLE>p{}</STYLE\n>a", "a"),
        ("<title>a", "a"),
        ("<style>p{color:red} <p>a", "a"),
        ("<script>x<p>a</p>", "a"),
        ("<title/>a", "a"),
        ("<style>a</styles></style>b", "b"),
        ("<template>no</template><select><option>no</select><noscript>yes</noscript><object>yes</object>", "yesyes"),
        ("<textarea>a <b> c</textarea>", "a <b> c"),
        ("<svg><text>a</text></svg><math><mi>b</mi></math>", "ab"),
        # "<" that nobody escaped.
        ("a < b and c <3 d", "a < b and c <3 d"),
        ("a </3 b > c", "a </3 b > c"),
        ("Jane <jane@example.com> wrote", "Jane <jane@example.com> wrote"),
        ("see <https://example.com/a?b=c> there", "see <https://example.com/a?b=c> there"),
        ("a <b", "a <b"),
        ("a<p style='margin:0", "a"),
        ('a<b title="x>y</b>z', "ayz"),
        ('a<p ="x">b', "a\n\nb"),
        # Tags that are closed wrongly, or not at all.
        ("<b>a<i>b</b>c</i>d", "abcd"),
        ("<p>a<p>b", "a\n\nb"),
        ("<ul><li>a<li>b</ul>", "- a\n- b"),
        ("<table><tr><td>a<td>b<tr><td>c</table>d", "a\tb\nc\n\nd"),
        ("<table>a<tr><td>b</table>", "a\nb"),
        ("<tr><td>a</td><td>b</td></tr><tr><td>c", "a b\nc"),
        ("<table><form><tr><td>a</td></form></tr></table>b", "a\n\nb"),
        ("a</p>b</div>c</br>d", "abc\nd"),
        ("a<form>b</form>c<fieldset><legend>d</legend>e", "a\nb\nc\nd\ne"),
    ],
)
def test_no_word_is_lost(html: str, text: str) -> None:
    assert to_text(sanitize(html).html) == text


def test_a_link_ends_where_it_is_closed_even_across_blocks() -> None:
    assert sanitize('<a href="http://a.example"><div class="gmail_quote">b</a>c</div>').html == (
        '<a href="http://a.example" rel="noopener noreferrer nofollow"><div class="gmail_quote">b</div></a>'
        '<div class="gmail_quote">c</div>'
    )


def test_a_quotation_does_not_end_with_the_formatting_around_it() -> None:
    safe = sanitize("<font><blockquote type=cite></font>old</blockquote>new").html
    assert to_text(safe) == "> old\n\nnew"


def test_a_fragment_that_was_cut_off_loses_nothing_but_its_last_tag() -> None:
    limits = Limits(text_bytes_max=30)
    safe = sanitize("<p>" + "a" * 15 + "<img alt='x" + "b" * 100 + "'>", limits)
    assert (to_text(safe.html), safe.defects) == ("a" * 15, ("html-too-long",))


def test_words_behind_too_many_tags_are_kept() -> None:
    safe = sanitize("<p>a</p>" * 5 + "<!-- x --><b>end</b> 1 < 2", Limits(html_tags_max=10))
    assert to_text(safe.html).endswith("a\n\na end 1 < 2")
    assert safe.defects == ("html-too-many-tags",)


_COPIED = "<i title='" + "x" * 1000 + "{}'>"
HOSTILE = {
    "nested": "<div>" * 100_000 + "x",
    "nested tables": "<table><tr><td>" * 30_000 + "x",
    "nested, with end tags that close nothing": "<div></b></span>" * 100_000 + "x",
    "nested, with end tags in comments": "<div><!--</div>-->" * 100_000 + "x",
    "nested, with end tags in styles": "<div><style></div></style>" * 60_000 + "x",
    "nested, with end tags in cells": ("<div>" * 30 + "<table><tr><td>" + "</div>" * 30) * 6_000 + "x",
    "nested in every way": ("<p><b><span><ul><li><dl><dd><blockquote><h1>" * 10_000) + "x",
    "attributes": "<div " + " ".join(f"a{i}=1" for i in range(100_000)) + ">x",
    "attributes in a row": "<div " + "".join(f"a{i}='>'" for i in range(100_000)) + ">x",
    "attributes with slashes": "<div " + "/".join(f"a{i}" for i in range(100_000)) + ">x",
    "attributes of an end tag": "<div>x</div " + " ".join(f"a{i}=1" for i in range(100_000)) + ">",
    "attributes of a span": "<span " + " ".join(f"a{i}" for i in range(100_000)) + ">x",
    "attributes of an image": "<img " + " ".join(f"a{i}" for i in range(100_000)) + ">x",
    "attributes of a cell": "<table><tr><td " + " ".join(f"a{i}" for i in range(100_000)) + ">x",
    "long": "x" * 3_000_000,
    "text in tables": "<table>" + "x<br>" * 300_000,
    "formatting that is opened again in each paragraph": "<div>"
    + "".join(_COPIED.format(i) for i in range(140))
    + "</div>"
    + "<p>x" * 100_000,
    "formatting that overlaps": ("<b>" * 70 + "".join(_COPIED.format(i) for i in range(70)) + "</b>" * 70) * 20 + "x",
    "formatting that overlaps blocks": ("<b>" * 50 + _COPIED * 3 + "<div>" + "</b>" * 50 + "</div>") * 400 + "x",
    "links in links": "<a href=http://example.com><div>x" * 30_000,
    "comments without end": "<!--" * 250_000 + "x",
    "comments of the other end": "<!---->" * 125_000 + "x--!>",
    "tags without end": "<a " * 300_000 + "x",
    "end tags without end": "</" * 450_000 + "x",
    "quotes without end": "<p a=\"'" * 125_000 + "'>x",
    "quotes that hide the end": '<a b=">" ' * 200_000 + "x",
    "styles without end": "<style></style" * 70_000 + "x",
    "titles without end": "<title>" * 140_000 + "x",
    "CDATA without end": "<![CDATA[" * 100_000 + "x",
    "ampersands": "&" * 1_000_000 + "x",
    "spaces that do not break": "&nbsp;" * 165_000 + "x",
    "greater-thans": ">" * 1_000_000 + "x",
    "ampersands in an attribute": "<p title='" + "&" * 950_000 + "'>x",
    "declarations": "<div style='" + "color:red;" * 95_000 + "'>x",
    "parentheses in a style": "<div style='" + "(" * 950_000 + "'>x",
    "images in a style": "<div style='" + "background:url(//example.com);" * 30_000 + "'>x",
    "sheets": "<style>" + "@font-face{" * 85_000 + "</style>x",
    "hosts": "<a href=http://example.com>" + "a.b." * 200_000 + "x</a>",
    "internationalized links": "<a href=http://xn--pple-43d.com>a.example</a>" * 22_500 + "x",
    "characters that cannot be seen": "\u200c\xa0" * 450_000 + "x",
    "hidden": "<p style=display:none>" * 45_000 + "</p>" * 45_000 + "x",
    "unknown tags": "<o:p>" * 200_000 + "x",
    "addresses": "<a@b.example>" * 75_000 + "x",
    "lists": "<ol start=9><li>" * 50_000 + "x",
    "quotations": "<blockquote>x" * 75_000,
}


@pytest.mark.parametrize("html", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_html_is_read_in_time(html: str) -> None:
    begun = time.process_time()
    safe = sanitize(html)
    text = to_text(safe.html)
    assert time.process_time() - begun < 5
    assert len(safe.html) < 16_000_000
    if "html-too-long" not in safe.defects:
        assert "x" in text


@pytest.mark.parametrize(
    ("name", "defect"),
    [
        ("nested", "html-too-deep"),
        ("nested tables", "html-too-deep"),
        ("attributes", "html-too-many-attributes"),
        ("attributes of a span", "html-too-many-attributes"),
        ("attributes of an image", "html-too-many-attributes"),
        ("attributes of a cell", "html-too-many-attributes"),
        ("attributes in a row", "html-too-many-attributes"),
        ("attributes with slashes", "html-too-many-attributes"),
        ("ampersands in an attribute", "html-too-many-attributes"),
        ("long", "html-too-long"),
        ("text in tables", "html-too-many-tags"),
        ("quotes that hide the end", "html-broken-tag"),
        ("formatting that overlaps", "html-tags-overlap"),
    ],
)
def test_what_was_left_out_is_said(name: str, defect: str) -> None:
    assert defect in sanitize(HOSTILE[name]).defects


def test_an_end_tag_has_no_attributes_left_to_be_compared() -> None:
    assert scan(HOSTILE["attributes of an end tag"]).html == "<div>x</div>"


_BUILDER = nh3.Cleaner(tags=set(SHOWN), attributes={"*": set()}, clean_content_tags=set(), link_rel=None)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:[^>\"'=]|=\s*\"[^\"]*\"|=\s*'[^']*'|=)*)>")
_VOID = words("br hr img wbr")


def _tree(html: str) -> Iterator[str]:
    """Yield the tags of a document, with those that its end implies; builders add <tbody> as they like."""
    opened: list[str] = []
    for slash, name, _ in _TAG.findall(html.lower()):
        if slash:
            assert opened.pop() == name
        elif name not in _VOID:
            opened.append(name)
        if name != "tbody":
            yield slash + name
    yield from ("/" + name for name in reversed(opened) if name != "tbody")


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(sorted(SHOWN)).map("<{}>".format),
            st.sampled_from(sorted(SHOWN)).map("</{}>".format),
            st.sampled_from(
                ["x", " ", "<", "<!--", "-->", "<form>", "</form>", "<foo>", "<style>", "</style>", "<svg>"]
            ),
            st.sampled_from(
                ["<p>", "</p>", "<b>", "</b>", "<a>", "</a>", "<td>", "<table>", "</table>", "<li>", "</div>"]
            ),
        ),
        max_size=40,
    ).map("".join)
)
def test_a_tree_builder_has_nothing_to_correct(html: str) -> None:
    scanned = scan(html).html
    assert list(_tree(scanned)) == list(_tree(_BUILDER.clean(scanned)))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(SHOWN)), st.booleans(), st.integers(0, 999)), max_size=30))
@example([("table", False, 0), ("tr", False, 1)])  # a mail that was cut off within a table
def test_every_word_between_tags_is_kept_in_order(pieces: list[tuple[str, bool, int]]) -> None:
    html = "".join(f"<{'/' if closing else ''}{name}> w{number} " for name, closing, number in pieces)
    shown = re.sub(r"<[^>]*>", " ", sanitize(html).html)
    assert re.findall(r"w\d+", unescape(shown)) == [f"w{number}" for _, _, number in pieces]
    assert re.findall(r"w\d+", to_text(sanitize(html).html)) == [f"w{number}" for _, _, number in pieces]


@settings(max_examples=300, deadline=None)
@given(HTML)
def test_scanning_again_changes_no_text(html: str) -> None:
    once = sanitize(html).html
    assert to_text(sanitize(once).html) == to_text(once)
