"""The block of header fields that Outlook and its like write above history: From, Sent, To, Subject.

Customers write `From: A`, too, so a block counts only with the fields that a
client always writes, or with an address and a time of day.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingestd.mail.attribution import field, has_clock, has_date

_LINES_MAX = 16
_FOLDED_MAX = 4
_MAIN = frozenset({"from", "to", "date", "subject"})


def header_block(lines: Sequence[str], at: int) -> bool:
    """Tell whether a client's block of header fields begins at a line.

    >>> header_block(["From: Jane", "Sent: Monday", "To: Support", "Subject: Help"], 0)
    True
    >>> header_block(["From: Paris", "To: Berlin", "Weight: 3 kg"], 0)
    False
    """
    first = field(lines[at])
    if first is None or first[0] not in _MAIN:
        return False
    found = _fields(lines, at)
    senders = found.get("from", "") + found.get("to", "")
    date = found.get("date", "")
    if "subject" in found and found.get("from") and len(found) >= 3:
        return True
    if not has_clock(date):
        return False
    # Windows Mail writes no subject. Who lists a journey writes the places first, and the time below.
    return "@" in senders or (list(found)[:3] == ["from", "date", "to"] and has_date(date))


def _fields(lines: Sequence[str], at: int) -> dict[str, str]:
    """Return kind → value of the fields from a line on; long values are folded, and HTML brings empty lines."""
    found: dict[str, str] = {}
    kind = ""
    folded = blank = 0
    for line in lines[at : at + _LINES_MAX]:
        if not line.strip(" \t\u00a0>"):
            blank += 1
            if blank > 1:
                break
            continue
        one = field(line)
        if one is not None:
            kind = one[0]
            found.setdefault(kind, one[1])
        elif folded < _FOLDED_MAX and _continues(found[kind], line, blank):
            folded += 1
            found[kind] = f"{found[kind]} {line.strip()}"[:1000]
        else:
            break
        blank = 0
    return found


def _continues(value: str, line: str, blank: int) -> bool:
    if not value:
        return True  # the value stands on a line of its own: fields in the cells of a table
    return blank == 0 and (line[:1] in " \t<" or value.endswith((",", ";", "<")) or line.lstrip().startswith("<"))
