"""The elements of HTML, by what the other modules need to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def words(text: str) -> frozenset[str]:
    """Return the words of a list.

    >>> sorted(words("b a"))
    ['a', 'b']
    """
    return frozenset(text.split())


# What an element does to the tree; numbers, as the scan asks for every tag.
UNKNOWN: Final = 0
"""Not shown: its tags go, what stands in it stays."""
FORMAT: Final = 1
"""HTML §13.2.4.3: builders open these again after a block closed over them."""
INLINE: Final = 2
BLOCK: Final = 3
PARAGRAPH: Final = 4
ITEM: Final = 5
LIST: Final = 6
CELL: Final = 7
TABLE: Final = 8
"""From here on: elements that hold no text themselves."""
SECTION: Final = 9
ROW: Final = 10
VOID: Final = 11
COUNTED: Final = 12
"""Not shown, but may name an image that a mail program would load."""
HIDDEN: Final = 13
"""Goes with all that stands in it."""
LITERAL: Final = 14
"""What stands in it is no markup."""

_BY_KIND: Mapping[int, str] = {
    FORMAT: "a b big code em font i s small strike strong tt u",
    INLINE: "abbr acronym bdi bdo cite del dfn ins kbd mark q samp span sub sup time var",
    BLOCK: "address article aside blockquote center details dialog div fieldset figcaption figure footer form h1 h2 h3 "
    "h4 h5 h6 header hgroup legend listing main nav pre search section summary",
    PARAGRAPH: "p",
    ITEM: "li dd dt",
    LIST: "ul ol dl menu dir",
    CELL: "td th caption",
    TABLE: "table",
    SECTION: "thead tbody tfoot",
    ROW: "tr",
    VOID: "br hr img wbr",
    COUNTED: "body image input video",
    HIDDEN: "script style title iframe noembed noframes template select datalist annotation annotation-xml xml",
    LITERAL: "textarea xmp",
}
KINDS: Mapping[str, int] = {name: kind for kind, names in _BY_KIND.items() for name in names.split()}
INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(("dialog", "fieldset", "form", "hgroup", "legend", "search"), "div"),
    **dict.fromkeys(("menu", "dir"), "ul"),
    "listing": "pre",
}
"""What stands for an element that is not shown but must end a line, or hold what is shown."""
SHOWN = frozenset(name for name, kind in KINDS.items() if kind <= VOID and name not in INSTEAD)
"""The only elements that are ever shown."""
HEADINGS = words("h1 h2 h3 h4 h5 h6")
