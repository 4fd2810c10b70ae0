"""Waking tasks when something was written: by this process, by a replica, or by the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import tenacity

from storage.database import Database
from storage.errors import StorageUnavailable


class Bell:
    """Rings for topics. A task that waits for one is woken; a ring while nobody waits is kept for the next.

    A topic may be a part of another one: `events:ID` rings for those who wait for it, and for those of `events`.
    """

    def __init__(self) -> None:
        self._events: dict[str, set[asyncio.Event]] = {}

    def ring(self, topics: Collection[str]) -> None:
        for topic in topics:
            for event in self._events.get(topic, ()):
                event.set()
            whole, colon, _ = topic.partition(":")
            for event in self._events.get(whole, ()) if colon else ():
                event.set()

    def ring_all(self) -> None:
        self.ring(list(self._events))

    def subscribe(self, *topics: str) -> Listener:
        return Listener(self, topics)

    def _add(self, topics: Collection[str], event: asyncio.Event) -> None:
        for topic in topics:
            self._events.setdefault(topic, set()).add(event)

    def _remove(self, topics: Collection[str], event: asyncio.Event) -> None:
        for topic in topics:
            self._events[topic].discard(event)
            if not self._events[topic]:
                del self._events[topic]


class Listener:
    """One task's ear for some topics. Use it as a context manager."""

    def __init__(self, bell: Bell, topics: Collection[str]) -> None:
        self._bell = bell
        self._topics = topics
        self._event = asyncio.Event()

    def __enter__(self) -> Listener:
        self._bell._add(self._topics, self._event)
        return self

    def __exit__(self, *_: object) -> None:
        self._bell._remove(self._topics, self._event)

    async def wait(self, timeout_seconds: float) -> bool:
        """Return True when it rang since the last call, False after the timeout: look anyway, then."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


async def watch(database: Database, bell: Bell, *, poll_seconds: float) -> None:
    """Ring for what others commit, until cancelled: by LISTEN on PostgreSQL, by the data version on SQLite."""
    database.on_wake(bell.ring)
    if database.is_sqlite:
        await _watch_version(database, bell, poll_seconds)
    else:
        await _listen(database, bell)


async def _watch_version(database: Database, bell: Bell, poll_seconds: float) -> None:
    seen = None
    while True:
        try:
            version = await database.data_version()
        except StorageUnavailable:
            version = None  # whoever writes next will say so
        if version != seen:
            seen = version
            bell.ring_all()
        await asyncio.sleep(poll_seconds)


async def _listen(database: Database, bell: Bell) -> None:
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(StorageUnavailable),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=10),
    ):
        with attempt:
            bell.ring_all()  # what was announced while nobody listened is not told again
            await database.listen(bell.ring)
