"""Reading ahead: while one batch is committed, the next one is parsed, and the one behind it fetched.

What was not committed at a failure is dropped, and read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from connectors.base import Batch
from ingestd.inbound.intake import Prepared, Read

T = TypeVar("T")


class Slot:
    """The place of one batch among those in memory; can be given back more than once."""

    def __init__(self, batches: asyncio.Semaphore) -> None:
        self._batches = batches
        self._taken = False

    async def take(self) -> None:
        await self._batches.acquire()
        self._taken = True

    def release(self) -> None:
        if self._taken:
            self._taken = False
            self._batches.release()


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch that was fetched and parsed, and waits for its commit. Who has it must release it."""

    batch: Batch
    new: Sequence[Prepared]
    seen: Sequence[Read]
    """Those of it that were known."""
    seconds: float
    """What it took to prepare it."""
    slot: Slot

    def release(self) -> None:
        self.slot.release()
        self.batch.hold.release()


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
        self._reads_ahead = reads_ahead
        self._fetching: asyncio.Task[Batch | None] | None = None
        self._preparing: asyncio.Task[Ready | None] | None = None

    async def next(self) -> Ready | None:
        """Return the next batch, and begin with those behind it; None where there is none."""
        if not self._reads_ahead:
            batch = await anext(self._batches, None)
            return None if batch is None else await self._prepare(batch)
        if self._preparing is None:
            self._preparing = asyncio.create_task(self._prepare_next())
        ready = await self._preparing
        self._preparing = None if ready is None else asyncio.create_task(self._prepare_next())
        return ready

    async def aclose(self) -> None:
        """Drop what was not asked for; nothing is under way afterwards."""
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.wait([self._preparing])
            if (ready := _result(self._preparing)) is not None:
                ready.release()
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
            if (batch := _result(self._fetching)) is not None:
                batch.hold.release()

    async def _prepare_next(self) -> Ready | None:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        batch = await asyncio.shield(self._fetching)
        if batch is None:
            return None
        self._fetching = asyncio.create_task(self._fetch())
        return await self._prepare(batch)

    async def _fetch(self) -> Batch | None:
        async with self._connection:
            batch = await anext(self._batches, None)
        if batch is not None:
            batch.hold.take_over()
        return batch


def _result(task: asyncio.Task[T]) -> T | None:
    return None if task.cancelled() or task.exception() is not None else task.result()
