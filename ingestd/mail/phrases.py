"""Phrases to be looked for in a text: plain words as data, found by substring search.

Large alternations of regular expressions took ten milliseconds a notice; a
substring costs some nanoseconds, and no text makes it slow.
"""

from __future__ import annotations

_GAP = "…"
_GAP_CHARS = 90
_HITS_MAX = 20
_MARKS = str.maketrans(dict.fromkeys('()[]<>{}"*|„“”«»「」', " ") | {"’": "'", "‘": "'", "：": ":", "_": " "})


def prepare(text: str, chars_max: int) -> str:
    """Return the start of `text` in the form that phrases are looked for in: lower case, one line, no brackets.

    >>> prepare("It DOESN’T\\n exist (yet)", 100)
    ' it does not exist yet '
    """
    text = text[:chars_max].lower().translate(_MARKS)
    if "'" in text:
        text = text.replace("can't", "cannot").replace("won't", "will not").replace("n't", " not")
    # Turkish: the dotted capital leaves a mark of its own in lower case.
    return f" {' '.join(text.split())} ".replace("i\u0307", "i")


class Phrases:
    """A set of phrases, written with `|` between them.

    `…` stands for other words of the same sentence; `_` for the beginning or end of a word.

    >>> Phrases("mailbox … full | _spf_").search(prepare("The mailbox of jane@example.com is full.", 100))
    True
    >>> Phrases("mailbox … full").search(prepare("Wrong mailbox. The moon is full.", 100))
    False
    """

    def __init__(self, *texts: str) -> None:
        self._plain: list[str] = []
        self._gapped: list[tuple[str, list[str]]] = []
        for phrase in "|".join(texts).split("|"):
            # White space is what surrounds a phrase in the data; within it, it is one space.
            pieces = [" ".join(piece.split()).replace("_", " ") for piece in phrase.split(_GAP)]
            if len(pieces) > 1:
                self._gapped.append((pieces[0], pieces[1:]))
            elif pieces[0]:
                self._plain.append(pieces[0])

    def search(self, prepared: str) -> bool:
        """Tell whether a phrase occurs in a text that `prepare` returned."""
        for phrase in self._plain:  # a loop, as a generator costs twice as much as the search itself
            if phrase in prepared:
                return True
        return any(first in prepared and _follow(prepared, first, rest) for first, rest in self._gapped)

    def equals(self, prepared: str) -> bool:
        """Tell whether a prepared text is a phrase, and nothing else."""
        return prepared.strip() in self._plain

    def begins(self, prepared: str) -> bool:
        """Tell whether a prepared text begins with a phrase."""
        start = prepared[1:]
        return any(start.startswith(phrase.lstrip()) for phrase in self._plain)


def _follow(text: str, first: str, rest: list[str]) -> bool:
    """Tell whether all pieces stand in one sentence, in order; the dots of addresses end none."""
    at = text.find(first)
    for _ in range(_HITS_MAX):
        if at < 0:
            return False
        end = at + len(first)
        sentence = text[end : end + _GAP_CHARS * len(rest)]
        sentence = sentence[: _end_of_sentence(sentence)]
        position = 0
        for piece in rest:
            found = sentence.find(piece, position)
            if found < 0:
                break
            position = found + len(piece)
        else:
            return True
        at = text.find(first, end)
    return False


def _end_of_sentence(text: str) -> int:
    at = text.find(". ")
    while at > 0 and text[at - 1].isdigit():  # "am 5. Mai"
        at = text.find(". ", at + 1)
    return len(text) if at < 0 else at + 1
