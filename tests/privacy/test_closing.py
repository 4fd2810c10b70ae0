"""A closed account is gone for good: all of it, whatever crashes, and whoever slept through it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import Connection, LargeBinary, select, update

from ingestd import account_states
from ingestd.access import Scope, make_token
from ingestd.keys import KeyRing
from ingestd.linking.writes import begin_link
from ingestd.privacy.closing import find_receipt
from ingestd.privacy.requests import request_close
from ingestd.records import AccountReceipt, AccountRecord
from storage import accounts, closures, erasures, keystore, mailboxes, requests, tokens, webhooks
from storage.accounts import AccountStatus
from storage.errors import FenceLost, KeyDestroyed, NotFound
from storage.requests import Claim
from storage.sealing import MasterKey
from storage.tables import ACCOUNT_TABLES, MAILBOX_TABLES, metadata, tickets
from storage.tables import accounts as accounts_table
from storage.types import new_id
from tests.crash import campaign, story
from tests.crash.points import Discovered, Point, spread
from tests.crash.world import Daemon, House, Process, World, open_world, until
from tests.office import Office, mail
from tests.privacy.scene import live
from tests.privacy.witness import look, ours, search
from tests.servers.postgres import PostgresServer
from tests.stores import Stores
from tests.test_maintenance import maintenance

EXPECTED = {
    *("delete_some", "apply"),
    *("end_webhooks", "destroy_account_key", "close", "delete_chunk", "set_step", "append_once"),
}
"""Names without which the discovery of kill points would be broken."""
_RETENTION = "retention: {suspended: [{days: 30}], warn_days: [], solved_days: 30, check_seconds: 0.3}\n"
_LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> tuple[str, PostgresServer | None]:
    return request.param, request.getfixturevalue("postgres") if request.param == "postgresql" else None


@pytest.fixture
async def world(engine: tuple[str, PostgresServer | None], tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(engine[0], tmp_path, engine[1], houses_max=120) as opened:
        yield opened


async def test_nothing_is_left_of_a_closed_account(scene: World) -> None:
    world = scene
    async with world.house() as house:
        daemon = Daemon(house)
        try:
            witness = await live(world, house, daemon)
            await _name(house, witness.stem)
            token = await make_token(
                house.store.content, house.account_id, label="desk", scopes=[Scope.READ], tokens_max=10
            )
            slices = {**witness.slices, **await _slices(house)}
            before = await look(world, house, witness, slices)
            assert min(before.values()) > 0, "the control: all of it is found before"
            assert witness.stem in (await _command(house, "account", "list")).decode()
            assert set(await house.store.content.read(house.account_id, closures.count_rows)) >= {"tokens", "webhooks"}

            receipt = msgspec.json.decode(
                await _command(house, "account", "close", str(house.account_id), "--yes", "--json"), type=AccountReceipt
            )

            assert receipt.mailboxes == (house.mailbox_id,)
            assert receipt.left == {}
            assert receipt.deleted["webhooks"] == receipt.deleted["tokens"] == 1
            assert receipt.deleted["events"] > 0
            await _check_closed(world, house)
            # Asked again, it is the same receipt.
            again = await _command(house, "account", "close", str(house.account_id), "--yes", "--json")
            assert msgspec.json.decode(again, type=AccountReceipt) == receipt
            for command in (("account", "list"), ("account", "show", str(house.account_id))):
                said = await _command(house, *command)
                assert not [one for one in witness.needles() if one in said]
            assert not await _opens(house, token.text)
            after = await look(world, house, witness, slices)
            print(f"{world.engine}: slices found before {before}, after {after}")
            assert after["blob"] == 0
            assert world.objects(house) == []
            if world.engine == "sqlite":  # PostgreSQL's heap and WAL keep old bytes for a while
                assert after["wrapped key"] == after["account's wrapped key"] == after["account"] == 0
            await daemon.stop()
            assert search(ours(house), witness.needles()) == {}
        finally:
            await daemon.process.kill()


@pytest.mark.postgresql_is_long
@pytest.mark.timeout(300)
async def test_a_kill_at_any_step_is_gone_on_from(world: World) -> None:
    found = await _discover(world)
    assert found.names() >= EXPECTED, EXPECTED - found.names()
    turn = 0 if world.engine == "sqlite" else 0.5
    passed = [*found.of("expire"), *found.of("close")]
    points = spread([one for one in passed if one.name in EXPECTED], 5, turn)
    # Its key is destroyed in the one database, and the other does not know.
    between = Point("keystore", "destroy_account_key", "committed")
    iterations = [*map(_killed, points), campaign.command_killed(between, close_by_command)]
    tally = await campaign.run(world, iterations)
    assert tally.failures == []


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_a_kill_at_every_step_is_gone_on_from(world: World) -> None:
    found = await _discover(world)
    commanded = await campaign.discover_command(world, close_by_command)
    iterations = [_killed(point) for point in (*found.of("expire"), *found.of("close"))]
    iterations += [campaign.command_killed(point, close_by_command) for point in commanded]
    tally = await campaign.run(world, iterations)
    print(f"{world.engine}: {tally.kills} kills while an account is closed, {len(tally.failures)} failures")
    assert tally.failures == []


async def test_a_worker_that_slept_in_the_middle_of_an_ingest_writes_nothing(world: World) -> None:
    async with world.house() as house:
        daemon = Process(house)
        daemon.at, daemon.signal = Point("blobs", "put", "committed"), signal.SIGSTOP
        try:
            await story.deliver(world, house)
            await daemon.start()
            await until(lambda: _is_stopped(daemon), "the daemon has stopped itself in the middle of an ingest")
            # On SQLite the sleeper has the store to itself, and has to do it.
            seconds, status = ("20", 0) if world.engine == "postgresql" else ("1", 1)
            command = Process(house, "account", "close", str(house.account_id), "--yes", "--wait", seconds)
            command.log = house.folder / "command"
            await command.start()
            assert await command.end() == status, command.tail()
            daemon.send(signal.SIGCONT)
            await until(lambda: _is_done(house), "the account is closed")
            await until(lambda: _has_no_blob(house), "the blob that it still wrote is gone again")
            daemon.send(signal.SIGTERM)
            assert await daemon.end() == 0
            assert '"mailbox.batch_committed"' not in daemon.log.read_text()
            await _check_closed(world, house)
        finally:
            await daemon.kill()


async def test_nothing_is_written_for_it_any_more(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    account_id, content = office.held.account_id, stores.content
    assert await content.transaction(account_id, request_close, "operator")
    assert not await content.transaction(account_id, request_close, "operator")
    await office.check()
    with pytest.raises(FenceLost):
        await office.take(mail(message_id="<2@example.org>"))
    await _check_refused(content.transaction, account_id)
    await content.transaction(account_id, closures.forget_name)
    with pytest.raises(NotFound):
        await content.transaction(account_id, accounts.draw_numbers, events=1)


async def test_all_of_its_mailboxes_are_unreadable_before_the_first_is_deleted(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    await Office.open(stores, address="second@example.com", beside=office)
    account_id = office.held.account_id
    await stores.content.transaction(account_id, request_close, "operator")
    await maintenance(office).erase()
    entries = [one.entry for one in await stores.keystore.read(None, keystore.list_ledger)]
    assert entries == ["destroyed", "destroyed", "receipt", "receipt", "destroyed", "receipt"]
    await office.check()


async def test_two_at_once_close_it_once(stores: Stores) -> None:
    """Also beside an ingest: whoever comes second waits, and nothing of it is left half done."""
    office = await Office.open(stores)
    account_id = office.held.account_id
    asked = [stores.content.transaction(account_id, request_close, "operator") for _ in range(3)]
    taken, *closed = await asyncio.gather(office.take(mail()), *asked, return_exceptions=True)
    assert sorted(map(bool, closed)) == [False, False, True]
    assert not isinstance(taken, BaseException) or isinstance(taken, FenceLost)
    await office.check()


def test_every_table_of_an_account_is_emptied() -> None:
    """A new table must say whose its rows are."""
    theirs = {one.name for one in metadata.sorted_tables if "account_id" in one.columns}
    known = {one.name for one in (*MAILBOX_TABLES, *ACCOUNT_TABLES)} | {"accounts", "mailboxes", "erasures"}
    assert theirs == known
    nullable = {one.name for one in MAILBOX_TABLES if one.columns["mailbox_id"].nullable}
    assert nullable <= {one.name for one in ACCOUNT_TABLES}, "their rows may be of no mailbox"


async def _check_refused(transaction: Callable[..., Awaitable[Any]], account_id: Any) -> None:
    refused: tuple[tuple[Callable[..., Any], dict[str, Any]], ...] = (
        (
            mailboxes.insert_mailbox,
            {"mailbox_id": new_id(), "provider": "local", "start_from": "now", "start_days": 0, "sealed": b""},
        ),
        (
            webhooks.insert_webhook,
            {
                "webhook_id": new_id(),
                "types": ["*"],
                "content": False,
                "after": None,
                "sealed": b"",
                "webhooks_max": 10,
            },
        ),
        (
            begin_link,
            {
                "flow_id": new_id(),
                "mailbox_id": new_id(),
                "provider": "local",
                "relink": False,
                "state_hash": b"",
                "lifetime_seconds": 60,
                "open_max": 10,
                "sealed": b"",
            },
        ),
        (requests.remember, {"claim": Claim(b"key", b"hash", "x")}),
    )
    for write, given in refused:
        with pytest.raises(NotFound):
            await transaction(account_id, write, **given)


async def _discover(world: World) -> Discovered:
    async with world.house() as house:
        daemon = Daemon(house, record=house.folder / "points")
        await _close(world, house, daemon)
        assert daemon.record is not None
        return Discovered.read(daemon.record)


def _killed(at: Point) -> tuple[str, campaign.Iteration]:
    async def iteration(world: World) -> None:
        async with world.house() as house:
            daemon = Daemon(house, at=at)
            await _close(world, house, daemon)
            assert daemon.kills == 1, "the point was not reached"

    return str(at), iteration


async def close_by_command(world: World, house: House, process: Process) -> None:
    """`account close` where no daemon runs, killed perhaps, then again."""
    daemon = Daemon(house)
    try:
        await story.begin(world, house, daemon)
        await daemon.stop()
    finally:
        await daemon.process.kill()
    done = partial(_is_done, house)
    await campaign.twice(process, "account", "close", str(house.account_id), "--yes", done=done)
    await _check_closed(world, house)


async def _close(world: World, house: House, daemon: Daemon) -> None:
    """Let the daemon delete what is too old, and close an account that has been suspended for too long.

    It may be killed meanwhile.
    """
    content = house.store.content
    await make_token(content, house.account_id, label="desk", scopes=[Scope.READ], tokens_max=10)
    await content.transaction(house.account_id, requests.remember, Claim(b"key", b"hash", "x"))
    try:
        house.config.write_text(house.config.read_text() + _RETENTION)
        await story.deliver(world, house)
        daemon.stage("start")
        await daemon.start()
        await daemon.until(lambda: story.has_all(house, daemon), "all mails are taken in")
        daemon.stage("expire")
        await content.transaction(None, _solve_long_ago)
        await daemon.until(lambda: _has_no_ticket(house), "what is too old is deleted")
        await story.check_store(house)
        daemon.stage("close")
        await content.transaction(house.account_id, account_states.suspend)
        await content.transaction(None, _suspend_long_ago)
        await daemon.until(lambda: _is_done(house), "the account is closed")
        daemon.stage("end")
        await _check_closed(world, house)
        await daemon.stop()
    finally:
        await daemon.process.kill()


def _solve_long_ago(conn: Connection) -> None:
    conn.execute(update(tickets).values(status="closed", closed_at=_LONG_AGO, updated_at=_LONG_AGO))


def _suspend_long_ago(conn: Connection) -> None:
    conn.execute(update(accounts_table).values(status_since=_LONG_AGO))


async def _has_no_ticket(house: House) -> bool:
    return not await house.store.desk.tickets(house.account_id)


async def _check_closed(world: World, house: House) -> None:
    store, account_id = house.store, house.account_id
    await story.check_forgotten(world, house)
    account = await store.content.read(account_id, accounts.get_account)
    assert (account.status, account.sealed) == (AccountStatus.CLOSED, b"")
    assert await store.content.read(account_id, closures.count_rows) == {}
    with pytest.raises(KeyDestroyed):
        await store.keystore.read(account_id, keystore.get_key, account_id)
    receipt = await find_receipt(store.keystore, account_id)
    assert receipt is not None
    assert receipt.left == {}
    entries = [one.entry for one in await store.keystore.read(None, keystore.list_ledger) if one.owner_id == account_id]
    assert entries == ["destroyed", "receipt"]
    assert not (store.settings.storage.blobs_dir / str(account_id)).exists()
    await story.check_store(house)


async def _name(house: House, name: str) -> None:
    """Give the account a name that is looked for."""
    key = await house.store.keys.account(house.account_id)
    sealed = key.seal_record(AccountRecord.place(house.account_id), AccountRecord(name))

    def write(conn: Connection, account_id: object) -> None:
        conn.execute(update(accounts_table).where(accounts_table.c.account_id == account_id).values(sealed=sealed))

    await house.store.content.transaction(house.account_id, write)


async def _slices(house: House) -> dict[str, list[bytes]]:
    """Return what of the account's own is looked for: sealed records, hashes, and its wrapped key."""

    def read(conn: Connection, account_id: object) -> list[bytes]:
        found: list[bytes] = []
        for table in (accounts_table, *(one for one in ACCOUNT_TABLES if one not in MAILBOX_TABLES)):
            for column in table.columns:
                if isinstance(column.type, LargeBinary) and table.name != "link_flows":
                    found += conn.execute(select(column).where(table.c.account_id == account_id)).scalars()
        return [bytes(one)[:28] for one in found if one]

    wrapped = (await house.store.keystore.read(house.account_id, keystore.get_key, house.account_id)).wrapped
    return {"account": await house.store.content.read(house.account_id, read), "account's wrapped key": [wrapped[:28]]}


async def _opens(house: House, token: str) -> bool:
    """Whether the token, or the account's key, opens anything yet."""
    keys = KeyRing(house.store.keystore, MasterKey(house.settings.keys.master_key_bytes()))
    with pytest.raises(KeyDestroyed):
        await keys.account(house.account_id)
    found, _ = await house.store.content.read(None, tokens.find_token, UUID(hex=token.split("_")[1]))
    return found is not None


async def _command(house: House, *words: str) -> bytes:
    """Run a command to its good end; return what it printed."""
    process = Process(house, *words)
    process.log = house.folder / "command"
    process.log.unlink(missing_ok=True)
    await process.start()
    assert await process.end() == 0, process.tail()
    said = process.log.read_bytes()
    process.log.unlink()
    return said


async def _is_stopped(process: Process) -> bool:
    assert process.returncode is None, process.tail()
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def _is_done(house: House) -> bool:
    try:
        erasure = await house.store.content.read(house.account_id, erasures.get_erasure, house.account_id)
    except NotFound:
        return False
    return erasure.step == "done"


async def _has_no_blob(house: House) -> bool:
    return house.store.blobs.count(house.account_id, house.mailbox_id) == 0
