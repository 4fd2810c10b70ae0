"""The open elements of a stranger's HTML: each is closed where it must be, so that no tree builder has to guess.

A short form of HTML §13.2.6 (tree construction). It knows paragraphs, lists,
headings, tables and formatting, and gives up what needs unbounded work: nesting
beyond a limit, and elements that are opened again because tags overlap.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingestd.mail.html_images import count_in_tag
from ingestd.mail.html_tags import (
    BLOCK,
    CELL,
    COUNTED,
    FORMAT,
    HEADINGS,
    INLINE,
    INSTEAD,
    ITEM,
    LIST,
    PARAGRAPH,
    ROW,
    SECTION,
    TABLE,
    UNKNOWN,
    VOID,
)
from ingestd.mail.limits import Limits

# HTML §13.2.5.32 to §13.2.5.39, possessive so that no input is tried twice. A quote opens a value only behind "="; a
# name of "=" and a quote, as in ="x", is no attribute here.
ATTRIBUTE = (
    r"""(?:=(?!["'])|[^\t\n\f\r />=])[^\t\n\f\r />=]*+"""
    r"""(?>(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:"[^"]*+"|'[^']*+'|(?=>)|[^\t\n\f\r >"'][^\t\n\f\r >]*+))?)"""
)
BARRIERS = (CELL, TABLE)
"""HTML §13.2.4.2: no search for an open element goes beyond these."""
ESCAPED_RUN_MAX = 2000
"""Of characters that must be escaped, in one text or tag: html5ever looks at all of the rest for each of them."""

_ONE_ATTRIBUTE = re.compile(ATTRIBUTE)
_STANDS_IN = {CELL: ROW, ROW: SECTION, SECTION: TABLE}
SHORT_TAG_CHARS = 512
"""A tag that is no longer cannot have attributes enough to do harm."""

_NEEDS_CARE = frozenset(INSTEAD) | HEADINGS | {"a", "caption", "hr", "pre"}
_STANDS_ANYWHERE = frozenset({FORMAT, INLINE, VOID})
_STANDS_OUTSIDE_P = frozenset({BLOCK, PARAGRAPH, LIST, TABLE})
_REOPENED_CHARS_MAX = 2048
"""A longer tag is opened again without its attributes."""
_ADDRESS = re.compile(r"<(?:[^\s<>@=\"']{1,64}@|[a-zA-Z]{3,10}://|www\.)[^\s<>@\"']{1,2000}>")


def stands(name: str, kind: int, names: Sequence[str], top: int) -> bool:
    """Tell whether a start tag stands where it may, and as it is, in open elements the innermost of which is a `top`.

    >>> stands("p", PARAGRAPH, ["", "div"], BLOCK), stands("p", PARAGRAPH, ["", "p"], PARAGRAPH)
    (True, False)
    """
    if name in _NEEDS_CARE:
        return name == "a" and top < TABLE and "a" not in names
    if top < TABLE:
        return kind in _STANDS_ANYWHERE or (kind in _STANDS_OUTSIDE_P and "p" not in names)
    return (kind == CELL and top == ROW) or (kind == ROW and top <= SECTION) or (kind == SECTION and top == TABLE)


class Tree:
    """Reads tags in order and notes in `out` what becomes of the input."""

    def __init__(self, html: str, limits: Limits) -> None:
        self.html = html
        self.limits = limits
        self.defects: dict[str, None] = {}
        self.out: list[str] = []
        self.kept = 0
        """What stands before it is in `out`."""
        self.last = 0
        """In a table: where the tag before ended."""
        # The open elements, from a bottom that is none: names, kinds, and their tags where they may be copied.
        self.names = [""]
        self.kinds = [UNKNOWN]
        self.tags: list[str | None] = [None]
        self.bases = [1]
        """Where the search for an open element ends: above each barrier."""
        self.overflow: dict[str, int] = {}
        """Tags beyond the limit of depth; as many end tags are dropped."""
        self.reopenings_left = limits.html_reopened_max
        self.has_srcset = any(word in html for word in ("srcset", "srcSet", "SRCSET"))
        self.images = 0

    def cut(self, start: int, end: int, instead: str) -> None:
        """Replace a stretch of the input, or add to it where `start` is `end`."""
        before = self.html[self.kept : start]
        # A "<" that was text must not become a tag by what comes to stand behind it.
        self.out.append(before[:-1] + "&lt;" if before.endswith("<") else before)
        self.out.append(instead)
        self.kept = end

    # Text.

    def literal(self, start: int) -> None:
        """Let a "<" be text."""
        if self.kinds[-1] >= TABLE:
            self.house(start)
        self.cut(start, start + 1, "&lt;")

    # Tags that open.

    def start(self, name: str, kind: int, match: re.Match[str]) -> None:
        start, end = match.span()
        if kind in (UNKNOWN, COUNTED):
            self._not_shown(name, kind, start, end)
            return
        if CELL <= kind <= ROW:
            if not self._table_tag(name, kind, start, end):
                return
        else:
            if self.kinds[-1] >= TABLE:
                if name == "form":
                    # Old pages wrap rows in forms; builders ignore it there (HTML §13.2.6.4.9).
                    self.cut(start, end, "")
                    return
                self.house(start)
            if BLOCK <= kind <= LIST or name in ("a", "hr"):
                self._make_room(name, kind, start)
        if kind != VOID:
            self._push(name, kind, match)
        elif name == "img" and self.has_srcset:
            self.images += count_in_tag(name, self.html[start:end])
        if end - start > SHORT_TAG_CHARS or name == "pre" or name in INSTEAD:
            self._refine(name, start, end)

    def _not_shown(self, name: str, kind: int, start: int, end: int) -> None:
        if kind == UNKNOWN:
            self.drop(start, end)
        else:
            self.images += count_in_tag(name, self.html[start:end])
            self.cut(start, end, "")

    def _make_room(self, name: str, kind: int, start: int) -> None:
        """Close what an element cannot stand in (HTML §13.2.6.4.7)."""
        names = self.names
        if name == "a":
            if "a" in names and (index := self._find("a", FORMAT)) >= 0:
                self._unwind(index, start, start)
            return
        if "p" in names:
            self._close(self._find("p", PARAGRAPH), start)
        if kind == ITEM:
            self._close(self._open_item(name), start)
        elif names[-1] in HEADINGS and name in HEADINGS:
            self._close(len(names) - 1, start)

    def _open_item(self, name: str) -> int:
        for index in range(len(self.names) - 1, self.bases[-1] - 1, -1):
            open_name = self.names[index]
            if open_name == name or (name != "li" and open_name in ("dd", "dt")):
                return index
            if self.kinds[index] in (LIST, BLOCK, ITEM) and INSTEAD.get(open_name, open_name) not in ("address", "div"):
                break
        return -1

    def _push(self, name: str, kind: int, match: re.Match[str] | None) -> None:
        if len(self.names) > self.limits.html_depth_max:
            self.defects["html-too-deep"] = None
            self.overflow[name] = self.overflow.get(name, 0) + 1
            if match is not None:
                self.cut(match.start(), match.end(), "<br>" if kind >= BLOCK else "")
            return
        self._open(name, kind, match[0] if match is not None else None)

    def _open(self, name: str, kind: int, tag: str | None) -> None:
        self.names.append(name)
        self.kinds.append(kind)
        self.tags.append(tag)
        if kind in BARRIERS:
            self.bases.append(len(self.names))

    def _refine(self, name: str, start: int, end: int) -> None:
        """Replace a tag that may not stay as it is."""
        if self.kept > start:
            return
        if name in INSTEAD:
            self.cut(start, end, f"<{INSTEAD[name]}>")
        elif end - start > SHORT_TAG_CHARS and self._crowded(name, start, end):
            self.defects["html-too-many-attributes"] = None
            self.cut(start, end, f"<{name}>")
            self.tags[-1] = None
        elif name == "pre":
            # Builders drop the newline that follows (HTML §13.2.6.4.7): of several all are, or filtering twice differs.
            newlines = end
            while newlines < len(self.html) and self.html[newlines] in "\r\n":
                newlines += 1
            if newlines > end:
                self.cut(end, newlines, "")

    def _crowded(self, name: str, start: int, end: int) -> bool:
        text = self.html[start:end]
        if sum(map(text.count, "&\xa0<>")) > ESCAPED_RUN_MAX:
            return True
        quotes = text.count('"') + text.count("'")
        if len(text.split()) + text.count("/") + quotes // 2 <= self.limits.html_attributes_max:
            return False
        count = sum(1 for _ in _ONE_ATTRIBUTE.finditer(text, len(name) + 1, len(text) - 1))
        return count > self.limits.html_attributes_max

    # Tables: no text but in cells, as builders move it before the table, one quadratic search for each.

    def _table_tag(self, name: str, kind: int, start: int, end: int) -> bool:
        """Make a part of a table stand where it may; return False if it was replaced."""
        if kind == TABLE:
            if self.kinds[-1] >= TABLE:
                self._close(self._find("table", TABLE), start)
            if "p" in self.names:
                self._close(self._find("p", PARAGRAPH), start)
            return True
        stands_in = _STANDS_IN[kind] if name != "caption" else TABLE
        if not TABLE <= self.kinds[-1] <= stands_in:
            if self._find("table", TABLE) < 0:
                # A fragment of a table, as pasted: its rows and cells must not run into each other.
                self.cut(start, end, " " if kind == CELL else "<br>")
                return False
            index = len(self.names)
            while not TABLE <= self.kinds[index - 1] <= stands_in:
                index -= 1
            self._close(index, start)
        if kind == CELL and self.kinds[-1] != ROW and name != "caption":
            self.cut(start, start, "<tr>")
            self._push("tr", ROW, None)
        return True

    def house_text(self, start: int) -> None:
        text = self.html[self.last : start]
        if text and not text.isspace():
            self.house(self.last)

    def house(self, at: int) -> None:
        """Open a cell for what stands in a table but in none."""
        if self.kinds[-1] != ROW:
            self.cut(at, at, "<tr>")
            self._push("tr", ROW, None)
        self.cut(at, at, "<td>")
        self._push("td", CELL, None)

    # Tags that close.

    def end(self, name: str, kind: int, match: re.Match[str]) -> None:
        start, end = match.span()
        if name == "br":
            if self.kinds[-1] >= TABLE:
                self.house(start)
            self.cut(start, end, "<br>")
        elif kind == UNKNOWN or kind > ROW:
            self.drop(start, end)
        elif self.overflow.get(name):
            self.overflow[name] -= 1
            self.cut(start, end, "<br>" if kind >= BLOCK else "")
        elif (index := self._find(name, kind)) < 0:
            self.cut(start, end, "")
        elif name == self.names[-1] and name not in INSTEAD and end - start <= SHORT_TAG_CHARS:
            self._truncate(index)
        else:
            self._unwind(index, start, end)

    def drop(self, start: int, end: int) -> None:
        """Drop a tag that is not shown, unless it is none: an address that nobody escaped."""
        if _ADDRESS.fullmatch(self.html, start, end):
            self.literal(start)
        else:
            self.cut(start, end, "")

    def _find(self, name: str, kind: int) -> int:
        """Return where the open element stands that a tag closes, or -1."""
        names, kinds = self.names, self.kinds
        if name not in names and name not in HEADINGS:
            return -1
        stop = self.bases[-1]
        if kind >= CELL:
            stop = 1
        for index in range(len(names) - 1, stop - 1, -1):
            open_name, open_kind = names[index], kinds[index]
            if open_name == name or (name in HEADINGS and open_name in HEADINGS):
                return index
            if (
                (kind >= CELL and open_kind == TABLE)
                or (kind == INLINE and open_kind >= BLOCK)
                or (name == "li" and open_kind == LIST)
            ):
                return -1
        return -1

    def _truncate(self, index: int) -> None:
        del self.names[index:], self.kinds[index:], self.tags[index:]
        while self.bases[-1] > index:
            self.bases.pop()

    def _close(self, index: int, at: int) -> None:
        """Close, before a position, an element and all that was opened in it; nothing where there is none."""
        if 0 <= index < len(self.names):
            self.cut(at, at, self._closing(index))
            self._truncate(index)

    def _closing(self, index: int) -> str:
        return "".join(f"</{INSTEAD.get(name, name)}>" for name in reversed(self.names[index:]))

    def _unwind(self, index: int, start: int, end: int) -> None:
        """Close an element and what was opened in it, and open again what would have gone on beyond it.

        So do builders (HTML §13.2.6.4.7, "adoption agency"), with copies of copies; here a limit holds.
        """
        kind, above = self.kinds[index], range(index + 1, len(self.names))
        again = [one for one in above if kind == FORMAT or (kind == INLINE and self.kinds[one] == FORMAT)]
        if len(again) > self.reopenings_left:
            # It stays open to the end of what it stands in; a quotation must not end because of it.
            self.defects["html-tags-overlap"] = None
            self.cut(start, end, "")
            return
        self.reopenings_left -= len(again)
        opened = [(self.names[one], self.kinds[one], self.tags[one]) for one in again]
        out = [self._closing(index)]
        self._truncate(index)
        for name, open_kind, tag in opened:
            if name not in HEADINGS or self.names[-1] not in HEADINGS:
                out.append(self._again(name, tag))
                self._open(name, open_kind, tag)
        self.cut(start, end, "".join(out))

    def _again(self, name: str, tag: str | None) -> str:
        if name in INSTEAD or tag is None or len(tag) > _REOPENED_CHARS_MAX:
            return f"<{INSTEAD.get(name, name)}>"
        return tag
