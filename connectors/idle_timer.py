"""Closes a connection that has not been used for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class IdleTimer:
    """Calls `close` after `seconds` without `stop`. Used inside one event loop."""

    def __init__(self, seconds: float, close: Callable[[], Awaitable[None]]) -> None:
        self._seconds = seconds
        self._close = close
        self._handle: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.stop()
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._fire)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        # The task is kept: the loop holds tasks weakly only.
        self._closing = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        await self._close()
