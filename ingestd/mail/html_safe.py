"""HTML of strangers, made safe to show: it runs nothing, loads nothing, and covers nothing.

`html_scan` makes it plain, nh3 (html5ever) parses it and keeps what is on the
lists here, `html_attributes` judges the values of what was kept, `html_links`
shows where links lead. What nh3 writes is well-formed: every attribute is
quoted, and "<" and ">" stand for tags only.
"""

from __future__ import annotations

from typing import NamedTuple

import nh3

from ingestd.mail.html_attributes import judge_attributes
from ingestd.mail.html_links import mark_targets
from ingestd.mail.html_scan import scan
from ingestd.mail.html_tags import SHOWN, words
from ingestd.mail.limits import DEFAULT_LIMITS, Limits

_DROPPED_WITH_CONTENT = words(
    "script style title svg math iframe object embed applet noscript template textarea select xmp noembed noframes"
)
# `background` is kept here to be counted, and dropped with the other values that may not stay.
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


class SafeHtml(NamedTuple):
    """HTML that may be shown."""

    html: str
    defects: tuple[str, ...]
    """Fixed words."""
    remote_images: int
    """Images that would have been loaded from the network."""
    mismatched_links: int
    """Links whose text names another host than their target."""


_CLEANER = nh3.Cleaner(
    tags=set(SHOWN),
    clean_content_tags=set(_DROPPED_WITH_CONTENT),
    attributes=_ATTRIBUTES,
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
    >>> safe.html.count("<img"), safe.html.count("example.com"), safe.remote_images
    (1, 0, 1)
    """
    scanned = scan(html, limits)
    try:
        cleaned = _CLEANER.clean(scanned.html)
    except UnicodeEncodeError:
        # Half a surrogate pair: some decoders let it pass, and no UTF-8 can hold it.
        cleaned = _CLEANER.clean(scanned.html.encode("utf-8", "replace").decode("utf-8"))
    judged, images = judge_attributes(cleaned, limits)
    marked, mismatched = mark_targets(judged)
    return SafeHtml(marked, scanned.defects, scanned.remote_images + images, mismatched)
