"""Text as it is read, with the place of each stretch in what is written: where a rewriting finds, and where it cuts.

What a reader sees as one word may be broken by soft line breaks (RFC 3676), by tags, by entities and by what is
invisible. What is found in the reading is cut out of the writing, and the rest of that stays as it is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from html import escape, unescape

from ingestd.mail.html_tags import BLOCK, CELL, KINDS, SECTION, VOID

Edit = tuple[int, int, str]
"""From, to, and what is to stand there instead."""
Find = Callable[[str], Sequence[Edit]]
"""Finds what is to be rewritten in decoded text; in order, and without overlap."""

_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff\0"
_ENTITY = r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,8}|[a-zA-Z][a-zA-Z0-9]{1,31});?"
_TAG = r"<[a-zA-Z/!?][^<>]*+>"
_SEEN = re.compile(rf"({_TAG})|({_ENTITY})|([\t\n\f\r ]{{2,}}|[\t\n\f\r])|([{_INVISIBLE}]+)")
_TAGS = re.compile(_TAG)
_NAME = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)")
_VALUE = re.compile(r"=[\t\n\f\r ]*+(\"[^\"]*+|'[^']*+|[^\s\"'>]++)")
_IN_VALUE = re.compile(rf"({_ENTITY})|((?:%[0-7][0-9a-fA-F])+)|([{_INVISIBLE}\t\r\n]+)")
_DATA_URL = re.compile(r"[\"']?\s*data:", re.IGNORECASE)
_LINE = re.compile(r"([^\r\n]*+)(\r\n|\r|\n|\Z)")
_APART = frozenset({"br", "hr", "img", "tr", "li", "dt", "dd", "p", "div", "table", "option"})
_PERCENT_KEPT = re.compile("[^\x20-\x7e]")


class _View:
    """What is read of a text, in stretches."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.shown: list[str] = []
        self.length = 0
        self.begins: list[int] = []
        """Of each stretch, in what is read."""
        self.places: list[tuple[int, int, bool]] = []
        """Of each stretch, from and to in the source; and whether it is there letter by letter."""

    def keep(self, start: int, end: int) -> None:
        if end > start:
            self._add(self.source[start:end], start, end, literal=True)

    def show(self, text: str, start: int, end: int) -> None:
        """Let what stands in the source be read as `text`."""
        if text:
            self._add(text, start, end, literal=False)

    def _add(self, text: str, start: int, end: int, *, literal: bool) -> None:
        self.begins.append(self.length)
        self.places.append((start, end, literal))
        self.shown.append(text)
        self.length += len(text)

    def rewrite(self, find: Find, write: Callable[[str], str], *, joined: bool = False) -> str:
        """Return the source with what is found cut out; `joined` with what was not read in between."""
        out: list[str] = []
        done = 0
        for begin, end, text in find("".join(self.shown)):
            cuts = self._cuts(begin, end)
            if joined and cuts:
                cuts = [(cuts[0][0], cuts[-1][1])]
            for number, (start, stop) in enumerate(cuts):
                # Two finds may begin in one entity.
                out += (self.source[done : max(start, done)], write(text) if number == 0 else "")
                done = max(done, stop)
        if not out:
            return self.source
        return "".join([*out, self.source[done:]])

    def _cuts(self, begin: int, end: int) -> list[tuple[int, int]]:
        cuts: list[tuple[int, int]] = []
        at = max(bisect_right(self.begins, begin) - 1, 0)
        while at < len(self.begins) and self.begins[at] < end:
            start, stop, literal = self.places[at]
            if stop > start:
                if literal:
                    stop = min(stop, start + end - self.begins[at])
                    start += max(begin - self.begins[at], 0)
                cuts.append((start, stop))
            at += 1
        return cuts


def rewrite_plain(text: str, find: Find) -> str:
    """Return plain text with what is found rewritten."""
    view = _View(text)
    done = 0
    if "\0" in text:  # no reader shows it
        for match in re.finditer("\0+", text):
            view.keep(done, match.start())
            done = match.end()
    view.keep(done, len(text))
    return view.rewrite(find, str)


def rewrite_flowed(text: str, find: Find, *, delete_space: bool) -> str:
    """As `rewrite_plain`, where soft-broken lines are one (RFC 3676); read as `flowed.unflow` reads."""
    view = _View(text)
    open_depth = -1
    previous = (0, 0)
    for match in _LINE.finditer(text):
        line, start = match[1], match.start()
        depth = len(line) - len(line.lstrip(">"))
        body = start + depth + line.startswith(" ", depth)
        stop = match.end(1)
        signature = text[body:stop] == "-- "
        soft = stop > body and text[stop - 1] == " " and not signature
        if open_depth != depth or signature:
            view.show("\n", *previous)
            view.keep(start, start + depth)
        view.keep(body, stop - (soft and delete_space))
        previous = (match.start(2), match.start(2))
        open_depth = depth if soft else -1
    return view.rewrite(find, str, joined=True)


def rewrite_unfolded(text: str, find: Find) -> str:
    """As `rewrite_plain`, where a line that begins with a space goes on with the one before (RFC 5545 §3.1)."""
    view = _View(text)
    done = 0
    for match in re.finditer(r"\r?\n[ \t]", text):
        view.keep(done, match.start())
        done = match.end()
    view.keep(done, len(text))
    return view.rewrite(find, str, joined=True)


def rewrite_html(html: str, find: Find) -> str:
    """Return HTML with what is found in its text and in values of its attributes rewritten; the rest stays."""
    return _values(_seen(html, find), find)


def _seen(html: str, find: Find) -> str:
    view = _View(html)
    done = 0
    for match in _SEEN.finditer(html):
        start, end = match.span()
        view.keep(done, start)
        done = end
        if match[1]:
            name = _NAME.match(match[1])
            if name is not None and _parts(name[1].lower()):
                view.show("\n", start, start)
        elif match[2]:
            view.show("".join(char for char in unescape(match[2]) if char not in _INVISIBLE), start, end)
        elif match[3]:
            view.show(" ", start, end)
    view.keep(done, len(html))
    return view.rewrite(find, _escaped)


def _parts(name: str) -> bool:
    return name in _APART or (name != "wbr" and KINDS.get(name) in (BLOCK, CELL, SECTION, VOID))


def _values(html: str, find: Find) -> str:
    view = _View(html)
    for tag in _TAGS.finditer(html):
        if html.startswith("<!", tag.start()):
            view.keep(tag.start() + 2, tag.end() - 1)
            view.show("\n", tag.end(), tag.end())
            continue
        for value in _VALUE.finditer(html, tag.start(), tag.end() - 1):
            start, end = value.span(1)
            if _DATA_URL.match(html, start, end):
                continue
            start += html[start] in "\"'"
            for match in _IN_VALUE.finditer(html, start, end):
                view.keep(start, match.start())
                start = match.end()
                read = unescape(match[1]) if match[1] else _PERCENT_KEPT.sub("", _percent(match[2] or ""))
                view.show(read, *match.span())
            view.keep(start, end)
            view.show("\n", end, end)
    return view.rewrite(find, _escaped)


def _percent(text: str) -> str:
    return bytes.fromhex(text.replace("%", "")).decode("ascii")


def _escaped(text: str) -> str:
    return escape(text)
