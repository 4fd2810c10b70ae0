"""Pub/Sub as the demo's Gmail uses it: one topic, subscriptions that are pulled, a service account. No sockets.

A message that is not acknowledged comes again after the deadline, as Pub/Sub's do (cloud.google.com/pubsub/docs/pull).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

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

    async def run(self, name: str, method: str, request: Request, is_gone: Callable[[], bool]) -> Answer:
        """Carry out pull, acknowledge or modifyAckDeadline of a subscription; a pull ends once its caller is gone."""
        waiting = self._waiting.get(name)
        if waiting is None:
            return Answer.error(404, "notFound", "Resource not found")
        wanted = request.json()
        if method == "pull":
            return await self._pull(waiting, int(wanted.get("maxMessages", 1)), is_gone)
        ids = [str(one) for one in wanted.get("ackIds", ())]
        with self._lock:
            for one in ids:
                if method == "acknowledge":
                    waiting.pop(one, None)
                elif method == "modifyAckDeadline" and one in waiting:
                    waiting[one].ready_at = time.monotonic() + float(wanted.get("ackDeadlineSeconds", 0))
        return Answer.of({})

    async def _pull(self, waiting: dict[str, _Message], most: int, is_gone: Callable[[], bool]) -> Answer:
        ends_at = time.monotonic() + PULL_SECONDS
        found = self._ready(waiting, most)
        while not found and time.monotonic() < ends_at and not is_gone():
            await asyncio.sleep(0.02)  # `publish` comes from any thread
            found = [] if is_gone() else self._ready(waiting, most)
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


class ServiceAccount:
    """A service account with one key, and the endpoint that gives it tokens (RFC 7523)."""

    def __init__(self, token: str) -> None:
        """`token` is what a good assertion is answered with."""
        self.given = 0
        """Tokens that were given."""
        self._token = token
        self._key = generate_private_key(65537, 2048)

    def key_file(self) -> str:
        """Return the JSON that Google's console gives."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        named = {"client_email": "pull@demo.iam.example.com", "private_key_id": "1"}
        return json.dumps({"type": "service_account", "private_key": pem, **named})

    def answer(self, request: Request, address: str) -> Answer:
        """Answer an assertion that is to be for `address`."""
        found = parse_qs(request.body.decode("ascii", "replace"))
        signed, _, signature = found.get("assertion", [""])[0].rpartition(".")
        try:
            self._key.public_key().verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
            claims = json.loads(_decoded(signed.partition(".")[2]))
        except (InvalidSignature, ValueError):
            return Answer.error(400, "invalid_grant", "Invalid JWT Signature.")
        if claims["aud"] != address or not claims["iat"] <= time.time() + 60 < claims["exp"] <= claims["iat"] + 3600:
            return Answer.error(400, "invalid_grant", "Invalid JWT")
        self.given += 1
        return Answer.of({"access_token": self._token, "token_type": "Bearer", "expires_in": 3599})


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
