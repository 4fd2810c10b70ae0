"""What is used once is used once: idempotency keys, authorization states, versions of a grant."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from storage import flows, grants, outbox
from storage.database import now
from storage.errors import Conflict, CursorMoved, LimitReached, NotFound
from storage.tables import idempotency, link_flows
from storage.types import new_id
from tests.stores import Stores

STATE, BROWSER = b"hash of the state", b"hash of the browser"


async def _flow(
    stores: Stores, account: UUID, *, lifetime_seconds: float = 600, state_hash: bytes = STATE, open_max: int = 1000
) -> UUID:
    flow_id = new_id()
    await stores.content.transaction(
        account,
        flows.insert_flow,
        flow_id,
        mailbox_id=new_id(),
        provider="example",
        relink=False,
        state_hash=state_hash,
        lifetime_seconds=lifetime_seconds,
        sealed=b"sealed",
        open_max=open_max,
    )
    return flow_id


async def test_an_account_has_only_so_many_requests_open(stores: Stores, account: UUID) -> None:
    """What has ended or expired does not count."""
    first = await _flow(stores, account, open_max=2)
    await _flow(stores, account, state_hash=b"expired", lifetime_seconds=-1, open_max=2)
    await _flow(stores, account, state_hash=b"second", open_max=2)
    with pytest.raises(LimitReached):
        await _flow(stores, account, state_hash=b"third", open_max=2)
    await stores.content.transaction(account, flows.end_flow, first, status="failed")
    await _flow(stores, account, state_hash=b"third", open_max=2)


async def test_a_state_is_used_once(stores: Stores, account: UUID) -> None:
    flow_id = await _flow(stores, account)
    do = stores.content.transaction
    with pytest.raises(NotFound):
        await do(None, flows.take_flow, STATE, BROWSER)  # nobody has opened it
    assert (await do(None, flows.open_flow, STATE, BROWSER)).flow_id == flow_id
    assert (await do(None, flows.open_flow, STATE, BROWSER)).flow_id == flow_id  # people reload pages
    assert (await do(None, flows.take_flow, STATE, BROWSER)).status == "taken"
    for use in (flows.open_flow, flows.take_flow):
        with pytest.raises(NotFound):
            await do(None, use, STATE, BROWSER)


async def test_the_browser_that_opened_last_takes_the_state(stores: Stores, account: UUID) -> None:
    await _flow(stores, account)
    do = stores.content.transaction
    await do(None, flows.open_flow, STATE, b"first")
    await do(None, flows.open_flow, STATE, b"second")
    with pytest.raises(NotFound):
        await do(None, flows.take_flow, STATE, b"first")
    assert (await do(None, flows.take_flow, STATE, b"second")).status == "taken"


async def test_of_many_that_take_a_state_at_once_one_gets_it(stores: Stores, account: UUID) -> None:
    await _flow(stores, account)
    await stores.content.transaction(None, flows.open_flow, STATE, BROWSER)
    results = await asyncio.gather(
        *(stores.content.transaction(None, flows.take_flow, STATE, BROWSER) for _ in range(5)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in results) == ["Flow"] + ["NotFound"] * 4


async def test_another_browser_cannot_take_a_state(stores: Stores, account: UUID) -> None:
    await _flow(stores, account)
    await stores.content.transaction(None, flows.open_flow, STATE, BROWSER)
    with pytest.raises(NotFound):
        await stores.content.transaction(None, flows.take_flow, STATE, b"another")
    # The attempt rolled back, so that the right browser can still finish.
    assert (await stores.content.transaction(None, flows.take_flow, STATE, BROWSER)).status == "taken"


async def test_an_expired_state_is_unknown(stores: Stores, account: UUID) -> None:
    await _flow(stores, account, lifetime_seconds=-1)
    with pytest.raises(NotFound):
        await stores.content.transaction(None, flows.open_flow, STATE, BROWSER)


async def test_old_flows_go_when_new_ones_come(stores: Stores, account: UUID) -> None:
    old = await _flow(stores, account)

    def age(conn: Connection) -> None:
        conn.execute(update(link_flows).values(expires_at=now(conn) - timedelta(hours=2)))

    await stores.content.transaction(None, age)
    fresh = await _flow(stores, account, state_hash=b"another state")
    with pytest.raises(NotFound):
        await stores.content.read(account, flows.get_flow, old)
    assert (await stores.content.read(account, flows.get_flow, fresh)).status == "waiting"


async def test_no_account_reads_anothers_flow(stores: Stores, account: UUID) -> None:
    flow_id = await _flow(stores, account)
    with pytest.raises(NotFound):
        await stores.content.read(new_id(), flows.get_flow, flow_id)


async def test_a_grant_is_replaced_by_version(stores: Stores, account: UUID, mailbox: UUID) -> None:
    do = stores.content.transaction
    with pytest.raises(NotFound):
        await stores.content.read(account, grants.get_grant, mailbox)
    await do(account, grants.put_grant, mailbox, None, b"first")
    await do(account, grants.replace_grant, mailbox, version=1, expires_at=None, sealed=b"second")
    with pytest.raises(CursorMoved):
        await do(account, grants.replace_grant, mailbox, version=1, expires_at=None, sealed=b"stale")
    await do(account, grants.put_grant, mailbox, None, b"linked again")
    with pytest.raises(CursorMoved):
        await do(account, grants.replace_grant, mailbox, version=2, expires_at=None, sealed=b"stale")
    found = await stores.content.read(account, grants.get_grant, mailbox)
    assert (found.version, found.sealed) == (3, b"linked again")


async def test_of_many_that_refresh_at_once_one_stores_its_tokens(stores: Stores, account: UUID, mailbox: UUID) -> None:
    """Refresh tokens rotate: a lost one is a dead mailbox."""
    await stores.content.transaction(account, grants.put_grant, mailbox, None, b"first")
    results = await asyncio.gather(
        *(
            stores.content.transaction(
                account, grants.replace_grant, mailbox, version=1, expires_at=None, sealed=bytes([n])
            )
            for n in range(4)
        ),
        return_exceptions=True,
    )
    winners = [n for n, one in enumerate(results) if one is None]
    assert len(winners) == 1
    assert sorted(type(one).__name__ for one in results if one is not None) == ["CursorMoved"] * 3
    assert (await stores.content.read(account, grants.get_grant, mailbox)).sealed == bytes(winners)


async def test_a_repeated_request_is_the_same_reply(stores: Stores, account: UUID, mailbox: UUID) -> None:
    async def request(key: bytes, content: bytes, message_id: UUID) -> UUID | None:
        return await stores.content.transaction(
            account,
            outbox.remember_request,
            mailbox,
            request_key=key,
            request_hash=content,
            message_id=message_id,
        )

    first = new_id()
    assert await request(b"key", b"content", first) is None
    assert await request(b"key", b"content", new_id()) == first
    with pytest.raises(Conflict):
        await request(b"key", b"other content", new_id())
    assert await request(b"other key", b"content", new_id()) is None


async def test_requests_are_forgotten_in_bounded_steps(stores: Stores, account: UUID, mailbox: UUID) -> None:
    for number in range(3):
        await stores.content.transaction(
            account,
            outbox.remember_request,
            mailbox,
            request_key=bytes([number]),
            request_hash=b"",
            message_id=new_id(),
        )

    def forget(conn: Connection, hours: int) -> int:
        return outbox.forget_requests(conn, now(conn) + timedelta(hours=hours), 2)

    assert [await stores.content.transaction(None, forget, -1)] == [0]
    assert [await stores.content.transaction(None, forget, 1) for _ in range(3)] == [2, 1, 0]

    def count(conn: Connection) -> int:
        return len(conn.execute(idempotency.select()).all())

    assert await stores.content.read(None, count) == 0
