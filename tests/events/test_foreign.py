"""Nothing shared, over every event: what is told of one account is told to nobody else, with its own content only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from config import Events
from ingestd.events.catalogue import EVENTS, ids_of
from ingestd.events.feed import EventFeed
from storage.events import NewEvent
from storage.types import new_id
from tests.events.post import Post, post_office
from tests.events.receiver import Receiver
from tests.office import Office, mail
from tests.stores import Stores

WORDS = ("zeugin@example.org", "Quokkaprinter")


@pytest.fixture
async def posts(stores: Stores) -> AsyncIterator[tuple[tuple[Post, Receiver], tuple[Post, Receiver]]]:
    """Ours, and the other account's, each with a receiver."""
    ours, theirs = await Office.open(stores), await Office.open(stores, address="other@example.net")
    async with (
        Receiver().serving() as here,
        Receiver().serving() as there,
        post_office(ours, here) as mine,
        post_office(theirs, here, there) as other,  # one daemon delivers for both
    ):
        yield (mine, here), (other, there)


async def _everything(post: Post) -> tuple[list[NewEvent], UUID]:
    """Return one event of every type about this post's account, each with all the ids that its type may carry."""
    await post.office.take(mail(WORDS[1], sender=f"Zeugin <{WORDS[0]}>"))
    view = await post.office.ticket(1)
    known: dict[str, Any] = {
        "mailbox_id": post.office.held.mailbox_id,
        "ticket_id": view.ticket.ticket_id,
        "message_id": view.messages[0].row.message_id,
    }
    return [NewEvent(name, **{one: known[one] for one in ids_of(name)}) for name in EVENTS], known["message_id"]


async def test_no_event_of_any_type_is_seen_by_another(
    posts: tuple[tuple[Post, Receiver], tuple[Post, Receiver]],
) -> None:
    (mine, here), (other, there) = posts
    feed = EventFeed(mine.office.stores.content, other.bell, Events)
    ours = await feed.read(mine.account_id, None, 1000)
    told, _ = await _everything(other)
    hooks = [await one.add(receiver, content=True) for one, receiver in posts]
    with feed.follow(mine.account_id, ours) as stream:
        async with other.delivering():
            await other.tell(*told)
            # Ours comes last: when it is here, all before it would have been.
            await mine.tell(NewEvent("mailbox.paused", mailbox_id=mine.office.held.mailbox_id))
            await other.until_written(hooks[1], len(told))
            await mine.until_written(hooks[0], 1)
            streamed = list(await stream.next(20))
    read = await feed.read(mine.account_id, ours.cursor, 1000)
    await feed.close()
    # The control: the other account was told of every type, and with its content.
    types = {one.event["type"] for one in there.got}
    assert set(EVENTS) <= types, set(EVENTS) - types
    assert all(word.encode() in b"".join(one.body for one in there.got) for word in WORDS)
    for seen in ([one.json for one in streamed], [one.json for one in read.events]):
        assert [json.loads(one)["type"] for one in seen] == ["mailbox.paused"]
    everything = b"".join([*(one.json for one in read.events), *(one.body for one in here.got)])
    assert [one.event["type"] for one in here.got] == ["mailbox.paused"]
    others = [*WORDS, str(other.account_id), str(other.office.held.mailbox_id)]
    assert not [one for one in others if one.encode() in everything]


@pytest.mark.postgresql_is_long
async def test_an_event_that_names_anothers_message_shows_nothing_of_it(
    posts: tuple[tuple[Post, Receiver], tuple[Post, Receiver]],
) -> None:
    """Were such an event ever written, what is rendered at its delivery would still be its own account's."""
    (mine, here), (other, _) = posts
    told, message_id = await _everything(other)
    hook = await mine.add(here, content=True, after=0)
    ticket_id = next(one.ticket_id for one in told if one.ticket_id)
    crossing = [NewEvent(one.type, one.mailbox_id, ticket_id, message_id) for one in told]
    async with other.delivering():
        await mine.tell(*crossing, NewEvent("mailbox.paused", detail=str(new_id())[:8]))
        await mine.until_written(hook, len(crossing) + 1)
    assert {one.event["type"] for one in here.got} >= set(EVENTS)
    assert not [word for word in WORDS for one in here.got if word.encode() in one.body]
    numbers = {one.event["data"].get("ticket_number") for one in here.got}
    assert numbers == {None}
