"""Which statements the product's code runs, and from where.

They are heard where a process hands them to its database, in whatever process that is: one that is started with the
name of a file writes each of them there, once (`tests.crash.launcher`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, event

_ROOT: Final = Path(__file__).parents[1]
_PRODUCT: Final = ("storage", "ingestd")
_ASKED: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


@dataclass(frozen=True, slots=True, order=True)
class Statement:
    place: str
    """The function of the product that ran it: `storage/leases.py:claim`."""
    text: str
    """As the driver was given it."""


@contextlib.contextmanager
def heard() -> Iterator[set[Statement]]:
    """Collect what this process runs meanwhile."""
    found: set[Statement] = set()
    note = _listener(found.add)
    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def write_to(path: Path) -> None:
    """Write what this process runs to a file from now on, a line for each."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(one: Statement) -> None:
        os.write(file, f"{json.dumps([one.place, one.text])}\n".encode())

    event.listen(Engine, "before_cursor_execute", _listener(write))


def read_from(path: Path) -> set[Statement]:
    """Return what processes wrote to a file; one that was killed may not have ended its last line."""
    lines = path.read_text().splitlines(keepends=True)
    return {Statement(*json.loads(line)) for line in lines if line.endswith("\n")}


def _listener(found: Callable[[Statement], object]) -> Callable[..., None]:
    known: set[str] = set()

    def note(_conn: Connection, _cursor: object, text: str, *_rest: Any) -> None:
        if text in known or not text.lstrip().startswith(_ASKED):
            return
        known.add(text)
        place = _place()
        if place is not None:
            found(Statement(place, text))

    return note


def _place() -> str | None:
    """Return the innermost function of the project, if it is the product's."""
    frame = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_ROOT) and ".venv" not in path.parts and path.name != "database.py":
            name = path.relative_to(_ROOT)
            if name.parts[0] in _PRODUCT:
                return f"{name}:{frame.f_code.co_name}"
            if name != Path("tests/statements.py"):
                return None
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None
