"""Why a reply is not made."""

from __future__ import annotations


class ReplyRefused(Exception):
    """The reply cannot be made; the text says which limit or value is wrong, without quoting it."""

    def __init__(self, text: str, *, code: str = "refused") -> None:
        super().__init__(text)
        self.code = code
        """A fixed word, for programs."""
