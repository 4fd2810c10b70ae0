"""The elements of HTML, by what the other modules need to know of them."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VOID = words("br hr img wbr col input meta link area base embed source track param")
