"""Pub/Sub as the demo's Gmail uses it: one topic, subscriptions that are pulled. No sockets.

A message that is not acknowledged comes again after the deadline, as Pub/Sub's do (cloud.google.com/pubsub/docs/pull).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ingestd.demo.gmailwire import Answer, Request

DEADLINE_SECONDS: Final = 10.0
PULL_SECONDS: Final = 5.0
"""How long a pull waits for a message; Google's waits longer."""
_KEPT_MAX: Final = 10_000


@dataclass(slots=True)
class _Message:
    data: bytes
    published_at: float
    ready_at: float = 0.0
    deliveries: int = 0


class PubSub:
    """The subscriptions, each with its messages. `publish` may be called from any thread."""

    def __init__(self, subscriptions: Sequence[str] = ()) -> None:
        """`subscriptions` are full names: projects/P/subscriptions/S."""
        self._waiting: Mapping[str, dict[str, _Message]] = {name: {} for name in subscriptions}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def publish(self, address: str, history_id: int) -> None:
        data = json.dumps({"emailAddress": address, "historyId": history_id}).encode()
        with self._lock:
            for waiting in self._waiting.values():
                if len(waiting) < _KEPT_MAX:
                    waiting[str(next(self._numbers))] = _Message(data, time.time())

    def unacknowledged(self) -> int:
        with self._lock:
            return sum(map(len, self._waiting.values()))

    async def run(self, name: str, method: str, request: Request) -> Answer:
        """Carry out pull, acknowledge or modifyAckDeadline of a subscription."""
        waiting = self._waiting.get(name)
        if waiting is None:
            return Answer.error(404, "notFound", "Resource not found")
        wanted = request.json()
        if method == "pull":
            return await self._pull(waiting, int(wanted.get("maxMessages", 1)))
        ids = [str(one) for one in wanted.get("ackIds", ())]
        with self._lock:
            for one in ids:
                if method == "acknowledge":
                    waiting.pop(one, None)
                elif method == "modifyAckDeadline" and one in waiting:
                    waiting[one].ready_at = time.monotonic() + float(wanted.get("ackDeadlineSeconds", 0))
        return Answer.of({})

    async def _pull(self, waiting: dict[str, _Message], most: int) -> Answer:
        ends_at = time.monotonic() + PULL_SECONDS
        found = self._ready(waiting, most)
        while not found and time.monotonic() < ends_at:
            await asyncio.sleep(0.02)  # `publish` comes from any thread
            found = self._ready(waiting, most)
        return Answer.of({"receivedMessages": found} if found else {})

    def _ready(self, waiting: dict[str, _Message], most: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        now = time.monotonic()
        with self._lock:
            for identity, message in waiting.items():
                if message.ready_at <= now and len(found) < most:
                    message.ready_at, message.deliveries = now + DEADLINE_SECONDS, message.deliveries + 1
                    published = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(message.published_at))
                    body = {
                        "data": base64.b64encode(message.data).decode(),
                        "messageId": identity,
                        "publishTime": published,
                    }
                    found.append({"ackId": identity, "message": body, "deliveryAttempt": message.deliveries})
        return found
