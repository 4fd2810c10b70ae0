"""When a reply may leave, where that is not at once: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from config import Outbound
from ingestd.outbound.refused import ReplyRefused

_LATE = timedelta(minutes=1)
"""So far back a time still means now: clocks differ, and so long a request may take."""


@dataclass(frozen=True, slots=True)
class Delay:
    send_at: datetime | None = None
    """Not before this time."""
    undo: timedelta = timedelta()
    """And not before so long after it was asked for: until then it can be cancelled."""

    def date(self, at: datetime) -> datetime:
        """Return when the reply is going to leave at the earliest, asked for `at`: what it is dated by.

        >>> from datetime import UTC
        >>> at = datetime(2026, 3, 1, 9, tzinfo=UTC)
        >>> Delay(undo=timedelta(seconds=30)).date(at).isoformat()
        '2026-03-01T09:00:30+00:00'
        """
        return max(at + self.undo, self.send_at or at)


def delay_of(settings: Outbound, send_at: datetime | None, undo_seconds: float | None, now: datetime) -> Delay:
    """Return the delay that a request asks for, at `now` (aware). Raises ReplyRefused for what cannot be."""
    undo = timedelta(seconds=settings.undo_seconds if undo_seconds is None else undo_seconds)
    ahead = timedelta(days=settings.delay_max_days)
    if undo < timedelta():
        raise ReplyRefused("a reply cannot be undone before it was written: the time to undo it is below zero")
    if send_at is not None:
        if send_at.utcoffset() is None:
            raise ReplyRefused("the time to send at has no time zone: write 2026-03-01T09:00:00+01:00, or Z for UTC")
        if send_at < now - _LATE:
            raise ReplyRefused("the time to send at has passed")
    if max(undo, send_at - now if send_at is not None else undo) > ahead:
        raise ReplyRefused(f"a reply can wait for {settings.delay_max_days} days at most")
    return Delay(send_at, undo)
