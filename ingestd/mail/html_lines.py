"""Lines of text as a reader sees them: breaks that collapse, quotations, lists, and nothing that cannot be seen."""

from __future__ import annotations

import re
from typing import NamedTuple

_LIST_DEPTH_MAX = 8
_RULE = "_" * 32
_SPACES = re.compile(r"[ \t\n\r\f]+")
_CELL_ENDS = re.compile(r" *\t[ \t]*")
_BULLET = re.compile(r"([·•§o▪‣◦–-]|[0-9a-zA-Z]{1,3}[.)]) {2,}(?=\S)")

# What cannot be seen. Newsletters fill the preview in the list of mails with runs of these and spaces; alone, the
# joiners shape Persian and Indic words and emoji, and the marks order Hebrew and Arabic ones.
_INVISIBLE = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2060-\u2064\u3164\ufeff\uffa0"
_ANY_INVISIBLE = re.compile(f"[{_INVISIBLE}]")
_INVISIBLE_RUN = re.compile(f"(?>(?:[{_INVISIBLE}](?>(?:[\\s\u2000-\u200a]|&nbsp;)*)){{3,}})")
_NEVER_SEEN = re.compile("[\u00ad\u034f\u180e\u200b\u2060\ufeff]+")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")


class OpenList(NamedTuple):
    number: int | None
    """Of the next item; None where items have no numbers."""
    style: str


class Lines:
    """Takes texts and breaks in order and writes lines.

    Breaks are remembered and written when text follows, as margins collapse in a browser: that is why ten nested
    <div>s of Gmail's, or a table cell of Word's with one paragraph, make one line.
    """

    def __init__(self, *, invisible: bool = True) -> None:
        self.lines: list[str] = []
        self.line: list[str] = []
        self.lead = ""
        """What stands before the line: the mark of a list item, or its indentation."""
        self.breaks = 0
        """What comes before the next text: 1 a new line, 2 an empty one."""
        self.fresh = False
        """A cell or list item has just begun: what opens inside it makes no new line."""
        self.ended = self.cleared = 0
        """Lines of text so far; lines of text or none."""
        self.quote = self.quote_low = 0
        """Quotations that are open; the fewest that were since the last line."""
        self.lists: list[OpenList] = []
        self.marker = ""
        """Of the list item that has begun and has no text yet."""
        self.invisible = invisible
        """Characters that cannot be seen are looked for."""
        self.hidden = self.tiny = self.pre = False
        """Text is not shown; is too small to be read; keeps its spaces and newlines."""
        self.raw_line = False
        """The line has text of <pre>: its indentation means something."""

    def result(self) -> str:
        self.end_line()
        return "\n".join(self.lines).strip("\n")

    def text(self, value: str) -> None:
        if self.hidden or self.tiny:
            return
        if "&" in value:
            # All that is ever escaped in the text of sanitized HTML.
            value = value.replace("&nbsp;", "\xa0").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        if self.invisible and not value.isascii():
            value = _NEVER_SEEN.sub("", _INVISIBLE_RUN.sub(" ", value))
        if self.pre:
            self._preformatted(value)
            return
        if "\n" in value or "  " in value or "\t" in value or "\r" in value or "\f" in value:
            value = collapse(value)
        line = self.line
        if value[:1] == " " and (self.breaks or not line or line[-1][-1:] in " \t"):
            value = value[1:]
            if not value:
                return
        if self.breaks or not line or self.fresh:
            self.write(value)
        else:
            line.append(value)

    def write(self, value: str) -> None:
        if self.breaks:
            self.break_now()
        if not self.line:
            self._begin_line()
        self.fresh = False
        self.line.append(value)

    def _begin_line(self) -> None:
        depth = min(len(self.lists), _LIST_DEPTH_MAX)
        if self.marker:
            self.lead, self.marker = "  " * (depth - 1) + self.marker, ""
        else:
            self.lead = "  " * depth

    def _preformatted(self, value: str) -> None:
        first, *rest = value.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if first:
            self.write(first)
            self.raw_line = True
        for part in rest:
            self.new_line()
            if part:
                self.write(part)
                self.raw_line = True

    def break_line(self, breaks: int) -> None:
        """Let what follows stand on a new line, or behind an empty one."""
        if breaks > self.breaks and not self.fresh:
            self.breaks = breaks

    def break_now(self) -> None:
        self.end_line()
        if self.breaks > 1:
            self._empty_line(self.quote_low)
        self.breaks = 0

    def end_line(self) -> None:
        if not self.line:
            return
        text = "".join(self.line).replace("\xa0", " ")
        text = text.rstrip() if self.raw_line else text.strip()
        self.line.clear()
        self.cleared += 1
        if "\t" in text and not self.raw_line:
            text = _CELL_ENDS.sub("\t", text)
        if "  " in text[1:6]:
            # Outlook's own lists: a sign or number and a row of spaces.
            text = _BULLET.sub(r"\1 ", text, count=1) if _BULLET.match(text) else text
        self.raw_line = False
        if not text:
            self._empty_line(self.quote)
            return
        self.lines.append("> " * self.quote + self.lead + text)
        self.ended += 1
        self.quote_low = self.quote

    def _empty_line(self, quote: int) -> None:
        if self.lines and self.lines[-1].strip("> "):
            self.lines.append(("> " * quote).rstrip())

    def new_line(self) -> None:
        if self.breaks:
            self.break_now()
        if self.line:
            self.end_line()
        elif not self.marker:
            self._empty_line(self.quote)

    def write_rule(self) -> None:
        self.break_line(1)
        self.break_now()
        self.lines.append("> " * self.quote + _RULE)
        self.breaks = 1


def collapse(text: str) -> str:
    """Return text with each stretch of white space as one space; that of HTML, not "&nbsp;".

    >>> collapse("a\\n  b")
    'a b'
    """
    return _SPACES.sub(" ", text)


def has_invisible(text: str) -> bool:
    """Tell whether a text has characters that cannot be seen.

    >>> has_invisible("a\\u200bb"), has_invisible("é")
    (True, False)
    """
    return not text.isascii() and _ANY_INVISIBLE.search(text) is not None


def without_controls(text: str) -> str:
    """Return text without the control characters that are no white space: a terminal would obey them.

    >>> without_controls("a\\x1b[31m")
    'a[31m'
    """
    return _CONTROL.sub("", text) if _CONTROL.search(text) else text
