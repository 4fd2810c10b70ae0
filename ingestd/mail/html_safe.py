"""HTML of strangers, made safe to show: an allow-list, and nothing loads.

`prescan` caps it, then nh3 parses and filters.
"""

from __future__ import annotations

import re

import nh3

from ingestd.mail.html import _QUOTE_CLASSES, _QUOTE_IDS
from ingestd.mail.html_scan import prescan
from ingestd.mail.html_tags import words
from ingestd.mail.limits import DEFAULT_LIMITS, Limits

REMOTE_IMAGE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""What stands in place of every image that would be loaded from the network: one transparent pixel."""


_TAGS = words(
    "a abbr acronym address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del "
    "details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav "
    "ol p pre q s samp section small span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul "
    "var wbr"
)
_DROPPED_WITH_CONTENT = words(
    "script style title svg math iframe object embed applet noscript template textarea select"
)
_ATTRIBUTES = {
    "*": {"align", "class", "dir", "id", "lang", "style", "title", "valign"},
    "a": {"href"},
    "blockquote": {"type"},
    "col": {"span", "width"},
    "colgroup": {"span", "width"},
    "font": {"color", "face", "size"},
    "img": {"alt", "height", "src", "width"},
    "li": {"value"},
    "ol": {"start", "type"},
    "table": {"bgcolor", "border", "cellpadding", "cellspacing", "width"},
    "td": {"bgcolor", "colspan", "height", "rowspan", "width"},
    "th": {"bgcolor", "colspan", "height", "rowspan", "width"},
}
_STYLES = words(
    "color background-color font-weight font-style font-size font-family text-align display "
    "text-decoration margin-left "
    "padding-left border-left white-space vertical-align line-height"
)
_SAFE_URL = re.compile(r"(?:https?:|mailto:|tel:|cid:)", re.IGNORECASE)
_INLINE_IMAGE = re.compile(r"(?:cid:|data:image/(?:png|gif|jpeg|jpg|webp);base64,)", re.IGNORECASE)
_LOADS = re.compile(r"url|expression|import|[\\@]|/\*", re.IGNORECASE)


def _filter_attribute(_tag: str, name: str, value: str) -> str | None:
    if name == "class":
        return " ".join(word for word in value.split() if word in _QUOTE_CLASSES) or None
    if name == "id":
        return value if value in _QUOTE_IDS else None
    if name == "style":
        return None if _LOADS.search(value) else value
    if name == "src":
        return value if _INLINE_IMAGE.match(value) else REMOTE_IMAGE
    if name == "href":
        return value if _SAFE_URL.match(value.strip()) and not value.strip().lower().startswith("cid:") else None
    return value


_CLEANER = nh3.Cleaner(
    tags=set(_TAGS),
    clean_content_tags=set(_DROPPED_WITH_CONTENT),
    attributes=_ATTRIBUTES,
    attribute_filter=_filter_attribute,
    filter_style_properties=set(_STYLES),
    link_rel="noopener noreferrer nofollow",
    strip_comments=True,
    url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
)


def sanitize(html: str, limits: Limits = DEFAULT_LIMITS) -> tuple[str, tuple[str, ...]]:
    """Return HTML that runs nothing and loads nothing from the network, and defect words.

    Images other than `cid:` and inline data become REMOTE_IMAGE.

    >>> sanitize('<p onclick=x>a<script>b</script><img src="https://example.com/t.gif"></p>')[0].count(REMOTE_IMAGE)
    1
    """
    scanned, defects = prescan(html, limits)
    return _CLEANER.clean(scanned), defects
