"""A mailbox is deleted in small chunks, every row of it, and none of its neighbour's."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select

from storage import erasures, events, mailboxes, messages, tickets
from storage.accounts import draw_numbers
from storage.errors import NotFound
from storage.tables import MAILBOX_TABLES, metadata
from storage.ticket_lists import list_tickets
from storage.types import new_id
from tests.stores import Stores
from tests.verify.builder import World, build


@pytest.fixture
async def world(stores: Stores) -> World:
    return await build(stores)


def _rows(conn: Connection, mailbox_id: UUID) -> dict[str, int]:
    counts = {}
    for table in MAILBOX_TABLES:
        query = select(func.count()).select_from(table).where(table.c.mailbox_id == mailbox_id)
        counts[table.name] = conn.execute(query).scalar_one()
    return counts


async def _erase(world: World, limit: int) -> int:
    content = world.stores.content
    await content.transaction(world.account, mailboxes.start_disconnect, world.mailbox)
    await content.transaction(world.account, erasures.insert_erasure, world.mailbox)
    chunks, reached = 0, 0
    while True:
        chunk = await content.transaction(world.account, erasures.delete_chunk, world.mailbox, limit, first=reached)
        if not chunk.rows:
            return chunks
        assert chunk.rows <= limit
        assert chunk.table >= reached
        chunks, reached = chunks + 1, chunk.table


def test_every_table_with_a_mailbox_is_erased() -> None:
    with_mailbox = {table.name for table in metadata.sorted_tables if "mailbox_id" in table.c}
    assert with_mailbox - {table.name for table in MAILBOX_TABLES} == {"mailboxes", "erasures"}


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_everything_goes_in_chunks(world: World, limit: int) -> None:
    content = world.stores.content
    before = await content.read(None, _rows, world.mailbox)
    neighbours = [await content.read(None, _rows, one) for one in (world.second_mailbox, world.other_mailbox)]
    assert await content.read(world.account, erasures.count_rows, world.mailbox) == {
        name: count for name, count in before.items() if count
    }
    chunks = await _erase(world, limit)
    assert chunks >= sum(before.values()) / limit
    assert set((await content.read(None, _rows, world.mailbox)).values()) == {0}
    assert await content.read(world.account, erasures.count_rows, world.mailbox) == {}
    erasure = await content.read(world.account, erasures.get_erasure, world.mailbox)
    assert erasure.deleted == {name: count for name, count in before.items() if count}
    await content.transaction(world.account, mailboxes.delete_mailbox, world.mailbox)
    after = [await content.read(None, _rows, one) for one in (world.second_mailbox, world.other_mailbox)]
    assert after == neighbours


async def test_what_the_helpdesk_must_read_stays(world: World) -> None:
    content = world.stores.content

    def tell(conn: Connection, account_id: UUID) -> None:
        _, sequence = draw_numbers(conn, account_id, events=2)
        kept = [events.NewEvent(one, world.mailbox) for one in erasures.KEPT_EVENTS]
        events.insert_events(conn, account_id, sequence, kept)

    await content.transaction(world.account, tell)
    await _erase(world, 100)
    left = await content.read(world.account, events.list_events, 0, 1000)
    assert [one.type for one in left if one.mailbox_id == world.mailbox] == list(erasures.KEPT_EVENTS)
    assert await content.read(world.account, erasures.count_rows, world.mailbox) == {}


async def test_nothing_is_read_from_the_first_moment(world: World) -> None:
    content = world.stores.content
    number = (await content.read(world.account, tickets.get_ticket_by_id, world.ticket)).number
    await content.transaction(world.account, mailboxes.start_disconnect, world.mailbox)
    with pytest.raises(NotFound):
        await content.read(world.account, messages.get_message, world.message)
    with pytest.raises(NotFound):
        await content.read(world.account, tickets.get_ticket, number)
    assert await content.read(world.account, messages.list_messages, world.ticket) == []
    assert await content.read(world.account, messages.list_attachments, [world.message]) == {}
    listed = await content.read(world.account, list_tickets)
    assert [one.ticket_id for one in listed] == [world.suspicious_ticket]


async def test_steps_and_counts_are_kept(stores: Stores, account: UUID, mailbox: UUID) -> None:
    do = stores.content.transaction
    with pytest.raises(NotFound):
        await stores.content.read(account, erasures.get_erasure, mailbox)
    await do(account, erasures.insert_erasure, mailbox)
    await do(account, erasures.add_count, mailbox, "blobs", 2)
    await do(account, erasures.add_count, mailbox, "blobs", 1)
    await do(account, erasures.set_step, mailbox, "deleted")
    (one,) = await stores.content.read(None, erasures.list_erasures)
    assert (one.step, one.deleted) == ("deleted", {"blobs": 3})
    await do(account, erasures.set_step, mailbox, "done")
    assert await stores.content.read(None, erasures.list_erasures) == []
    assert len(await stores.content.read(None, erasures.list_erasures, unfinished=False)) == 1
    with pytest.raises(NotFound):
        await stores.content.read(new_id(), erasures.get_erasure, mailbox)
