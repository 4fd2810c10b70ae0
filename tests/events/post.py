"""An office with webhooks: events in its log, a receiver, and what delivers, as the daemon builds it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from config import Locations, Webhooks
from connectors.egress import EgressGuard
from connectors.tls import client_context
from ingestd.events.content import Renderer
from ingestd.events.courier import Courier
from ingestd.events.desk import NewWebhook, WebhookDesk, WebhookView
from ingestd.events.dispatcher import Dispatcher
from ingestd.events.follower import DeliveryTools
from ingestd.inbound.lease import Lease
from ingestd.telemetry.metrics import Metrics
from ingestd.wakes import Bell
from storage import accounts, events
from storage.deliveries import Delivery, DeliveryStatus
from storage.events import NewEvent
from storage.types import new_id
from tests.events.receiver import Receiver
from tests.office import Office

QUICK = {
    "retry_seconds": (0.05,) * 6,
    "retry_jitter": 0.0,
    "probe": {"initial_seconds": 0.05, "max_seconds": 0.1},
    "timeout_seconds": 2.0,
    "hold_seconds": 2.0,
}
"""Settings with short pauses."""


def quick(**more: Any) -> Webhooks:
    return Webhooks.model_validate(QUICK | more)


@dataclass
class Post:
    """Delivers for one office."""

    office: Office
    guard: EgressGuard
    settings: Webhooks
    desk: WebhookDesk
    courier: Courier
    bell: Bell = field(default_factory=Bell)
    metrics: Metrics = field(default_factory=lambda: Metrics(version="0", python_version="3"))
    locations: Locations = field(default_factory=Locations)

    @property
    def account_id(self) -> UUID:
        return self.office.held.account_id

    async def add(self, receiver: Receiver, **new: Any) -> UUID:
        """Make a webhook that leads to a receiver; return its id."""
        webhook_id = new_id()
        _, receiver.secret = await self.desk.create(
            self.account_id, webhook_id, NewWebhook(new.pop("url", receiver.url), **new)
        )
        return webhook_id

    async def tell(self, *new: NewEvent) -> int:
        """Write events; return the sequence of the last one."""
        return await self.office.stores.content.transaction(self.account_id, tell, new)

    async def show(self, webhook_id: UUID) -> WebhookView:
        return await self.desk.show(self.account_id, webhook_id)

    async def deliveries(self, webhook_id: UUID, status: DeliveryStatus | None = None) -> Sequence[Delivery]:
        """Oldest first."""
        found = await self.desk.deliveries(self.account_id, webhook_id, status=status, limit=20_000)
        return found[::-1]

    async def until_written(self, webhook_id: UUID, count: int, status: str = "delivered", seconds: float = 20) -> None:
        """Wait until so many deliveries have a status."""
        async with asyncio.timeout(seconds):
            while len(await self.deliveries(webhook_id, DeliveryStatus(status))) < count:
                await asyncio.sleep(0.02)

    async def until_disabled(self, webhook_id: UUID) -> str:
        """Return the reason."""
        async with asyncio.timeout(20):
            while (view := await self.show(webhook_id)).webhook.status != "disabled":
                await asyncio.sleep(0.02)
        assert view.webhook.reason is not None
        return view.webhook.reason

    def dispatcher(self) -> Dispatcher:
        """Return what one more process has."""
        stores = self.office.stores
        tools = DeliveryTools(
            content=stores.content,
            keys=self.office.keys,
            renderer=Renderer(stores.content, self.office.keys),
            courier=self.courier,
            settings=lambda: self.settings,
            lease=Lease(new_id(), self.settings.hold_seconds),
            slots=asyncio.Semaphore(self.settings.in_flight_max),
            metrics=self.metrics,
            locations=lambda: self.locations,
        )
        return Dispatcher(stores.content, tools, self.bell)

    @contextlib.asynccontextmanager
    async def delivering(self) -> AsyncIterator[Dispatcher]:
        """Deliver as a daemon does, and stop as it does."""
        dispatcher = self.dispatcher()
        task = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            await dispatcher.drain(5)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.asynccontextmanager
async def post_office(office: Office, *receivers: Receiver, settings: Webhooks | None = None) -> AsyncIterator[Post]:
    chosen = settings or quick()
    guard = EgressGuard([], open_to_accounts=[("127.0.0.1", one.port) for one in receivers])
    courier = Courier(guard, client_context(), lambda: chosen)
    desk = WebhookDesk(
        office.stores.content, office.keys, guard, courier, lambda: chosen, locations=lambda: post.locations
    )
    post = Post(office, guard, chosen, desk, courier)
    office.stores.content.on_wake(post.bell.ring)
    try:
        yield post
    finally:
        await courier.close()


def tell(conn: Connection, account_id: UUID, new: Sequence[NewEvent]) -> int:
    """Write events; return the sequence of the last one."""
    _, first = accounts.draw_numbers(conn, account_id, events=len(new))
    events.insert_events(conn, account_id, first, new)
    return first + len(new) - 1
