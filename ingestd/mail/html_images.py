"""Images in HTML: which may be shown, and which would be loaded from the network.

A loaded image tells its sender that the mail was read, when, and from where; so none is, and each is counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape

from ingestd.mail.limits import DEFAULT_LIMITS, Limits

REMOTE_IMAGE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""What stands in place of every image that would be loaded from the network: one transparent pixel."""

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*+:")
_IGNORED = dict.fromkeys((*range(33), 127))
"""Browsers drop tabs and newlines anywhere in a URL, and controls and spaces around it (WHATWG URL §4.4)."""
_CID = re.compile(r"cid:[^\"'\\\x00-\x1f\x7f]{1,500}", re.IGNORECASE)
"""Also with the brackets and spaces that some clients write: `inline.tie` compares without them."""
_DATA = re.compile(r"data:image/(?:png|gif|jpe?g|pjpeg|webp|bmp|x-icon);base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]++=*+\s*+")
_MAGIC = ("iVBORw0KGgo", "R0lGOD", "/9j/", "UklGR", "Qk", "AAABAA")
"""How PNG, GIF, JPEG, WebP, BMP and ICO begin, in base64: a raster image whatever the label says, and no SVG."""
_CSS_URL = re.compile(r"url\([\s\"']*+([^\s\"')]*+)|image-set\([\s]*+[\"']([^\"']*+)", re.IGNORECASE)
_CSS_NO_IMAGE = re.compile(r"@import[^;]*+;?|@font-face[^}]*+\}?|/\*.*?\*/", re.IGNORECASE | re.DOTALL)
_CSS_URLS_MAX = 1000
_ATTRIBUTE = re.compile(r"([a-zA-Z:]++)[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r >\"']++))")
_LOADED_BY: Mapping[str, tuple[str, ...]] = {
    "body": ("background",),
    "image": ("href", "xlink:href", "src"),
    "input": ("src",),
    "video": ("poster",),
}


def is_remote(url: str) -> bool:
    """Tell whether showing an image of this URL would ask the network; a relative one asks our own server.

    >>> is_remote("https://example.com/a.png"), is_remote("//example.com/a.png"), is_remote("cid:a@example.com")
    (True, True, False)
    """
    if url.startswith(("https://", "http://")):
        return True
    url = url.translate(_IGNORED)
    scheme = _SCHEME.match(url)
    return scheme[0].lower() in ("http:", "https:", "ftp:") if scheme else url != "" and not url.startswith("#")


def is_inline(url: str, limits: Limits = DEFAULT_LIMITS) -> bool:
    """Tell whether an image lies in the message itself: a part of it, or a small raster image in the URL.

    >>> is_inline("cid:a@example.com"), is_inline("data:image/svg+xml;base64,PHN2Zz4=")
    (True, False)
    """
    if url[:4].lower() == "cid:":
        return _CID.fullmatch(url) is not None
    head = _DATA.match(url)
    if head is None or len(url) > limits.html_data_url_chars_max:
        return False
    return url.startswith(_MAGIC, head.end()) and _BASE64.fullmatch(url, head.end()) is not None


def count_in_tag(name: str, tag: str) -> int:
    """Return how many images a tag would load that is not shown itself; for <img>, those of `srcset` alone.

    >>> count_in_tag("input", '<input type=image src="https://example.com/a.png">')
    1
    """
    if "=" not in tag:
        return 0
    values = {
        found[1].lower(): unescape(next((value for value in found.groups()[1:] if value is not None), ""))
        for found in reversed(list(_ATTRIBUTE.finditer(tag[:65_536])))
    }
    if name == "img":
        return int(is_remote(values.get("srcset", "")) and not is_remote(values.get("src", "")))
    if name == "input" and values.get("type", "").strip().lower() != "image":
        return count_in_style(values.get("style", ""))
    loaded = any(is_remote(values.get(attribute, "")) for attribute in _LOADED_BY.get(name, ()))
    return int(loaded) + count_in_style(values.get("style", ""))


def count_in_style(css: str) -> int:
    """Return how many images declarations would load.

    >>> count_in_style("background: url(https://example.com/a.png); list-style: url('cid:b')")
    1
    """
    if "(" not in css:
        return 0
    return sum(1 for _ in _remote_urls(css))


def count_in_sheet(css: str) -> int:
    """Return how many images a style sheet may load, each once; fonts and other sheets are none.

    >>> count_in_sheet("@import url(//example.com/x.css); .a{background:url(//example.com/a.png)}")
    1
    """
    if "(" not in css:
        return 0
    return len(set(_remote_urls(_CSS_NO_IMAGE.sub(" ", css))))


def _remote_urls(css: str) -> list[str]:
    urls: list[str] = []
    for match in _CSS_URL.finditer(css):
        url = match[1] or match[2] or ""
        if is_remote(url):
            urls.append(url)
        if len(urls) == _CSS_URLS_MAX:
            break
    return urls
