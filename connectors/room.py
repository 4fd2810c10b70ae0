"""How much raw mail a process has in memory: what is to be fetched waits for room first.

Small batches have a lane of their own, so that new mail never stands behind somebody's large one. Within a lane who
asks first is let in first; but one server has at most half of it, so that one that is slow leaves room for the others.
A few ordinary mails never wait, whatever others have sent that is slow to parse: what has just come is no more.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

SMALL_BYTES: Final = 4 * 1024 * 1024
"""What is not larger is small."""
_TINY_BYTES: Final = 256 * 1024
_SMALL_SHARE: Final = 4
"""One part in so many is for the small ones."""


@dataclass(eq=False, slots=True)
class _Waiting:
    size_bytes: int
    server: str
    let_in: asyncio.Future[None]


@dataclass(slots=True)
class _Lane:
    bytes_max: int
    held: int = 0
    held_of: Counter[str] = field(default_factory=Counter)
    waiting: deque[_Waiting] = field(default_factory=deque)

    async def take(self, size_bytes: int, server: str) -> None:
        if not self.waiting and self._has_room(size_bytes, server):
            self._hold(size_bytes, server)
            return
        mine = _Waiting(size_bytes, server, asyncio.get_running_loop().create_future())
        self.waiting.append(mine)
        self._let_in()
        try:
            await mine.let_in
        except asyncio.CancelledError:
            if mine.let_in.done() and not mine.let_in.cancelled():
                self.give(size_bytes, server)
            self._let_in()
            raise

    def give(self, size_bytes: int, server: str) -> None:
        self.held -= size_bytes
        self.held_of[server] -= size_bytes
        if not self.held_of[server]:
            del self.held_of[server]
        self._let_in()

    def _hold(self, size_bytes: int, server: str) -> None:
        self.held += size_bytes
        self.held_of[server] += size_bytes

    def _has_room(self, size_bytes: int, server: str) -> bool:
        """Whether it fits; what never would is let in alone."""
        fits = not self.held or self.held + size_bytes <= self.bytes_max
        return fits and self._is_its_share(size_bytes, server)

    def _is_its_share(self, size_bytes: int, server: str) -> bool:
        own = self.held_of.get(server, 0)
        return not own or own + size_bytes <= self.bytes_max // 2

    def _let_in(self) -> None:
        still: deque[_Waiting] = deque()
        while self.waiting:
            one = self.waiting.popleft()
            if one.let_in.done():
                continue
            if self._has_room(one.size_bytes, one.server):
                self._hold(one.size_bytes, one.server)
                one.let_in.set_result(None)
                continue
            still.append(one)
            if self._is_its_share(one.size_bytes, one.server):
                break  # the lane is full: who comes later waits behind it
        self.waiting.extendleft(reversed(still))


class Hold:
    """Room that somebody has."""

    def __init__(self, lane: _Lane | None = None, size_bytes: int = 0, server: str = "") -> None:
        """None: of a room without a limit."""
        self._lane = lane
        self._size_bytes = size_bytes
        self._server = server
        self._is_taken_over = False

    def take_over(self) -> None:
        """Have it beyond the block that took it: who says so must release it."""
        self._is_taken_over = True

    def release(self) -> None:
        """Give it back; again does nothing."""
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.give(self._size_bytes, self._server)

    def end(self) -> None:
        """Give it back where nobody has taken it over."""
        if not self._is_taken_over:
            self.release()


class Room:
    """Bytes that all mailboxes of a process share. Use it from one event loop."""

    def __init__(self, bytes_max: int | None = None) -> None:
        """None: there is no limit."""
        self._lanes: tuple[_Lane, _Lane] | None = None
        if bytes_max is not None:
            small = bytes_max // _SMALL_SHARE
            self._lanes = _Lane(small), _Lane(bytes_max - small)

    @asynccontextmanager
    async def taken(self, size_bytes: int, server: str) -> AsyncIterator[Hold]:
        """Hold so many bytes for mail of a server (its host and port, say); waits until they are free."""
        if self._lanes is None or size_bytes <= _TINY_BYTES:
            yield Hold()
            return
        lane = self._lanes[size_bytes > SMALL_BYTES]
        await lane.take(size_bytes, server)
        hold = Hold(lane, size_bytes, server)
        try:
            yield hold
        finally:
            hold.end()
