"""The delivery of events to webhooks, and what the API and the command line do with them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from uuid import UUID

from config import Settings
from connectors.tls import client_context
from ingestd.build.outside import Outside
from ingestd.build.store import Store
from ingestd.events.content import Renderer
from ingestd.events.courier import Courier
from ingestd.events.desk import WebhookDesk
from ingestd.events.dispatcher import Dispatcher
from ingestd.events.follower import DeliveryTools
from ingestd.inbound.lease import Lease
from ingestd.telemetry.metrics import Metrics
from ingestd.wakes import Bell


def new_courier(outside: Outside, settings: Callable[[], Settings]) -> Courier:
    """Raises OSError, ssl.SSLError where `webhooks.tls_ca_file` cannot be read."""
    context = client_context()
    if (ca_file := settings().webhooks.tls_ca_file) is not None:
        context.load_verify_locations(cafile=ca_file)
    return Courier(outside.guard, context, lambda: settings().webhooks)


def new_webhook_desk(store: Store, outside: Outside, courier: Courier, settings: Callable[[], Settings]) -> WebhookDesk:
    return WebhookDesk(
        store.content,
        store.keys,
        outside.guard,
        courier,
        lambda: settings().webhooks,
        locations=lambda: settings().locations,
    )


def new_dispatcher(
    store: Store, courier: Courier, metrics: Metrics, bell: Bell, settings: Callable[[], Settings], worker_id: UUID
) -> Dispatcher:
    own = settings().webhooks
    tools = DeliveryTools(
        content=store.content,
        keys=store.keys,
        renderer=Renderer(store.content, store.keys),
        courier=courier,
        settings=lambda: settings().webhooks,
        locations=lambda: settings().locations,
        lease=Lease(worker_id, own.hold_seconds),
        slots=asyncio.Semaphore(own.in_flight_max),
        metrics=metrics,
    )
    dispatcher = Dispatcher(store.content, tools, bell)
    metrics.watch_deliveries(lambda: dispatcher.in_flight)
    return dispatcher


@contextlib.asynccontextmanager
async def open_webhook_desk(store: Store) -> AsyncIterator[WebhookDesk]:
    """For the command line: what it sends goes through the same guard as the daemon's."""
    outside = Outside(store.settings)
    courier = new_courier(outside, lambda: store.settings)
    try:
        yield new_webhook_desk(store, outside, courier, lambda: store.settings)
    finally:
        await courier.close()
        await outside.close()
