"""Many events, told again."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from config import Webhooks
from storage.events import NewEvent
from storage.types import new_id
from tests.events.post import post_office
from tests.events.receiver import Receiver
from tests.office import Office
from tests.stores import Stores


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_many_events_are_told_again_each_once_and_in_order(stores: Stores, count: int) -> None:
    rng, tickets = random.Random(1), [new_id() for _ in range(count // 20)]
    settings = Webhooks(in_flight_per_webhook_max=20)
    async with (
        Receiver().serving() as receiver,
        post_office(await Office.open(stores), receiver, settings=settings) as post,
    ):
        for _ in range(count // 1000):
            await post.tell(*(NewEvent("message.received", None, rng.choice(tickets)) for _ in range(1000)))
        webhook_id = await post.add(receiver)
        async with post.delivering():
            await post.desk.replay(post.account_id, webhook_id, 0)
            await receiver.until(lambda: len(receiver.got) >= count, seconds=100)
            await post.until_written(webhook_id, count)
        assert receiver.wrong == []
        assert len(receiver.got) == len(receiver.ids()) == count
        told = defaultdict(list)
        for one in receiver.got:
            told[one.event["data"]["ticket_id"]].append(one.sequence)
        assert len(told) == len(tickets)
        assert all(line == sorted(line) for line in told.values())
        assert (await post.show(webhook_id)).lag.events == 0
        await post.office.check()
