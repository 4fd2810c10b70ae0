"""How long work tells how far it is: to a terminal, or to nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

Step: TypeAlias = Callable[[int], None]
"""Called with how many more are done."""
Progress: TypeAlias = Callable[[str, int], AbstractContextManager[Step]]
"""Called with what is worked on and how many there are."""


@contextmanager
def quiet(_what: str, _count: int) -> Iterator[Step]:
    yield lambda _more: None
