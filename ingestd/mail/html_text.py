"""*Sanitized* HTML, read as text: what a reader sees, in the lines in which it is seen.

Sanitized HTML is well-formed, and "<" and ">" stand for tags only, so that it
is read by splitting it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from urllib.parse import unquote

from ingestd.mail.html_lines import Lines, OpenList, collapse, has_invisible, without_controls
from ingestd.mail.html_links import unwrap
from ingestd.mail.html_tags import BLOCK, CELL, INSTEAD, KINDS, SECTION, VOID

_QUOTE_DEPTH_MAX = 8
_TARGET_CHARS_MAX = 500
_JOINED_CELL_CHARS_MAX = 100
"""A longer line is a column of a page, not a cell of a list: what stands beside it gets its own line."""

_NO_MARGIN = re.compile(
    r"[\";]margin:0(?: [^ ;\"]+(?: 0(?: [^ ;\"]+)?)?)?[;\"]|margin-top:0[;\"].*margin-bottom:0[;\"]"
)
_LINE_CLASS = re.compile(r"class=\"(?:[^\"]* )?(?:x_)?Mso(?:Normal|PlainText|ListParagraph)[ \"]")
_INDENTATION = re.compile(r"[\";]border:(?:none|0)")
_QUOTATION = re.compile(r"type=\"cite\"|class=\"[^\"]*quote")
_WRAPPED = re.compile("safelinks|urldefense|google")


def to_text(html: str) -> str:
    """Return the text of *sanitized* HTML; quotations get `> `, links keep their target, lists their numbers.

    >>> to_text('<p>in<b>lin</b>e</p><blockquote>old</blockquote>')
    'inline\\n\\n> old'
    """
    reader = _Reader(invisible=has_invisible(html))
    reader.read(without_controls(html))
    return reader.result()


class _Reader(Lines):
    def __init__(self, *, invisible: bool) -> None:
        super().__init__(invisible=invisible)
        self.quotes: list[bool] = []
        """The open <blockquote>s: whether they quote."""
        self.first_cell = True
        self.cell_begun = self.cell_parts = 0
        """Where the cell began: in `ended` and in `line`."""
        self.paragraph_breaks = 2
        self.link: tuple[str, int, int, int] | None = None
        """The target of the open link, and where its text began: `cleared`, in `lines` and in `line`."""
        # Each scope is an element whose style changed how text is read: its name and end tag, and what was the case
        # around it; `nested` are elements of the innermost one's name inside it.
        self.scopes: list[tuple[str, str, int, bool, bool, bool, bool]] = []
        self.nested = 0

    def read(self, html: str) -> None:
        first, *chunks = html.split("<")
        if first:
            self.text(first)
        handler_of = _HANDLERS.get
        for chunk in chunks:
            tag, _, value = chunk.partition(">")
            name, _, attributes = tag.partition(" ")
            styled = "style=" in attributes or "hidden=" in attributes
            if styled and _changes_reading(attributes, self.tiny):
                if not self.hidden:
                    handle = handler_of(name)
                    if handle is not None:
                        handle(self, attributes)
                self._enter(name, attributes)
            else:
                if self.scopes:
                    self._follow(name)
                handle = handler_of(name)
                if handle is not None and not self.hidden:
                    handle(self, attributes)
            if value:
                self.text(value)

    # Blocks.

    def line_break(self, _attributes: str) -> None:
        self.new_line()

    def rule(self, _attributes: str) -> None:
        self.write_rule()

    def block(self, _attributes: str) -> None:
        self.break_line(1)

    def spaced_block(self, _attributes: str) -> None:
        self.break_line(2)

    def paragraph(self, attributes: str) -> None:
        tight = ("Mso" in attributes and _LINE_CLASS.search(attributes)) or (
            "margin" in attributes and _NO_MARGIN.search(attributes)
        )
        self.paragraph_breaks = 1 if tight else 2
        self.break_line(self.paragraph_breaks)

    def paragraph_end(self, _attributes: str) -> None:
        self.break_line(self.paragraph_breaks)
        self.paragraph_breaks = 2

    def preformatted(self, attributes: str) -> None:
        self.spaced_block(attributes)
        if "white-space:" not in attributes:
            self._enter("pre", "white-space:pre")

    def quotation(self, attributes: str) -> None:
        # Gmail indents with a <blockquote> that has no border: the sender's own words.
        quotes = not _INDENTATION.search(attributes) or _QUOTATION.search(attributes) is not None
        self.quotes.append(quotes)
        self._set_quote()

    def quotation_end(self, _attributes: str) -> None:
        if self.quotes:
            self.quotes.pop()
        self._set_quote()

    def _set_quote(self) -> None:
        self.end_line()
        self.fresh = False
        self.break_line(2)
        self.quote = min(sum(self.quotes), _QUOTE_DEPTH_MAX)
        self.quote_low = min(self.quote_low, self.quote)

    # Lists.

    def bullets(self, _attributes: str) -> None:
        self._open_list(OpenList(None, ""))

    def numbers(self, attributes: str) -> None:
        self._open_list(OpenList(_integer(_attribute(attributes, "start"), 1), _attribute(attributes, "type")))

    def _open_list(self, opened: OpenList) -> None:
        self.fresh = False
        self.break_line(1 if self.lists else 2)
        self.lists.append(opened)

    def list_end(self, _attributes: str) -> None:
        if self.lists:
            self.lists.pop()
        self.marker = ""
        self.fresh = False
        self.break_line(1 if self.lists else 2)

    def item(self, attributes: str) -> None:
        self.fresh = False
        self.break_line(1)
        self.marker = "- "
        self.fresh = True
        if self.lists and self.lists[-1].number is not None:
            number = _integer(_attribute(attributes, "value"), self.lists[-1].number)
            self.marker = _number(number, self.lists[-1].style) + ". "
            self.lists[-1] = OpenList(number + 1, self.lists[-1].style)

    def item_end(self, _attributes: str) -> None:
        self.marker = ""
        self.fresh = False
        self.break_line(1)

    # Tables: the cells of a row stand in one line, as long as each of them has but one.

    def row(self, _attributes: str) -> None:
        self.fresh = False
        self.break_line(1)
        self.end_line()
        self.first_cell = True

    def cell(self, _attributes: str) -> None:
        self.fresh = False
        is_long = sum(map(len, self.line[self.cell_parts :])) > _JOINED_CELL_CHARS_MAX
        if self.first_cell or self.ended != self.cell_begun or is_long:
            self.break_line(1)
        else:
            self.breaks = 0
            if self.line and self.line[-1][-1] != "\t":
                self.line.append("\t")
        self.first_cell = False
        self.cell_begun = self.ended
        self.cell_parts = 0 if self.breaks else len(self.line)
        self.fresh = True

    def cell_end(self, _attributes: str) -> None:
        self.fresh = False
        if self.ended == self.cell_begun:
            self.breaks = min(self.breaks, 1)

    # Inline.

    def image(self, attributes: str) -> None:
        alt = _attribute(attributes, "alt").strip()
        if not alt or "display:none" in attributes or 'hidden=""' in attributes or _is_dot(attributes):
            return
        block = "display:block" in attributes
        if block:
            self.break_line(1)
        self.write(collapse(alt))
        if block:
            self.break_line(1)

    def anchor(self, attributes: str) -> None:
        if self.breaks:
            self.break_now()
        self.link = (_attribute(attributes, "href"), self.cleared, len(self.lines), len(self.line))

    def anchor_end(self, _attributes: str) -> None:
        if self.link is None:
            return
        href, cleared, lines, begun = self.link
        self.link = None
        if not href or self.tiny or not self.line:
            return
        parts = self.line[begun:] if cleared == self.cleared else [*self.lines[lines:], *self.line]
        shown = "".join(parts)
        target = _target(href, shown)
        if target:
            self.line.append(target if self.line[-1][-1:] in " \t" else " " + target)

    def quotation_mark(self, _attributes: str) -> None:
        if not self.tiny:
            self.write('"')

    # Styles.

    def _enter(self, name: str, attributes: str) -> None:
        kind = KINDS.get(name, VOID)
        if kind == VOID:
            return
        block = kind < BLOCK and "display:block" in attributes
        if block:
            self.break_line(1)
        self.scopes.append((name, "/" + name, self.nested, self.hidden, self.tiny, self.pre, block))
        self.nested = 0
        if "display:none" in attributes or 'hidden=""' in attributes:
            self.hidden = True
        if "font-size:" in attributes:
            self.tiny = "font-size:0" in attributes
        if "white-space:" in attributes:
            self.pre = "white-space:pre" in attributes or "white-space:break" in attributes

    def _follow(self, tag: str) -> None:
        """Leave the innermost scope where its element ends."""
        name, end, nested, hidden, tiny, pre, block = self.scopes[-1]
        if tag == name:
            self.nested += 1
        elif tag == end:
            if self.nested:
                self.nested -= 1
                return
            self.scopes.pop()
            self.nested, self.hidden, self.tiny, self.pre = nested, hidden, tiny, pre
            if block:
                self.break_line(1)


def _changes_reading(attributes: str, tiny: bool) -> bool:
    return (
        "display:none" in attributes
        or "display:block" in attributes
        or "white-space:" in attributes
        or "font-size:0" in attributes
        or 'hidden=""' in attributes
        or (tiny and "font-size:" in attributes)
    )


def _handlers() -> Mapping[str, Callable[[_Reader, str], None]]:
    found: dict[str, Callable[[_Reader, str], None]] = {}
    for name, kind in KINDS.items():
        if name not in INSTEAD and BLOCK <= kind <= SECTION and kind != CELL:
            found[name] = found["/" + name] = _Reader.block
    for name in ("h1", "h2", "h3", "h4", "h5", "h6", "dl", "table"):
        found[name] = found["/" + name] = _Reader.spaced_block
    for name in ("td", "th"):
        found[name], found["/" + name] = _Reader.cell, _Reader.cell_end
    for name, start, end in (
        ("p", _Reader.paragraph, _Reader.paragraph_end),
        ("pre", _Reader.preformatted, _Reader.spaced_block),
        ("blockquote", _Reader.quotation, _Reader.quotation_end),
        ("ul", _Reader.bullets, _Reader.list_end),
        ("ol", _Reader.numbers, _Reader.list_end),
        ("li", _Reader.item, _Reader.item_end),
        ("tr", _Reader.row, _Reader.row),
        ("caption", _Reader.row, _Reader.row),
        ("a", _Reader.anchor, _Reader.anchor_end),
        ("q", _Reader.quotation_mark, _Reader.quotation_mark),
    ):
        found[name], found["/" + name] = start, end
    found |= {"br": _Reader.line_break, "hr": _Reader.rule, "img": _Reader.image}
    return found


_HANDLERS = _handlers()


def _attribute(attributes: str, name: str) -> str:
    _, _, rest = f" {attributes}".partition(f' {name}="')
    return unescape(rest.partition('"')[0])


def _is_dot(attributes: str) -> bool:
    return _attribute(attributes, "width") in ("0", "1") and _attribute(attributes, "height") in ("0", "1")


def _integer(digits: str, otherwise: int) -> int:
    return int(digits) if digits.isdecimal() and len(digits) < 10 else otherwise


def _number(number: int, style: str) -> str:
    if style in ("a", "A") and 1 <= number <= 26:
        return chr(ord(style) + number - 1)
    if style in ("i", "I") and 1 <= number <= 39:
        roman = "x" * (number // 10) + ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix")[number % 10]
        return roman if style == "i" else roman.upper()
    return str(number)


def _target(href: str, shown: str) -> str:
    """Return a link's target as it stands behind its text, "" where the text shows it already."""
    href = "".join(href.split())
    scheme, _, rest = href.partition(":")
    scheme = scheme.lower()
    if not shown.strip() or scheme not in ("http", "https", "ftp", "mailto"):
        return ""
    if scheme == "mailto":
        target = rest = unquote(rest.partition("?")[0])
    else:
        target = unwrap(href) if _WRAPPED.search(href) else href
        rest = target.partition("://")[2].removeprefix("www.").rstrip("/")
    shown = shown.lower()
    if not rest or len(target) > _TARGET_CHARS_MAX or rest.lower() in shown:
        return ""
    return "" if "%" in rest and unquote(rest).lower() in shown else f"<{target}>"
