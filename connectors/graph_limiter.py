"""How many calls a mailbox makes at once, and whose turn it is.

One limiter for each mailbox, shared by its reader, its backfill and its sender: Graph counts them together.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from connectors.base import RateLimited
from connectors.graph_access import CALLS_AT_ONCE_MAX


class MailboxLimiter:
    """Places for calls, given out in turn among those who wait: a backfill of many calls delays a reply by one.

    Used inside one event loop. Each who shares it names itself ("reader", "history", "sender", "audit").
    """

    def __init__(self, calls_max: int = CALLS_AT_ONCE_MAX, *, clock: Callable[[], float] = time.monotonic) -> None:
        if calls_max < 1:
            raise ValueError("calls_max must be positive")
        self._free = calls_max
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By user, in the order of their turns."""
        self._paused_until = 0.0
        self._clock = clock

    def pause(self, seconds: float) -> None:
        """Let no call begin for a while: what Graph says to one call it means for the mailbox."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    @property
    def pause_left(self) -> float:
        return max(0.0, self._paused_until - self._clock())

    @asynccontextmanager
    async def place(self, user: str, *, wait_seconds_max: float) -> AsyncIterator[None]:
        """Hold a place for one call. Raises RateLimited where Graph wants a pause longer than `wait_seconds_max`."""
        await self._take(user)
        try:
            while (left := self.pause_left) > 0:
                if left > wait_seconds_max:
                    raise RateLimited("throttled: the pause is not over", retry_after=left)
                await asyncio.sleep(left)
            yield
        finally:
            self._give_back()

    async def _take(self, user: str) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()  # it was ours already
            else:
                self._forget(user, turn)
            raise

    def _give_back(self) -> None:
        while self._waiting:
            user, turns = next(iter(self._waiting.items()))
            turn = turns.popleft()
            # Who was served goes to the end.
            del self._waiting[user]
            if turns:
                self._waiting[user] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _forget(self, user: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(user)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[user]
