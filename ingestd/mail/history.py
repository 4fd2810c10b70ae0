"""Finds the spans of history in the lines of a message, without deciding what becomes of them.

One pass with bounded work a line; most lines are passed over after a test or
two, as libraries for this took seconds on hostile text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ingestd.mail.attribution import (
    ALONE,
    LINE_CHARS_MAX,
    NONE,
    attribution,
    bare,
    begins_attribution,
    has_clock,
    has_date,
    is_above_line,
    is_dashed_title,
    is_forward_separator,
    is_ordinary,
    is_original_separator,
    is_rule,
    may_end_attribution,
    unusual,
)
from ingestd.mail.attribution import field as header_field
from ingestd.mail.header_block import header_block

_JOINED_LINES_MAX = 5
_INTRODUCING_LINES_MAX = 16
"""Fields and attribution between a separator and quoted lines."""
_ADDRESS_LINES_MAX = 4
"""To, Subject and rule that Yandex writes between the text and the attribution."""
_TRIES_MAX = 400
"""Lines of a message that are judged as the beginning of history; a real one has a dozen."""
_WRAPPED_FROM = 60
_WRAP_AT = 72
_VERB_CHARS_MAX = 25
_INITIALS = re.compile(r" ?[^\W\d_]{1,4}>")
"""The Bat! writes the initials of the quoted before each mark: `JD> text`."""


@dataclass(frozen=True, slots=True)
class Span:
    """Lines [begin, end) that are no new text: an `intro` or `quote`, or a `tail` or `forward` to the end."""

    kind: str
    begin: int
    end: int
    why: str
    sure: bool = True
    """False for quoted lines that nothing introduces: they may be the customer's."""


@dataclass(slots=True)
class History:
    """What was found in a text, and what is to be dropped of it."""

    spans: list[Span] = field(default_factory=list)
    texts: list[int] = field(default_factory=list)
    """Lines of new text, blank ones left out."""
    dropped: list[Span] = field(default_factory=list)
    kept_why: list[str] = field(default_factory=list)
    """Why history was kept, if it was."""
    introduced: bool = False
    """An attribution was seen, so that what is marked as quoted is."""
    tries: int = 0

    def may_try(self) -> bool:
        self.tries += 1
        return self.tries <= _TRIES_MAX

    def goes_to_the_end(self) -> bool:
        """Tell whether what is kept ends with something that is not the sender's."""
        return any(span.kind in ("forward", "tail") and span not in self.dropped for span in self.spans)


def scan(lines: Sequence[str], forwarded: bool, hints: Mapping[int, Span]) -> History:
    """Return the spans of history in lines.

    `forwarded`: a header block is content. `hints` are spans that the client marked itself, by their first line.
    """
    history = History()
    fences = _fences(lines)
    odd = unusual(lines)
    at = 0
    while at < len(lines):
        if not (odd[at] or fences or hints or history.introduced):
            history.texts.append(at)
            at += 1
            continue
        line = lines[at]
        if not line or line.isspace():
            at += 1
        elif at in fences:
            history.texts.extend(range(at, fences[at]))
            at = fences[at]
        elif is_ordinary(line) and at not in hints and not (history.introduced and _INITIALS.match(line)):
            history.texts.append(at)
            at += 1
        else:
            span = _span(lines, at, history, forwarded, hints)
            if span is None:
                history.texts.append(at)
                at += 1
            elif span.kind == "tail" and not history.texts:
                # With nothing above it, even history is the content.
                while at < len(lines) and lines[at].strip():
                    history.texts.append(at)
                    at += 1
            else:
                history.spans.append(span)
                history.introduced = history.introduced or span.sure
                at = span.end
    return history


def _span(lines: Sequence[str], at: int, history: History, forwarded: bool, hints: Mapping[int, Span]) -> Span | None:
    """Return the span that begins at a line which is not blank, None for new text."""
    line, texts = lines[at], history.texts
    if at in hints:
        hint = hints[at]
        if hint.kind == "forward":
            return hint
        return replace(hint, begin=_separated(lines, at, texts, titles=hint.kind == "tail"))
    if history.introduced and _INITIALS.match(line):
        return Span("quote", at, _quote_end(lines, at, history.introduced), "quoted lines")
    if _is_groupwise(line, history):
        return _tail(lines, at, "attribution line", texts, forwarded=False)
    if quoted(line) and not _ends_address(lines, at):
        end = _quote_end(lines, at, history.introduced)
        return Span(
            "quote",
            at,
            end,
            "quoted lines",
            history.introduced or (history.may_try() and _introduced_inside(lines, at, end)),
        )
    return _unquoted(lines, at, forwarded, history)


