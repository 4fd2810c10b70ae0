"""The attributes that nh3 kept, judged by their values: which may be shown, which as something else, which not.

A callback of nh3 for each attribute took as long as all the rest of its work. Mail
is the same few tags over and over, so each tag is judged once a message, as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape, unescape

from ingestd.mail.html import QUOTE_CLASSES, QUOTE_IDS
from ingestd.mail.html_images import REMOTE_IMAGE, is_inline, is_remote
from ingestd.mail.html_style import clean_style
from ingestd.mail.html_tags import words
from ingestd.mail.limits import Limits

# Outlook's paragraphs have no space around them, which only its style sheet says; x_ is what its web app adds.
_LINE_CLASSES = words("MsoNormal MsoPlainText MsoListParagraph x_MsoNormal x_MsoPlainText x_MsoListParagraph")
_CLASSES = QUOTE_CLASSES | _LINE_CLASSES

# By its quotes, so that no tag passes unread whatever a value holds. Left out is the usual link, as it stays as it is.
_TAGS = re.compile(r'(<(?!a href="https?:[^"]*+" rel="[^"]*+">)[a-z][a-z0-9]*+ [^"<>]*+(?>(?:"[^"]*+"[^"<>]*+)*)>)')
# No quote that ends a value stands before "http".
_REMOTE_FIRST = re.compile(r'<img src="https?://[^"]*+"')
_REMOTE = re.compile(r'(<img(?> (?!src=)[a-z]++="[^"]*+")*) src="https?://[^"]*+"')
_ATTRIBUTES = re.compile(r' [a-z]++="[^"]*+"')
_LINK = re.compile(r"(?:https?|ftp|mailto|tel|sms):", re.IGNORECASE)
_NO_SCHEME = re.compile(r"(?:www\.[\w.-]+\.[a-z]{2,24}(?=[/?#:]|\Z)|//[\w.-]+\.\w{2,24}(?=[/?#:]|\Z))", re.IGNORECASE)
_SIZE = re.compile(r"\d{1,4}(?:\.\d{1,2})?%?|\d{1,3}px")
_PLAIN = re.compile(r"[\w #.,+-]{1,60}")


def judge_attributes(html: str, limits: Limits) -> tuple[str, int]:
    """Return what nh3 wrote with the attributes that may stay, and how many images the others would have loaded.

    >>> from ingestd.mail.limits import DEFAULT_LIMITS
    >>> judge_attributes('<p id="x" lang="de"><a href="javascript:x">a</a></p>', DEFAULT_LIMITS)
    ('<p lang="de"><a>a</a></p>', 0)
    """
    # Then most of the tags are the same.
    html = _REMOTE_FIRST.sub(_IMAGE_WITHOUT_SOURCE, html)
    if ' src="http' in html:
        html = _REMOTE.sub(_WITHOUT_SOURCE, html)
    pieces = _TAGS.split(html)
    tags = pieces[1::2]
    judge = _Judge(limits)
    pieces[1::2] = [judge.tags.get(tag) or judge.tag(tag) for tag in tags]
    return "".join(pieces), sum([judge.images.get(tag, 0) for tag in tags]) if judge.images else 0


_NO_SOURCE = f' src="{REMOTE_IMAGE}"'
_IMAGE_WITHOUT_SOURCE = f"<img{_NO_SOURCE}"
_WITHOUT_SOURCE = rf"\1{_NO_SOURCE}"


class _Judge:
    """Knows the tags and attributes of one message that it has seen."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.tags: dict[str, str] = {}
        self.attributes: dict[str, str] = {}
        self.images: dict[str, int] = {}
        """Of tags and of attributes, where there are any."""

    def tag(self, tag: str) -> str:
        judged = tag[: tag.index(" ")]
        images, known, counted = 0, self.attributes, self.images
        for one in _ATTRIBUTES.findall(tag):
            judged += known[one] if one in known else self.attribute(one)
            if one in counted:
                images += counted[one]
        if images:
            counted[tag] = images
        self.tags[tag] = judged = f"{judged}>"
        return judged

    def attribute(self, attribute: str) -> str:
        """Return an attribute as it may stay, "" if it may not."""
        if attribute.startswith((' href="https:', ' href="http:')):
            return attribute  # what is the same in every other tag is not worth to be remembered
        if attribute.startswith((' src="https://', ' src="http://')):
            self.images[attribute] = 1
            return _NO_SOURCE
        name, _, written = attribute[1:-1].partition('="')
        value = unescape(written) if "&" in written else written
        if name == "src":
            shown = self._source(attribute, value)
        elif name == "style":
            css, images = clean_style(value)
            shown = css or None
            self._count(attribute, images)
        elif name == "background":
            shown = None
            self._count(attribute, is_remote(value))
        else:
            judge = _JUDGES.get(name)
            shown = judge(value) if judge is not None else None
        judged = "" if shown is None else attribute if shown == value else f' {name}="{_escaped(shown)}"'
        self.attributes[attribute] = judged
        return judged

    def _source(self, attribute: str, value: str) -> str | None:
        if value == REMOTE_IMAGE or is_remote(value):
            self._count(attribute, 1)
            return REMOTE_IMAGE
        return value if is_inline(value, self.limits) else None

    def _count(self, attribute: str, images: int) -> None:
        if images:
            self.images[attribute] = images


def _escaped(value: str) -> str:
    """Write a value as nh3 does."""
    return escape(value, quote=False).replace('"', "&quot;").replace("\xa0", "&nbsp;")


def _same(value: str) -> str:
    return value


def _size(value: str) -> str | None:
    return value if _SIZE.fullmatch(value) else None


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
    "class": _class,
    "hidden": lambda _value: "",
    "href": _href,
    "id": _id,
}
