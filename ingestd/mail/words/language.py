"""What is known of one language."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One language."""

    begins: str = ""
    """Before the date of "On Monday, 2 March 2026, Jane wrote:"; weekdays as they are abbreviated."""
    wrote: str = ""
    from_: str = ""
    to: str = ""
    date: str = ""
    subject: str = ""
    copy: str = ""
    """Cc, and other labels that stand in a header block."""
    original: str = ""
    """Between dashes, above history."""
    forwarded: str = ""
    """Between dashes, above what is forwarded."""
    begin_forwarded: str = ""
    """Apple's line above what is forwarded."""
    above: str = ""
    """Helpdesks' "reply above this line"."""
    device: str = ""
    """Whole lines that a device adds beneath a text."""
    device_key: str = ""
    """What such a line holds, one of these at least: to pass most lines over quickly."""
    below: str = ""
    """By which a customer says that answers stand inside the history."""
    first_person: str = ""
    """Whom no client names: then it is the customer's own sentence. Case counts; none is a name elsewhere."""
    second_person: str = ""
