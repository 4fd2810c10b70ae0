"""Finds the history in the HTML of a reply, and removes it.

Works on *sanitized* HTML, which is well-formed and holds no classes and ids but
those by which clients mark what they quote. The HTML is read as lines that know
where they lie; the scanner of `quotes` judges them, with the clients' own
containers as its surest evidence. What is removed leaves the tags that begin or
end outside of it, so the rest stays well-formed and is otherwise untouched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape

from ingestd.mail.attribution import NONE, attribution, is_forward_separator
from ingestd.mail.history import Span
from ingestd.mail.quotes import LINES_MAX, find_history

_INTRO = frozenset({"gmail_attr", "moz-cite-prefix", "reply-intro", "airmail_on"})
_AROUND_QUOTE = frozenset({"gmail_quote", "gmail_quote_container", "protonmail_quote"})
"""Hold the attribution, the quote in a blockquote, and the answers that are written between or beneath quotes."""
_QUOTE = frozenset(
    {"yahoo_quoted", "tutanota_quote", "zmail_extra", "cf_quote", "front-blockquote", "mail_android_quote", "quote"}
    | {"spark_quote", "ntes-mailmaster-quote", "isReplyContent", "gmail_quote", "protonmail_quote", "clean_bq", "cite"}
)
_TO_THE_END = frozenset(
    {"divRplyFwdMsg", "x_divRplyFwdMsg", "stopSpelling", "zwchr", "OLK_SRC_BODY_SECTION", "OutlookMessageHeader"}
    | {"mail-editor-reference-message-container", "ms-outlook-mobile-reference-message", "replySplit"}
)
"""Stand above or around history that goes on to the end of the message."""
_INTRO_LINES_MAX = 4
_INTRO_CHARS_MAX = 500

_BLOCK = re.compile(
    r"<(/?)(address|article|aside|blockquote|br|caption|center|dd|details|div|dl|dt|figcaption|figure|footer|h[1-6r]|"
    r"header|img|li|main|nav|ol|p|pre|section|span(?= id=)|summary|table|tbody|td|tfoot|th|thead|tr|ul)\b"
    r"([^>\"]*+(?>(?:\"[^\"]*\"[^>\"]*+)*))>"
)
_ANY_TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)[^>\"]*+(?>(?:\"[^\"]*\"[^>\"]*+)*)>")
_MARKED = re.compile(r"(?:class|id|type)=\"([^\"]*)\"")
_VOID = frozenset({"br", "hr", "img", "wbr", "col"})
_RULE = "________________"
_IMAGE = "\ufffc"


@dataclass(frozen=True, slots=True)
class HtmlCut:
    """HTML without its history."""

    html: str
    kept: str
    """The text above the first thing that was removed."""
    gone: str
    """The first lines that were removed."""
    trailing: bool
    """Nothing stands beneath what was removed."""
    why: tuple[str, ...]


@dataclass(slots=True)
class _Container:
    name: str
    tag: str
    depth: int
    first: int
    end: int = -1
    """Lines [first, end) lie in it."""


@dataclass(slots=True)
class _Lines:
    """The lines of a document, where their content lies, and the containers around them."""

    texts: list[str] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    containers: list[_Container] = field(default_factory=list)
    blockquotes: list[int] = field(default_factory=list)
    """Lines at which a blockquote begins."""
    _open: list[_Container] = field(default_factory=list)
    _depths: dict[str, int] = field(default_factory=dict)
    _line: list[str] = field(default_factory=list)
    _begin: int = 0
    _end: int = 0

    def read(self, html: str) -> None:
        position = 0
        pre = False
        for match in _BLOCK.finditer(html):
            if match.start() > position:
                self._text(html, position, match.start(), pre)
            closing, name, attributes = match.groups()
            position = match.end()
            pre = "pre-wrap" in attributes or (name == "pre" and not closing) or (pre and name in ("br", "img"))
            if name == "img":
                self._add(_IMAGE, match.start(), match.end())
            elif name in ("td", "th"):
                continue
            else:
                self._flush()
                if name == "hr":
                    self._add(_RULE, match.start(), match.end())
                    self._flush()
                if name not in _VOID or attributes:
                    self._tag(name, bool(closing), attributes)
        self._text(html, position, len(html), pre)
        self._flush()
        for container in self._open:
            container.end = len(self.texts)

    def _text(self, html: str, begin: int, end: int, pre: bool) -> None:
        if pre:
            while (at := html.find("\n", begin, end)) >= 0:
                self._add(_plain(html[begin:at]), begin, at)
                self._flush()
                begin = at + 1
        self._add(_plain(html[begin:end]), begin, end)

    def _add(self, text: str, begin: int, end: int) -> None:
        if not text:
            return
        if not self._line:
            self._begin = begin
        self._end = end
        self._line.append(text)

    def _flush(self) -> None:
        if self._line:
            quoted = "> " if self._depths.get("blockquote") else ""
            self.texts.append(quoted + " ".join(self._line))
            self.begins.append(self._begin)
            self.ends.append(self._end)
            self._line = []

    def _tag(self, name: str, closing: bool, attributes: str) -> None:
        depth = self._depths.get(name, 0)
        if closing:
            self._depths[name] = depth - 1
            if self._open and self._open[-1].tag == name and self._open[-1].depth == depth:
                self._open.pop().end = len(self.texts)
            return
        if name not in _VOID:
            self._depths[name] = depth + 1
        if name == "blockquote":
            self.blockquotes.append(len(self.texts))
        if "=" in attributes:
            for value in _MARKED.findall(attributes):
                for word in value.split():
                    if word in _INTRO or word in _QUOTE or word in _TO_THE_END or word in _AROUND_QUOTE:
                        self._open_container(word, name, depth + 1)
                        return

    def _open_container(self, word: str, tag: str, depth: int) -> None:
        container = _Container(word, tag, depth, len(self.texts))
        self.containers.append(container)
        if tag not in _VOID and tag != "span":
            self._open.append(container)


def _plain(html: str) -> str:
    if "<" in html:
        html = _ANY_TAG.sub("", html)
    if "&" in html:
        html = unescape(html)
    return " ".join(html.split())


def has_container(html: str) -> bool:
    """Tell cheaply whether a client may have marked history in *sanitized* HTML."""
    return "<blockquote" in html or 'class="' in html or 'id="' in html


def cut_history(html: str) -> HtmlCut | None:
    """Return *sanitized* HTML without the history that a reply quotes, or None where nothing is certain.

    >>> html = '<div>new</div><div class="gmail_quote"><div>On … wrote:</div><blockquote>old</blockquote></div>'
    >>> cut_history(html).html
    '<div>new</div>'
    """
    found = _Lines()
    found.read(html)
    if not found.texts or len(found.texts) > LINES_MAX:
        return None
    history = find_history(found.texts, marks=False, hints=_hints(found))
    if not history.dropped:
        return None
    ranges = _merged(history.dropped, found)
    first = history.dropped[0]
    return HtmlCut(
        html=_without(html, ranges),
        kept="\n".join(found.texts[: first.begin]),
        gone="\n".join(found.texts[first.begin : first.begin + 10]),
        trailing=history.dropped[-1].end >= len(found.texts) and len(ranges) == 1,
        why=tuple(dict.fromkeys([f"html: {span.why}" for span in history.dropped] + history.kept_why)),
    )


def _hints(found: _Lines) -> dict[int, Span]:
    """Return the spans that clients marked, by their first line; of nested ones the outer."""
    hints: dict[int, Span] = {}
    covered = 0
    for container in found.containers:
        end = container.end if container.end >= 0 else len(found.texts)
        if container.first < covered or (container.first >= end and container.name not in _TO_THE_END):
            continue
        for span in _spans(container, end, found):
            if span.begin < len(found.texts):
                hints[span.begin] = span
                covered = span.end
    return hints


def _spans(container: _Container, end: int, found: _Lines) -> list[Span]:
    first, why = container.first, f"container {container.name}"
    if any(is_forward_separator(text.removeprefix("> ")) for text in found.texts[first : first + 3]):
        return [Span("forward", first, len(found.texts), why)]
    if container.name in _TO_THE_END:
        return [Span("tail", first, len(found.texts), why)]
    if container.tag != "blockquote" and container.name in _AROUND_QUOTE:
        return _around_quote(first, end, why, found)
    return [Span("intro" if container.name in _INTRO else "quote", first, end, why)]


def _around_quote(first: int, end: int, why: str, found: _Lines) -> list[Span]:
    """Gmail's container: the lines above the first blockquote are the attribution, in whatever language."""
    quote = next((at for at in found.blockquotes if first <= at < end), None)
    intro = found.texts[first : end if quote is None else quote]
    if quote is None:
        known = any(attribution(" ".join(intro[:count])) > NONE for count in (1, 2))
        return [Span("quote", first, end, why)] if known else []
    short = len(intro) <= _INTRO_LINES_MAX and sum(map(len, intro)) <= _INTRO_CHARS_MAX
    close = next((one.end for one in found.containers if one.tag == "blockquote" and one.first == quote), -1)
    spans = [Span("intro", first, quote, why)] if intro and short else []
    if close > quote:
        spans.append(Span("quote", quote, close, why))
    return spans


