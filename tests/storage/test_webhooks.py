"""Webhooks and deliveries in the database: who holds them, and which indexes their queries use."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import Connection, text, update

from storage import deliveries, webhooks
from storage.deliveries import DeliveryStatus
from storage.events import NewEvent
from storage.tables import webhooks as table
from storage.types import new_id
from storage.webhooks import HeldWebhook
from tests.events.post import tell as tell_events
from tests.plans import plans
from tests.stores import Stores


@pytest.fixture
async def webhook(stores: Stores, account: UUID) -> UUID:
    webhook_id = new_id()
    await stores.content.transaction(
        account,
        webhooks.insert_webhook,
        webhook_id,
        types=["*"],
        content=False,
        after=0,
        sealed=b"sealed",
        webhooks_max=5,
    )
    return webhook_id


async def test_one_holds_a_webhook_and_loses_it_when_it_is_silent(stores: Stores, account: UUID, webhook: UUID) -> None:
    first, second, held = new_id(), new_id(), HeldWebhook(account, webhook)
    content = stores.content
    assert await content.transaction(None, webhooks.claim, first, 60.0, 10) == [held]
    assert await content.transaction(None, webhooks.claim, second, 60.0, 10) == []
    assert not await content.read(None, webhooks.any_free)
    revision = (await content.read(None, webhooks.list_held, first))[held]

    def silent(conn: Connection) -> None:
        conn.execute(update(table).values(held_until=datetime(2020, 1, 1, tzinfo=UTC)))

    await content.transaction(None, silent)
    await content.transaction(None, webhooks.renew, first, 60.0)
    assert await content.read(None, webhooks.list_held, first) == {}
    assert await content.transaction(None, webhooks.claim, second, 60.0, 10) == [held]
    assert (await content.read(None, webhooks.list_held, second))[held] > revision
    await content.transaction(None, webhooks.release, second)
    assert await content.read(None, webhooks.any_free)


async def test_the_cursor_passes_gaps_and_is_behind_only_what_is_new(
    stores: Stores, account: UUID, webhook: UUID
) -> None:
    worker, held = new_id(), HeldWebhook(account, webhook)
    await stores.content.transaction(None, webhooks.claim, worker, 60.0, 10)
    last = await stores.content.transaction(account, tell_events, [NewEvent("reply.sent")] * 3)
    assert await stores.content.read(None, webhooks.list_behind, worker) == [held]

    def gap(conn: Connection, account_id: UUID) -> None:
        from storage.accounts import draw_numbers

        draw_numbers(conn, account_id, events=5)

    await stores.content.transaction(account, gap)

    def take(conn: Connection, account_id: UUID) -> tuple[list[int], bool]:
        made, more = deliveries.take(conn, webhooks.get_webhook(conn, account_id, webhook, lock=True), 2)
        return [one.event.sequence for one in made], more

    assert await stores.content.transaction(account, take) == ([last - 2, last - 1], True)
    assert await stores.content.transaction(account, take) == ([last], False)
    assert await stores.content.read(None, webhooks.list_behind, worker) == []


async def test_what_is_asked_often_goes_by_an_index(stores: Stores, account: UUID, webhook: UUID) -> None:
    await stores.content.transaction(account, tell_events, [NewEvent("reply.sent")] * 50)

    def ask(conn: Connection, account_id: UUID) -> list[str]:
        deliveries.take(conn, webhooks.get_webhook(conn, account_id, webhook), 50)
        if conn.dialect.name == "postgresql":
            conn.execute(text("ANALYZE deliveries"))
        return plans(
            conn,
            "deliveries",
            lambda: deliveries.load_pending(conn, account_id, webhook),
            lambda: deliveries.lag_of(conn, webhooks.get_webhook(conn, account_id, webhook)),
            lambda: deliveries.greatest_lag(conn),
            lambda: deliveries.list_deliveries(conn, account_id, webhook, status=DeliveryStatus.GIVEN_UP, limit=10),
            lambda: deliveries.list_deliveries(conn, account_id, webhook, before=30, limit=10),
        )

    lines = await stores.content.transaction(account, ask)
    assert any("deliveries" in line for line in lines)
    for line in lines:
        assert "SCAN deliveries" not in line, line
        assert "Seq Scan on deliveries" not in line, line
