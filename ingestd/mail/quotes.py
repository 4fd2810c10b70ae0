"""Cuts the history that a reply quotes, and its signature, so that an agent reads only what is new.

A line is kept when in doubt: a quote too many is a nuisance, a lost sentence of
the customer's is a fault. So nothing is cut when nothing would remain,
forwarded messages stay, answers between quoted lines stay together with what
they answer, and so does history in which the customer says that answers stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingestd.mail.attribution import answers_are_below
from ingestd.mail.history import History, Span, scan
from ingestd.mail.signature import strip_signature

LINES_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Stripped:
    """What `strip_quotes` returns."""

    text: str
    why: tuple[str, ...] = ()
    """What was cut, and what was kept on purpose, in fixed words."""
    first: str = ""
    """The first line of history, cut or not; "" where there is none."""


def strip_quotes(text: str, *, forwarded: bool = False, marks: bool = True, sender: str = "") -> Stripped:
    """Return `text` without quoted history and signature; its lines are lines of `text`, in order.

    `forwarded`: the message is forwarded or answers nothing, so that a header block is its content.
    `marks`: the text was written with `>`; in text made of HTML a `>` may be mere indentation.
    `sender`: the sender's name, which may stand beneath the text.

    >>> strip_quotes("Yes.\\n\\nOn Mon, 2 Mar 2026, Jane <j@example.com> wrote:\\n> Does it work?").text
    'Yes.'
    """
    lines = text.split("\n")
    if len(lines) > LINES_MAX:
        return Stripped(text.strip(), ("too many lines",))
    history = find_history(lines, forwarded=forwarded, marks=marks)
    kept = _kept(lines, history)
    why = [span.why for span in history.dropped] + history.kept_why
    if not history.goes_to_the_end():
        kept, signature = strip_signature(kept, sender)
        why += signature
    result = "\n".join(kept).strip()
    first = lines[history.spans[0].begin] if history.spans else ""
    return Stripped(result or text.strip(), tuple(dict.fromkeys(why)) if result else (), first)


def _kept(lines: list[str], history: History) -> list[str]:
    """Return the lines without what is dropped, and one empty line in its place."""
    kept: list[str] = []
    position = 0
    for span in history.dropped:
        kept += lines[position : span.begin]
        position = span.end
        while position < len(lines) and (not kept or not kept[-1].strip()) and not lines[position].strip():
            position += 1
    return kept + lines[position:]


def find_history(
    lines: Sequence[str], *, forwarded: bool = False, marks: bool = True, hints: Mapping[int, Span] | None = None
) -> History:
    """Find the history in lines, and decide what of it is dropped.

    `hints` are spans that the client marked itself, by the line at which they begin.
    """
    history = scan(lines, forwarded, hints or {})
    _decide(lines, history, marks)
    return history


def _decide(lines: Sequence[str], history: History, marks: bool) -> None:
    """Say which spans are dropped."""
    spans, texts = history.spans, history.texts
    last_text = texts[-1] if texts else -1
    forward = next((span for span in spans if span.kind == "forward"), None)
    for span in spans:
        last = span.kind == "quote" and not span.sure and forward is None and span.begin > last_text >= 0
        if last and marks and _looks_quoted(lines[span.begin : span.end]):
            history.dropped.append(span)
    sure = [span for span in spans if span.sure and span.kind != "forward"]
    if not sure or not texts:
        return
    blocks = [span for span in sure if span.kind == "quote"]
    if blocks and any(blocks[0].begin < at < blocks[-1].begin for at in texts):
        sure = [span for span in sure if span.begin > last_text]
        history.kept_why.append("answers between quoted lines kept")
    tail = next((span for span in sure if span.kind == "tail"), None)
    if tail is not None and answers_are_below("\n".join(lines[at] for at in texts[-30:])):
        sure.remove(tail)
        history.kept_why.append("history kept: answers stand in it")
    history.dropped = sorted([*history.dropped, *sure], key=lambda span: span.begin)


def _looks_quoted(block: Sequence[str]) -> bool:
    """Tell a quotation that nothing introduces from a customer's prompts and markdown, where it is certain."""
    content = [line.strip()[1:].strip() for line in block if line.strip()]
    prompts = all(line.lstrip().startswith(">>>") for line in block if line.strip())
    return len(content) >= 3 and not prompts and any(not line or line.startswith(">") for line in content)