def _unquoted(lines: Sequence[str], at: int, forwarded: bool, history: History) -> Span | None:
    """Judge a line that is not quoted."""
    line, texts = lines[at], history.texts
    first = line.lstrip()[:1]
    if first in "-‐_=*—–─#~[(" and len(line) < 300:
        if is_forward_separator(line):
            return Span("forward", at, len(lines), "")
        if is_above_line(line):
            return _tail(lines, at, "reply-above line", texts, forwarded=False)
        if is_original_separator(line):
            return _tail(lines, at, "original separator", texts, forwarded)
    if ":" in line or "：" in line or first == "|":
        if is_forward_separator(line):
            return Span("forward", at, len(lines), "")
        if header_field(line) is not None and history.may_try() and header_block(lines, at):
            return _tail(lines, at, "header block", texts, forwarded)
    if may_end_attribution(line) and history.may_try():
        return _attributed(lines, at, texts)
    if is_above_line(line):
        return _tail(lines, at, "reply-above line", texts, forwarded=False)
    return None


def _tail(lines: Sequence[str], at: int, why: str, texts: list[int], forwarded: bool) -> Span:
    """All from here on is history, unless it is forwarded, or the line above says "look at this:".

    If the history is marked line by line, answers may stand in it, and what was found only introduces it.
    """
    if forwarded or (texts and lines[texts[-1]].rstrip().endswith((":", "："))):
        return Span("forward", at, len(lines), "")
    begin = _separated(lines, at, texts, titles=why == "header block")
    marked = _marked_below(lines, at)
    return Span("tail", begin, len(lines), why) if marked is None else Span("intro", begin, marked, why)


def _marked_below(lines: Sequence[str], at: int) -> int | None:
    """Return the first quoted line beneath a separator or header, if but fields and an attribution stand between."""
    between: list[str] = []
    for index in range(at + 1, min(at + _INTRODUCING_LINES_MAX, len(lines))):
        line = lines[index]
        if quoted(line):
            joined = " ".join(between)
            return index if not between or attribution(joined) > NONE else None
        if line.strip() and header_field(line) is None:
            between.append(line.strip())
            if len(between) > _JOINED_LINES_MAX:
                return None
    return None


def _separated(lines: Sequence[str], at: int, texts: list[int], titles: bool) -> int:
    """Return where a span that begins at a line begins with the rule, or `---- Title ----`, above it."""
    begin = at
    while texts and begin - texts[-1] <= 3:
        above = lines[texts[-1]]
        if not is_rule(above) and not (titles and is_dashed_title(above)):
            break
        begin = texts.pop()
    return begin


def _attributed(lines: Sequence[str], at: int, texts: list[int]) -> Span | None:
    """Judge a line with which an attribution may end; clients wrap them, so it may have begun above."""
    following = _next_text(lines, at + 1)
    above_quote = following is not None and (quoted(lines[following]) or _INITIALS.match(lines[following]) is not None)
    found = _attribution_begin(lines, at, texts, NONE if above_quote else ALONE - 1)
    if found is None:
        return None
    while texts and texts[-1] >= found:
        texts.pop()
    begin = _separated(lines, _addressed(lines, found, texts), texts, titles=False)
    if above_quote:
        return Span("intro", begin, at + 1, "attribution line")
    span = _tail(lines, begin, "attribution line", texts, forwarded=False)
    if span.kind == "tail" and not texts:
        texts.extend(range(begin, at))  # the caller adds the last
    return span


