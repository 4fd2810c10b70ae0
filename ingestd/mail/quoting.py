"""The message that a reply answers, quoted beneath it: under a line that says who wrote it, bounded.

The containers are those that Gmail writes: mail programs fold them away, and quote strippers, ours too, know them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from html import escape

from ingestd.mail.html import text_to_html
from ingestd.mail.types import Address

_IMAGE = re.compile(r"<img\b([^<>]*)>")
_ALT = re.compile(r' alt="([^"]*)"')
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufeff\ud800-\udfff]+")
_CUT = "[…]"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Quoted:
    """What is quoted."""

    author: Address
    written_at: datetime
    text: str
    html: str
    """*Sanitized*; "" where there is none."""
    bytes_max: int
    """Of the text, and of the HTML."""


def quote_text(quoted: Quoted) -> str:
    """Return the quotation for the text part (RFC 3676 §4.5 has the marks)."""
    lines = _bounded(quoted.text, quoted.bytes_max).split("\n")
    marked = (f">{line}" if line.startswith(">") else f"> {line}".rstrip() for line in lines)
    return "\n".join([_attribution(quoted), *marked])


def quote_html(quoted: Quoted) -> str:
    """Return the quotation for the HTML part.

    Its images are not in the reply, or lie on the network: what they are called stands in their place. HTML that is
    too long is quoted as text, which can be cut anywhere.
    """
    inner = _CONTROLS.sub("", _IMAGE.sub(_called, quoted.html))
    if not inner or len(inner.encode()) > quoted.bytes_max:
        inner = text_to_html(_bounded(quoted.text, quoted.bytes_max))
    return (
        f'<div class="gmail_quote"><div class="gmail_attr">{escape(_attribution(quoted), quote=False)}<br></div>'
        '<blockquote class="gmail_quote" type="cite" style="margin:0 0 0 8px;border-left:1px solid #cccccc;'
        f'padding-left:8px">{inner}</blockquote></div>'
    )


def _attribution(quoted: Quoted) -> str:
    at, name, addr = quoted.written_at, _one_line(quoted.author.name), _one_line(quoted.author.addr)
    who = f"{name} <{addr}>" if name else f"<{addr}>"
    day = f"{_DAYS[at.weekday()]}, {at.day} {_MONTHS[at.month - 1]} {at.year}"  # strftime speaks the server's language
    return f"On {day} at {at:%H:%M}, {who} wrote:"


def _one_line(value: str) -> str:
    return " ".join(_CONTROLS.sub("", value).split())[:200]


def _bounded(text: str, bytes_max: int) -> str:
    # What a customer wrote is never a reason to refuse the answer: what no mail may hold is left out.
    text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip("\n")
    data = text.encode()
    if len(data) <= bytes_max:
        return text
    kept = data[:bytes_max].decode("utf-8", "ignore")
    whole_lines = kept.rpartition("\n")[0]
    return f"{whole_lines or kept}\n{_CUT}"


def _called(image: re.Match[str]) -> str:
    alt = _ALT.search(image[1])
    return f"[{alt[1]}]" if alt is not None and alt[1].strip() else ""
