"""A healthy installation is clean; every damage is reported by exactly the invariant whose promise it breaks."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update

from ingestd.verify import INVARIANTS, Invariant, Report, Violation, check, name_of, promise_of, report, stated
from ingestd.verify.look import Look
from storage import erasures, keystore, mailboxes
from storage.database import now
from storage.events import forget_old
from storage.tables import events, messages
from storage.types import new_id
from tests.stores import Stores, StoreUrls, sqlite_copies
from tests.verify import damage
from tests.verify.builder import RAW, World, build
from tests.verify.damages import DAMAGES, Damage

NAMES = [name_of(one) for one in INVARIANTS]


@pytest.fixture(scope="session")
def built(sqlite_migrated: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> World:
    """An installation on SQLite that is to be copied: building it takes longer than looking through it."""

    async def make() -> World:
        stores = Stores.connect(sqlite_copies(sqlite_migrated, tmp_path_factory.mktemp("built")))
        try:
            return await build(stores)
        finally:
            await stores.close()

    return asyncio.run(make())


@pytest.fixture
async def world(store_urls: StoreUrls, built: World) -> AsyncIterator[World]:
    if not store_urls.content.startswith("sqlite"):
        stores = await Stores.open(store_urls)
        made = await build(stores)
    else:
        stores = Stores.connect(sqlite_copies(built.stores.urls, store_urls.blobs.parent))
        shutil.copytree(built.stores.urls.blobs, store_urls.blobs)
        made = dataclasses.replace(built, stores=stores)
    yield made
    await stores.close()


async def test_a_healthy_installation_is_clean(world: World) -> None:
    report = await world.verify()
    assert report.violations == []
    assert list(report.checked) == NAMES
    assert [name for name, count in report.checked.items() if count == 0] == []


async def test_an_empty_installation_is_clean(stores: Stores) -> None:
    assert (await World(stores).verify()).clean


async def test_large_pages_and_transactions_see_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    large = await world.verify(page_rows=500)
    monkeypatch.setattr(stated, "_SECONDS", 0.0)
    small = await world.verify(page_rows=1)
    assert small == large


@pytest.mark.postgresql_is_long
@pytest.mark.parametrize("one", DAMAGES, ids=lambda one: f"{one.invariant}: {one.what}")
async def test_a_damage_is_reported(world: World, one: Damage) -> None:
    database = world.stores.keystore if one.keystore else world.stores.content
    await damage.run(database, one.apply, world)
    report = await world.verify()
    assert {violation.invariant for violation in report.violations} == {one.invariant, one.also} - {""}


@pytest.mark.parametrize("name", NAMES)
def test_every_invariant_has_a_damage(name: str) -> None:
    assert any(one.invariant == name for one in DAMAGES)


def test_every_damage_has_its_invariant() -> None:
    assert {one.invariant for one in DAMAGES} == set(NAMES)


def test_names_are_unique() -> None:
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("invariant", INVARIANTS, ids=name_of)
def test_every_invariant_states_its_promise_in_one_sentence(invariant: Invariant) -> None:
    promise = promise_of(invariant)
    assert promise.endswith(".")
    assert ". " not in promise
    assert "\n" not in promise
    assert len(promise) < 240


def _names(report: Report) -> set[str]:
    return {one.invariant for one in report.violations}


@pytest.mark.postgresql_is_long
@pytest.mark.parametrize("limit", [1, 4])
async def test_a_disconnect_is_clean_at_every_step(world: World, limit: int) -> None:
    """A crash between any two of its transactions leaves nothing to complain about."""
    content, store, account, mailbox = world.stores.content, world.stores.keystore, world.account, world.mailbox

    def start(conn: Connection, account_id: Any) -> None:
        mailboxes.start_disconnect(conn, account_id, mailbox)
        erasures.insert_erasure(conn, account_id, mailbox)

    await content.transaction(account, start)
    assert _names(await world.verify()) == set()
    await store.transaction(
        account, keystore.destroy_key, mailbox, detail={}, provider="example", wrapped_refresh_token=b"token"
    )
    assert _names(await world.verify()) == set()
    await content.transaction(account, erasures.set_step, mailbox, "unreadable")
    steps = 0
    while (await content.transaction(account, erasures.delete_chunk, mailbox, limit)).rows:
        steps += 1
        if steps % 3 == 0:
            assert _names(await world.verify(page_rows=100)) == set()
    world.stores.blobs.delete_mailbox(account, mailbox)
    assert _names(await world.verify()) == set()
    await content.transaction(account, mailboxes.delete_mailbox, mailbox)
    assert _names(await world.verify()) == set()
    await content.transaction(account, erasures.set_step, mailbox, "deleted")
    await store.transaction(account, keystore.append_ledger, mailbox, "receipt", {})
    assert _names(await world.verify()) == set()
    await content.transaction(account, erasures.set_step, mailbox, "done")
    assert _names(await world.verify()) == set()


async def test_a_link_under_way_is_clean_for_an_hour(world: World) -> None:
    """Its key comes before its mailbox, as a blob comes before its message."""
    await world.keys().create_mailbox_key(world.account, new_id())
    world.stores.blobs.put(world.account, world.mailbox, new_id(), [b"sealed"])
    clock = await world.stores.content.read(None, now)
    assert _names(await world.verify(now=clock + timedelta(minutes=59))) == set()
    late = await world.verify(now=clock + timedelta(minutes=61))
    assert _names(late) == {"keys_have_an_owner", "blobs_have_a_row"}


async def test_a_token_is_not_kept_past_its_day(world: World) -> None:
    clock = await world.stores.content.read(None, now)
    assert _names(await world.verify(now=clock + timedelta(hours=23))) == set()
    assert _names(await world.verify(now=clock + timedelta(hours=25))) == {"revocations_end"}


async def test_a_log_without_its_beginning_is_clean_and_still_checked(world: World) -> None:
    """What old events told is not missed; what newer ones should have told is."""
    content = world.stores.content
    future = await content.read(None, now) + timedelta(days=1)
    assert await content.transaction(world.account, forget_old, future, 6) == 6
    assert _names(await world.verify()) == set()

    def untell(conn: Connection, _world: World) -> None:
        newest = select(func.max(events.c.sequence)).where(events.c.type == "reply.queued").scalar_subquery()
        conn.execute(events.delete().where(events.c.account_id == world.account, events.c.sequence == newest))

    await damage.run(content, untell, world)
    assert _names(await world.verify()) == {"replies_were_announced_once"}
    while await content.transaction(world.account, forget_old, future, 6):
        pass
    assert _names(await world.verify()) == set()


async def test_a_report_has_a_limit_and_says_so(world: World) -> None:
    def untell(conn: Connection, _world: World) -> None:
        conn.execute(events.delete().where(events.c.type == "reply.queued"))

    await damage.run(world.stores.content, untell, world)
    stores = world.stores
    limited = await check.verify(stores.content, stores.keystore, stores.blobs, world.keys(), violations_max=2)
    assert len(limited.violations) == 2
    assert limited.incomplete == {"replies_were_announced_once"}
    whole = await world.verify()
    assert {one.subject_id for one in whole.violations} == {
        str(one) for one in (world.sent, world.queued, world.sending, world.found)
    }
    assert whole.incomplete == frozenset()


@pytest.mark.parametrize("limits", [{"page_rows": 0}, {"violations_max": 0}])
async def test_limits_are_positive(world: World, limits: dict[str, int]) -> None:
    stores = world.stores
    with pytest.raises(ValueError):
        await check.verify(stores.content, stores.keystore, stores.blobs, world.keys(), **limits)  # type: ignore[arg-type]


async def test_a_violation_names_account_and_row_and_nothing_personal(world: World) -> None:
    def break_all(conn: Connection, _world: World) -> None:
        conn.execute(update(messages).where(messages.c.message_id == world.message).values(size_bytes=1))

    await damage.run(world.stores.content, break_all, world)
    found = await world.verify()
    assert (
        Violation(
            "raw_messages_are_whole",
            world.account,
            str(world.message),
            f"the raw message has {len(RAW)} bytes, recorded are 1",
        )
        in found.violations
    )
    for one in found.violations:
        assert "kim" not in repr(one).lower()
        assert "Invoice" not in repr(one)


async def test_what_looks_wrong_only_once_is_no_violation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon at work may delete, between two pages, what is looked for next."""
    looks: list[int] = []

    async def fleeting(_look: Look, found: report.Findings) -> None:
        """Nothing changes under the checker's eyes."""
        looks.append(1)
        found.checked += 1
        found.add(world.account, "lasting", "wrong")
        if len(looks) == 1:
            found.add(world.account, "fleeting", "wrong")

    monkeypatch.setattr(check, "INVARIANTS", (fleeting,))
    found = await world.verify()
    assert [one.subject_id for one in found.violations] == ["lasting"]
    assert found.checked == {"fleeting": 1}
