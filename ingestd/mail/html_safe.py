"""HTML of strangers, made safe to show: it runs nothing, loads nothing, and covers nothing.

`html_scan` makes it plain, nh3 (html5ever) parses it and keeps what is on the
lists here, `html_style` and `html_images` judge values, `html_links` shows where
links lead. What nh3 writes is well-formed: every attribute is quoted, and "<"
and ">" stand for tags only.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

import nh3

from ingestd.mail.html import QUOTE_CLASSES, QUOTE_IDS
from ingestd.mail.html_images import REMOTE_IMAGE, is_inline, is_remote
from ingestd.mail.html_links import mark_targets
from ingestd.mail.html_scan import scan
from ingestd.mail.html_style import clean_style
from ingestd.mail.html_tags import SHOWN, words
from ingestd.mail.limits import DEFAULT_LIMITS, Limits

_DROPPED_WITH_CONTENT = words(
    "script style title svg math iframe object embed applet noscript template textarea select xmp noembed noframes"
)
# What is needed to count images (background, srcset) is allowed here and dropped by the filter.
_CELL = {"background", "bgcolor", "colspan", "height", "rowspan", "width"}
_ATTRIBUTES = {
    "*": {"align", "class", "dir", "hidden", "id", "lang", "style", "title", "valign"},
    "a": {"href", "rel"},
    "blockquote": {"type"},
    "font": {"color", "face", "size"},
    "img": {"alt", "border", "height", "src", "width"},
    "li": {"value"},
    "ol": {"start", "type"},
    "table": {"background", "bgcolor", "border", "cellpadding", "cellspacing", "width"},
    "tr": {"background", "bgcolor"},
    "td": _CELL,
    "th": _CELL,
}
_SCHEMES = {"http", "https", "ftp", "mailto", "tel", "sms"}
"""Of links. What else a URL may do (javascript:, data:, a program's own scheme) is nothing a mail should start."""

# Outlook's paragraphs have no space around them, which only its style sheet says; x_ is what its web app adds.
_LINE_CLASSES = words("MsoNormal MsoPlainText MsoListParagraph x_MsoNormal x_MsoPlainText x_MsoListParagraph")
_CLASSES = QUOTE_CLASSES | _LINE_CLASSES

_LINK = re.compile(r"(?:https?|ftp|mailto|tel|sms):", re.IGNORECASE)
_NO_SCHEME = re.compile(r"(?:www\.[\w.-]+\.[a-z]{2,24}(?=[/?#:]|\Z)|//[\w.-]+\.\w{2,24}(?=[/?#:]|\Z))", re.IGNORECASE)
_SIZE = re.compile(r"\d{1,4}(?:\.\d{1,2})?%?|\d{1,3}px")
_SIZES = frozenset(str(size) for size in range(1000))
_PLAIN = re.compile(r"[\w #.,+-]{1,60}")


class SafeHtml(NamedTuple):
    """HTML that may be shown."""

    html: str
    defects: tuple[str, ...]
    """Fixed words."""
    remote_images: int
    """Images that would have been loaded from the network."""
    mismatched_links: int
    """Links whose text names another host than their target."""


class _Filter:
    """Judges the attributes of one message; their values repeat themselves, so each is read once."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.images = 0
        self.styles: dict[str, tuple[str | None, int]] = {}

    def style(self, value: str) -> str | None:
        known = self.styles.get(value)
        if known is None:
            css, images = clean_style(value)
            known = self.styles[value] = (css or None, images)
        self.images += known[1]
        return known[0]

    def source(self, value: str) -> str | None:
        if value == REMOTE_IMAGE or is_remote(value):
            self.images += 1
            return REMOTE_IMAGE
        return value if is_inline(value, self.limits) else None

    def background(self, value: str) -> None:
        self.images += is_remote(value)


class _Current(threading.local):
    """nh3 takes one filter for its lifetime, as building one costs more than filtering a short mail, and calls it
    in the thread that called it."""

    filter = _Filter(DEFAULT_LIMITS)


_current = _Current()


def _filter_attribute(_tag: str, name: str, value: str) -> str | None:
    judge = _JUDGES.get(name)
    return judge(value) if judge is not None else None


def _style(value: str) -> str | None:
    return _current.filter.style(value)


def _source(value: str) -> str | None:
    return _current.filter.source(value)


def _background(value: str) -> None:
    _current.filter.background(value)


def _same(value: str) -> str:
    return value


def _size(value: str) -> str | None:
    return value if value in _SIZES or _SIZE.fullmatch(value) else None


def _plain(value: str) -> str | None:
    return value if _PLAIN.fullmatch(value) else None


def _class(value: str) -> str | None:
    return " ".join(word for word in value.split() if word in _CLASSES) or None


def _id(value: str) -> str | None:
    return value if value in QUOTE_IDS else None


def _href(value: str) -> str | None:
    if value.startswith(("https:", "http:")):
        return value
    value = value.strip()
    if _LINK.match(value):
        return value
    # Written without a scheme; every mail program follows these all the same.
    if _NO_SCHEME.match(value):
        return f"https:{value}" if value.startswith("//") else f"http://{value}"
    return None


_JUDGES: Mapping[str, Callable[[str], str | None]] = {
    **dict.fromkeys(("alt", "title", "rel"), _same),
    **dict.fromkeys(("align", "bgcolor", "color", "dir", "face", "lang", "type", "valign"), _plain),
    **dict.fromkeys(("border", "cellpadding", "cellspacing", "colspan", "height", "rowspan", "width"), _size),
    **dict.fromkeys(("size", "start", "value"), _size),
    "background": _background,
    "class": _class,
    "hidden": lambda _value: "",
    "href": _href,
    "id": _id,
    "src": _source,
    "style": _style,
}

_CLEANER = nh3.Cleaner(
    tags=set(SHOWN),
    clean_content_tags=set(_DROPPED_WITH_CONTENT),
    attributes=_ATTRIBUTES,
    attribute_filter=_filter_attribute,
    # Not `link_rel`: it removes the attribute and adds it again, elsewhere, so that filtering twice differs.
    link_rel=None,
    set_tag_attribute_values={"a": {"rel": "noopener noreferrer nofollow"}},
    strip_comments=True,
    url_schemes={*_SCHEMES, "cid", "data"},
)


def sanitize(html: str, limits: Limits = DEFAULT_LIMITS) -> SafeHtml:
    """Return HTML that runs nothing and loads nothing from the network, and what was met on the way.

    Images other than `cid:` and small raster images in `data:` become
    REMOTE_IMAGE or have no source; links keep their target. Filtering the result
    again changes nothing.

    >>> safe = sanitize('<p onclick=x>a<script>b</script><img src="https://example.com/t.gif"></p>')
    >>> safe.html.count(REMOTE_IMAGE), safe.remote_images
    (1, 1)
    """
    scanned = scan(html, limits)
    _current.filter = found = _Filter(limits)
    try:
        cleaned = _CLEANER.clean(scanned.html)
    except UnicodeEncodeError:
        # Half a surrogate pair: some decoders let it pass, and no UTF-8 can hold it.
        found = _current.filter = _Filter(limits)
        cleaned = _CLEANER.clean(scanned.html.encode("utf-8", "replace").decode("utf-8"))
    marked, mismatched = mark_targets(cleaned)
    return SafeHtml(marked, scanned.defects, scanned.remote_images + found.images, mismatched)
