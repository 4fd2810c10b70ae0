"""Who may use the parser's processes next.

New mail goes before old, and old mail never has all processes. Within both, mailboxes take turns, a few messages each,
so that one with thousands waiting is served like one with a single mail. A mailbox whose mail takes long (hostile, or
huge) goes into the slow lane for a while: all in it share one process less than there are, so that the others find one
free, and wait for a slow mail at most once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

W = TypeVar("W")

SLOW_SECONDS = 1.0
"""A message that takes longer puts its mailbox into the slow lane."""
_SLOW_LANE_SECONDS = 600.0
_SLOW_MAX = 1000
"""Mailboxes that are remembered as slow; the oldest goes first."""


@dataclass(slots=True, eq=False)
class Place(Generic[W]):
    """A place for one message, or a few: with a process that is free, or None to start one in."""

    live: bool
    owner: Hashable
    messages: int
    future: asyncio.Future[W | None]
    slow: bool = False
    taken_at: float = 0.0

    @property
    def process(self) -> W | None:
        return self.future.result()


class Places(Generic[W]):
    """The places for processes; each holds one, or None to start one in."""

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free: list[W | None] = []
        self._few = max(1, count - 1)
        """Places that old mail, and that the slow lane, may take at the same time."""
        self._old = 0
        self._slow = 0
        self._slow_until: OrderedDict[Hashable, float] = OrderedDict()
        self._waiting: dict[bool, OrderedDict[Hashable, deque[Place[W]]]] = {True: OrderedDict(), False: OrderedDict()}

    def waiting(self, *, live: bool) -> int:
        """Return how many messages wait for a place."""
        return sum(one.messages for queue in self._waiting[live].values() for one in queue if not one.future.done())

    async def take(self, *, live: bool, owner: Hashable = None, messages: int = 1) -> Place[W]:
        """Wait for a place. Who has one must `give` it back."""
        place: Place[W] = Place(live, owner, messages, asyncio.get_running_loop().create_future())
        self._waiting[live].setdefault(owner, deque()).append(place)
        self._deal()
        try:
            await place.future
        except asyncio.CancelledError:
            if place.future.done() and not place.future.cancelled():
                self.give(place, place.process)
            raise
        return place

    def give(self, place: Place[W], process: W | None) -> None:
        """Give a place back, with the process that the next message can have."""
        self._old -= not place.live
        self._slow -= place.slow
        if self._clock() - place.taken_at >= SLOW_SECONDS and place.owner is not None:
            self._slow_until[place.owner] = self._clock() + _SLOW_LANE_SECONDS
            self._slow_until.move_to_end(place.owner)
            if len(self._slow_until) > _SLOW_MAX:
                self._slow_until.popitem(last=False)
        self.add(process)

    def add(self, process: W | None) -> None:
        self._free.append(process)
        self._deal()

    def _deal(self) -> None:
        while self._free and (place := self._next()) is not None:
            place.taken_at = self._clock()
            self._old += not place.live
            self._slow += place.slow
            place.future.set_result(self._free.pop(0))

    def _next(self) -> Place[W] | None:
        """Return whose turn it is; None where nobody waits that may be served."""
        for live in (True, False):
            if not live and self._old >= self._few:
                return None
            turns = self._waiting[live]
            for owner in list(turns):
                queue = turns[owner]
                while queue and queue[0].future.done():  # cancelled while it waited
                    queue.popleft()
                if not queue:
                    del turns[owner]
                    continue
                slow = self.is_slow(owner)
                if slow and self._slow >= self._few:
                    continue
                place = queue.popleft()
                place.slow = slow
                turns.move_to_end(owner)
                return place
        return None

    def is_slow(self, owner: Hashable) -> bool:
        """Whether it is in the slow lane."""
        until = self._slow_until.get(owner)
        if until is not None and until <= self._clock():
            del self._slow_until[owner]
            return False
        return until is not None
