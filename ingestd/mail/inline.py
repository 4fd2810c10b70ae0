"""Images inside HTML: which attachment an `img` shows (RFC 2392 by Content-ID, RFC 2557 by Content-Location)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape, unescape
from urllib.parse import unquote, urljoin

from ingestd.mail.headers import decode_value
from ingestd.mail.mime import Part

_ID_CHARS_MAX = 250
_IMAGES_MAX = 5000
"""Of one text: what a message made to hurt has more of is left as it is."""
_NOT_ID = re.compile(r"[\s<>\"'\x00-\x1f\x7f-\x9f]+")
_SRC = re.compile(r"(\bsrc\s*+=\s*+)(\"[^\"]*+\"|'[^']*+'|[^\s>\"']++)", re.IGNORECASE)
_CID_SRC = re.compile(r"(\bsrc=\")\s*cid:([^\"]*)\"", re.IGNORECASE)


def content_id(value: bytes) -> str:
    """Return a Content-ID without brackets and spaces; also one that never had brackets or an "@" (Lotus, scripts).

    >>> content_id(b"<image 1@example.com>"), content_id(b"logo.png")
    ('image1@example.com', 'logo.png')
    """
    return _NOT_ID.sub("", decode_value(value))[:_ID_CHARS_MAX]


def location_id(part: Part) -> str:
    """Return a Content-ID for a part that has only a Content-Location: its place in the message, so that it is unique.

    It needs a name of its own, since sanitized HTML keeps no addresses but `cid:`.
    """
    return f"location.{part.start}@content-location.invalid"


def locations_in(related: Part) -> dict[str, str]:
    """Return Content-Location → Content-ID of the parts that a multipart/related brings for its HTML."""
    found: dict[str, str] = {}
    for child in related.children:
        location = _location(child)
        if location:
            found.setdefault(location, content_id(child.get("content-id")) or location_id(child))
    return found


def _location(part: Part) -> str:
    # Long ones are folded anywhere (RFC 2557 §4.4.2).
    return re.sub(r"\s+", "", decode_value(part.get("content-location")))[:2000]


def locate(html: str, part: Part, locations: Mapping[str, str]) -> str:
    """Return the HTML of a part with `cid:` for each image that is named by its Content-Location.

    Before the HTML is sanitized: then these images would be replaced as remote ones.
    """
    base = _location(part)

    def name(match: re.Match[str]) -> str:
        target = unescape(match[2].strip("\"'")).strip()
        known = locations.get(target) or locations.get(_joined(base, target))
        return f'{match[1]}"cid:{escape(known)}"' if known else match[0]

    return _SRC.sub(name, html, count=_IMAGES_MAX)


def _joined(base: str, target: str) -> str:
    try:
        return urljoin(base, target) if base else target
    except ValueError:  # "http://[" is no address
        return target


def spellings(ids: Iterable[str]) -> dict[str, str]:
    """Return what to look a `cid:` up in: each id under itself, and under the one spelling that `tie` makes of all."""
    known = {one: one for one in ids}
    for one in list(known):
        known.setdefault(_key(one), one)
    return known


def tie(html: str, known: Mapping[str, str]) -> tuple[str, set[str]]:
    """Return *sanitized* HTML whose `cid:` are written as the ids of the attachments are, and the ids that it shows.

    Clients write the same id percent-encoded, in other case, in brackets, or with "//" before it.

    >>> tie('<img src="cid:%3CLogo%40example.com%3E">', spellings(["logo@example.com"]))
    ('<img src="cid:logo@example.com">', {'logo@example.com'})
    """
    shown: set[str] = set()

    def name(match: re.Match[str]) -> str:
        target = unescape(match[2])
        found = known.get(target) or known.get(_key(target))
        if found is None:
            return match[0]
        shown.add(found)
        return f'{match[1]}cid:{escape(found)}"'

    return _CID_SRC.sub(name, html, count=_IMAGES_MAX), shown


def _key(identity: str) -> str:
    return _NOT_ID.sub("", unquote(identity.removeprefix("//"))).casefold()
