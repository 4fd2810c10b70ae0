"""MAPI properties as TNEF carries them ([MS-OXTNEF] §2.1.3.4, types: [MS-OXCDATA] §2.11.1)."""

from __future__ import annotations

from ingestd.mail.limits import DEFAULT_LIMITS, Limits

Key = int | tuple[bytes, int]
"""The number of a property, or the set (16 bytes) and number of a named one."""
Value = int | str | bytes
"""8-bit strings stay bytes: their charset is told elsewhere."""
Properties = dict[Key, Value]

_FIXED = {
    0x0002: 2,  # Integer16
    0x0003: 4,  # Integer32
    0x0004: 4,  # Floating32
    0x0005: 8,  # Floating64
    0x0006: 8,  # Currency
    0x0007: 8,  # FloatingTime
    0x000A: 4,  # ErrorCode
    0x000B: 2,  # Boolean
    0x0014: 8,  # Integer64
    0x0040: 8,  # Time
    0x0048: 16,  # Guid
}
_STRING8, _UNICODE, _BINARY, _OBJECT = 0x001E, 0x001F, 0x0102, 0x000D
_MULTIPLE = 0x1000


def read_properties(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Properties:
    """Return the properties until the first that is damaged. Of several values the first is kept.

    >>> read_properties(bytes.fromhex("01000000" "03000610" "2a000000"))
    {4102: 42}
    """
    cursor = _Cursor(data)
    found: Properties = {}
    try:
        count = min(cursor.number(4), limits.tnef_properties_max)
        for _ in range(count):
            kind, name = cursor.number(2), cursor.number(2)
            key = _named(cursor) if name >= 0x8000 else name
            value = _value(cursor, kind, limits)
            if key is not None and value is not None:
                found.setdefault(key, value)
    except _Short:
        pass
    return found


class _Short(Exception):
    """The bytes end before the value does."""


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, length: int) -> bytes:
        if length > len(self.data) - self.at:
            raise _Short
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def padded(self, length: int) -> bytes:
        """Take what fills up to a multiple of four; the last padding may be missing."""
        taken = self.take(length)
        self.at = min(len(self.data), self.at + -length % 4)
        return taken


def _named(cursor: _Cursor) -> Key | None:
    """Read what names the property; None for a name that is a word, as none of these is used here."""
    identity = cursor.take(16)
    if cursor.number(4) == 0:
        return identity, cursor.number(4)
    cursor.padded(cursor.number(4))
    return None


def _value(cursor: _Cursor, kind: int, limits: Limits) -> Value | None:
    """Read the value or values, and return the first."""
    single = kind & ~_MULTIPLE
    size = _FIXED.get(single)
    if size is not None:
        count = cursor.number(4) if kind & _MULTIPLE else 1
        first = cursor.padded(size * count)[:size]
        return int.from_bytes(first, "little") if single != 0x0048 else first
    if single not in (_STRING8, _UNICODE, _BINARY, _OBJECT):
        raise _Short  # its length is not known, so neither is where the next one begins
    found: Value | None = None
    for _ in range(min(cursor.number(4), limits.tnef_properties_max)):
        data = cursor.padded(cursor.number(4))
        if found is None:
            found = data.decode("utf-16-le", "replace").rstrip("\0") if single == _UNICODE else data
    return found
