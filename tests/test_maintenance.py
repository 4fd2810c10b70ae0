"""What crashes leave behind is swept, and nothing else is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, func, select

from config import Provider, Settings
from ingestd.inbound.parser import ParserPool
from ingestd.linking.clients import OAuthClients
from ingestd.linking.foresight import Foresight
from ingestd.linking.http import new_http
from ingestd.maintenance import Maintenance
from ingestd.privacy.account_retention import AccountRetention, rules_of
from ingestd.privacy.closing import Closer
from ingestd.privacy.disconnect import Eraser, EraserTools
from ingestd.privacy.expiry import MessageRetention
from ingestd.privacy.persons import PersonEraser, PersonTools
from ingestd.privacy.quarantine_expiry import QuarantineRetention
from ingestd.privacy.requests import request_disconnect
from ingestd.privacy.revocation import Revoker
from ingestd.retention import Retention
from ingestd.telemetry.metrics import Metrics
from ingestd.verify import verify
from ingestd.wakes import Bell
from storage import erasures, keystore
from storage.events import read_log
from storage.tables import idempotency
from storage.types import new_id
from tests.office import Office, mail
from tests.stores import Stores


def maintenance(office: Office) -> Maintenance:
    stores = office.stores

    def unknown(name: str) -> Provider:
        raise KeyError(name)

    clients = OAuthClients(unknown, lambda _provider: new_http(), lambda _provider: frozenset())
    metrics = Metrics(version="0", python_version="3")
    revoker = Revoker(stores.keystore, office.keys, clients)
    tools = EraserTools(stores.content, stores.keystore, stores.blobs, office.keys, metrics, revoker.revoke)
    settings = Settings.model_validate({"keys": {"master_key": "A" * 43 + "="}})
    return Maintenance(
        content=stores.content,
        keystore=stores.keystore,
        blobs=stores.blobs,
        keys=office.keys,
        eraser=Eraser(tools),
        closer=Closer(tools),
        persons=PersonEraser(PersonTools(stores.content, stores.keystore, stores.blobs, office.keys, ParserPool)),
        revoker=revoker,
        bell=Bell(),
        metrics=metrics,
        retention=Retention(stores.content, event_days=lambda: 90, delivery_days=lambda: 30),
        foresight=Foresight(stores.content, lambda: settings),
        accounts=AccountRetention(stores.content, lambda: rules_of(settings)),
        messages=MessageRetention(stores.content, stores.blobs, lambda: None),
        quarantine=QuarantineRetention(stores.content, stores.blobs, office.keys, lambda: None),
        check_seconds=lambda: 3600.0,
    )


async def owners(stores: Stores) -> set[UUID]:
    return {blob.owner_id for blob in stores.blobs.list()}


async def test_old_orphans_go_and_young_ones_stay(stores: Stores) -> None:
    """A young file may belong to a transaction that is about to commit, a young key to a linking under way."""
    office = await Office.open(stores)
    held = office.held
    orphan = new_id()
    stores.blobs.put(held.account_id, held.mailbox_id, orphan, [b"left by a crash"])
    key_owner = new_id()
    await office.keys.create_mailbox_key(held.account_id, key_owner)
    sweeper = maintenance(office)

    await sweeper.sweep(datetime.now(UTC) + timedelta(minutes=59))
    assert await owners(stores) == {orphan}
    await sweeper.sweep(datetime.now(UTC) + timedelta(minutes=61))
    assert await owners(stores) == set()
    assert await key_owners(stores) == {held.account_id, held.mailbox_id}
    await office.check()


async def test_the_key_of_an_account_that_never_came_to_be_goes(stores: Stores) -> None:
    """It is what a crash leaves between an account's key and its row."""
    office = await Office.open(stores)
    never = new_id()
    await office.keys.create_account_key(never)
    later = datetime.now(UTC) + timedelta(minutes=61)
    report = await verify(stores.content, stores.keystore, stores.blobs, office.keys, now=later)
    assert [one.subject_id for one in report.violations] == [str(never)]
    await maintenance(office).sweep(datetime.now(UTC) + timedelta(minutes=59))
    assert never in await key_owners(stores)
    await maintenance(office).sweep(later)
    assert await key_owners(stores) == {office.held.account_id, office.held.mailbox_id}
    report = await verify(stores.content, stores.keystore, stores.blobs, office.keys, now=later)
    assert report.violations == []


