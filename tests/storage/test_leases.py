"""A mailbox has one holder: a dead process loses what it held, a live one keeps it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from storage import leases, mailboxes
from storage.database import now
from storage.errors import FenceLost
from storage.tables import workers
from storage.types import new_id
from tests.storage.conftest import add_mailbox
from tests.stores import Stores

LEASE = 15.0


async def _worker(stores: Stores) -> UUID:
    worker_id = new_id()
    await stores.content.transaction(None, leases.register, worker_id)
    return worker_id


async def _claim(stores: Stores, worker_id: UUID, limit: int = 100) -> list[leases.Held]:
    return await stores.content.transaction(None, leases.claim, worker_id, LEASE, limit)


def _let_run_out(conn: Connection, worker_id: UUID) -> None:
    """As if the process had been asleep: its heartbeat is older than its lease."""
    conn.execute(
        update(workers)
        .where(workers.c.worker_id == worker_id)
        .values(heartbeat_at=now(conn) - timedelta(seconds=LEASE + 1))
    )


async def test_a_claim_raises_the_fence(stores: Stores, account: UUID, mailbox: UUID) -> None:
    worker = await _worker(stores)
    held = await _claim(stores, worker)
    assert held == [leases.Held(account, mailbox, 2)]
    assert await _claim(stores, worker) == []
    assert await stores.content.read(None, leases.list_held, worker) == held
    with pytest.raises(FenceLost):
        await stores.content.transaction(account, mailboxes.hold, mailbox, 1)
    await stores.content.transaction(account, mailboxes.hold, mailbox, 2)


async def test_a_live_worker_keeps_its_mailboxes(stores: Stores, account: UUID, mailbox: UUID) -> None:
    first, second = await _worker(stores), await _worker(stores)
    await _claim(stores, first)
    assert await stores.content.transaction(None, leases.heartbeat, first, LEASE)
    assert await _claim(stores, second) == []
    assert await stores.content.read(None, leases.others_alive, second, LEASE) == 1
    assert await stores.content.read(None, leases.others_alive, None, LEASE) == 2


async def test_a_dead_worker_loses_its_mailboxes(stores: Stores, account: UUID, mailbox: UUID) -> None:
    first, second = await _worker(stores), await _worker(stores)
    (held,) = await _claim(stores, first)
    await stores.content.transaction(None, _let_run_out, first)
    assert not await stores.content.transaction(None, leases.heartbeat, first, LEASE)
    (taken,) = await _claim(stores, second)
    assert taken.fence == held.fence + 1
    with pytest.raises(FenceLost):
        await stores.content.transaction(account, mailboxes.hold, mailbox, held.fence)
    assert await stores.content.read(None, leases.list_held, first) == []
    # Its row is gone, so that it cannot come back to life.
    assert not await stores.content.transaction(None, leases.heartbeat, first, LEASE)


async def test_a_release_gives_everything_back(stores: Stores, account: UUID, mailbox: UUID) -> None:
    first, second = await _worker(stores), await _worker(stores)
    (held,) = await _claim(stores, first)
    await stores.content.transaction(None, leases.release, first)
    with pytest.raises(FenceLost):
        await stores.content.transaction(account, mailboxes.hold, mailbox, held.fence)
    assert [one.mailbox_id for one in await _claim(stores, second)] == [mailbox]


@pytest.mark.parametrize("state", list(mailboxes.MailboxState))
async def test_only_some_states_want_a_worker(
    stores: Stores, account: UUID, mailbox: UUID, state: mailboxes.MailboxState
) -> None:
    if state == mailboxes.MailboxState.DISCONNECTING:
        await stores.content.transaction(account, mailboxes.start_disconnect, mailbox)
    else:
        await stores.content.transaction(account, mailboxes.set_state, mailbox, fence=1, state=state)
    claimed = await _claim(stores, await _worker(stores))
    assert bool(claimed) == (state in mailboxes.WORKED)


async def test_a_claim_has_a_limit(stores: Stores, account: UUID) -> None:
    for _ in range(3):
        await add_mailbox(stores, account)
    worker = await _worker(stores)
    assert [len(await _claim(stores, worker, 2)) for _ in range(3)] == [2, 1, 0]


async def test_two_claimers_never_share(stores: Stores, account: UUID) -> None:
    mailbox_ids = {await add_mailbox(stores, account) for _ in range(20)}
    claimers = [await _worker(stores) for _ in range(4)]

    async def take_all(worker: UUID) -> list[UUID]:
        taken: list[UUID] = []
        idle = 0
        while idle < 3:
            more = await _claim(stores, worker, 2)
            taken += [one.mailbox_id for one in more]
            idle = 0 if more else idle + 1
        return taken

    shares = await asyncio.gather(*(take_all(worker) for worker in claimers))
    everything = [one for share in shares for one in share]
    assert len(everything) == len(set(everything))
    assert set(everything) == mailbox_ids
    for worker, share in zip(claimers, shares, strict=True):
        held = await stores.content.read(None, leases.list_held, worker)
        assert {one.mailbox_id for one in held} == set(share)


async def _look(stores: Stores, worker_id: UUID, limit: int = 100) -> leases.Look:
    return await stores.content.transaction(None, leases.look, worker_id, LEASE, limit)


async def _held(stores: Stores, worker_id: UUID) -> list[leases.Held]:
    found = (await _look(stores, worker_id)).held
    assert found is not None
    return found


async def test_what_is_known_already_is_not_listed(stores: Stores, account: UUID) -> None:
    for _ in range(3):
        await add_mailbox(stores, account)
    worker = await _worker(stores)
    held = await _held(stores, worker)

    async def look() -> leases.Look:
        known = len(held), sum(one.fence for one in held)
        return await stores.content.transaction(None, leases.look, worker, LEASE, 100, known)

    assert (await look()).held is None
    one = held[0]
    await stores.content.transaction(account, mailboxes.start_disconnect, one.mailbox_id)
    assert (await look()).held == held[1:]


async def test_mailboxes_are_divided_evenly_and_follow_who_comes_and_goes(stores: Stores, account: UUID) -> None:
    for _ in range(10):
        await add_mailbox(stores, account)
    first = await _worker(stores)
    alone = await _look(stores, first)
    assert (len(alone.held or ()), alone.above, alone.next_end) == (10, 0, None)
    second = await _worker(stores)
    assert (await _look(stores, second)).held == []  # all of them are somebody's
    now_shared = await _look(stores, first)
    assert now_shared.above == 5
    assert now_shared.held is not None
    assert now_shared.next_end is not None
    assert 0 < now_shared.next_end.total_seconds() <= LEASE
    await stores.content.transaction(None, leases.give_back, first, now_shared.held[:5])
    assert await _held(stores, first) == now_shared.held[5:]  # and takes nothing back
    taken = await _look(stores, second)
    assert {one.mailbox_id: one.fence for one in taken.held or ()} == {
        one.mailbox_id: one.fence + 2 for one in now_shared.held[:5]
    }
    await stores.content.transaction(None, _let_run_out, first)
    assert len(await _held(stores, second)) == 10


async def test_who_stands_down_keeps_what_it_has_and_leaves_the_rest_to_others(stores: Stores, account: UUID) -> None:
    for _ in range(4):
        await add_mailbox(stores, account)
    first, second = await _worker(stores), await _worker(stores)
    held = await _held(stores, first)
    assert len(held) == 2
    await stores.content.transaction(None, leases.stand_down, first)
    assert (await _look(stores, first)).above == 2
    assert len(await _held(stores, second)) == 2
    await stores.content.transaction(None, leases.give_back, first, held)
    assert len(await _held(stores, second)) == 4


async def test_who_has_less_room_leaves_the_rest_to_others(stores: Stores, account: UUID) -> None:
    for _ in range(10):
        await add_mailbox(stores, account)
    small, large = new_id(), new_id()
    await stores.content.transaction(None, leases.register, small, 2)
    await stores.content.transaction(None, leases.register, large, 7)
    assert len(await _held(stores, small)) == 2
    assert len(await _held(stores, large)) == 7  # one stays without: there is no room for it


async def test_what_is_given_back_with_an_old_fence_stays_where_it_is(
    stores: Stores, account: UUID, mailbox: UUID
) -> None:
    worker = await _worker(stores)
    (held,) = await _claim(stores, worker)
    old = leases.Held(held.account_id, held.mailbox_id, held.fence - 1)
    await stores.content.transaction(None, leases.give_back, worker, [old])
    assert await stores.content.read(None, leases.list_held, worker) == [held]


async def test_who_has_lost_its_lease_takes_nothing(stores: Stores, account: UUID, mailbox: UUID) -> None:
    assert await _claim(stores, new_id()) == []


async def test_clearing_fences_everybody_out(stores: Stores, account: UUID, mailbox: UUID) -> None:
    first = await _worker(stores)
    (held,) = await _claim(stores, first)
    await stores.content.transaction(None, leases.clear)
    assert await stores.content.read(None, leases.others_alive, None, LEASE) == 0
    with pytest.raises(FenceLost):
        await stores.content.transaction(account, mailboxes.hold, mailbox, held.fence)
    (taken,) = await _claim(stores, await _worker(stores))
    assert taken.fence > held.fence
