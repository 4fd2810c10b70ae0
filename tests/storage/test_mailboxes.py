"""Who lost a mailbox, or works on one that is being forgotten, writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection

from storage import grants, mailboxes, meta
from storage.errors import CursorMoved, FenceLost, NotFound
from storage.mailboxes import MailboxState
from storage.tables import store_meta
from storage.types import new_id
from tests.stores import Stores

Write = Callable[[Connection, UUID, UUID], Any]

FENCED: dict[str, Write] = {
    "hold": lambda c, a, m: mailboxes.hold(c, a, m, 1),
    "advance_cursor": lambda c, a, m: mailboxes.advance_cursor(
        c, a, m, fence=1, cursor_sequence=0, cursor_sealed=b"next"
    ),
    "mark_read_through": lambda c, a, m: mailboxes.mark_read_through(c, a, m, fence=1),
    "set_state": lambda c, a, m: mailboxes.set_state(c, a, m, fence=1, state=MailboxState.FAILING, trouble="x"),
    "count_sent_copy": lambda c, a, m: mailboxes.count_sent_copy(c, a, m, fence=1, found=True),
}
UNFENCED: dict[str, Write] = {
    "hold_unfenced": mailboxes.hold_unfenced,
    "relink": lambda c, a, m: mailboxes.relink(c, a, m, b"sealed"),
    "put_grant": lambda c, a, m: grants.put_grant(c, a, m, None, b"sealed"),
    "replace_grant": lambda c, a, m: grants.replace_grant(c, a, m, version=1, expires_at=None, sealed=b"sealed"),
}


def _write_with_a_fact(conn: Connection, account_id: UUID, mailbox_id: UUID, write: Write) -> None:
    meta.put(conn, store_meta, "fact", "written")
    write(conn, account_id, mailbox_id)


async def _is_undone(stores: Stores) -> bool:
    return await stores.content.read(None, meta.get, store_meta, "fact") is None


@pytest.mark.parametrize("name", FENCED)
async def test_the_holder_writes(stores: Stores, account: UUID, mailbox: UUID, name: str) -> None:
    await stores.content.transaction(account, _write_with_a_fact, mailbox, FENCED[name])
    assert not await _is_undone(stores)
    assert (await stores.content.read(account, mailboxes.get_mailbox, mailbox)).fence == 1


@pytest.mark.parametrize("name", FENCED)
async def test_who_lost_the_mailbox_writes_nothing(stores: Stores, account: UUID, mailbox: UUID, name: str) -> None:
    await stores.content.transaction(account, mailboxes.relink, mailbox, b"sealed")  # raises the fence
    with pytest.raises(FenceLost):
        await stores.content.transaction(account, _write_with_a_fact, mailbox, FENCED[name])
    assert await _is_undone(stores)


@pytest.mark.parametrize("name", FENCED)
async def test_a_disconnect_stops_every_worker(stores: Stores, account: UUID, mailbox: UUID, name: str) -> None:
    before = await stores.content.read(account, mailboxes.get_mailbox, mailbox)
    assert await stores.content.transaction(account, mailboxes.start_disconnect, mailbox)
    after = await stores.content.read(account, mailboxes.get_mailbox, mailbox)
    assert (after.state, after.fence) == (MailboxState.DISCONNECTING, before.fence + 1)
    with pytest.raises(FenceLost):
        await stores.content.transaction(account, _write_with_a_fact, mailbox, FENCED[name])
    assert await _is_undone(stores)


async def test_the_new_fence_does_not_open_a_disconnecting_mailbox(
    stores: Stores, account: UUID, mailbox: UUID
) -> None:
    await stores.content.transaction(account, mailboxes.start_disconnect, mailbox)
    with pytest.raises(FenceLost):
        await stores.content.transaction(account, mailboxes.hold, mailbox, 2)


@pytest.mark.parametrize("name", UNFENCED)
async def test_a_disconnect_stops_every_request(stores: Stores, account: UUID, mailbox: UUID, name: str) -> None:
    await stores.content.transaction(account, grants.put_grant, mailbox, None, b"sealed")
    await stores.content.transaction(account, mailboxes.start_disconnect, mailbox)
    with pytest.raises(NotFound):
        await stores.content.transaction(account, _write_with_a_fact, mailbox, UNFENCED[name])
    assert await _is_undone(stores)


async def test_a_disconnect_starts_once(stores: Stores, account: UUID, mailbox: UUID) -> None:
    assert await stores.content.transaction(account, mailboxes.start_disconnect, mailbox)
    assert not await stores.content.transaction(account, mailboxes.start_disconnect, mailbox)
    with pytest.raises(NotFound):
        await stores.content.transaction(account, mailboxes.start_disconnect, new_id())


async def test_only_a_disconnecting_mailbox_is_deleted(stores: Stores, account: UUID, mailbox: UUID) -> None:
    await stores.content.transaction(account, mailboxes.delete_mailbox, mailbox)
    assert await stores.content.read(account, mailboxes.list_mailboxes) != []
    await stores.content.transaction(account, mailboxes.start_disconnect, mailbox)
    await stores.content.transaction(account, mailboxes.delete_mailbox, mailbox)
    assert await stores.content.read(account, mailboxes.list_mailboxes) == []


async def test_the_cursor_moves_once_a_batch(stores: Stores, account: UUID, mailbox: UUID) -> None:
    advance = FENCED["advance_cursor"]
    await stores.content.transaction(account, advance, mailbox)
    with pytest.raises(CursorMoved):
        await stores.content.transaction(account, _write_with_a_fact, mailbox, advance)
    assert await _is_undone(stores)
    found = await stores.content.read(account, mailboxes.get_mailbox, mailbox)
    assert (found.cursor_sequence, found.cursor_sealed) == (1, b"next")
    assert found.read_at is not None


async def test_of_two_that_advance_at_once_one_does(stores: Stores, account: UUID, mailbox: UUID) -> None:
    advance = FENCED["advance_cursor"]
    results = await asyncio.gather(
        *(stores.content.transaction(account, advance, mailbox) for _ in range(5)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in results) == ["CursorMoved"] * 4 + ["NoneType"]


async def test_no_account_reaches_anothers_mailbox(stores: Stores, account: UUID, mailbox: UUID) -> None:
    stranger = new_id()
    for name, write in FENCED.items():
        expected = NotFound if name == "set_state" else FenceLost
        with pytest.raises(expected):
            await stores.content.transaction(stranger, write, mailbox)
    for write in UNFENCED.values():
        with pytest.raises(NotFound):
            await stores.content.transaction(stranger, write, mailbox)


async def test_the_time_of_a_state_is_that_of_its_change(stores: Stores, account: UUID, mailbox: UUID) -> None:
    fail = FENCED["set_state"]
    assert await stores.content.transaction(account, fail, mailbox) is True
    since = (await stores.content.read(account, mailboxes.get_mailbox, mailbox)).state_since
    assert await stores.content.transaction(account, fail, mailbox) is False
    assert (await stores.content.read(account, mailboxes.get_mailbox, mailbox)).state_since == since
