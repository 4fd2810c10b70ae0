"""Which elements are open, as a machine of states: what an ordinary tag does to them is looked up, not worked out.

Mail is the same few tags in the same few places, so `html_scan` asks here for most of them, at the
price of one look-up in a dictionary. A state is made when it is first met, from the same rule
(`html_tree.stands`) by which tags are judged one by one; it knows no tag that is to be changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import accumulate
from operator import getitem

from ingestd.mail.html_tags import HIDDEN, INSTEAD, KINDS, TABLE, UNKNOWN, VOID, words
from ingestd.mail.html_tree import stands

DEPTH_MAX = 40
"""Elements that are open at most; what lies deeper is judged tag by tag."""
_STATES_MAX = 1000
"""Strange mail must not fill the memory: beyond so many, all are forgotten. One has some kilobytes at most."""
GONE = words("html /html head /head body /body meta link base o:p /o:p") | words(
    "HTML /HTML HEAD /HEAD BODY /BODY META LINK BASE"
)
"""Tags that are dropped wherever they stand, and change nothing."""


class Odd(Exception):
    """A tag that is to be judged by itself."""


class Nesting(dict[str, "Nesting"]):
    """A state: which elements are open. Maps a tag, as "p" or "/p", to the state behind it; raises Odd.

    >>> nesting_of(["", "div"], [UNKNOWN, 3])["p"].names
    ('', 'div', 'p')
    >>> nesting_of(["", "div", "p"], [UNKNOWN, 3, 4])["/p"].names
    ('', 'div')
    """

    __slots__ = ("depth", "in_table", "kinds", "names")

    def __init__(self, names: tuple[str, ...], kinds: tuple[int, ...]) -> None:
        super().__init__(dict.fromkeys(GONE, self))
        self.names = names
        """From a bottom that is none."""
        self.kinds = kinds
        self.depth = len(names)
        self.in_table = kinds[-1] >= TABLE
        """Where no text may stand."""

    def __missing__(self, tag: str) -> Nesting:
        name = tag.removeprefix("/").lower()
        behind = self._behind(name, KINDS.get(name, UNKNOWN), closes=tag[:1] == "/")
        if tag.islower() or tag.isupper():
            self[tag] = behind
        return behind

    def _behind(self, name: str, kind: int, *, closes: bool) -> Nesting:
        if kind == UNKNOWN or kind >= HIDDEN or name in INSTEAD:
            raise Odd
        if closes:
            if name != self.names[-1]:
                raise Odd
            return nesting_of(self.names[:-1], self.kinds[:-1])
        if self.depth > DEPTH_MAX or not stands(name, kind, self.names, self.kinds[-1]):
            raise Odd
        return self if kind == VOID else nesting_of((*self.names, name), (*self.kinds, kind))


def walk(state: Nesting, tags: Iterable[str]) -> list[Nesting]:
    """Return the states that tags lead to, from the first one on, up to the first odd tag."""
    found: list[Nesting] = []
    with suppress(Odd):  # what was found before stays
        found += accumulate(tags, getitem, initial=state)
    return found


_states: dict[tuple[str, ...], Nesting] = {}


def nesting_of(names: Sequence[str], kinds: Sequence[int]) -> Nesting:
    """Return the state in which these elements are open, by name and kind, from a bottom that is none."""
    key = tuple(names)
    found = _states.get(key)
    if found is None:
        if len(_states) >= _STATES_MAX:
            _states.clear()  # who stands in one goes on from it, and comes to new ones only
        found = _states[key] = Nesting(key, tuple(kinds))
    return found
