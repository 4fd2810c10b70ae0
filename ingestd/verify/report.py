"""What the checker says: how much it looked at, and what is wrong, in ids and fixed words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from ingestd.verify.look import Look


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise. `text` holds fixed words and counts, never content."""

    invariant: str
    account_id: UUID | None
    """None where no single account is concerned."""
    subject_id: str
    """The row it is about: mostly a UUID, else a number or a name."""
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    checked: dict[str, int]
    """How many things each invariant looked at."""
    violations: list[Violation]
    incomplete: frozenset[str] = frozenset()
    """Invariants with more violations than are listed."""

    @property
    def clean(self) -> bool:
        return not self.violations


@dataclass(slots=True)
class Findings:
    """What one run of one invariant has found so far; at most `violations_max` are kept."""

    invariant: str
    violations_max: int
    checked: int = 0
    violations: list[Violation] = field(default_factory=list)
    more: bool = False

    def add(self, account_id: UUID | None, subject_id: object, text: str) -> None:
        if len(self.violations) < self.violations_max:
            self.violations.append(Violation(self.invariant, account_id, str(subject_id), text))
        else:
            self.more = True


Invariant = Callable[["Look", Findings], Awaitable[None]]


def name_of(invariant: Invariant) -> str:
    return str(getattr(invariant, "__name__", invariant))


def promise_of(invariant: Invariant) -> str:
    """Return the sentence that the invariant promises, on one line."""
    return " ".join((invariant.__doc__ or "").split())
