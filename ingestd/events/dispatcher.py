"""Which webhooks this process delivers to, and a task for each.

A webhook is held by one process at a time, by the database's clock. Whoever stops renewing, because it was killed,
paused or cut off, loses what it holds to another process after `hold_seconds`, and notices by its own clock that it
must not send any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from ingestd.events.follower import DeliveryTools, Follower
from ingestd.wakes import Bell
from storage import webhooks
from storage.database import Database
from storage.errors import StorageUnavailable
from storage.events import TOPIC as EVENTS_TOPIC
from storage.webhooks import HeldWebhook

log = structlog.get_logger()

_LOOK_SECONDS = 5.0
"""How often the log is looked at, beneath the wakes."""
_CLAIMS_MAX = 500
"""Webhooks taken in one transaction."""
_CRASH_PAUSE_SECONDS = 30.0


@dataclass(slots=True)
class _Running:
    follower: Follower
    task: asyncio.Task[None]


@dataclass(slots=True)
class Dispatcher:
    """Delivers to the webhooks of one process. Build it in the composition root."""

    content: Database
    tools: DeliveryTools
    bell: Bell
    _running: dict[HeldWebhook, _Running] = field(default_factory=dict)
    _stopping: bool = False
    _renewed_at: float = float("-inf")

    @property
    def in_flight(self) -> int:
        return sum(one.follower.in_flight for one in self._running.values())

    async def run(self) -> None:
        """Work until cancelled; `drain` stands behind."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hold_loop())
                group.create_task(self._watch_loop())
        finally:
            if not self._stopping:
                await self._cancel(list(self._running.values()))

    def look(self) -> None:
        """Have every webhook look at the configuration, which has changed."""
        for one in self._running.values():
            one.follower.look()

    async def drain(self, seconds: float) -> None:
        """Let what is under way end within `seconds`, write what came of it, and hand every webhook over."""
        self._stopping = True
        running, self._running = list(self._running.values()), {}
        await asyncio.gather(*(one.follower.finish(seconds) for one in running))
        await self._cancel(running)
        await asyncio.gather(*(one.follower.flush() for one in running))
        with contextlib.suppress(StorageUnavailable):
            await self.content.transaction(None, webhooks.release, self.tools.lease.worker_id)

    # -- holding ---------------------------------------------------------------------------------

    async def _hold_loop(self) -> None:
        with self.bell.subscribe(webhooks.TOPIC) as listener:
            while True:
                try:
                    await self._hold()
                except StorageUnavailable as error:
                    log.warning("storage.unavailable", exc_info=error)
                again = self._renewed_at + self._hold_seconds / 3 - self.tools.clock()
                await listener.wait(max(again, 0.05))

    @property
    def _hold_seconds(self) -> float:
        return self.tools.lease.seconds

    async def _hold(self) -> None:
        if self._stopping:
            return
        worker_id, asked_at = self.tools.lease.worker_id, self.tools.lease.asking()
        renew = self.tools.clock() - self._renewed_at >= self._hold_seconds / 3
        if renew and self._running:
            await self.content.transaction(None, webhooks.renew, worker_id, self._hold_seconds)
        # Asked first: on SQLite every commit of anybody rings here, and a commit each time would go on for ever.
        if await self.content.read(None, webhooks.any_free):
            await self.content.transaction(None, webhooks.claim, worker_id, self._hold_seconds, _CLAIMS_MAX)
        await self._sync(await self.content.read(None, webhooks.list_held, worker_id))
        if renew:
            # Not before: what was lost meanwhile is not sent to any more.
            self.tools.lease.renewed(asked_at)
            self._renewed_at = asked_at

    async def _sync(self, held: Mapping[HeldWebhook, int]) -> None:
        if self._stopping:
            return
        await self._cancel([self._running.pop(one) for one in [*self._running] if one not in held])
        for one, revision in held.items():
            running = self._running.get(one)
            if running is None or running.task.done():
                follower = Follower(one, self.tools)
                self._running[one] = _Running(follower, asyncio.create_task(self._guarded(follower)))
            else:
                running.follower.changed(revision)

    async def _guarded(self, follower: Follower) -> None:
        """What goes wrong with one webhook ends there; it is begun again after a pause."""
        while True:
            try:
                return await follower.run()
            except StorageUnavailable as error:
                log.warning("storage.unavailable", exc_info=error)
                await asyncio.sleep(1.0)
            except Exception as error:
                log.exception("task.failed", component="webhook", webhook_id=follower.held.webhook_id, exc_info=error)
                await asyncio.sleep(_CRASH_PAUSE_SECONDS)

    async def _cancel(self, running: list[_Running]) -> None:
        for one in running:
            one.task.cancel()
        await asyncio.gather(*(one.task for one in running), return_exceptions=True)

    # -- the log ---------------------------------------------------------------------------------

    async def _watch_loop(self) -> None:
        """Tell the webhooks whose cursor is not at the end of the log."""
        with self.bell.subscribe(EVENTS_TOPIC) as listener:
            while True:
                try:
                    for held in await self.content.read(None, webhooks.list_behind, self.tools.lease.worker_id):
                        if held in self._running:
                            self._running[held].follower.signal()
                except StorageUnavailable as error:
                    log.warning("storage.unavailable", exc_info=error)
                await listener.wait(_LOOK_SECONDS)
