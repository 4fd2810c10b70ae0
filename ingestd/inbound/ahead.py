"""Reading ahead: while one batch is committed, the next ones are fetched and parsed.

What was not committed at a failure is dropped, and read again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from connectors.base import Batch
from ingestd.inbound.intake import Prepared, Read

_AHEAD: Final = 2
"""So many batches are under way behind the one that is being committed."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch that was fetched and parsed, and waits for its commit. Who has it must release it."""

    batch: Batch
    new: Sequence[Prepared]
    seen: Sequence[Read]
    """Those of it that were known."""
    seconds: float
    """What it took to prepare it."""
    release: Callable[[], None]
    """Gives back its place among the batches, and its room."""


class Ahead:
    """The batches of one reading, prepared, in their order."""

    def __init__(
        self,
        batches: AsyncIterator[Batch],
        prepare: Callable[[Batch], Awaitable[Ready]],
        connection: asyncio.Lock,
        *,
        reads_ahead: bool,
    ) -> None:
        """`prepare` releases what it fails on. While somebody has the `connection`, nothing is fetched."""
        self._batches = batches
        self._prepare = prepare
        self._connection = connection
        self._ahead = _AHEAD if reads_ahead else 0
        self._coming: deque[asyncio.Task[Ready | None]] = deque()

    async def next(self) -> Ready | None:
        """Return the next batch, and begin with those behind it; None where there is none."""
        self._begin(max(self._ahead, 1))
        ready = await self._coming[0]
        self._coming.popleft()
        if ready is not None:
            self._begin(self._ahead)
        return ready

    async def aclose(self) -> None:
        """Drop what was not asked for; nothing is under way afterwards."""
        for task in self._coming:
            task.cancel()
        if self._coming:
            await asyncio.wait(self._coming)
        for task in self._coming:
            if not task.cancelled() and task.exception() is None and (ready := task.result()) is not None:
                ready.release()

    def _begin(self, count: int) -> None:
        while len(self._coming) < count:
            self._coming.append(asyncio.create_task(self._come()))

    async def _come(self) -> Ready | None:
        async with self._connection:  # whose turn it is: it lets them in as they came
            batch = await anext(self._batches, None)
        if batch is None:
            return None
        if self._ahead:
            batch.hold.take_over()
        return await self._prepare(batch)
