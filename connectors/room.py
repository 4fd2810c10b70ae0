"""How much raw mail a process has in memory: what is large waits for room before it is fetched."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

SMALL_BYTES: Final = 4 * 1024 * 1024
"""What is not larger never waits: batches of ordinary mail must not stand behind a slow server's large one."""


class Room:
    """Bytes that all mailboxes of a process share. Who asks first is let in first."""

    def __init__(self, bytes_max: int | None = None) -> None:
        """None: there is no limit."""
        self._bytes_max = bytes_max
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, size_bytes: int) -> AsyncIterator[None]:
        """Hold so many bytes of it, or all of it where they are more; waits until they are free."""
        if self._bytes_max is None or size_bytes <= SMALL_BYTES:
            yield
            return
        size_bytes = min(size_bytes, self._bytes_max)
        await self._take(size_bytes)
        try:
            yield
        finally:
            self._give(size_bytes)

    async def _take(self, size_bytes: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, future))
        self._let_in()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._give(size_bytes)
            self._let_in()
            raise

    def _give(self, size_bytes: int) -> None:
        self._held -= size_bytes
        self._let_in()

    def _let_in(self) -> None:
        assert self._bytes_max is not None
        while self._waiting:
            size_bytes, future = self._waiting[0]
            if not future.done():
                if self._held + size_bytes > self._bytes_max:
                    return
                self._held += size_bytes
                future.set_result(None)
            self._waiting.popleft()
