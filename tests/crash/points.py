"""Kill points: before and after every commit, as `storage.database.Database` announces them.

They are never listed by hand. A run of the story records the points that it passes, and
the campaigns choose among those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RECORD = "CRASH_RECORD"
"""Environment of the launcher: append every point that is passed to this file."""
SIGNAL_AT = "CRASH_SIGNAL_AT"
"""Environment of the launcher: the point at which the process sends itself a signal."""
SIGNAL = "CRASH_SIGNAL"
"""Environment of the launcher: the number of that signal; SIGKILL where it is left out."""
STATEMENTS = "CRASH_STATEMENTS"
"""Environment of the launcher: write the statements that it runs to this file."""
STAGE = "# "

TAKEN = "recover"
"""What a worker does first with a mailbox that it has taken; before it, it only starts."""
TIMED = frozenset({"heartbeat", "look", "postpone_copy", "mark_read_through", "advance_cursor", "delete_mailbox"})
"""Steps of clocks: how often they come differs from run to run, so only their first passing is a sure point. The blobs
of a mailbox are deleted again now and then, for who slept through its disconnect."""
ORDINALS_MAX = 3


@dataclass(frozen=True, slots=True)
class Point:
    """The `ordinal`-th time (from 1) that a process passes this place."""

    database: str
    """content or keystore; `blobs` where one is stored or a mailbox's are deleted, `export` where one is written or
    answered."""
    name: str
    """Of the storage function."""
    phase: str
    """committing or committed."""
    ordinal: int = 1

    def __str__(self) -> str:
        return f"{self.database}:{self.name}:{self.phase}:{self.ordinal}"

    @classmethod
    def parse(cls, text: str) -> Point:
        database, name, phase, ordinal = text.split(":")
        return cls(database, name, phase, int(ordinal))


@dataclass(frozen=True, slots=True)
class Discovered:
    """What one run passed."""

    stages: dict[Point, str]
    """Each sure point, and the part of the story in which it was passed."""

    @classmethod
    def read(cls, path: Path) -> Discovered:
        stage, stages, taken = "start", {}, False
        for line in path.read_text().splitlines():
            if line.startswith(STAGE):
                stage = line.removeprefix(STAGE)
                continue
            point = Point.parse(line)
            if point.ordinal <= (1 if point.name in TIMED else ORDINALS_MAX):
                stages[point] = "start" if stage == "ingest" and not taken else stage
            taken = taken or point.name == TAKEN
        return cls(stages)

    def names(self) -> set[str]:
        return {point.name for point in self.stages}

    def of(self, stage: str) -> list[Point]:
        return [point for point, where in self.stages.items() if where == stage]


def spread(points: Sequence[Point], count: int, turn: float) -> list[Point]:
    """Return `count` of `points`, evenly over the run; with `turn` 0 and 0.5, two runs choose different ones.

    >>> take = [Point("content", "take", "committing"), Point("content", "take", "committed")]
    >>> [str(one) for turn in (0, 0.5) for one in spread(take, 1, turn)]
    ['content:take:committing:1', 'content:take:committed:1']
    """
    step = len(points) / count
    return [points[int((index + turn) * step)] for index in range(count)]
