"""What a message says that is new: from its text, from its HTML, and with each as evidence about the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingestd.mail.content import Piece
from ingestd.mail.html_quotes import HtmlCut, cut_history, has_container
from ingestd.mail.html_text import to_text
from ingestd.mail.quotes import Stripped, strip_quotes
from ingestd.mail.signature import strip_signature

_SURE_CHARS = 12
"""Letters and figures by which a place in the text is known to be that in the HTML."""
_SURE_TEXT_CHARS = 200
"""Of a text part: a stub ("this message is HTML") is not what the text was made of."""
_FORWARD_PREFIX = re.compile(
    r"\s*(?:\[[^\]]{0,60}\]\s*)?(?:fwd?|wg|tr|rv|enc|i|doorst|pd|пересл|turn|vs|vb|vl|ilt|i̇lt|fs|转发|转寄|轉寄|"
    r"轉發|転送|전달)\s*(?:\[\d{1,3}\])?\s*[:：]",
    re.IGNORECASE,
)
_REPLY_PREFIX = re.compile(
    r"\s*(?:\[[^\]]{0,60}\]\s*)?(?:re|aw|antw(?:ort)?|sv|odp|ynt|yan|res|ref|rif|r|rép|resp|отв|ответ|відп|вiдп|atb|vá|"
    r"回复|回覆|答复|答覆|返信|返|답장|회신|חוזר|תגובה|رد)\s*(?:\[\d{1,3}\]|\^?\d{1,3})?\s*[:：]",
    re.IGNORECASE,
)
_NO_LETTERS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class NewText:
    """The fields `new_text`, `new_html` and `quote_cut` of ParsedMail."""

    text: str = ""
    html: str = ""
    why: tuple[str, ...] = ()


def is_forward_subject(subject: str) -> bool:
    """Tell whether the subject's prefix says "forwarded".

    >>> is_forward_subject("FW: Invoice"), is_forward_subject("Re: FW: Invoice")
    (True, False)
    """
    return _FORWARD_PREFIX.match(subject) is not None


def is_reply_subject(subject: str) -> bool:
    """Tell whether the subject's prefix says "answered".

    >>> is_reply_subject("AW: Rechnung"), is_reply_subject("回复：订单"), is_reply_subject("Rechnung")
    (True, True, False)
    """
    return _REPLY_PREFIX.match(subject) is not None


def read_new_text(
    pieces: Sequence[Piece], text: str, html: str, subject: str, *, answers: bool, sender: str = ""
) -> NewText:
    """Return what is new in a message; `text` and `html` are the whole of it, made of `pieces`.

    `answers`: the header names a message that this one answers. Outlook writes the same block of fields above
    what it answers and what it forwards, so in a message that answers nothing such a block is content.
    """
    if not text:
        return NewText()
    forwarded = is_forward_subject(subject) or not (answers or is_reply_subject(subject))
    only_html = not any((plain := piece.plain.strip()) and plain[:_SURE_TEXT_CHARS] in text for piece in pieces)
    stripped = strip_quotes(text, forwarded=forwarded, marks=not (only_html or forwarded), sender=sender)
    if forwarded or not html or not (has_container(html) or _holds(html, stripped.first)):
        return NewText(stripped.text, "", stripped.why)
    cut = cut_history(html)
    if cut is None:
        return NewText(stripped.text, "", stripped.why)
    better = _from_html(text, cut, sender) if only_html and len(pieces) == 1 else _placed(text, cut, sender)
    stripped = better or stripped
    return NewText(stripped.text, cut.html, tuple(dict.fromkeys((*stripped.why, *cut.why))))


def _holds(html: str, line: str) -> bool:
    """Tell cheaply whether HTML may hold a line of text."""
    return bool(line) and max(_NO_LETTERS.split(line), key=len) in html


def _from_html(text: str, cut: HtmlCut, sender: str) -> Stripped | None:
    """Return the text of the HTML that was left, if it consists of lines of the whole text."""
    left = to_text(cut.html)
    whole = iter(text.split("\n"))
    if not left or not all(any(line == other for other in whole) for line in left.split("\n")):
        return None
    kept, why = strip_signature(left.split("\n"), sender)
    return Stripped("\n".join(kept).strip(), tuple(why))


def _placed(text: str, cut: HtmlCut, sender: str) -> Stripped | None:
    """Find in a text the place at which the HTML of the same message was cut, by its letters and figures.

    A client's own container is better evidence than lines of text, and needs no language.
    """
    if not cut.trailing or not any("container" in why for why in cut.why):
        return None
    want, gone = _NO_LETTERS.sub("", cut.kept), _NO_LETTERS.sub("", cut.gone)[:200]
    lines = text.split("\n")
    position = 0
    for at, line in enumerate(lines):
        letters = _NO_LETTERS.sub("", line)
        if letters and position == len(want):
            below = _NO_LETTERS.sub("", "".join(lines[at : at + 10]))[: len(gone)]
            if len(below) < _SURE_CHARS or not gone.startswith(below[:_SURE_CHARS]):
                return None
            kept, why = strip_signature(lines[:at], sender)
            result = "\n".join(kept).strip()
            return Stripped(result, tuple(why)) if result else None
        if not want.startswith(letters, position):
            return None
        position += len(letters)
    return None
