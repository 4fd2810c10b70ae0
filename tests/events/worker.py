"""`python -m tests.events.worker CONTENT KEYSTORE BLOBS PORT`: a process that delivers, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from connectors.egress import EgressGuard
from connectors.tls import client_context
from ingestd.events.content import Renderer
from ingestd.events.courier import Courier
from ingestd.events.dispatcher import Dispatcher
from ingestd.events.follower import DeliveryTools
from ingestd.inbound.lease import Lease
from ingestd.keys import KeyRing
from ingestd.telemetry.metrics import Metrics
from ingestd.wakes import Bell
from storage.types import new_id
from tests.events.post import quick
from tests.office import MASTER
from tests.stores import Stores, StoreUrls


async def main(content: str, keystore: str, blobs: str, port: str) -> None:
    stores, settings = Stores.connect(StoreUrls(content, keystore, Path(blobs))), quick(hold_seconds=1.0)
    keys = KeyRing(stores.keystore, MASTER)
    guard = EgressGuard([], open_to_accounts=[("127.0.0.1", int(port))])
    tools = DeliveryTools(
        content=stores.content,
        keys=keys,
        renderer=Renderer(stores.content, keys),
        courier=Courier(guard, client_context(), lambda: settings),
        settings=lambda: settings,
        lease=Lease(new_id(), settings.hold_seconds),
        slots=asyncio.Semaphore(settings.in_flight_max),
        metrics=Metrics(version="0", python_version="3"),
    )
    await Dispatcher(stores.content, tools, Bell()).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
