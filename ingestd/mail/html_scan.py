"""The first look at a stranger's HTML, before any library sees it: linear in the input, and total.

What leaves here is plain: only elements that are shown, each closed where it
must be, no comments, no raw text, no open quotes. So the tree builder of
html5ever never comes to where it is quadratic (nested tags, text inside tables,
100,000 attributes) or writes more than it read (formatting that is opened again
in every paragraph), and no trick of its parsing can hide a tag from this count.

Where browsers drop words — an unclosed comment, quote or <style>, a "<" that
nobody escaped — they are kept: the result is filtered after this, so a wrong
guess shows too much and never runs anything.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from html import escape
from itertools import compress
from operator import attrgetter
from typing import NamedTuple

from ingestd.mail.html_images import count_in_sheet, count_in_tag
from ingestd.mail.html_nesting import DEPTH_MAX, GONE, nesting_of, walk
from ingestd.mail.html_tags import HIDDEN, INSTEAD, KINDS, LITERAL, TABLE, UNKNOWN, VOID
from ingestd.mail.html_tree import ATTRIBUTE, BARRIERS, ESCAPED_RUN_MAX, SHORT_TAG_CHARS, Tree, stands
from ingestd.mail.limits import DEFAULT_LIMITS, Limits

_NAME = r"[a-zA-Z][a-zA-Z0-9:_.-]*+"
# The usual form of attributes is tried first: it is read in half the time, and as the general one would read it.
_TAG = re.compile(
    rf"""<(?:(/?)({_NAME})(?:(?>(?: [a-zA-Z-]++="[^"]*+")*)>|(?=[\t\n\f\r />])(?>(?:[\t\n\f\r /]++|{ATTRIBUTE})*)>)"""
    r"|(!--)|([!?/])|(?=[a-zA-Z]))"
)
# Tags in the usual form, which end where they end by the pattern above. Behind a quote comes another attribute or the
# end, and neither holds a "<": so no stretch is tried from more than two tags.
_USUAL_TAGS = re.compile(
    rf"""(<(/?{_NAME})(?>(?:[\t\n\f\r ]++[a-zA-Z0-9:_-]++(?:=(?:"[^"]*+"|[^\t\n\f\r "'<=>`]++))?)*)[\t\n\f\r ]*+/?>)"""
)
_BEGINS_TAG = re.compile("<[a-zA-Z!?/]")
_ODD_MAX, _ODD_SHARE = 50, 4
"""Of so many tags, and of each so many of all, that are judged by themselves: then all the rest is."""
_AT_ONCE = 500
"""Tags that are looked up without a pause: what is odd costs no more than these."""
_IN_TABLE, _DEPTH = attrgetter("in_table"), attrgetter("depth")
_ANY_TAG = re.compile(r"<[a-zA-Z/!?][^<>]*+>")
_BROKEN = re.compile(rf"<(/?)({_NAME})[^>]*+>")
_BROKEN_MAX = 8
"""Tags that are mended one by one; each may cost a look at the whole rest."""
_CUT_OFF = re.compile(rf"<(?:/?{_NAME}[\t\n\f\r ]++[a-zA-Z:-]++[\t\n\f\r ]*+=|!(?:doctype|\[)|\?xml)", re.IGNORECASE)
_CUT_OFF_CHARS_MAX = 2000
_OFFICE = re.compile(r"\s*+<[a-zA-Z]:")
_ESCAPED = re.compile("[<>&\xa0]")
_ESCAPED_MAX = 10_000


class Scan(NamedTuple):
    """HTML fit for a tree builder."""

    html: str
    defects: tuple[str, ...]
    remote_images: int
    """Of elements and style sheets that are dropped here, and by `srcset`."""


def scan(html: str, limits: Limits = DEFAULT_LIMITS) -> Scan:
    """Return HTML that is safe to give to a tree builder; its text is that of the input.

    >>> scan("<p>a<!-- x --><p onclick=x>b<b").html
    '<p>a</p><p onclick=x>b&lt;b'
    """
    scanner = _Scanner(html, limits)
    scanner.run()
    return Scan(_in_short_runs("".join(scanner.out)), tuple(scanner.defects), scanner.images)


def _in_short_runs(html: str) -> str:
    """Part texts of very many characters that must be escaped: html5ever looks at all of the rest for each."""
    if len(html) <= _ESCAPED_MAX or sum(map(html.count, "&\xa0<>")) <= _ESCAPED_MAX:
        return html
    out: list[str] = []
    done = count = 0
    tag_end = 0
    for match in _ESCAPED.finditer(html):
        start = match.start()
        if start < tag_end:
            continue
        tag = _TAG.match(html, start)
        if tag is not None:
            tag_end = tag.end()
            count = 0
            continue
        count += 1
        if count > ESCAPED_RUN_MAX:
            out += (html[done:start], "<wbr>")
            done = start
            count = 1
    return "".join([*out, html[done:]])


def _bounded(html: str, limits: Limits, defects: dict[str, None]) -> str:
    if len(html) > limits.text_bytes_max:
        defects["html-too-long"] = None
        html = html[: limits.text_bytes_max]
        begun = html.rfind("<", -10_000)
        html = html if begun < 0 or html.find(">", begun) >= 0 else html[:begun]
    if html.count("<") > limits.html_tags_max:
        defects["html-too-many-tags"] = None
        rest = html.split("<", limits.html_tags_max)[-1]
        html = html[: -len(rest) - 1] + _ANY_TAG.sub(" ", "<" + rest).replace("<", "&lt;")
    return html


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _length(texts: Sequence[str], tags: Sequence[str], begin: int, end: int) -> int:
    return sum(map(len, texts[begin:end])) + sum(map(len, tags[begin:end]))


class _Scanner(Tree):
    def __init__(self, html: str, limits: Limits) -> None:
        defects: dict[str, None] = {}
        super().__init__(_bounded(html, limits, defects), limits)
        self.defects = defects
        self.broken = 0
        self.found: dict[str, int] = {}
        """Where texts were found that end something, -1 for those that are no more."""

    def run(self) -> None:
        position = 0
        if not self.has_srcset and self.limits.html_depth_max > DEPTH_MAX:
            position = self.last = self._ordinary()
        while position < len(self.html):
            position = self.last = self._stretch(position)
        self.out.append(self.html[self.kept :])

    def _ordinary(self) -> int:
        """Read the tags that stay as they are by `Nesting`, and what is between them one by one; return where to go on.

        All tags are found at once. Where what is judged by itself ends inside of one, or changed the text, they no
        longer are where they were found.
        """
        html = self.html
        pieces = _USUAL_TAGS.split(html)
        texts, tags, names = pieces[::3], pieces[1::3], pieces[2::3]
        self._mark_odd(names, texts, tags)
        gone = [*compress(range(len(names)), map(GONE.__contains__, names)), len(names)]
        index = odd = position = 0
        while index < len(names):
            if odd > _ODD_MAX + index // _ODD_SHARE:
                return position
            begun, after = index, self._usual(index, names, texts, tags)
            for at in gone[bisect_left(gone, index) : bisect_left(gone, after)]:
                position += _length(texts, tags, index, at) + len(texts[at])
                self._drop_gone(names[at].lower(), position, position + len(tags[at]))
                position += len(tags[at])
                index = at + 1
            if after == len(names):
                break
            position += _length(texts, tags, index, after)
            if after - begun == _AT_ONCE:
                index = after
                continue
            index, begins = after, position
            self.last = begins
            position = self._stretch(begins, once=True)
            odd += 1
            if self.html is not html:
                return position
            while index < len(names) and begins + len(texts[index]) < position:
                begins += len(texts[index]) + len(tags[index])
                index += 1
            if begins > position:
                return position
            texts[index] = html[position : begins + len(texts[index])]
        return max(position, len(html) - len(texts[-1]))

    def _mark_odd(self, names: list[str], texts: Sequence[str], tags: Sequence[str]) -> None:
        """Take the names from tags that are long, or have a tag before them that was not found."""
        if self.html.count("<") > len(tags):
            for index, text in enumerate(texts[:-1]):
                if "<" in text and _BEGINS_TAG.search(text):
                    names[index] = ""
        if tags and max(map(len, tags)) > SHORT_TAG_CHARS:
            names[:] = ["" if len(tag) > SHORT_TAG_CHARS else name for name, tag in zip(names, tags, strict=True)]

    def _usual(self, index: int, names: Sequence[str], texts: Sequence[str], tags: Sequence[str]) -> int:
        """Read tags from `index` on as long as they stay as they are; return the first that does not."""
        state = nesting_of(self.names, self.kinds)
        if self.overflow or (state.in_table and not _is_blank(texts[index])):
            return index
        states = walk(state, names[index : index + _AT_ONCE])
        in_tables = list(map(_IN_TABLE, states))
        if not _is_blank("".join(compress(texts[index : index + len(states)], in_tables))):
            text = next(at for at, inside in enumerate(in_tables) if inside and not _is_blank(texts[index + at]))
            del states[text + 1 :]
        state = states[-1]
        if state.depth > 1:
            depths = list(map(_DEPTH, states))
            del self.tags[min(depths) :]
            for depth in range(len(self.tags), state.depth):  # each was opened where it was last not so deep
                self.tags.append(tags[index + len(depths) - 1 - depths[::-1].index(depth)])
        else:
            del self.tags[1:]
        self.names[:], self.kinds[:] = state.names, state.kinds
        self.bases[1:] = [at for at, kind in enumerate(state.kinds, 1) if kind in BARRIERS]
        return index + len(states) - 1

    def _stretch(self, position: int, *, once: bool = False) -> int:  # noqa: C901, PLR0912  (a call more is felt)
        """Read tags up to the first thing that is not an ordinary tag, or one tag; return where to go on."""
        html, names, kinds, tags = self.html, self.names, self.kinds, self.tags
        kind_of, depth_max, overflow = KINDS.get, self.limits.html_depth_max, self.overflow
        for match in _TAG.finditer(html, position):
            slash, name = match.group(1, 2)
            start, end = match.span()
            top = kinds[-1]
            if top >= TABLE and start > self.last:
                self.house_text(start)
                top = kinds[-1]
            if name is None:
                return self._odd(match)
            kind = kind_of(name)
            if kind is None:
                name = name.lower()
                kind = kind_of(name, UNKNOWN)
            is_short = end - start <= SHORT_TAG_CHARS
            if slash:
                if name == names[-1] and is_short and not overflow and name not in INSTEAD:
                    del names[-1], kinds[-1], tags[-1]
                    if kind in BARRIERS:
                        self.bases.pop()
                else:
                    self.end(name, kind, match)
            elif kind >= HIDDEN:
                return self._hidden(name, kind, match)
            elif (
                is_short
                and len(names) < depth_max
                and stands(name, kind, names, top)
                and not (kind == VOID and self.has_srcset)
            ):
                if kind != VOID:
                    names.append(name)
                    kinds.append(kind)
                    tags.append(match[0])
                    if kind in BARRIERS:
                        self.bases.append(len(names))
            else:
                self.start(name, kind, match)
            if once:
                return max(end, self.kept)
            if kinds[-1] >= TABLE:
                self.last = end
        if kinds[-1] >= TABLE:  # what a table that was cut off ends with
            self.house_text(len(html))
        return len(html)

    # What is no tag.

    def _seek(self, needle: str, position: int) -> int:
        """Find a text from a position on, -1 if there is none; each stretch of the input is searched once."""
        found = self.found.get(needle, -2)
        if found == -1 or found >= position:
            return found
        found = self.html.find(needle, position)
        self.found[needle] = found
        return found

    def _drop_gone(self, name: str, start: int, end: int) -> None:
        if name == "body":
            self.images += count_in_tag(name, self.html[start:end])
        self.cut(start, end, "")

    def _odd(self, match: re.Match[str]) -> int:
        start = match.start()
        if match[3]:
            return self._comment(start)
        if match[4] and self.html.startswith("<![CDATA[", start):
            return self._cdata(start)
        end = self._seek(">", start)
        if end < 0:
            return self._tail(start)
        broken = _BROKEN.match(self.html, start)
        if broken is None and match[4] == "/":
            # "</3" is a comment to browsers, and a broken heart to its writer.
            self.literal(start)
            return start + 1
        if broken is None:
            # <!doctype>, <?xml>, Outlook's <![if !mso]>: comments (HTML §13.2.5.41).
            self.cut(start, end + 1, "")
            return end + 1
        if KINDS.get(broken[2].lower(), UNKNOWN) == UNKNOWN:
            self.drop(start, end + 1)
            return max(self.kept, start + 1)
        return self._mend(start, end + 1, broken)

    def _mend(self, start: int, end: int, broken: re.Match[str]) -> int:
        """Let a tag whose quote is not closed end at the next ">", without its attributes."""
        self.defects["html-broken-tag"] = None
        self.broken += 1
        self.found.clear()
        rest = self.html[end:]
        if self.broken > _BROKEN_MAX:
            rest = _BROKEN.sub(r"<\1\2>", rest)
        self.html = f"{self.html[:start]}<{broken[1]}{broken[2]}>{rest}"
        return start

    def _comment(self, start: int) -> int:
        body = start + len("<!--")
        if self.html.startswith((">", "->"), body):
            end = self.html.index(">", body)
        else:
            ends = [
                at + len(mark) - 1 for mark in ("-->", "--!>") if (at := self._seek(mark, body)) >= 0
            ]  # HTML §13.2.5.43 to 52
            # Never closed: it ends at the first ">", as browsers had it before HTML 5, so that the mail is not lost.
            end = min(ends) if ends else max(self._seek(">", body), body - 1)
        self.cut(start, end + 1, "")
        return end + 1

    def _cdata(self, start: int) -> int:
        """Keep the text of a CDATA section; browsers, which know none in HTML, would lose half of it."""
        body = start + len("<![CDATA[")
        end = self._seek("]]>", body)
        if end < 0:
            self.cut(start, body, "")
            return body
        if self.kinds[-1] >= TABLE:
            self.house(start)
        self.cut(start, end + 3, escape(self.html[body:end], quote=False))
        return end + 3

    def _tail(self, start: int) -> int:
        """There is no ">" any more: the rest is text, but for a tag that was cut off."""
        rest = self.html[start:].replace("<", "&lt;")
        if len(rest) <= _CUT_OFF_CHARS_MAX and _CUT_OFF.match(self.html, start):
            rest = ""
        if rest and self.kinds[-1] >= TABLE:
            self.house(start)
        self.cut(start, len(self.html), rest)
        return len(self.html)

    def _hidden(self, name: str, kind: int, match: re.Match[str]) -> int:
        """Pass an element whose content is no markup, or is not shown."""
        start, end = match.span()
        if (name == "xml" and not _OFFICE.match(self.html, end)) or (
            self.html[end - 2] == "/" and name not in ("script", "style")
        ):
            # Not Office's island of settings; or <title/>, as XHTML writes it.
            self.cut(start, end, "")
            return end
        close = self._close_of(name, end)
        close_end = self._seek(">", close) if close >= 0 else -1
        if close_end < 0:
            # Never closed: builders would swallow the rest of the mail. A sheet or script ends at the next tag.
            until = self._seek("<", end) if name in ("style", "script") else end
            self.cut(start, until if until >= 0 else len(self.html), "")
            return max(self.kept, end)
        content = self.html[end:close]
        if name == "style":
            self.images += count_in_sheet(content)
        shown = ""
        if kind == LITERAL and content.strip():
            if self.kinds[-1] >= TABLE:
                self.house(start)
            shown = escape(content, quote=False).replace("\n", "<br>")
        self.cut(start, close_end + 1, shown)
        return close_end + 1

    def _close_of(self, name: str, position: int) -> int:
        """Return where the element's end tag begins, or -1."""
        mark = "</" + name
        found = self.found.get(mark, -2)
        if found == -1 or found >= position:
            return found
        at = self.html.find("</", position)
        size = len(mark)
        while at >= 0:
            if self.html[at : at + size].lower() == mark and self.html[at + size : at + size + 1] in "\t\n\f\r />":
                break
            at = self.html.find("</", at + 2)
        self.found[mark] = at
        return at
