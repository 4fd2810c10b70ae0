"""What is wrong with a configuration, in words that say where it is and what to do.

No message ever holds a value: what stands in the wrong place can be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Line and column, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. It prints as `file:line:column: key: what is wrong; what to do`."""

    file: Path
    position: Position | None
    """None where the file itself is the problem."""
    key: str
    """Dotted, e.g. `providers.work.imap.host`; empty for the file itself."""
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.position.line}:{self.position.column}" if self.position else str(self.file)
        return ": ".join(part for part in (place, self.key, self.text) if part)


class ConfigError(Exception):
    """The configuration cannot be used; the text lists all its problems, a line each."""

    def __init__(self, problems: Collection[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.position or Position(0, 0)))
        count = "one problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{count} in the configuration:", *map(str, self.problems)]))


def unknown_key(key: str, known: Collection[str]) -> str:
    """The text for a key that does not exist here, with the nearest one that does.

    >>> unknown_key("listen_prt", ["listen_port", "public_url"])
    'unknown key; did you mean listen_port?'
    """
    if near := difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1):
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; remove it (the keys here are: {', '.join(sorted(known))})"


_SECTION: Final = "must be a section: keys with their values, indented below it"
_NUMBER: Final = "must be a number"
_INTEGER: Final = "must be a whole number"
_LIST: Final = "must be a list: [first, second]"
_TEXT: Final = "must be text; put it in quotes"

# By pydantic's error types. The braces are filled from the error's context, which holds limits, never input.
_WORDING: Final[Mapping[str, str]] = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": _SECTION,
    "finite_number": _NUMBER,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:.15g}",
    "int_from_float": _INTEGER,
    "int_parsing": _INTEGER,
    "int_parsing_size": _INTEGER,
    "int_type": _INTEGER,
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:.15g}",
    "literal_error": "must be one of: {expected}",
    "model_attributes_type": _SECTION,
    "model_type": _SECTION,
    "path_type": "must be a path, as text",
    "string_too_long": "must be at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": _TEXT,
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entry",
    "tuple_type": _LIST,
    "union_tag_invalid": "must be one of: {expected_tags}",
    "union_tag_not_found": "is missing; add it",
}


def wording(kind: str, context: Mapping[str, Any]) -> str:
    """The text for a pydantic error of this type.

    >>> wording("less_than_equal", {"le": 65535})
    'must be at most 65535'
    """
    if kind == "value_error":
        return str(context["error"])
    return _WORDING.get(kind, f"is not valid ({kind})").format_map(context)
