"""How far a backfill has come, and how long it may still take. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from storage.backfills import Backfill, BackfillStatus


@dataclass(frozen=True, slots=True)
class Progress:
    seen: int
    total: int | None
    """None before the server was asked."""
    seconds_left: float | None
    """Of reading, at the rate so far; None where it does not run, or nothing is known yet."""


def progress_of(backfill: Backfill) -> Progress:
    """Return where a backfill stands."""
    left = None
    if backfill.status is BackfillStatus.RUNNING and backfill.total is not None:
        left = seconds_left(backfill.seen, backfill.total, backfill.reading_seconds)
    return Progress(backfill.seen, backfill.total, left)


def seconds_left(seen: int, total: int, seconds: float) -> float | None:
    """Return how long the rest takes where `seen` of `total` messages took so many seconds.

    >>> seconds_left(300, 1200, 60.0), seconds_left(0, 1200, 60.0)
    (180.0, None)
    """
    if seen < 1 or seconds <= 0:
        return None
    return max(0, total - seen) * seconds / seen
