"""Notifications: the handshake, renewal, and that a forged one does nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from connectors.graph_errors import CallRefused
from connectors.graph_subscriptions import (
    NOTIFICATIONS_MAX,
    Lifecycle,
    Notification,
    Subscriptions,
    new_client_state,
    read_notifications,
    validation_answer,
)
from ingestd.api.server import serve
from tests.connectors.graphbox import GraphBox, box
from tests.connectors.mailbox import EVERYTHING, read_messages, subjects
from tests.servers.graph import graph

__all__ = ["box", "graph"]

DAY = timedelta(days=1)


@asynccontextmanager
async def route(take: Callable[[bytes], None], *, answers_validation: bool = True) -> AsyncIterator[str]:
    """Serve the address that Graph posts to, as an API route would."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        token = validation_answer(request.query_params)
        if token is not None:
            response: Response = PlainTextResponse(token if answers_validation else "no")
        else:
            take(body)
            response = Response(status_code=202)
        await response(scope, receive, send)

    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(app, "127.0.0.1", 0, started=port.set_result))
    try:
        yield f"http://127.0.0.1:{await port}/graph"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def subscriptions(box: GraphBox) -> Subscriptions:
    return Subscriptions(box.access, box.tokens, box.transport, box.limiter)


async def test_what_comes_in_wakes_the_reader(box: GraphBox) -> None:
    box.change(poll_seconds_min=60)
    state, secrets, told = new_client_state(), dict[str, str](), list[Notification]()
    reader = box.reader(EVERYTHING)
    _, cursor = await read_messages(reader, None)

    def take(body: bytes) -> None:
        for one in read_notifications(body, secrets.get):
            told.append(one)
            reader.wake()

    async with route(take) as url:
        made = await subscriptions(box).create(notification_url=url, client_state=state, lifetime=DAY)
        secrets[made.id] = state
        waiting = asyncio.create_task(reader.wait(60))
        box.deliver("pushed")
        async with asyncio.timeout(10):
            assert await waiting
        assert subjects((await read_messages(reader, cursor))[0]) == ["pushed"]
        assert told == [Notification(made.id, None)]


async def test_an_address_that_does_not_answer_the_handshake_is_not_taken(box: GraphBox) -> None:
    async with route(lambda _: None, answers_validation=False) as url:
        with pytest.raises(CallRefused) as refused:
            await subscriptions(box).create(notification_url=url, client_state="s", lifetime=DAY)
    assert refused.value.code == "ValidationError"


async def test_it_is_renewed_within_what_graph_allows_and_deleted_twice(box: GraphBox) -> None:
    async with route(lambda _: None) as url:
        mine = subscriptions(box)
        inbox = box.mailbox.folder("inbox").id
        made = await mine.create(notification_url=url, client_state="s", lifetime=timedelta(days=365), folder_id=inbox)
        assert timedelta(days=6, hours=23) < made.expires_at - box.mailbox.now < timedelta(days=7)
        renewed = await mine.renew(made.id, DAY)
        assert renewed is not None
        assert renewed.expires_at < made.expires_at
        for _ in range(2):
            await mine.delete(made.id)
        assert await mine.renew(made.id, DAY) is None


async def test_a_shared_mailbox_is_subscribed_to_by_its_address(box: GraphBox) -> None:
    box.change(user=box.user)
    async with route(lambda _: None) as url:
        made = await subscriptions(box).create(notification_url=url, client_state="s", lifetime=DAY)
        fields = box.graph.subscriptions.standing[made.id].fields
    assert fields["resource"] == f"users/{box.user}/messages"


@pytest.mark.parametrize("event", list(Lifecycle))
async def test_what_happens_to_the_subscription_is_told(box: GraphBox, event: Lifecycle) -> None:
    posted: list[bytes] = []
    async with route(posted.append) as url:
        made = await subscriptions(box).create(notification_url=url, client_state="secret", lifetime=DAY)
        box.graph.subscriptions.lifecycle(made.id, event.value)
        async with asyncio.timeout(10):
            while not posted:
                await asyncio.sleep(0.01)
    assert read_notifications(posted[0], {made.id: "secret"}.get) == [Notification(made.id, event)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"value":7}',
        b'{"value":[7,{},{"subscriptionId":"s"},{"subscriptionId":"s","clientState":null}]}',
        b'{"value":[{"subscriptionId":"s","clientState":"wrong"}]}',
        b'{"value":[{"subscriptionId":"another","clientState":"secret"}]}',
        b'{"value":[{"subscriptionId":"s","clientState":"\\ud800"}]}',
        b'{"value":[{"subscriptionId":"s","clientState":"secret","lifecycleEvent":"unheard of"}]}',
        b"[" * 100_000,
        b'{"value":[{"subscriptionId":"s","clientState":"secret"}]}' + b" " * 2 * 1024 * 1024,
    ],
)
def test_what_is_forged_or_malformed_is_nothing(body: bytes) -> None:
    assert read_notifications(body, {"s": "secret"}.get) == []


def test_a_post_is_looked_at_within_limits_and_says_each_thing_once() -> None:
    one = {"subscriptionId": "s", "clientState": "secret"}
    body = json.dumps({"value": [one] * 5 + [{}] * NOTIFICATIONS_MAX + [{**one, "lifecycleEvent": "missed"}]})
    assert read_notifications(body.encode(), {"s": "secret"}.get) == [Notification("s", None)]
    assert validation_answer({"validationToken": "x" * 5000}) is None
