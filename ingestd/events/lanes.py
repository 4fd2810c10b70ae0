"""What waits to be delivered to one webhook, in memory: a lane a ticket, and of each lane only its first. Pure.

Events of a ticket are delivered in order, those without a ticket in order per mailbox, and different lanes in
parallel. A lane whose first is under way, or waits for another attempt, keeps what is behind it waiting.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from storage.deliveries import Pending
from storage.events import Event

NO_LANE = UUID(int=0)
"""Of events that are about the account itself."""


def lane_of(event: Event) -> UUID:
    return event.ticket_id or event.mailbox_id or NO_LANE


@dataclass(slots=True)
class Entry:
    """A delivery in its lane."""

    pending: Pending
    due: float
    """By the clock of this process."""

    @property
    def event(self) -> Event:
        return self.pending.event


@dataclass(slots=True)
class Lanes:
    """Times are of one clock, which the caller reads."""

    _lanes: dict[UUID, deque[Entry]] = field(default_factory=dict)
    _busy: set[UUID] = field(default_factory=set)
    """Lanes whose first is under way; also one of before a `clear`."""
    _later: list[tuple[float, int, UUID]] = field(default_factory=list)
    """Heads by the time at which they are due. An entry that is out of date is passed over."""
    _ready: list[tuple[int, UUID]] = field(default_factory=list)
    """Heads that are due, by their sequence. As above."""
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Forget all but what is under way: its lane stays closed until `free`."""
        self._lanes.clear()
        self._later.clear()
        self._ready.clear()
        self._count = 0

    def add(self, entries: Iterable[Entry]) -> None:
        """Add deliveries behind all that wait, in the order of the log."""
        for entry in entries:
            lane = lane_of(entry.event)
            line = self._lanes.setdefault(lane, deque())
            line.append(entry)
            self._count += 1
            if len(line) == 1 and lane not in self._busy:
                self._put(lane, entry)

    def take(self, now: float) -> Entry | None:
        """Return the first delivery of the log that is due, now under way; None where there is none."""
        while self._later and self._later[0][0] <= now:
            _, sequence, lane = heapq.heappop(self._later)
            heapq.heappush(self._ready, (sequence, lane))
        while self._ready:
            sequence, lane = heapq.heappop(self._ready)
            line = self._lanes.get(lane)
            if lane in self._busy or not line or line[0].event.sequence != sequence or line[0].due > now:
                continue
            self._busy.add(lane)
            return line[0]
        return None

    def next_due(self) -> float | None:
        """Return when the next one is due that is not yet; None where none waits for its time."""
        return self._later[0][0] if self._later else None

    @property
    def any_ready(self) -> bool:
        return bool(self._ready)

    def done(self, entry: Entry) -> None:
        """It is delivered, or given up: the next of its lane has its turn."""
        lane = lane_of(entry.event)
        line = self._lanes.get(lane)
        if line and line[0] is entry:
            line.popleft()
            self._count -= 1
            if not line:
                del self._lanes[lane]
        self.free(entry)

    def free(self, entry: Entry) -> None:
        """It is not under way any more; where it is still there, it is the first of its lane."""
        lane = lane_of(entry.event)
        self._busy.discard(lane)
        if line := self._lanes.get(lane):
            self._put(lane, line[0])

    def hurry(self, now: float) -> None:
        """What waits for another attempt is due now."""
        for lane, line in self._lanes.items():
            if line[0].due > now:
                line[0].due = now
                if lane not in self._busy:
                    self._put(lane, line[0])

    def _put(self, lane: UUID, entry: Entry) -> None:
        heapq.heappush(self._later, (entry.due, entry.event.sequence, lane))
