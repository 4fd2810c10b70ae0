"""Push from Gmail by a Pub/Sub subscription that is pulled: no public address is needed.

One listener serves all mailboxes of a process: a notification names a mailbox by its address, and says only that
something changed there. Nothing is lost with one: every reader polls beneath. A process that does not hold the
mailbox gives the notification back for a while, as another one may hold it.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httplib2

from connectors.base import AuthError, ConnectorError, RateLimited, TemporaryError, TokenSource
from connectors.egress import EgressGuard
from connectors.gmail_errors import refusal
from connectors.gmail_http import OneTryHttp

PUBSUB_ROOT_URL = "https://pubsub.googleapis.com/"
_PULL_MESSAGES = 100
_ANSWER_BYTES_MAX = 4 * 1024 * 1024
_PULL_SECONDS = 120.0
"""The longest silence of a pull: Google holds it open while there is nothing."""
_GIVEN_BACK_SECONDS = 60.0
"""A notification that is older is nobody's."""
_PAUSES = (1.0, 60.0)


class PushListener:
    """Pulls a subscription and wakes readers. `run` is a task of the process; mailboxes come and go meanwhile."""

    def __init__(
        self,
        subscription: str,
        token_source: TokenSource,
        *,
        guard: EgressGuard,
        ssl_context: Any,
        root_url: str = PUBSUB_ROOT_URL,
        connect_seconds: float = 20.0,
        told: Callable[[], None] = lambda: None,
        failed: Callable[[ConnectorError, float], None] = lambda _error, _seconds: None,
    ) -> None:
        """`subscription` is its full name, projects/P/subscriptions/S; `token_source` gives tokens of the project's
        service account for it. `told` is called for each notification that wakes somebody, `failed` is told of a pull
        that failed, and in how many seconds it is tried again."""
        self._url = f"{root_url}v1/{subscription}"
        self._token_source = token_source
        self._guard = guard
        self._http = OneTryHttp(root_url, guard, ssl_context, connect_seconds=connect_seconds, seconds=_PULL_SECONDS)
        self._http.response_bytes_max = _ANSWER_BYTES_MAX
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="gmail-push")
        self._told = told
        self._failed = failed
        self._heard = asyncio.Event()
        """Set while somebody listens."""
        self._wakers: dict[str, set[Callable[[], None]]] = {}

    @property
    def is_connected(self) -> bool:
        return self._http.is_connected

    def listen(self, address: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` where something changed in a mailbox; return what ends that."""
        address = address.lower()
        self._wakers.setdefault(address, set()).add(wake)
        self._heard.set()

        def stop() -> None:
            wakers = self._wakers.get(address, set())
            wakers.discard(wake)
            if not wakers:
                self._wakers.pop(address, None)
            if not self._wakers:
                self._heard.clear()

        return stop

    async def run(self) -> None:
        """Pull until cancelled, while somebody listens; what goes wrong is tried again after a growing pause."""
        pause = _PAUSES[0]
        while True:
            await self._heard.wait()  # what nobody here can use is left to other processes
            try:
                await self.pull()
                pause = _PAUSES[0]
            except ConnectorError as error:
                jittered = pause * (1 - random.random() / 2)  # noqa: S311  (jitter, not a secret)
                wait = max(jittered, error.retry_after if isinstance(error, RateLimited) else 0.0)
                self._failed(error, wait)
                await asyncio.sleep(wait)
                pause = min(pause * 2, _PAUSES[1])

    async def close(self) -> None:
        """End the pull that is under way; nothing more can be asked."""
        self._http.abort()
        await asyncio.wrap_future(self._executor.submit(self._http.close))  # once its thread has left the connection
        self._executor.shutdown(wait=False)

    async def pull(self) -> None:
        """Take what is there, or wait for it, and wake those whom it concerns. Raises ConnectorError."""
        answer = await self._post("pull", {"maxMessages": _PULL_MESSAGES})
        ours: list[str] = []
        others: list[str] = []
        for one in answer.get("receivedMessages", ()):
            (ours if self._woken(one) else others).append(str(one.get("ackId", "")))
        if ours:
            await self._post("acknowledge", {"ackIds": ours})
        if others:
            await self._post("modifyAckDeadline", {"ackIds": others, "ackDeadlineSeconds": 1})

    def _woken(self, received: dict[str, Any]) -> bool:
        """Wake the mailbox's reader; return whether the notification is done with."""
        try:
            message = received["message"]
            address = str(json.loads(base64.b64decode(message["data"]))["emailAddress"]).lower()
            published = datetime.fromisoformat(str(message["publishTime"])).astimezone(UTC)
        except (ValueError, KeyError, TypeError):
            return True  # none of Gmail's
        wakers = self._wakers.get(address, set())
        if wakers:
            self._told()
        for wake in list(wakers):
            wake()
        return bool(wakers) or (datetime.now(UTC) - published).total_seconds() > _GIVEN_BACK_SECONDS

    async def _post(self, method: str, body: object) -> dict[str, Any]:
        token = await self._token_source()
        try:
            return await self._post_once(method, body, token.value)
        except AuthError:
            fresh = await self._token_source(rejected=token.value)
            return await self._post_once(method, body, fresh.value)

    async def _post_once(self, method: str, body: object, token: str) -> dict[str, Any]:
        self._http.addresses = await self._guard.resolve(self._http.host, self._http.port)
        self._http.token = token
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._request, method, body)

    def _request(self, method: str, body: object) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        try:
            response, content = self._http.request(f"{self._url}:{method}", "POST", json.dumps(body), headers)
            found = json.loads(content) if response.status == 200 else {}
        except TimeoutError:
            return {}  # a pull for which nothing came
        except (OSError, ValueError, http.client.HTTPException, httplib2.HttpLib2Error):
            raise TemporaryError(f"pubsub.{method}: connection lost or answer broken") from None
        if response.status != 200:
            told = {str(name).lower(): str(value) for name, value in response.items()}
            raise refusal(f"pubsub.{method}", response.status, content, told)
        return found if isinstance(found, dict) else {}
