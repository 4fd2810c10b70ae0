"""Nothing left: what a disconnect leaves on the disk, and that it opens no more.

Each claim has its positive control: the same search finds the sealed bytes before, and they open then.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from ingestd.demo.authserver import Failure
from ingestd.keys import KeyRing
from ingestd.privacy.disconnect import compact
from ingestd.privacy.requests import request_disconnect
from ingestd.records import MailboxRecord
from storage import erasures, keystore, mailboxes
from storage.errors import KeyDestroyed, NotFound
from storage.keystore import REVOCATION_LIFETIME
from storage.keystore_tables import revocations
from storage.sealing import MasterKey
from tests.crash import story
from tests.crash.world import Daemon, House, Process, World, until
from tests.privacy.scene import live, open_scene
from tests.privacy.witness import Witness, environments, files_of, look, ours, search

pytestmark = pytest.mark.timeout(240)

_UNREADABLE_SECONDS = 1.5
_READER = """\
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN")
print(conn.execute("SELECT count(*) FROM messages").fetchone()[0], flush=True)
sys.stdin.read()
"""
_FOUND_MIN = 0.85
"""Of the slices: some lie across the border of two pages."""


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    async with open_scene(request.param, tmp_path, server) as opened:
        yield opened


@pytest.fixture
async def sqlite_world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_scene("sqlite", tmp_path, None) as opened:
        yield opened


async def test_nothing_is_left_after_a_disconnect(scene: World) -> None:
    world = scene
    async with world.house() as house:
        daemon = Daemon(house)
        try:
            witness = await live(world, house, daemon)
            before = await look(world, house, witness)
            _check_control(before, witness)
            assert await _opens(house)
            _check_processes(daemon, witness)
            message_id = (await house.store.desk.ticket(house.account_id, 1)).messages[0].row.message_id

            await story.forget(house, daemon)

            after = await look(world, house, witness)
            print(f"{world.engine}: slices found before {before}, after {after}")
            await story.check_forgotten(world, house)
            assert not await _opens(house)
            assert after["blob"] == 0
            assert world.objects(house) == []
            if world.engine == "sqlite":  # PostgreSQL's heap and WAL keep old bytes for a while
                assert after["wrapped key"] == 0
                assert sum(after.values()) * 10 < sum(before.values())
            with pytest.raises(NotFound):
                await house.store.desk.raw(house.account_id, message_id)
            await _check_commands(house, witness)
            _check_processes(daemon, witness)
            await daemon.stop()
            assert search(ours(house), witness.needles()) == {}
        finally:
            await daemon.process.kill()


async def test_an_open_reader_delays_the_cleaning_not_the_forgetting(sqlite_world: World) -> None:
    world = sqlite_world
    async with world.house() as house:
        daemon = Daemon(house)
        reader = None
        try:
            witness = await live(world, house, daemon)
            reader = await _start_reader(house)
            await _check_unreadable_soon(house)
            await daemon.until(lambda: _is_step(house, "done"), "the mailbox is forgotten")
            kept = await look(world, house, witness)
            assert sum(kept.values()) > 0, "the control: the open reader keeps old pages in the WAL"
            assert kept["wrapped key"] == 0
            assert not await compact(house.store.content)
            assert "erasure.wal_kept" in daemon.process.log.read_text()

            await _end_reader(reader)
            assert await compact(house.store.content)
            after = await look(world, house, witness)
            print(f"slices found while a reader was open {kept}, after it {after}")
            assert sum(after.values()) < sum(kept.values())
            await story.check_forgotten(world, house)
        finally:
            if reader is not None:
                await _end_reader(reader)
            await daemon.process.kill()


async def test_a_provider_that_hangs_delays_nothing(world: World) -> None:
    async with world.house() as house:
        daemon = Daemon(house)
        try:
            witness = await live(world, house, daemon)
            world.provider.auth.fail_next("revoke", Failure.HANG, times=3)
            await _check_unreadable_soon(house)
            await daemon.until(lambda: _is_step(house, "done"), "the mailbox is forgotten")
            (waiting,) = await house.store.keystore.read(None, keystore.list_revocations)
            assert waiting.expires_at - waiting.created_at <= REVOCATION_LIFETIME
            assert waiting.expires_at <= datetime.now(UTC) + REVOCATION_LIFETIME
            assert world.provider.auth.grants.living_grants(house.address) == 1
            assert search(await files_of(world, house), witness.needles()) == {}, "the token is kept wrapped only"

            world.provider.auth.release()
            await house.store.keystore.transaction(None, _make_due)
            await daemon.until(lambda: _nothing_waits(house), "the revocation is tried again")
            assert world.provider.auth.grants.living_grants(house.address) == 0
        finally:
            await daemon.process.kill()


async def _start_reader(house: House) -> asyncio.subprocess.Process:
    """Let another process read the database, as a backup does. (Here, reading the files would drop its locks.)"""
    reader = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", _READER, str(house.store.content.sqlite_path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert reader.stdout is not None
    assert int(await reader.stdout.readline()) > 0
    return reader


async def _end_reader(reader: asyncio.subprocess.Process) -> None:
    if reader.returncode is None:
        await reader.communicate(b"")


async def _check_unreadable_soon(house: House) -> None:
    started = time.monotonic()
    await house.store.content.transaction(house.account_id, request_disconnect, house.mailbox_id)
    await until(lambda: _is_destroyed(house), "the key is destroyed")
    seconds = time.monotonic() - started
    print(f"unreadable after {seconds:.2f} s")
    assert seconds < _UNREADABLE_SECONDS


def _check_control(found: dict[str, int], witness: Witness) -> None:
    assert set(found) == {"sealed", "chunks", "hashes", "blob", "wrapped key"}
    for kind, slices in witness.slices.items():
        assert slices, kind
        assert found[kind] >= len(slices) * _FOUND_MIN, f"{kind}: {found[kind]} of {len(slices)} are found"


def _check_processes(daemon: Daemon, witness: Witness) -> None:
    shown = environments(daemon.process.pid)
    assert shown, "the control: the daemon has a parser process"
    for environment in shown.values():
        assert b"INGESTD_CONFIG" not in environment
        assert not [needle for needle in witness.needles() if needle in environment]


async def _check_commands(house: House, witness: Witness) -> None:
    """The command line yields nothing either."""
    for arguments, status in (
        (("ticket", "list"), 0),
        (("ticket", "show", "1"), 1),
        (("mailbox", "list"), 0),
        (("mailbox", "show", str(house.mailbox_id)), 1),
    ):
        process = Process(house, *arguments)
        process.log = house.folder / "command"
        await process.start()
        assert await process.end() == status, process.tail()
        said = process.log.read_bytes()
        assert not [needle for needle in witness.needles() if needle in said]
        process.log.unlink()


async def _opens(house: House) -> bool:
    """Whether a process that starts now could open the mailbox's records."""
    keys = KeyRing(house.store.keystore, MasterKey(house.settings.keys.master_key_bytes()))
    try:
        key = await keys.mailbox(house.account_id, house.mailbox_id)
    except KeyDestroyed:
        return False
    mailbox = await house.store.content.read(house.account_id, mailboxes.get_mailbox, house.mailbox_id)
    key.open_record(MailboxRecord.place(house.mailbox_id), mailbox.sealed, MailboxRecord)
    return True


async def _is_destroyed(house: House) -> bool:
    try:
        await house.store.keystore.read(house.account_id, keystore.get_key, house.mailbox_id)
    except KeyDestroyed:
        return True
    return False


async def _is_step(house: House, step: str) -> bool:
    return (await house.store.content.read(house.account_id, erasures.get_erasure, house.mailbox_id)).step == step


async def _nothing_waits(house: House) -> bool:
    return not await house.store.keystore.read(None, keystore.list_revocations)


def _make_due(conn: Connection) -> None:
    conn.execute(update(revocations).values(due_at=datetime.now(UTC) - timedelta(seconds=1)))
