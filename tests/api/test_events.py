"""The log as a helpdesk reads it: by cursor, by long-poll, as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest
from sqlalchemy import Connection, update

from ingestd.access import Scope
from ingestd.inbound.states import tell
from storage.events import forget_old
from storage.tables import tokens
from tests.api.desk import ApiDesk, api_desk, assert_problem, settings
from tests.api.streams import streaming
from tests.office import Office, mail
from tests.stores import Stores


@pytest.fixture
async def desk(stores: Stores) -> AsyncIterator[ApiDesk]:
    async with api_desk(await Office.open(stores)) as opened:
        yield opened


async def take(desk: ApiDesk, *numbers: int) -> None:
    await desk.office.take(*(mail(f"Printer {n}", message_id=f"<q{n}@example.org>") for n in numbers))


def types(items: Sequence[dict[str, Any]]) -> list[str]:
    return [one["type"] for one in items]


async def test_a_page_goes_on_where_the_one_before_ended(desk: ApiDesk) -> None:
    await take(desk, 1, 2)
    first = await desk.get("/events?limit=3")
    assert types(first["items"]) == ["ticket.created", "message.received", "ticket.created"]
    assert first["items"][1]["ticket_number"] == 1
    rest = await desk.get(f"/events?after={first['next']}")
    assert [one["sequence"] for one in first["items"] + rest["items"]] == [1, 2, 3, 4]
    assert (rest["next"], rest["oldest"], rest["latest"]) == (4, 0, 4)
    assert (await desk.get("/events?after=4"))["items"] == []
    some = await desk.get("/events?types=message.received&types=mailbox.linked&limit=1")
    assert (types(some["items"]), some["next"]) == (["message.received"], 2)
    more = await desk.get(f"/events?types=message.received&after={some['next']}")
    assert (types(more["items"]), more["next"]) == (["message.received"], 4)


async def test_cursors_that_are_none(desk: ApiDesk) -> None:
    await take(desk, 1)
    assert_problem(await desk.ask("GET", "/events?after=3"), 409, "conflict")
    for wrong in ("after=-1", "after=9223372036854775808", "limit=0", "limit=1001", "wait=301", "types=nothing"):
        assert_problem(await desk.ask("GET", f"/events?{wrong}"), 422, "invalid")
    assert_problem(await desk.ask("GET", "/events/stream", headers={"Last-Event-ID": "x"}), 422, "invalid")
    narrow = await desk.new_token([Scope.REPLY])
    for path in ("/events", "/events/stream"):
        assert_problem(await desk.ask("GET", path, token=narrow), 403, "forbidden")


async def test_what_was_deleted_for_its_age_is_said(desk: ApiDesk) -> None:
    await take(desk, 1, 2)
    now = datetime.now(UTC)
    assert await desk.backend.content.transaction(desk.account_id, forget_old, now - timedelta(days=1), 3) == 0
    assert await desk.backend.content.transaction(desk.account_id, forget_old, now + timedelta(days=1), 3) == 3
    for path in ("/events?after=2", "/events?after=0", "/events/stream?after=2"):
        assert assert_problem(await desk.ask("GET", path), 410, "events_gone")["oldest"] == 3
    assert [one["sequence"] for one in (await desk.get("/events?after=3"))["items"]] == [4]
    begun = await desk.get("/events")
    assert ([one["sequence"] for one in begun["items"]], begun["oldest"]) == ([4], 3)
    await desk.verified()


async def test_a_poll_waits_for_what_it_wants(desk: ApiDesk) -> None:
    nothing = await desk.get("/events?wait=0.05")
    assert (nothing["items"], nothing["next"]) == ([], 0)
    waiting = asyncio.create_task(desk.get("/events?wait=20&types=message.received&limit=1", timeout=30))
    await until(lambda: desk.backend.feed.readers == 1)
    await desk.office.stores.content.transaction(desk.account_id, _tell_of_a_pause, desk.office.held.mailbox_id)
    await take(desk, 1, 2)
    async with asyncio.timeout(10):
        found = await waiting
    assert types(found["items"]) == ["message.received"]
    assert (await desk.get(f"/events?after={found['next']}"))["items"][0]["type"] == "ticket.created"
    assert desk.backend.feed.readers == 0


def _tell_of_a_pause(conn: Any, account_id: UUID, mailbox_id: UUID) -> None:
    tell(conn, account_id, mailbox_id, "mailbox.paused")


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_stream_tells_what_was_and_what_comes(desk: ApiDesk) -> None:
    await take(desk, 1)
    async with streaming(desk) as stream:
        assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert [one.event for one in await stream.take(2)] == ["ticket.created", "message.received"]
        await take(desk, 2)
        came = await stream.take(2)
        assert [one.id for one in came] == [3, 4] == [one.data["sequence"] for one in came]
    await take(desk, 3)
    async with streaming(desk, "?after=1", headers={"Last-Event-ID": "4"}) as stream:
        assert [one.id for one in await stream.take(2)] == [5, 6]
    await until(lambda: desk.backend.feed.readers == 0)


async def test_a_stream_of_some_types_says_how_far_it_is(stores: Stores) -> None:
    given = settings(events={"keep_alive_seconds": 0.1})
    async with api_desk(await Office.open(stores), given) as desk, streaming(desk, "?types=message.received") as stream:
        await take(desk, 1)
        assert [one.event for one in await stream.take(1)] == ["message.received"]
        await desk.office.act(1, "closed")
        assert [(one.id, one.event, one.data) for one in await stream.take(1)] == [(3, "cursor", {"next": 3})]


def expire_tokens(conn: Connection) -> None:
    conn.execute(update(tokens).where(tokens.c.expires_at.is_not(None)).values(expires_at=datetime.now(UTC)))


async def test_streams_end_with_their_token(stores: Stores) -> None:
    given = settings(events={"token_check_seconds": 0.1, "keep_alive_seconds": 0.05})
    async with api_desk(await Office.open(stores), given) as desk:
        soon = await desk.new_token(expires_at=datetime.now(UTC) + timedelta(hours=1))
        made = await desk.post("/tokens", {"label": "reports", "scopes": ["read"]})
        async with streaming(desk, token=soon) as first, streaming(desk, token=made["token"]) as second:
            await desk.ask("DELETE", f"/tokens/{made['token_id']}")
            await desk.backend.content.transaction(None, expire_tokens)
            assert await first.ends()
            assert await second.ends()
        await until(lambda: desk.backend.feed.readers == 0)


async def test_readers_have_a_limit_and_free_their_place(stores: Stores) -> None:
    given = settings(events={"streams_max": 2, "account_streams_max": 1})
    async with api_desk(await Office.open(stores), given) as desk:
        operator = await desk.new_token(operator=True)
        other = (await desk.post("/v1/accounts", {"name": "Other"}, token=operator))["account_id"]
        third = (await desk.post("/v1/accounts", {"name": "Third"}, token=operator))["account_id"]
        async with streaming(desk):
            refused = await desk.ask("GET", "/events?wait=5")
            assert_problem(refused, 429, "limit_reached")
            waiting = asyncio.create_task(
                desk.ask("GET", f"/v1/accounts/{other}/events?wait=20", token=operator, timeout=30)
            )
            await until(lambda: desk.backend.feed.readers == 2)
            full = await desk.ask("GET", f"/v1/accounts/{third}/events/stream", token=operator)
            assert_problem(full, 503, "unavailable")
            assert full.headers["retry-after"] == "5"
            waiting.cancel()
            await until(lambda: desk.backend.feed.readers == 1)
        await until(lambda: desk.backend.feed.readers == 0)


async def test_every_event_fits_its_schema(desk: ApiDesk) -> None:
    await take(desk, 1)
    await desk.office.take(mail("poison", message_id="<p@example.org>"))
    for status in ("closed", "open", "spam", "deleted"):
        await desk.office.act(1, status)
    await desk.office.act(1, "open")
    await desk.office.reply(1)
    found = await desk.get("/events")
    document = await desk.get("/v1/openapi.json")
    page = {**document["components"]["schemas"]["EventPage"], "components": document["components"]}
    validator = jsonschema_rs.validator_for(page)
    validator.validate(found)
    assert len(found["items"]) == 9
    wrong = {**found, "items": [{**found["items"][0], "message_id": str(desk.account_id)}]}
    assert not validator.is_valid(wrong)
