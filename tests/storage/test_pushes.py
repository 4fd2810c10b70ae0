"""What a provider tells is noted once, is looked at once, and changes when the subscription is renewed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection

from storage import leases, mailboxes, pushes
from storage.errors import FenceLost
from storage.leases import Held
from storage.pushes import Push, Taken, Told
from storage.types import new_id
from tests.plans import plans
from tests.stores import Stores

HOUR = timedelta(hours=1)
END = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
async def worker(stores: Stores) -> UUID:
    worker_id = new_id()
    await stores.content.transaction(None, leases.register, worker_id)
    return worker_id


@pytest.fixture
async def held(stores: Stores, mailbox: UUID, worker: UUID) -> Held:
    (held,) = await stores.content.transaction(None, leases.claim, worker, 15.0, 10)
    await stores.content.transaction(held.account_id, pushes.want, mailbox, fence=held.fence)
    return held


class Row:
    """The subscription of one mailbox."""

    def __init__(self, stores: Stores, held: Held) -> None:
        self._content = stores.content
        self._held = held

    async def take(self) -> Taken:
        held = self._held
        taken = await self._content.transaction(held.account_id, pushes.take, held.mailbox_id, fence=held.fence)
        assert taken is not None
        return taken

    async def made(self) -> None:
        held = self._held
        place: dict[str, Any] = {"fence": held.fence, "sealed": b"sealed", "expires_at": END, "renew_in": HOUR}
        await self._content.transaction(held.account_id, pushes.note_made, held.mailbox_id, **place)

    async def renewed(self) -> None:
        held = self._held
        place: dict[str, Any] = {"fence": held.fence, "expires_at": END, "renew_in": HOUR}
        await self._content.transaction(held.account_id, pushes.note_renewed, held.mailbox_id, **place)

    async def failed(self) -> None:
        held = self._held
        place: dict[str, Any] = {"fence": held.fence, "retry_in": HOUR}
        await self._content.transaction(held.account_id, pushes.note_failed, held.mailbox_id, **place)

    async def tell(self, told: Told) -> None:
        await self._content.transaction(self._held.account_id, pushes.tell, self._held.mailbox_id, told)

    async def is_due(self, worker: UUID) -> bool:
        ready, _ = await self._content.read(None, pushes.due_mailboxes, worker, ahead=2 * HOUR, limit=10)
        return ready == [self._held]

    async def found(self) -> Push:
        found = await self._content.read(None, pushes.find_open, self._held.mailbox_id)
        assert found is not None
        return found


async def test_it_is_made_then_renewed_when_its_time_comes(stores: Stores, held: Held, worker: UUID) -> None:
    row = Row(stores, held)
    assert await row.is_due(worker)
    assert (await row.take()).is_due
    await row.failed()
    assert not await row.is_due(worker)
    assert await stores.content.read(None, pushes.due_mailboxes, worker, ahead=HOUR / 2, limit=10) == ([], None)
    _, next_in = await stores.content.read(None, pushes.due_mailboxes, worker, ahead=2 * HOUR, limit=10)
    assert next_in is not None
    assert HOUR - timedelta(minutes=1) < next_in <= HOUR
    assert (await row.found()).failures == 1
    await row.made()
    assert not (await row.take()).is_due
    found = await row.found()
    assert (found.sealed, found.expires_at, found.failures) == (b"sealed", END, 0)


async def test_what_was_told_is_looked_at_once(stores: Stores, held: Held, worker: UUID) -> None:
    row = Row(stores, held)
    await row.made()
    await row.tell(Told.NEWS)
    assert await row.is_due(worker)
    taken = await row.take()
    assert (taken.push.told, taken.is_due) == (Told.NEWS, False)
    assert not await row.is_due(worker)
    assert (await row.take()).push.told is None


async def test_what_asks_for_more_is_not_hidden_by_what_asks_for_less(stores: Stores, held: Held) -> None:
    row = Row(stores, held)
    await row.made()
    for told, stays in (
        (Told.NEWS, Told.NEWS),
        (Told.RENEW, Told.RENEW),
        (Told.NEWS, Told.RENEW),
        (Told.REMOVED, Told.REMOVED),
        (Told.RENEW, Told.REMOVED),
    ):
        await row.tell(told)
        assert (await row.found()).told is stays
    taken = await row.take()
    assert (taken.is_due, taken.push.sealed, taken.push.expires_at) == (True, None, None)
    assert (await row.found()).sealed is None, "whoever comes after a crash makes another"


@pytest.mark.parametrize("end", [Row.renewed, Row.failed])
async def test_what_is_told_while_it_is_renewed_stays_due(
    stores: Stores, held: Held, worker: UUID, end: object
) -> None:
    row = Row(stores, held)
    await row.made()
    await row.tell(Told.RENEW)
    assert (await row.take()).is_due
    await row.tell(Told.REMOVED)
    await end(row)  # type: ignore[operator]
    assert await row.is_due(worker)
    assert (await row.take()).push.told is Told.REMOVED


async def test_who_lost_the_mailbox_writes_nothing_and_who_forgets_it_is_told_nothing(
    stores: Stores, held: Held, worker: UUID
) -> None:
    row = Row(stores, held)
    await row.made()
    await stores.content.transaction(held.account_id, mailboxes.start_disconnect, held.mailbox_id)
    for write in (row.take, row.made, row.renewed, row.failed):
        with pytest.raises(FenceLost):
            await write()
    assert await stores.content.read(None, pushes.find_open, held.mailbox_id) is None
    assert not await row.is_due(worker)


async def test_one_that_is_wanted_no_more_is_forgotten(stores: Stores, held: Held) -> None:
    await Row(stores, held).made()
    await stores.content.transaction(held.account_id, pushes.unwant, held.mailbox_id, fence=held.fence)
    assert await stores.content.read(held.account_id, pushes.find_push, held.mailbox_id) is None


async def test_what_is_due_is_found_by_its_time(stores: Stores, worker: UUID) -> None:
    def look(conn: Connection) -> list[str]:
        return plans(conn, "pushes", lambda: pushes.due_mailboxes(conn, worker, ahead=2 * HOUR, limit=10))

    lines = await stores.content.read(None, look)
    assert any("ix_pushes_due_at" in line for line in lines), lines
    assert not any("TEMP B-TREE" in line for line in lines), lines
