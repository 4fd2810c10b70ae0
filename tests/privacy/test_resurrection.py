"""Work in flight cannot bring a forgotten mailbox back: a worker that slept through the disconnect writes nothing."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage import erasures
from tests.crash import story
from tests.crash.points import Point
from tests.crash.world import House, Process, World, open_world, until
from tests.servers.postgres import PostgresServer

_STOPS = [Point("blobs", "put", "committing"), Point("blobs", "put", "committed")]
"""Within an ingest, outside of its transaction: a stopped writer would hold SQLite's one write lock."""


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    async with open_world(request.param, tmp_path, server, houses_max=2) as opened:
        yield opened


@pytest.mark.parametrize("stop", _STOPS, ids=str)
async def test_a_worker_that_slept_writes_nothing(world: World, stop: Point) -> None:
    async with world.house() as house:
        daemon = Process(house)
        daemon.at, daemon.signal = stop, signal.SIGSTOP
        try:
            await story.deliver(world, house)
            await daemon.start()
            await until(lambda: _is_stopped(daemon), "the daemon has stopped itself in the middle of an ingest")
            await _disconnect(house)

            daemon.send(signal.SIGCONT)
            await until(lambda: _left(daemon), "the daemon sees that it lost the mailbox")
            await until(lambda: _is_done(house), "the mailbox is forgotten")
            await until(lambda: _has_no_blob(house), "the blob that it still wrote is gone again")
            await story.check_forgotten(world, house)
            daemon.send(signal.SIGTERM)
            assert await daemon.end() == 0
            assert '"mailbox.batch_committed"' not in daemon.log.read_text()
            await story.check_forgotten(world, house)
        finally:
            await daemon.kill()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_worker_that_slept_within_its_commit_writes_nothing(postgres: PostgresServer, tmp_path: Path) -> None:
    """It holds the mailbox's row, so the disconnect waits: PostgreSQL ends such a transaction after ten seconds."""
    async with open_world("postgresql", tmp_path, postgres, houses_max=1) as world, world.house() as house:
        daemon = Process(house)
        daemon.at, daemon.signal = Point("content", "commit_batch", "committing"), signal.SIGSTOP
        try:
            await story.deliver(world, house)
            await daemon.start()
            await until(lambda: _is_stopped(daemon), "the daemon has stopped itself before its commit")
            statuses = await _disconnect_in_the_end(house)
            assert statuses[-1] == 0, statuses
            assert await _is_done(house)

            daemon.send(signal.SIGCONT)
            await until(lambda: _left(daemon), "the daemon sees that it lost the mailbox")
            await until(lambda: _has_no_blob(house), "no blob is left")
            assert '"mailbox.batch_committed"' not in daemon.log.read_text()
            await story.check_forgotten(world, house)
        finally:
            await daemon.kill()


async def _disconnect_in_the_end(house: House) -> list[int]:
    statuses: list[int] = []
    while len(statuses) < 4 and statuses[-1:] != [0]:
        command = Process(house, "mailbox", "disconnect", str(house.mailbox_id), "--wait", "20")
        command.log = house.folder / "command"
        await command.start()
        statuses.append(await command.end(60))
    return statuses


async def _disconnect(house: House) -> None:
    """On SQLite the sleeping daemon has the store to itself: the command leaves its order, and the rest to it."""
    command = Process(house, "mailbox", "disconnect", str(house.mailbox_id), "--wait", "2")
    command.log = house.folder / "command"
    if house.engine == "postgresql":
        command.arguments = (*command.arguments[:-1], "20")  # until the sleeper's lease is over
    await command.start()
    status = await command.end()
    assert status == (0 if house.engine == "postgresql" else 1), command.tail()
    assert await _is_done(house) == (house.engine == "postgresql")


async def _is_stopped(process: Process) -> bool:
    assert process.returncode is None, process.tail()
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def _left(process: Process) -> bool:
    """By its fence, or because its heartbeat said so first."""
    said = process.log.read_text()
    return '"mailbox.lost"' in said or '"mailbox.released"' in said


async def _has_no_blob(house: House) -> bool:
    return house.store.blobs.count(house.account_id, house.mailbox_id) == 0


async def _is_done(house: House) -> bool:
    erasure = await house.store.content.read(house.account_id, erasures.get_erasure, house.mailbox_id)
    return erasure.step == "done"
