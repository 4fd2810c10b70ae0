"""Whoever delivers may end at any moment: nothing is lost, and the order of a ticket stays."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from storage import webhooks
from storage.events import NewEvent
from storage.types import new_id
from tests.deploy.conftest import ROOT
from tests.events.post import Post, post_office
from tests.events.receiver import NO_CONTENT, Received, Receiver
from tests.office import Office
from tests.stores import Stores


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async def slow(_one: Received) -> bytes:
        await asyncio.sleep(0.01)
        return NO_CONTENT

    async with Receiver(respond=slow).serving() as serving:
        yield serving


@pytest.fixture
async def post(stores: Stores, receiver: Receiver) -> AsyncIterator[Post]:
    async with post_office(await Office.open(stores), receiver) as opened:
        yield opened


async def tell_tickets(post: Post, tickets: int, each: int) -> list[int]:
    """Return the sequences of the events."""
    ids = [new_id() for _ in range(tickets)]
    last = await post.tell(*(NewEvent("message.received", None, one) for _ in range(each) for one in ids))
    return list(range(last - tickets * each + 1, last + 1))


def assert_all_in_order(receiver: Receiver, sequences: list[int]) -> None:
    """Each came, and of each ticket the first receipt of an event is before that of the next one."""
    first: dict[UUID, list[int]] = defaultdict(list)
    for one in receiver.got:
        ticket = UUID(one.event["data"]["ticket_id"])
        if one.sequence not in first[ticket]:
            first[ticket].append(one.sequence)
    assert sorted(sequence for line in first.values() for sequence in line) == sequences
    for line in first.values():
        assert line == sorted(line)


async def test_killed_processes_lose_nothing(post: Post, receiver: Receiver, stores: Stores) -> None:
    webhook_id = await post.add(receiver)
    sequences = await tell_tickets(post, 20, 10)
    command = (sys.executable, "-m", "tests.events.worker", stores.urls.content, stores.urls.keystore)
    arguments = (str(stores.urls.blobs), str(receiver.port))
    for enough in (40, 100):
        process = await asyncio.create_subprocess_exec(*command, *arguments, cwd=ROOT)
        await receiver.until(lambda enough=enough: len(receiver.ids()) >= enough, seconds=60)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert len(receiver.ids()) < 200
    # What nobody renews any more is taken over.
    async with post.delivering():
        await post.until_written(webhook_id, 200)
    assert_all_in_order(receiver, sequences)
    assert len(receiver.ids()) == 200  # what came again came under the id that it had
    assert max(receiver.ids().values()) <= 3  # a death repeats an event once at most
    await post.office.check()


async def test_cancelled_anywhere_nothing_is_lost(post: Post, receiver: Receiver, stores: Stores) -> None:
    webhook_id = await post.add(receiver)
    sequences = await tell_tickets(post, 20, 10)
    rng = random.Random(1)
    for _ in range(12):
        task = asyncio.create_task(post.dispatcher().run())
        # So many steps of the loop, wherever that is.
        for _ in range(rng.randrange(300)):
            await asyncio.sleep(0)
        await asyncio.sleep(rng.random() * 0.08)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await stores.content.transaction(None, webhooks.release_all)
    async with post.delivering():
        await post.until_written(webhook_id, 200)
    assert_all_in_order(receiver, sequences)
    await post.office.check()


async def test_a_process_that_lost_its_webhooks_sends_nothing_more(post: Post, receiver: Receiver) -> None:
    webhook_id = await post.add(receiver)
    async with post.delivering() as asleep:
        await post.tell(NewEvent("reply.sent"))
        await post.until_written(webhook_id, 1)
        # Its clock says that it was away for longer than it may: it does not know yet what became of the rest.
        asleep.tools.lease.renewed(asleep.tools.lease.asking() - 100)
        await post.tell(NewEvent("reply.failed"))
        before = len(receiver.got)
        await asyncio.sleep(0.1)
        assert len(receiver.got) == before
        await post.until_written(webhook_id, 2)


async def test_a_stop_lets_what_is_under_way_end(post: Post, receiver: Receiver) -> None:
    async def slow(_one: Received) -> bytes:
        await asyncio.sleep(0.3)
        return NO_CONTENT

    receiver.respond = slow
    webhook_id = await post.add(receiver)
    async with post.delivering():
        await tell_tickets(post, 3, 2)
        await receiver.until(lambda: len(receiver.got) >= 3)
    assert len(receiver.got) == 3
    done = [one for one in await post.deliveries(webhook_id) if one.status == "delivered"]
    assert len(done) == 3
    held = await post.office.stores.content.read(None, webhooks.any_free)
    assert held
