"""Push by a Pub/Sub subscription that is pulled, and the polling beneath it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from connectors.base import AccessToken, ConnectorError, ReadPlan
from connectors.gmail_push import PushListener
from ingestd.demo.gmailfaults import Fault, Loss
from ingestd.demo.gmailserver import GmailServer
from tests.connectors.conftest import SUBSCRIPTION
from tests.connectors.gmail_box import GmailMailbox
from tests.connectors.mailbox import read_messages, subjects, until

TOPIC = "projects/demo/topics/gmail"


class ProjectTokens:
    def __init__(self, first: str) -> None:
        self.token = first

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        if rejected is not None:
            self.token = "pubsub-token"
        return AccessToken(self.token)


@pytest.fixture
async def push(gmail_mailbox: GmailMailbox, gmail: GmailServer) -> AsyncIterator[PushListener]:
    failed: list[ConnectorError] = []
    listener = PushListener(
        SUBSCRIPTION,
        ProjectTokens("an old token"),
        guard=gmail_mailbox.tools.guard,
        ssl_context=gmail_mailbox.tools.ssl_context,
        root_url=gmail.root,
        failed=lambda error, _seconds: failed.append(error),
    )
    running = asyncio.create_task(listener.run())
    yield listener
    running.cancel()
    await asyncio.wait([running])
    await listener.close()
    assert failed == []
    assert not listener.is_connected


async def test_push_ends_a_wait_long_before_the_next_poll(gmail_mailbox: GmailMailbox, push: PushListener) -> None:
    box = gmail_mailbox
    box.change(watch_topic=TOPIC, poll_seconds_min=60.0, poll_seconds=60.0)
    reader = box.reader(ReadPlan(), push=push)
    _, cursor = await read_messages(reader, None)
    waiting = asyncio.create_task(reader.wait(60))
    await until(lambda: box.gmail.calls["watch"] > 0)
    async with asyncio.timeout(10):
        assert await waiting  # Gmail publishes once when it begins to
    waiting = asyncio.create_task(reader.wait(60))
    started = time.monotonic()
    box.deliver("pushed")
    async with asyncio.timeout(10):
        assert await waiting
    assert time.monotonic() - started < 5
    assert subjects((await read_messages(reader, cursor))[0]) == ["pushed"]
    await until(lambda: box.gmail.pubsub.unacknowledged() == 0)
    assert box.gmail.calls["watch"] == 1  # it lasts for days


async def test_where_google_does_not_publish_the_poll_finds_it(gmail_mailbox: GmailMailbox, push: PushListener) -> None:
    box = gmail_mailbox
    box.change(watch_topic=TOPIC)
    box.gmail.faults.next("watch", Fault(403, "forbidden"))
    reader = box.reader(ReadPlan(), push=push)
    await read_messages(reader, None)
    waiting = asyncio.create_task(reader.wait(20))
    box.deliver("polled")
    assert await waiting


async def test_polls_slow_down_while_nothing_comes(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    box.change(poll_seconds_min=0.02, poll_seconds=0.5)
    reader = box.reader(ReadPlan())
    await read_messages(reader, None)
    before = box.gmail.calls["history.list"]
    assert not await reader.wait(1.0)
    polls = box.gmail.calls["history.list"] - before
    assert 5 <= polls <= 12  # 0.02, 0.03, 0.045 … 0.5: about nine


async def test_a_poll_that_is_refused_is_told(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    reader = box.reader(ReadPlan())
    await read_messages(reader, None)
    box.gmail.faults.next("history.list", Loss.BEFORE, times=2)
    with pytest.raises(ConnectorError):
        await reader.wait(20)


async def test_a_pull_ends_with_its_listener(
    gmail_mailbox: GmailMailbox, gmail: GmailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a connection that had stood open, where another request would be made again."""
    monkeypatch.setattr("ingestd.demo.gmailpush.PULL_SECONDS", 60.0)
    tools = gmail_mailbox.tools
    listener = PushListener(
        SUBSCRIPTION,
        ProjectTokens("pubsub-token"),
        guard=tools.guard,
        ssl_context=tools.ssl_context,
        root_url=gmail.root,
    )
    woken = asyncio.Event()
    listener.listen(gmail_mailbox.user, woken.set)
    running = asyncio.create_task(listener.run())
    gmail.pubsub.publish(gmail_mailbox.user, 1)
    await until(lambda: woken.is_set() and gmail.pubsub.unacknowledged() == 0)
    running.cancel()
    await asyncio.wait([running])
    await listener.close()
    async with asyncio.timeout(10):
        await asyncio.to_thread(listener._executor.shutdown, wait=True)
