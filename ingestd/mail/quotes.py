"""Cuts what a reply quotes, and its signature, so that an agent reads only what is new.

One pass over the lines, with bounded work a line: regular libraries for this
took seconds on hostile text. A line is kept when in doubt: a quote too many is
a nuisance, a lost sentence of the customer's is a fault. So nothing is cut when
nothing would remain, forwarded messages stay, and answers written between
quoted lines stay.
"""

from __future__ import annotations

import re

from ingestd.mail.attribution import (
    is_attribution,
    is_device_line,
    is_forward_separator,
    is_from_field,
    is_original_separator,
    is_other_field,
    may_begin_attribution,
)

_JOINED_LINES_MAX = 4
_FIELD_LINES = 6
_SIGNATURE_LINES_MAX = 25
_LINES_MAX = 20_000
_RULE = re.compile(r"^\s*[_\-–—=*]{10,}\s*$")
_REPLY_ABOVE = re.compile(
    r"^[\s>#*=\-–—~]*(?:please )?(?:reply|write|type your reply|respond) above this line|^\s*##-.{0,120}-##\s*$|"
    r"^[\s\-*]*(?:antworten sie oberhalb|répondre au-dessus|пишите ответ выше|введите ответ выше)",
    re.IGNORECASE,
)


def strip_quotes(text: str, *, forwarded: bool = False) -> str:
    """Return `text` without quoted history and signature; its lines are lines of `text`, in order.

    `forwarded`: the subject says that the message is forwarded on purpose
    (Fwd:), so header blocks are its content and are kept.

    >>> strip_quotes("Yes.\\n\\nOn Mon, 2 Mar 2026, Jane <j@example.com> wrote:\\n> Does it work?")
    'Yes.'
    """
    lines = text.split("\n")
    if len(lines) > _LINES_MAX:
        return text.strip()
    kept = _without_history(lines, forwarded)
    kept = _without_signature(kept)
    result = "\n".join(kept).strip()
    return result or text.strip()


def is_forward_subject(subject: str) -> bool:
    """Tell whether the subject's prefix says "forwarded".

    >>> is_forward_subject("FW: Invoice"), is_forward_subject("Re: FW: Invoice")
    (True, False)
    """
    return _FORWARD_PREFIX.match(subject) is not None


_FORWARD_PREFIX = re.compile(
    r"^\s*(?:fwd?|wg|tr|rv|enc|i|doorst|pd|пересл|turn|vs|vb|ilt|转发|轉寄|転送|전달)\s*[:：]", re.IGNORECASE
)


def _without_history(lines: list[str], forwarded: bool) -> list[str]:
    kept: list[str] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        if is_forward_separator(line):
            return kept + lines[index:]
        if _ends_message(lines, index, forwarded) and _has_text(kept):
            return kept
        used = _attribution_lines(lines, index)
        if used:
            after = _first_text(lines, index + used)
            if after is None or not _quoted(lines[after]):
                if _has_text(kept):
                    return kept
            else:
                index = after  # the quote itself is dropped line by line: answers may stand between
                continue
        if _quoted(line):
            index = _after_quote(lines, index)
            continue
        kept.append(line)
        index += 1
    return kept


def _after_quote(lines: list[str], index: int) -> int:
    """Return the line after a quoted block."""
    while index < len(lines) and _quoted(lines[index]):
        index += 1
    return index


def _ends_message(lines: list[str], index: int, forwarded: bool) -> bool:
    """Tell whether everything from here on is history, whatever it looks like."""
    line = lines[index]
    if not line.strip():
        return False
    if _REPLY_ABOVE.match(line) or (is_original_separator(line) and not forwarded):
        return True
    if forwarded:
        return False
    if _RULE.match(line):
        after = _first_text(lines, index + 1)
        return after is not None and after - index <= 2 and _header_block(lines, after)
    return _header_block(lines, index)


def _header_block(lines: list[str], index: int) -> bool:
    """Outlook: From, then at least two more fields within the next lines; Hotmail and Lotus: From among them."""
    if not is_other_field(lines[index]):
        return False
    block = [line for line in lines[index : index + 1 + _FIELD_LINES] if is_other_field(line)]
    return len(block) >= 3 and any(is_from_field(line) for line in (block if is_from_field(block[0]) else block[:4]))


def _attribution_lines(lines: list[str], index: int) -> int:
    """Return how many lines from `index` on introduce a quotation; 0 for none. Clients wrap them."""
    quoted = _quoted(lines[index])
    line = lines[index].strip().lstrip("> ") if quoted else lines[index].strip()
    if not line:
        return 0
    if is_attribution(line):
        return 1
    if not may_begin_attribution(line):
        return 0
    joined = line
    for count in range(2, _JOINED_LINES_MAX + 1):
        if index + count > len(lines):
            break
        following = lines[index + count - 1].strip()
        following = following.lstrip("> ") if quoted else following
        if not following:
            break
        joined = f"{joined} {following}"
        if is_attribution(joined):
            return count
    return 0


def _quoted(line: str) -> bool:
    return line.lstrip(" \t\u00a0").startswith((">", "\uff1e")) and not line.lstrip().startswith(">From ")


def _first_text(lines: list[str], index: int) -> int | None:
    for at in range(index, min(index + 5, len(lines))):
        if lines[at].strip():
            return at
    return None


def _has_text(lines: list[str]) -> bool:
    return any(line.strip() for line in lines)


def _without_signature(lines: list[str]) -> list[str]:
    """Cut at the last `-- ` (RFC 3676 §4.3) that leaves text above it and little below, then device lines."""
    for index in range(len(lines) - 1, max(-1, len(lines) - _SIGNATURE_LINES_MAX - 1), -1):
        mark = lines[index].replace("\u00a0", " ")
        if mark.rstrip() == "--" and not mark.startswith("--  ") and _has_text(lines[:index]):
            lines = lines[:index]
            break
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    if end and is_device_line(lines[end - 1]) and _has_text(lines[: end - 1]):
        return lines[: end - 1]
    return lines[:end]
