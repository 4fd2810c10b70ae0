"""Waiting for something new: a cheap question now and then, push where it is set up. No thread waits."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence

from connectors.base import AuthError, ConnectorError
from connectors.gmail_changes import has_news
from connectors.gmail_push import PushListener
from connectors.gmail_quota import Urgency
from connectors.gmail_session import GmailSession

_SLOWER = 1.5
_WATCH_AGAIN_SECONDS = 3600.0
"""After a `watch` that was refused."""
_WATCH_JITTER = 0.2
"""Share of the time until a renewal by which renewals are spread."""


class Waiting:
    """The waiting of one reader."""

    def __init__(
        self,
        session: GmailSession,
        push: PushListener | None,
        watch_failed: Callable[[ConnectorError, float], None],
    ) -> None:
        self._session = session
        self._push = push
        self._watch_failed = watch_failed
        self._access = session.access
        self._woken = asyncio.Event()
        self._start: str | None = None
        self._labels: Sequence[str] = ()
        self._pause = self._access.poll_seconds_min
        self._watch_at = 0.0
        self._stop_listening: Callable[[], None] | None = None

    def read_up_to(self, history: str, labels: Sequence[str]) -> None:
        """Everything up to this record was read: what is asked for is what came behind it."""
        self._start, self._labels = history, labels

    def wake(self) -> None:
        """End the waiting. What is told before it can be read is looked for again soon."""
        self._pause = self._access.poll_seconds_min
        self._woken.set()

    def close(self) -> None:
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None

    async def wait(self, timeout_seconds: float) -> bool:
        """See `Reader.wait`."""
        try:
            return await self._wait(time.monotonic() + timeout_seconds)
        finally:
            self._woken.clear()

    async def _wait(self, deadline: float) -> bool:
        if self._woken.is_set() or self._start is None:
            return True
        await self._keep_watch()
        while True:
            left = deadline - time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(self._pause, left))):
                    await self._woken.wait()
                    return True
            if time.monotonic() >= deadline:
                return False
            if await has_news(self._session, self._start, self._labels):
                self._pause = self._access.poll_seconds_min
                return True
            self._pause = min(self._pause * _SLOWER, self._access.poll_seconds)

    async def _keep_watch(self) -> None:
        """Have Gmail publish, and renew that daily. Where it will not, the poll beneath is what there is."""
        if self._push is None or not self._access.watch_topic:
            return
        if self._stop_listening is None:
            self._stop_listening = self._push.listen(self._access.login, self.wake)
        if time.monotonic() < self._watch_at:
            return
        body = {"topicName": self._access.watch_topic}
        if self._labels:
            body |= {"labelIds": list(self._labels), "labelFilterBehavior": "include"}  # type: ignore[dict-item]
        early = 1 - _WATCH_JITTER * random.random()  # noqa: S311  (jitter, not a secret)
        self._watch_at = time.monotonic() + self._access.watch_seconds * early
        try:
            request = self._session.api.users.watch(userId="me", body=body)
            await self._session.call("watch", request, Urgency.NEW_MAIL)
        except AuthError:
            self._watch_at = 0.0
            raise
        except ConnectorError as error:
            self._watch_at = time.monotonic() + _WATCH_AGAIN_SECONDS
            self._watch_failed(error, _WATCH_AGAIN_SECONDS)


async def stop_watch(session: GmailSession) -> None:
    """End what `watch` began: Gmail publishes nothing of the mailbox any more. Raises ConnectorError."""
    await session.call("stop", session.api.users.stop(userId="me"), Urgency.SEND)
