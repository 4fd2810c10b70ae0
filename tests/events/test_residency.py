"""A webhook of a pinned account is delivered to only where the operator says that it is in that location."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from config import Locations
from ingestd.events.desk import Change, NewWebhook
from ingestd.events.urls import UrlRefused
from ingestd.privacy import residency
from ingestd.privacy.residency import Misplaced
from storage import accounts
from storage.events import NewEvent
from storage.types import new_id
from tests.events.post import Post, post_office
from tests.events.receiver import Receiver
from tests.office import Office
from tests.stores import Stores

STORES = {"database": "eu", "keystore": "eu", "blobs": "eu"}
ELSEWHERE = Locations.model_validate({**STORES, "webhooks": {"127.0.0.1": "us"}})
HERE = Locations.model_validate({**STORES, "webhooks": {"127.0.0.1": "eu"}})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().serving() as serving:
        yield serving


@pytest.fixture
async def post(stores: Stores, receiver: Receiver) -> AsyncIterator[Post]:
    async with post_office(await Office.open(stores), receiver) as opened:
        yield opened


async def pin(post: Post, location: str | None) -> None:
    content = post.office.stores.content
    await content.transaction(post.account_id, residency.set_location, post.locations, location)


async def test_it_is_withheld_while_it_leads_elsewhere(post: Post, receiver: Receiver) -> None:
    webhook_id = await post.add(receiver)
    post.locations = ELSEWHERE
    async with post.delivering() as dispatcher:
        await post.tell(NewEvent("reply.sent"))
        await post.until_written(webhook_id, 1)
        await pin(post, "eu")
        await post.tell(NewEvent("reply.sent"), NewEvent("reply.sent"))
        async with asyncio.timeout(20):
            while not (follower := next(iter(dispatcher._running.values())).follower)._is_withheld:
                await asyncio.sleep(0.02)
        view = await post.show(webhook_id)
        assert (view.withheld, view.webhook.status.value, view.lag.events) == (True, "enabled", 2)
        answer = await post.desk.test(post.account_id, webhook_id)
        assert (answer.delivered, answer.reason) == (False, "location_differs")
        assert len(receiver.got) == 1
        # The operator mends it: what waited in the log comes, without anybody's doing.
        post.locations = HERE
        dispatcher.look()
        await post.until_written(webhook_id, 3)
        assert not follower._is_withheld
    assert not (await post.show(webhook_id)).withheld
    assert len(receiver.got) == 3
    await post.office.check()


async def test_one_that_leads_elsewhere_is_not_made(post: Post, receiver: Receiver) -> None:
    webhook_id = await post.add(receiver)
    post.locations = ELSEWHERE
    await pin(post, "eu")
    with pytest.raises(UrlRefused, match="location"):
        await post.desk.create(post.account_id, new_id(), NewWebhook(receiver.url))
    with pytest.raises(UrlRefused, match="location"):
        await post.desk.change(post.account_id, webhook_id, Change(url=receiver.url))
    await pin(post, None)
    await post.desk.change(post.account_id, webhook_id, Change(url=receiver.url))


async def test_no_account_is_pinned_to_where_the_stores_are_not(post: Post) -> None:
    content = post.office.stores.content
    for locations in (Locations(), ELSEWHERE.model_copy(update={"blobs": "us"})):
        post.locations = locations
        with pytest.raises(Misplaced, match=r"storage\.blobs"):
            await pin(post, "eu")
    assert await content.read(post.account_id, accounts.location_of) is None
    await residency.check_stores(content, Locations())  # where nobody is pinned nothing is compared
    post.locations = HERE
    await pin(post, "eu")
    await residency.check_stores(content, HERE)
    with pytest.raises(Misplaced) as error:
        await residency.check_stores(content, HERE.model_copy(update={"keystore": None, "blobs": "us"}))
    assert str(post.account_id) in str(error.value)
    assert "storage.keystore has no location, storage.blobs is in us" in str(error.value)
    await post.office.check()