async def key_owners(stores: Stores) -> set[UUID]:
    return {one.owner_id for one in await stores.keystore.read(None, keystore.list_keys)}


async def test_a_blob_with_its_row_stays_however_old(stores: Stores) -> None:
    office = await Office.open(stores)
    office.desk.blob_bytes_min = 0  # every mail is large
    await office.take(mail())
    await maintenance(office).sweep(datetime.now(UTC) + timedelta(days=365))
    assert len(await owners(stores)) == 1
    await office.check()


async def test_a_mailbox_is_unreadable_while_another_is_being_forgotten(stores: Stores) -> None:
    office = await Office.open(stores)
    beside = await Office.open(stores, address="other@example.com", beside=office)
    held_up, go_on = asyncio.Event(), asyncio.Event()

    async def hold_up(_account_id: UUID, _mailbox_id: UUID) -> None:
        held_up.set()
        await go_on.wait()

    usual = maintenance(office)
    tools = EraserTools(stores.content, stores.keystore, stores.blobs, office.keys, usual.metrics, hold_up)
    daemon = replace(usual, eraser=Eraser(tools))
    stores.content.on_wake(daemon.bell.ring)
    running = asyncio.create_task(daemon.run())
    try:
        async with asyncio.timeout(20):
            await _disconnect(office)
            await held_up.wait()
            await _disconnect(beside)
            while beside.held.mailbox_id in await key_owners(stores):
                await asyncio.sleep(0.01)
            assert (await _steps(stores))[0] == "unreadable", "the first one is still there"
            go_on.set()
            while await _steps(stores) != ["done", "done"]:
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert (await office.event_types()).count("erasure.completed") == 2


async def _disconnect(office: Office) -> None:
    held = office.held
    await office.stores.content.transaction(held.account_id, request_disconnect, held.mailbox_id)


async def _steps(stores: Stores) -> list[str]:
    """In the order in which they were asked for."""
    return [one.step for one in await stores.content.read(None, erasures.list_erasures, unfinished=False)]


async def test_two_replicas_forget_a_mailbox_once(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(*(mail(message_id=f"<q{n}@example.org>") for n in range(30)))
    before = await stores.content.read(office.held.account_id, erasures.count_rows, office.held.mailbox_id)
    await _disconnect(office)
    await asyncio.gather(maintenance(office).erase(), maintenance(office).erase())
    (erasure,) = await stores.content.read(None, erasures.list_erasures, unfinished=False)
    assert erasure.step == "done"
    assert erasure.deleted == before
    assert (await office.event_types()).count("erasure.completed") == 1


async def test_requests_are_remembered_for_a_day(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    await office.reply(1, idempotency_key="k")

    def count(conn: Connection) -> int:
        return conn.execute(select(func.count()).select_from(idempotency)).scalar_one()

    await maintenance(office).sweep(datetime.now(UTC) + timedelta(hours=23))
    assert await stores.content.read(None, count) == 1
    await maintenance(office).sweep(datetime.now(UTC) + timedelta(hours=25))
    assert await stores.content.read(None, count) == 0


async def test_old_events_go_and_the_log_says_from_where_it_is_kept(stores: Stores) -> None:
    office = await Office.open(stores)
    beside = await Office.open(stores, address="other@example.com", beside=office)
    await office.take(*(mail(message_id=f"<q{n}@example.org>") for n in range(60)))
    sweeper, account_id = maintenance(office), office.held.account_id
    await sweeper.sweep(datetime.now(UTC) + timedelta(days=89))
    assert (await stores.content.read(account_id, read_log, 0, 1000)).oldest == 0
    await sweeper.sweep(datetime.now(UTC) + timedelta(days=91))
    log = await stores.content.read(account_id, read_log, 0, 1000)
    assert (len(log.events), log.oldest, log.latest) == (0, 120, 120)
    await beside.take(mail(message_id="<new@example.org>"))
    log = await stores.content.read(account_id, read_log, 120, 1000)
    assert ([one.sequence for one in log.events], log.oldest) == ([121, 122], 120)
    await office.check()
