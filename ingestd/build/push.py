"""Who listens to what Gmail publishes: one task for each provider, shared by its mailboxes in this process."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

import httpx2
import structlog

from config import GmailPush, Linking, Provider
from ingestd.build.outside import Outside
from ingestd.inbound.push import tell_of_failure
from ingestd.linking.http import HttpLimits
from ingestd.linking.service_account import PUBSUB_SCOPE, ServiceAccountTokens
from ingestd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from connectors.gmail_push import PushListener

log = structlog.get_logger()

_CRASH_PAUSE_SECONDS: Final = 30.0
_WAY: Final = "gmail"


class GmailPushes:
    """Gives the listener of a provider, and runs those that were given."""

    def __init__(self, outside: Outside, metrics: Metrics, settings: Linking) -> None:
        self._outside = outside
        self._metrics = metrics
        self._settings = settings
        self._listeners: dict[str, tuple[PushListener, httpx2.AsyncClient]] = {}
        self._changed = asyncio.Event()

    def listener(self, provider: Provider) -> PushListener | None:
        """Return what listens for the provider's mailboxes; None where nothing is published."""
        if provider.gmail_push is None:
            return None
        if provider.name not in self._listeners:
            self._listeners[provider.name] = self._new(provider, provider.gmail_push)
            self._changed.set()
        return self._listeners[provider.name][0]

    def forget(self) -> None:
        """Make every listener anew, as the configuration has changed; until then its mailboxes are polled."""
        self._listeners.clear()
        self._changed.set()

    async def run(self) -> None:
        """Run the listeners until cancelled."""
        async with contextlib.AsyncExitStack() as stack:
            running: dict[PushListener, asyncio.Task[None]] = {}
            stack.push_async_callback(_end, running)
            while True:
                await self._changed.wait()
                self._changed.clear()
                wanted = dict(self._listeners.values())
                await _end({one: running.pop(one) for one in running.keys() - wanted.keys()})
                for one in wanted.keys() - running.keys():
                    running[one] = asyncio.create_task(_guarded(one, wanted[one]))

    def _new(self, provider: Provider, push: GmailPush) -> tuple[PushListener, httpx2.AsyncClient]:
        # Imported where it is used: Google's library costs everybody else memory and a slower start.
        from connectors.gmail_push import PushListener  # noqa: PLC0415

        http = self._outside.new_http(provider)
        tokens = ServiceAccountTokens(
            push.service_account.get_secret_value(),
            push.token_url,
            PUBSUB_SCOPE,
            http,
            limits=HttpLimits(self._settings.http_timeout_seconds, self._settings.response_bytes_max),
        )
        listener = PushListener(
            push.subscription,
            tokens,
            guard=self._outside.guard,
            ssl_context=self._outside.ssl_context(provider),
            root_url=f"{push.pubsub_url.rstrip('/')}/",
            told=partial(self._metrics.push_told, _WAY),
            failed=partial(tell_of_failure, self._metrics, _WAY),
        )
        return listener, http


async def _guarded(listener: PushListener, http: httpx2.AsyncClient) -> None:
    async with http:
        try:
            while True:
                try:
                    await listener.run()
                except Exception as error:
                    log.exception("task.failed", component="push", exc_info=error)
                await asyncio.sleep(_CRASH_PAUSE_SECONDS)
        finally:
            await listener.close()


async def _end(running: dict[PushListener, asyncio.Task[None]]) -> None:
    for task in running.values():
        task.cancel()
    await asyncio.gather(*running.values(), return_exceptions=True)
