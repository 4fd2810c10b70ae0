"""*Sanitized* HTML, read as text.

It is well-formed, with quoted attributes and no comments, so that a small tokenizer of ours reads it
without breaking words at inline tags, and knows quotations by their containers.
"""

from __future__ import annotations

import re
from html import unescape

from ingestd.mail.html_tags import VOID, words

_TOKEN = re.compile(r"<(/?)([a-z][a-z0-9]*)((?:[^>\"]|\"[^\"]*\")*)>|([^<]+)|<")
_ATTRIBUTE = re.compile(r"([a-z-]+)=\"([^\"]*)\"")
_SPACES = re.compile(r"[ \t\n\r\f]+")
_BLOCKS = words(
    "address article aside blockquote center dd details div dl dt figcaption figure footer h1 h2 h3 h4 h5 h6 header hr "
    "li main nav ol p pre section summary table tbody tfoot thead tr ul caption"
)
_SPACED = words("p blockquote h1 h2 h3 h4 h5 h6 ul ol dl pre table")
_BLANK_LINES = re.compile(r"\n{3,}")


class _Writer:
    """Writes lines of text, with `> ` before what stands in quotations."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.line: list[str] = []
        self.quote = 0
        self.kept_spaces = False
        """The line began in <pre>: its indentation means something."""

    def break_line(self, blank: bool = False) -> None:
        text = "".join(self.line)
        text = text.rstrip() if self.kept_spaces else text.strip()
        self.kept_spaces = False
        self.line.clear()
        prefix = "> " * min(self.quote, 8)
        if text.strip():
            self.lines.append(prefix + text)
        if blank and self.lines and self.lines[-1].strip("> ") != "":
            self.lines.append(prefix.rstrip())

    def text(self, text: str) -> None:
        if text.startswith(" ") and (not self.line or self.line[-1].endswith(" ")):
            text = text[1:]
        if text:
            self.line.append(text)


class _Reader:
    """Reads sanitized HTML token by token."""

    def __init__(self) -> None:
        self.writer = _Writer()
        self.pre = 0
        self.hidden_by = ""
        self.hidden = 0
        self.link: tuple[str, int] | None = None

    def text(self, value: str) -> None:
        if self.hidden:
            return
        value = unescape(value)
        if self.pre:
            _write_preformatted(self.writer, value)
        else:
            self.writer.text(_SPACES.sub(" ", value))

    def tag(self, name: str, closing: bool, attributes: str) -> None:
        if self._is_hidden(name, closing, attributes):
            return
        if name == "br":
            _line_end(self.writer)
        elif name in _BLOCKS:
            _block(self.writer, name, closing)
            if name == "pre":
                self.pre = max(0, self.pre + (-1 if closing else 1))
        elif name in ("td", "th"):
            if not closing and self.writer.line:
                self.writer.text(" ")
        elif name == "img":
            self.writer.text(_attribute(attributes, "alt").strip())
        elif name == "a":
            if closing and self.link is not None:
                _write_target(self.writer, *self.link)
            self.link = None if closing else (_attribute(attributes, "href"), len(self.writer.line))

    def _is_hidden(self, name: str, closing: bool, attributes: str) -> bool:
        """Follow a `display:none` element to its end: the preheaders of newsletters."""
        if name in VOID:
            return self.hidden > 0
        if self.hidden:
            if name == self.hidden_by:
                self.hidden += -1 if closing else 1
            return True
        if not closing and "display:none" in attributes.replace(" ", ""):
            self.hidden_by, self.hidden = name, 1
            return True
        return False


def to_text(html: str) -> str:
    """Return the text of *sanitized* HTML as a reader sees it; blockquotes get `> `, links keep their target.

    >>> to_text('<p>in<b>lin</b>e</p><blockquote>old</blockquote>')
    'inline\\n\\n> old'
    """
    reader = _Reader()
    for match in _TOKEN.finditer(html):
        closing, name, attributes, text = match.groups()
        if name is None:
            reader.text(text if text is not None else "<")
        else:
            reader.tag(name, bool(closing), attributes)
    reader.writer.break_line()
    lines = reader.writer.lines
    while lines and not lines[-1].strip("> "):
        lines.pop()
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _attribute(attributes: str, name: str) -> str:
    return unescape(dict(_ATTRIBUTE.findall(attributes)).get(name, ""))


def _line_end(writer: _Writer) -> None:
    if writer.line:
        writer.break_line()
    else:
        writer.break_line(blank=True)


def _block(writer: _Writer, name: str, closing: bool) -> None:
    writer.break_line(blank=name in _SPACED and not (closing and name in ("ul", "ol")))
    if name == "blockquote":
        writer.quote = max(0, writer.quote + (-1 if closing else 1))
    elif name == "li" and not closing:
        writer.line.append("- ")
    elif name == "hr":
        writer.lines.append("> " * min(writer.quote, 8) + "________________________________")


def _write_preformatted(writer: _Writer, value: str) -> None:
    first, *rest = value.split("\n")
    writer.line.append(first)
    for line in rest:
        text = "".join(writer.line).rstrip()
        writer.line.clear()
        writer.lines.append("> " * min(writer.quote, 8) + text)
        writer.line.append(line)
        writer.kept_spaces = True


def _write_target(writer: _Writer, target: str, begun: int) -> None:
    """Add the target of a link unless its text shows it already."""
    shown = "".join(writer.line[begun:]).strip()
    bare = target.removeprefix("mailto:").removeprefix("tel:")
    if not target or not shown or len(target) > 300 or bare.rstrip("/").split("://")[-1] in shown:
        return
    if target.startswith(("http://", "https://")):
        writer.text(f" <{target}>")