def _attribution_begin(lines: Sequence[str], end: int, texts: list[int], more_than: int) -> int | None:
    """Return the line at which the attribution that ends at `end` begins, if there is one surer than `more_than`.

    The fewest lines that make one are taken: what stands above is the customer's.
    """
    available = texts[-2 * _JOINED_LINES_MAX :]
    joined, begin = lines[end].strip(), end
    for _ in range(_JOINED_LINES_MAX):
        if (begin == end or begins_attribution(lines[begin])) and attribution(joined) > more_than:
            if available and begin - available[-1] == 1 and not has_date(joined):
                # Becky! writes the date on a line of its own.
                above = lines[available[-1]]
                if begins_attribution(above) and has_clock(above) and not above.rstrip().endswith((".", "!", "?")):
                    return available[-1]
            return begin
        # Polymail sets an empty line before the address.
        reach = 2 if lines[begin].lstrip()[:1] == "<" else 1
        if not available or begin - available[-1] > reach:
            return None
        begin = available.pop()
        joined = f"{lines[begin].strip()} {joined}"
        if len(joined) > LINE_CHARS_MAX:
            return None
    return None


def _addressed(lines: Sequence[str], begin: int, texts: list[int]) -> int:
    """Yandex writes `To:` and `Subject:`, beneath a rule, above the attribution."""
    at, count = len(texts), 0
    while at and count < _ADDRESS_LINES_MAX and begin - texts[at - 1] <= 2 and header_field(lines[texts[at - 1]]):
        at -= 1
        count += 1
        begin = texts[at]
    if count and at and is_rule(lines[texts[at - 1]]):
        del texts[at:]
        return begin
    return begin if not count else texts[-1] + 1


def quoted(line: str) -> bool:
    """Tell whether a line is marked as quoted; `>From` is how mbox files write "From"."""
    return line.lstrip(" \t\u00a0").startswith((">", "\uff1e")) and not line.startswith(">From ")


def _ends_address(lines: Sequence[str], at: int) -> bool:
    """Gmail wraps an attribution so that a line of it is `>`, `>:` or `> wrote:`."""
    above = " ".join(line[-200:] for line in lines[max(0, at - 3) : at])
    return above.rfind("<") > above.rfind(">") and "@" in above and len(lines[at]) <= _VERB_CHARS_MAX


def _is_groupwise(line: str, history: History) -> bool:
    """GroupWise writes `>>> Jane <jane@example.com> 02.03.2026 10:00 >>>` above the history."""
    line = line.strip()
    if not (line.endswith(">>>") and line.startswith(">>>") and history.may_try()):
        return False
    return attribution(bare(line) + ":") > NONE


def _quote_end(lines: Sequence[str], at: int, introduced: bool) -> int:
    """Return the line after a quoted block: links and words that wrapping drove out of it belong to it."""
    last = at
    for index in range(at + 1, len(lines)):
        line = lines[index]
        if quoted(line) or (introduced and _INITIALS.match(line)):
            last = index
        elif not line or line.isspace():
            if index - last > 3:
                break
        elif index + 1 >= len(lines) or not quoted(lines[index + 1]) or not _driven_out(lines[index - 1], line):
            break
    return last + 1


def _driven_out(above: str, line: str) -> bool:
    """Tell whether a line between quoted ones is a link of theirs, or the end of one that was wrapped."""
    words = line.split(None, 1)
    if words[0].lstrip("(<[").startswith(("http://", "https://", "mailto:")):
        return len(words) == 1 or len(words[1]) <= 2
    above = above.rstrip()
    return (
        len(above) >= _WRAPPED_FROM
        and len(above) + 1 + len(words[0]) > _WRAP_AT
        and len(line) < len(above)
        and not above.endswith((".", "!", "?", ":", ";", "…"))
    )


def _introduced_inside(lines: Sequence[str], begin: int, end: int) -> bool:
    """Apple Mail quotes the attribution, Orange its header block, too."""
    if not any(":" in line or may_end_attribution(line) for line in lines[begin : min(end, begin + 5)]):
        return False
    block = [bare(line) for line in lines[begin : min(end, begin + 4)]]
    if any(header_block(lines, at) for at in range(begin, min(end, begin + 3))):
        return True
    return any(
        attribution(" ".join(block[first : first + count])) > NONE
        for first in range(min(2, len(block)))
        for count in (1, 2, 3)
        if block[first]
    )


def _next_text(lines: Sequence[str], at: int) -> int | None:
    for index in range(at, min(at + 5, len(lines))):
        if lines[index].strip():
            return index
    return None


def _fences(lines: Sequence[str]) -> dict[int, int]:
    """Return the blocks of code between ``` lines, as {first line: line after the last}."""
    marks = [at for at, line in enumerate(lines) if line[:3] == "```"]
    return {marks[at]: marks[at + 1] + 1 for at in range(0, len(marks) - 1, 2)}
