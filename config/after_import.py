"""What is done in a mailbox to a message that was taken: how people spell it.

`nothing`, `seen`, `keyword:NAME`, `move:FOLDER` or `delete`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import AfterValidator, Strict

_WORDS: Final = frozenset({"nothing", "seen", "delete"})
# An IMAP atom (RFC 3501 §9); Dovecot takes 50 characters of a keyword.
_KEYWORD: Final = re.compile(r"""[^\x00-\x20\x7f-\U0010ffff(){%*"\\\]]{1,50}""")
_FOLDER_CHARS_MAX: Final = 255


def split_after_import(text: str) -> tuple[str, str | None]:
    """Return what is done and to which target: the keyword or the folder.

    >>> split_after_import("move:Archive/2026"), split_after_import("seen")
    (('move', 'Archive/2026'), ('seen', None))
    """
    word, colon, target = text.partition(":")
    return word, target if colon else None


def check_after_import(text: str) -> str:
    """Return the text unchanged. Raises ValueError."""
    word, target = split_after_import(text)
    if target is None and word in _WORDS:
        return text
    if target is not None and word == "keyword":
        if not _KEYWORD.fullmatch(target):
            raise ValueError("must name an IMAP keyword: 1 to 50 ASCII characters without spaces: keyword:Ticketed")
        return text
    if target is not None and word == "move":
        if not 0 < len(target) <= _FOLDER_CHARS_MAX or target != target.strip() or not target.isprintable():
            raise ValueError("must name a folder: move:Archive")
        if target.startswith("\\"):
            raise ValueError("must name a folder as people do, not a role: move:Archive")
        return text
    raise ValueError("must be nothing, seen, keyword:NAME, move:FOLDER or delete")


def check_not_watched(after_import: str, folders: Iterable[str]) -> None:
    """Refuse to move mail into a folder that is read itself. Raises ValueError.

    INBOX alone is the same in any case (RFC 3501 §5.1).

    >>> check_not_watched("move:Archive", ["INBOX"])
    """
    word, target = split_after_import(after_import)
    if word == "move" and target is not None and _plain(target) in map(_plain, folders):
        raise ValueError("must not move mail to a folder that is watched itself")


def after_import_note(text: str) -> str | None:
    """Return what an operator should know of this choice, None where there is nothing to say."""
    if text == "delete":
        return "mail that was taken is deleted in its mailbox: the store is then the only place that has it"
    return None


def _plain(folder: str) -> str:
    return "INBOX" if folder.upper() == "INBOX" else folder


AfterImport = Annotated[str, Strict(), AfterValidator(check_after_import)]
