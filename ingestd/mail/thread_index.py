"""Thread-Index, by which Outlook and Exchange sort a conversation (MS-OXOMSG §2.2.1.3, PidTagConversationIndex).

Base64 of a header of 22 bytes (0x01, five bytes of time, a GUID) and five bytes for each answer: how long after the
header's time it was written, and a random number. An answer keeps what its parent has and adds its own five; a
header that is wrong is worse than none, as Outlook takes the message out of its conversation.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime

_HEADER_BYTES = 22
_LEVEL_BYTES = 5
_LEVELS_MAX = 100
"""Outlook itself lets an index grow for ever; a conversation that is longer goes on without."""
_VALUE = re.compile(r"[A-Za-z0-9+/]{28,720}={0,2}")
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_LONG = 1 << 49
"""Of a difference, in 100 ns: about 1.8 years, from where on its lower bits are dropped instead of its upper ones."""


def read_thread_index(value: str) -> str:
    """Return a Thread-Index without white space, "" for what has not the form of one.

    >>> read_thread_index("AdA=")
    ''
    """
    value = "".join(value.split())
    return value if _VALUE.fullmatch(value) and _decode(value) is not None else ""


def reply_thread_index(parent: str, at: datetime, random: int) -> str:
    """Return the Thread-Index of an answer written at `at` (aware), "" where the parent's is none or is full.

    `random` has eight bits; it tells apart two answers of the same moment.
    """
    index = _decode(parent)
    if index is None or len(index) >= _HEADER_BYTES + _LEVELS_MAX * _LEVEL_BYTES:
        return ""
    since = at - _EPOCH
    now = (since.days * 86_400 + since.seconds) * 10_000_000 + since.microseconds * 10
    # The clock that began the conversation may be ahead of ours.
    level = _level(max(0, now - _begun(index)), random)
    return base64.b64encode(index + level).decode("ascii")


def _begun(index: bytes) -> int:
    """Return the header's time, in 100 ns since 1601.

    Outlook writes six bytes of it, the first of which is the 0x01 itself until 2057; Exchange since 2016 (as the
    specification now says) writes five behind the 0x01. Whose second byte is 0x01 would be of the year 1829.
    """
    if index[1] == 0x01:
        return int.from_bytes(index[1:6], "big") << 24
    return int.from_bytes(index[:6], "big") << 16


def _level(difference: int, random: int) -> bytes:
    """Return five bytes: the delta code, 31 bits of the difference, eight of a random number."""
    code, shift = (0, 18) if difference < _LONG else (1, 23)
    return (code << 31 | difference >> shift & 0x7FFF_FFFF).to_bytes(4, "big") + bytes([random & 0xFF])


def _decode(value: str) -> bytes | None:
    try:
        index = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    levels, rest = divmod(len(index) - _HEADER_BYTES, _LEVEL_BYTES)
    good = len(index) >= _HEADER_BYTES and rest == 0 and levels <= _LEVELS_MAX and index[0] == 0x01
    return index if good else None