def _merged(dropped: list[Span], found: _Lines) -> list[tuple[int, int]]:
    """Return the stretches of HTML in which dropped lines lie: from the content before to the content after."""
    ranges: list[tuple[int, int]] = []
    begin = end = -1
    for span in [*dropped, None]:
        if span is not None and span.begin <= end:
            end = max(end, span.end)
            continue
        if begin >= 0:
            start = found.ends[begin - 1] if begin else 0
            ranges.append((start, found.begins[end] if end < len(found.texts) else -1))
        if span is not None:
            begin, end = span.begin, span.end
    return ranges


def _without(html: str, ranges: list[tuple[int, int]]) -> str:
    out: list[str] = []
    position = 0
    for begin, end in ranges:
        stop = len(html) if end < 0 else end
        out += [html[position:begin], _unmatched(html, begin, stop)]
        if end >= 0 and begin:
            out.append("<br>")  # what stood above and beneath must not become one line
        position = stop
    return "".join([*out, html[position:]])


def _unmatched(html: str, begin: int, end: int) -> str:
    """Return the tags between two places that are opened or closed outside."""
    opened: list[tuple[str, str]] = []
    closing: list[str] = []
    for match in _ANY_TAG.finditer(html, begin, end):
        name = match[2]
        if name in _VOID:
            continue
        if not match[1]:
            opened.append((name, match[0]))
        elif opened:
            opened.pop()
        else:
            closing.append(match[0])
    return "".join(closing) + "".join(tag for _, tag in opened)
