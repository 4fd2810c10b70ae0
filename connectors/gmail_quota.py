"""Quota units, budgeted before they are spent: a token bucket for a user, and one for the project.

Google refuses what goes over a number of units in any minute. A bucket that holds `burst` units and is filled with
the rest of the minute's units over that minute can never go over: in any minute at most burst + the filling is spent.
A small share is left unused, as calls do not reach Google in the rhythm in which they leave us.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable

SHARE = 0.97
"""Of the quota that is used at most."""
BURST_SECONDS = 3.0
"""So many seconds' worth of units may be spent at once."""
BURST_UNITS_MIN = 250
"""A batch of 50 reads must fit, and so must a send."""

_USERS_MAX = 20_000
"""Buckets that are kept; the least used goes first."""


class Urgency(enum.IntEnum):
    """Who is served first."""

    SEND = 0
    NEW_MAIL = 1
    HISTORY = 2


class QuotaBucket:
    """Used inside one event loop. The most urgent is served first, among equals the first that came."""

    def __init__(self, units_per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        usable = units_per_minute * SHARE
        self._capacity = max(BURST_UNITS_MIN, usable * BURST_SECONDS / 60)
        if self._capacity > usable / 2:
            raise ValueError("units_per_minute is too low for a batch")
        self._rate = (usable - self._capacity) / 60
        self._clock = clock
        self._level = self._capacity
        self._filled_at = clock()
        self._paused_until = -1.0
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, units: int, urgency: Urgency) -> None:
        """Wait until `units` may be spent, and count them as spent."""
        if units > self._capacity:
            raise ValueError("more units than may ever be spent at once")
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, next(self._numbers), units, future))
        self._serve()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._level = min(self._capacity, self._level + units)
            self._serve()
            raise

    def pause(self, seconds: float) -> None:
        """Spend nothing for so long: Google asked us to wait."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)
        self._level = 0.0
        self._filled_at = max(self._filled_at, self._paused_until)

    def _serve(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            _, _, units, future = self._waiting[0]
            if future.done():
                heapq.heappop(self._waiting)
                continue
            if (seconds := self._seconds_until(units)) > 0:
                self._timer = asyncio.get_running_loop().call_later(seconds, self._serve)
                return
            self._level -= units
            heapq.heappop(self._waiting)
            future.set_result(None)

    def _seconds_until(self, units: int) -> float:
        now = self._clock()
        if now > self._filled_at:
            self._level = min(self._capacity, self._level + (now - self._filled_at) * self._rate)
            self._filled_at = now
        if self._level >= units:
            return 0.0
        return max(self._filled_at - now, 0.0) + (units - self._level) / self._rate + 0.001


class Quotas:
    """The buckets of a process: one for each user, shared by whatever works on the mailbox, and the project's."""

    def __init__(self, units_per_user_minute: int, units_per_project_minute: int) -> None:
        self._units = units_per_user_minute
        self._project = QuotaBucket(units_per_project_minute)
        self._users: OrderedDict[str, QuotaBucket] = OrderedDict()

    def of(self, login: str) -> QuotaBucket:
        """Return a user's bucket. It is kept when nobody works on the mailbox: who comes next may not begin anew."""
        bucket = self._users.get(login)
        if bucket is None:
            bucket = self._users[login] = QuotaBucket(self._units)
            if len(self._users) > _USERS_MAX:
                self._users.popitem(last=False)
        self._users.move_to_end(login)
        return bucket

    async def take(self, bucket: QuotaBucket, units: int, urgency: Urgency) -> None:
        """Wait until units of a user, and of the project, may be spent."""
        await bucket.take(units, urgency)
        await self._project.take(units, urgency)
