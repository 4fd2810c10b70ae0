"""The app over real HTTP on loopback, with a linking that remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp

from ingestd.api.edge import LinkOutcome, LinkResult
from ingestd.api.server import ServerLimits, serve
from ingestd.telemetry.health import Health
from ingestd.telemetry.metrics import Metrics

STATE = "s" * 43
AUTHORIZE = "https://login.example.com/authorize?client_id=helpdesk&state=" + STATE


@dataclass
class Linking:
    """Answers as told, and keeps what it was asked."""

    opened: list[tuple[str, str]] = field(default_factory=list)
    completed: list[dict[str, Any]] = field(default_factory=list)
    answer: LinkResult | Exception = field(default_factory=lambda: LinkResult(LinkOutcome.LINKED))
    refusal: Exception | None = None

    async def open(self, state: str, browser: str) -> str:
        self.opened.append((state, browser))
        if self.refusal is not None:
            raise self.refusal
        return AUTHORIZE

    async def complete(
        self, *, state: str, browser: str, code: str | None, error: str | None, iss: str | None
    ) -> LinkResult:
        self.completed.append({"state": state, "browser": browser, "code": code, "error": error, "iss": iss})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def linking() -> Linking:
    return Linking()


@pytest.fixture
def health() -> Health:
    return Health(["database"])


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="0.1.0", python_version="3.11.7")


Serving = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@asynccontextmanager
async def serving(
    app: ASGIApp, *, limits: ServerLimits | None = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve an app on a free port; yields a client of it that follows no redirects."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(app, "127.0.0.1", 0, started=port.set_result, limits=limits))
    try:
        # A server that cannot start must fail the test at once, not after the limit.
        task.add_done_callback(lambda _: port.cancel())
        async with asyncio.timeout(10):
            base = f"http://127.0.0.1:{await port}"
        async with httpx2.AsyncClient(base_url=base, trust_env=False, headers=headers) as client:
            yield client
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
