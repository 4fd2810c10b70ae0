"""What a provider tells wakes whoever holds the mailbox, and what fails concerns nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from config import Inbound
from connectors.base import ConnectorError, RateLimited, TemporaryError
from connectors.graph_subscriptions import Subscription, Subscriptions
from ingestd.inbound.notified import Notified
from ingestd.inbound.push import MailboxPush, PushTools
from ingestd.inbound.supervisor import Supervisor
from ingestd.keys import KeyRing
from ingestd.records import PushRecord
from ingestd.telemetry.health import Health
from ingestd.telemetry.metrics import Metrics
from ingestd.wakes import Bell, watch
from storage import leases, mailboxes, pushes
from storage.leases import Held
from storage.pushes import Push
from tests.office import MASTER, Office
from tests.stores import Stores

URL = "https://mail.example.com/push/graph/7"


@dataclass
class Graph:
    """Subscriptions, as `connectors.graph_subscriptions` makes them."""

    standing: dict[str, str] = field(default_factory=dict)
    """Addresses, by the id."""
    renewed: int = 0
    fails: list[ConnectorError] = field(default_factory=list)
    ends_in: timedelta = timedelta(days=3)
    created: Any = None
    """Awaited once one was made, before the answer comes."""

    async def create(self, *, notification_url: str, client_state: str, lifetime: timedelta) -> Subscription:
        self._fail()
        identity = f"s{len(self.standing) + 1}"
        self.standing[identity] = notification_url
        if self.created is not None:
            await self.created()
        return Subscription(identity, datetime.now(UTC) + self.ends_in)

    async def renew(self, subscription_id: str, lifetime: timedelta) -> Subscription | None:
        self._fail()
        self.renewed += 1
        known = subscription_id in self.standing
        return Subscription(subscription_id, datetime.now(UTC) + self.ends_in) if known else None

    async def delete(self, subscription_id: str) -> None:
        self.standing.pop(subscription_id, None)

    def _fail(self) -> None:
        if self.fails:
            raise self.fails.pop(0)


@dataclass
class Desk:
    office: Office
    graph: Graph
    wakes: int = 0

    def push(self, url: str = URL) -> MailboxPush:
        content = self.office.stores.content
        tools = PushTools(content, Metrics(version="1", python_version="3"), Inbound(), asyncio.Semaphore(1))
        subscriptions = cast("Subscriptions", self.graph)
        return MailboxPush(self.office.held, self.office.context.key, subscriptions, url, self._wake, tools)

    async def row(self) -> Push:
        held = self.office.held
        found = await self.office.stores.content.read(held.account_id, pushes.find_push, held.mailbox_id)
        assert found is not None
        return found

    def _wake(self) -> None:
        self.wakes += 1


@pytest.fixture
async def desk(stores: Stores) -> Desk:
    office = await Office.open(stores)
    held = office.held
    await stores.content.transaction(held.account_id, pushes.want, held.mailbox_id, fence=held.fence)
    return Desk(office, Graph())


async def test_one_is_made_and_kept_and_made_anew_for_another_address(desk: Desk) -> None:
    await desk.push().run_due()
    assert (desk.graph.standing, desk.wakes) == ({"s1": URL}, 1), "what came before it was written down is read"
    await desk.push().run_due()
    assert (desk.graph.renewed, desk.wakes) == (0, 1)
    held, content = desk.office.held, desk.office.stores.content
    await content.transaction(held.account_id, pushes.tell, held.mailbox_id, pushes.Told.RENEW)
    await desk.push().run_due()
    assert (desk.graph.renewed, desk.wakes) == (1, 2)
    await content.transaction(held.account_id, pushes.tell, held.mailbox_id, pushes.Told.RENEW)
    await desk.push("https://other.example.com/push").run_due()
    assert list(desk.graph.standing.values()) == ["https://other.example.com/push"]


async def test_what_fails_is_tried_again_later_and_later(desk: Desk) -> None:
    desk.graph.fails = [TemporaryError("POST subscriptions: 503"), RateLimited("POST: 429", retry_after=7200.0)]
    waits = []
    for _ in range(2):
        await desk.push().run_due()
        row = await desk.row()
        waits.append((row.renew_at - datetime.now(UTC)).total_seconds())
        held, content = desk.office.held, desk.office.stores.content
        await content.transaction(held.account_id, pushes.tell, held.mailbox_id, pushes.Told.RENEW)
    assert 29 < waits[0] <= 60
    assert 7190 < waits[1] <= 7200
    assert (desk.graph.standing, (await desk.row()).failures) == ({}, 2)
    await desk.push().run_due()
    assert (await desk.row()).failures == 0


async def test_one_that_ends_at_once_is_not_renewed_again_and_again(desk: Desk) -> None:
    desk.graph.ends_in = timedelta(0)
    await desk.push().run_due()
    await desk.push().run_due()
    assert desk.graph.renewed == 0
    assert (await desk.row()).renew_at > datetime.now(UTC) + timedelta(seconds=30)


async def test_one_that_is_made_while_the_mailbox_is_lost_does_not_stay(desk: Desk) -> None:
    held, content = desk.office.held, desk.office.stores.content

    async def lose() -> None:
        await content.transaction(held.account_id, mailboxes.start_disconnect, held.mailbox_id)

    desk.graph.created = lose
    await desk.push().run_due()
    assert (desk.graph.standing, (await desk.row()).sealed) == ({}, None)


class Work:
    """A held mailbox, of which only the push counts."""

    def __init__(self, stores: Stores, held: Held) -> None:
        self._content = stores.content
        self._held = held
        self.told: list[pushes.Told] = []

    async def read(self) -> None:
        await asyncio.Event().wait()

    async def backfill(self) -> None: ...

    def edit_due(self) -> None: ...

    async def send_due(self) -> None: ...

    async def push_due(self) -> None:
        held = self._held
        taken = await self._content.transaction(held.account_id, pushes.take, held.mailbox_id, fence=held.fence)
        assert taken is not None
        if taken.push.told is not None:
            self.told.append(taken.push.told)

    def stop_sending(self) -> None: ...

    async def close(self) -> None: ...


async def test_a_replica_that_is_posted_to_wakes_the_one_that_holds_the_mailbox(stores: Stores) -> None:
    office = await Office.open(stores)
    account_id, mailbox_id = office.held.account_id, office.held.mailbox_id
    await stores.content.transaction(None, leases.release, office.lease.worker_id)
    works: list[Work] = []

    async def begin(held: Held) -> Work:
        record = PushRecord("subscription", "secret", URL)
        sealed = office.context.key.seal_record(PushRecord.place(mailbox_id), record)
        await stores.content.transaction(account_id, pushes.want, mailbox_id, fence=held.fence)
        end, hour = datetime(2100, 1, 1, tzinfo=UTC), timedelta(hours=1)
        place: dict[str, Any] = {"fence": held.fence, "sealed": sealed, "expires_at": end, "renew_in": hour}
        await stores.content.transaction(account_id, pushes.note_made, mailbox_id, **place)
        works.append(Work(stores, held))
        return works[-1]

    bell = Bell()
    supervisor = Supervisor(stores.content, office.lease, Inbound(), bell, Health(["lease"]), begin)
    await supervisor.register()
    running = [
        asyncio.create_task(supervisor.run()),
        asyncio.create_task(watch(stores.content, bell, poll_seconds=0.02)),
    ]
    replica = Stores.connect(stores.urls)
    try:
        async with asyncio.timeout(30):
            while not works:
                await asyncio.sleep(0.01)
            notified = Notified(replica.content, KeyRing(replica.keystore, MASTER))
            for secret in ("guessed", "secret"):
                one = {"subscriptionId": "subscription", "clientState": secret, "changeType": "created"}
                await notified.take(mailbox_id, json.dumps({"value": [one]}).encode())
            while not works[0].told:
                await asyncio.sleep(0.01)
        assert works[0].told == [pushes.Told.NEWS]
    finally:
        for task in running:
            task.cancel()
        for task in running:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await supervisor.drain(1)
        await replica.close()
