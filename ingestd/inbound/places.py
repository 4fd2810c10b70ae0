"""Where the stored messages of a mailbox lie, small enough for a mailbox of millions."""

from __future__ import annotations

import hashlib
from array import array
from typing import Final

from storage.audits import Fate

_FATES: Final = tuple(Fate)
_BITS: Final = 3
"""Of each entry so many tell the fate; the others are those of a hash, and 0 is an empty slot."""


class Places:
    """A hash table of locators, 16 to 32 bytes each. Two of a million are mistaken for each other once in 10^7 audits.

    >>> places = Places(10)
    >>> places.add("7:1:INBOX", Fate.QUARANTINED)
    >>> places.find("7:1:INBOX"), places.find("7:2:INBOX")
    (<Fate.QUARANTINED: 'quarantined'>, None)
    """

    def __init__(self, count: int) -> None:
        """`count` is how many there will be; a few more, as mail comes in meanwhile, are taken too."""
        self._mask = (1 << max(4, (2 * count).bit_length())) - 1
        self._slots = array("Q", bytes(8 * (self._mask + 1)))
        self._room = self._mask * 7 // 8

    def add(self, locator: str, fate: Fate) -> None:
        """What does not fit any more is left out: it is asked for, and known by its identity."""
        if not locator or not self._room:
            return
        wanted = _hash(locator)
        at = wanted & self._mask
        while self._slots[at] and self._slots[at] >> _BITS != wanted >> _BITS:
            at = (at + 1) & self._mask
        self._room -= not self._slots[at]
        self._slots[at] = wanted >> _BITS << _BITS | _FATES.index(fate)

    def find(self, locator: str) -> Fate | None:
        wanted = _hash(locator)
        at = wanted & self._mask
        while slot := self._slots[at]:
            if slot >> _BITS == wanted >> _BITS:
                return _FATES[slot & ((1 << _BITS) - 1)]
            at = (at + 1) & self._mask
        return None


def _hash(locator: str) -> int:
    found = int.from_bytes(hashlib.blake2b(locator.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")
    return found | 1 << 63  # never 0
