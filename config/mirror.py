"""What agents do with tickets, mirrored in the mailbox: how people spell it.

One word for each of `read`, `spam`, `delete` and `solved`, as `after_import` spells it where the two have
a word in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Strict

from config.after_import import check_after_import, check_not_watched, split_after_import

MIRRORED: Final[Mapping[str, tuple[str, ...]]] = {
    "read": ("nothing", "seen"),
    "spam": ("nothing", "junk", "keyword:NAME", "move:FOLDER"),
    "delete": ("nothing", "trash"),
    "solved": ("nothing", "seen", "keyword:NAME", "move:FOLDER"),
}
"""What can be mirrored, and how."""


def check_mirrored(action: str, text: str) -> str:
    """Return the text unchanged. Raises ValueError.

    >>> check_mirrored("spam", "junk"), check_mirrored("solved", "keyword:Solved")
    ('junk', 'keyword:Solved')
    """
    if action not in MIRRORED:
        raise ValueError(f"must be about {_one_of(MIRRORED)}")
    word, target = split_after_import(text)
    known = {one: bool(name) for one, name in map(split_after_import, MIRRORED[action])}
    if known.get(word) is not (target is not None):
        raise ValueError(f"must be {_one_of(MIRRORED[action])}")
    return text if target is None else check_after_import(text)


def check_mirror_fits(mirror: Mapping[str, str], after_import: str, folders: Iterable[str]) -> None:
    """Refuse what cannot hold together: a move into a folder that is read itself, a keyword with two meanings.

    Opening a ticket again takes its keyword away, so no other may mean something else by it. Raises ValueError.

    >>> check_mirror_fits({"solved": "move:Done", "spam": "junk"}, "seen", ["INBOX"])
    """
    watched = tuple(folders)
    taken = {after_import} if after_import.startswith("keyword:") else set()
    for action, text in mirror.items():
        try:
            check_not_watched(text, watched)
        except ValueError as error:
            raise ValueError(f"{action}: {error}") from None
        if text.startswith("keyword:"):
            if text.lower() in {one.lower() for one in taken}:
                raise ValueError(f"{action}: must be another keyword than the others, or after_import, give")
            taken.add(text)


def _one_of(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"


def _checked(action: str) -> Callable[[str], str]:
    return lambda text: check_mirrored(action, text)


MirrorRead = Annotated[str, Strict(), AfterValidator(_checked("read"))]
MirrorSpam = Annotated[str, Strict(), AfterValidator(_checked("spam"))]
MirrorDelete = Annotated[str, Strict(), AfterValidator(_checked("delete"))]
MirrorSolved = Annotated[str, Strict(), AfterValidator(_checked("solved"))]
