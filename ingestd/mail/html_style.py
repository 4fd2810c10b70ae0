"""Style declarations that are shown: an allow-list of properties, each with the values that it may have.

Nothing here loads (no url, no function but colours), moves over something else
(no position, no negative length, no large one) or plays with visibility. What
hides an element is told apart once, here, and is written as `display:none`, so
that whoever reads the result needs to know one word.

Values are written in one form: filtering what was filtered changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ingestd.mail.html_images import count_in_style

_CHARS_MAX = 4096
"""Of one style attribute."""
_LENGTH = (
    r"(?:0|\d{0,3}(?:\.\d{1,6})?(?:px|pt)|\d{0,2}(?:\.\d{1,6})?(?:em|rem|ex|ch|mm|cm|in|pc)|\d{1,3}(?:\.\d{1,6})?%)"
)
_COLOR = r"(?:#[0-9a-f]{3,8}|[a-z]{3,30}|(?:rgb|hsl)a?\([0-9.,% /]{1,60}\))"
_LENGTHS = rf"(?:{_LENGTH}|auto)(?: (?:{_LENGTH}|auto)){{0,3}}"
_BORDER = rf"(?:{_LENGTH}|{_COLOR})(?: (?:{_LENGTH}|{_COLOR})){{0,4}}"
_FAMILY = r"(?:'[\w .-]{1,60}'|\"[\w .-]{1,60}\"|[\w .-]{1,60})"


def _one_of(words: str) -> str:
    return f"(?:{words.replace(' ', '|')})"


_VALUES: Mapping[str, str] = {
    "background-color": _COLOR,
    "border-collapse": "collapse|separate",
    "color": _COLOR,
    "direction": "ltr|rtl",
    "display": _one_of("none block inline inline-block list-item table table-cell table-row"),
    "font-family": rf"{_FAMILY}(?:, ?{_FAMILY}){{0,20}}",
    "font-size": r"(?:0|\d{0,2}(?:\.\d{1,6})?(?:px|pt)"
    r"|\d?(?:\.\d{1,6})?(?:em|rem|ex)|\d{1,3}(?:\.\d{1,6})?%|[a-z-]{5,8})",
    "font-style": "normal|italic|oblique",
    "font-variant": "normal|small-caps",
    "font-weight": "[a-z]{4,7}|[1-9]00",
    "line-height": rf"normal|\d(?:\.\d{{1,6}})?|{_LENGTH}",
    "list-style-type": "[a-z-]{4,20}",
    "overflow-wrap": "normal|anywhere|break-word",
    "text-align": "left|right|center|justify|start|end",
    "text-decoration": "[a-z -]{4,40}",
    "text-transform": "none|capitalize|uppercase|lowercase",
    "vertical-align": _one_of("baseline top middle bottom sub super text-top text-bottom"),
    "white-space": _one_of("normal nowrap pre pre-wrap pre-line break-spaces"),
    "word-break": _one_of("normal break-all break-word keep-all"),
    **{f"margin{side}": _LENGTHS for side in ("", "-top", "-right", "-bottom", "-left")},
    **{f"padding{side}": _LENGTHS for side in ("", "-top", "-right", "-bottom", "-left")},
    **{f"border{side}": _BORDER for side in ("", "-top", "-right", "-bottom", "-left", "-color", "-style", "-width")},
}
_PROPERTIES = {name: re.compile(value) for name, value in _VALUES.items()}
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_SPACES = re.compile(r"\s+")
_IMPORTANT = re.compile(r"\s*!\s*important\s*\Z")
# Outlook writes 0cm and .0001pt for "none"; the leading zero goes so that "font-size:0" means one thing.
_ZERO = re.compile(r"(?<![\d.#\w])(?:0*\.000\d*|0+(?:\.0*)?)(?:[a-z]{2,3}|%)?(?![\w.%])")
_LEADING_ZERO = re.compile(r"(?<![\d.#\w])0+(?=\.\d)")
_PLAIN_COLOR = re.compile(r"#[0-9a-f]{3,8}\b|(?:rgb|hsl)a?\([0-9.,% /]{1,60}\)|\A[a-z]{3,30}(?=\s|\Z)")
_UNREADABLE = re.compile(r"0|(?:0?\.\d+|1(?:\.0*)?)(?:px|pt)|0?\.0\d*(?:r?em|ex)|[0-5]%")
"""Font sizes of the text that newsletters put before the first line for the list of mails."""
_NOTHING = re.compile(r"0|0?\.\d+px|1px")


class Style(NamedTuple):
    """What is left of a style attribute."""

    css: str
    remote_images: int


def clean_style(css: str) -> Style:
    """Return the declarations that may be shown, and how many images the others would have loaded.

    >>> clean_style("Color:#FF0000; position:fixed; margin:0cm 0cm .0001pt").css
    'color:#ff0000;margin:0'
    >>> clean_style("visibility:hidden; color:red").css
    'display:none'
    """
    if len(css) > _CHARS_MAX:
        css = css[:_CHARS_MAX].rpartition(";")[0]
    images = count_in_style(css)
    if "/*" in css:
        css = _COMMENT.sub("", css)
    declared: dict[str, str] = {}
    for declaration in css.split(";"):
        name, colon, value = declaration.partition(":")
        if colon:
            _declare(declared, name.strip().lower(), value)
    if _hides(declared):
        return Style("display:none", images)
    return Style(";".join(f"{name}:{value}" for name, value in declared.items() if name in _PROPERTIES), images)


def _declare(declared: dict[str, str], name: str, value: str) -> None:
    value = _IMPORTANT.sub("", _SPACES.sub(" ", value.strip().lower()))
    if name == "background":
        color = _PLAIN_COLOR.search(value)
        if color is None or color[0] == "url":
            return
        name, value = "background-color", color[0]
    if name in _READ_FOR_HIDING:
        declared[name] = value
        return
    pattern = _PROPERTIES.get(name)
    if pattern is None:
        return
    if "0" in value and name not in ("color", "background-color"):
        value = _LEADING_ZERO.sub("", _ZERO.sub("0", value))
        if value in ("0 0", "0 0 0", "0 0 0 0"):
            value = "0"
    if name == "font-size" and _UNREADABLE.fullmatch(value):
        value = "0"
    if pattern.fullmatch(value):
        # The last one counts; it takes the place of the first, which no reader can tell.
        declared[name] = value


_READ_FOR_HIDING = frozenset(
    ("visibility", "opacity", "overflow", "max-height", "height", "max-width", "width", "mso-hide")
)


def _hides(declared: Mapping[str, str]) -> bool:
    """Tell whether nothing of the element is seen.

    `mso-hide:all` alone does not hide: it hides from Outlook what all others see (the links that stand beside
    its drawn buttons).
    """
    if declared.get("display") == "none" or declared.get("visibility") in ("hidden", "collapse"):
        return True
    if declared.get("opacity", "1").startswith(("0.0", ".0")) or declared.get("opacity") in ("0", "0%"):
        return True
    if declared.get("overflow") != "hidden":
        return False
    sizes = (declared.get(name, "") for name in ("max-height", "height", "max-width", "width"))
    return any(_NOTHING.fullmatch(_ZERO.sub("0", size)) for size in sizes)
