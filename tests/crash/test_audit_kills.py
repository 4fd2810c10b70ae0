"""`audit --repair` is killed while it takes in what was lost, and given again: each mail is taken in once."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from storage.figures import read_figures
from tests.crash import campaign, story
from tests.crash.campaign import Iteration
from tests.crash.points import Discovered, Point
from tests.crash.world import Daemon, House, Process, Tuning, World, open_world
from tests.losing import pass_over
from tests.servers.postgres import PostgresServer

EXPECTED: Final = {"commit_missed", "note_audit", "put"}
"""`put`: one of the mails is kept as a blob, which is there before its commit."""
SURE: Final = (
    Point("content", "commit_missed", "committing", 2),
    Point("content", "commit_missed", "committed", 1),
    Point("blobs", "put", "committed"),
)
"""Where `make test` kills it."""


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server: PostgresServer | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    tuning = Tuning(after_import=f"move:{story.EDITED}")
    async with open_world(request.param, tmp_path, server, houses_max=200, tuning=tuning) as opened:
        yield opened


async def repair(world: World, house: House, process: Process) -> None:
    """Lose all mail of a mailbox, and take it in by the command, which may be killed once; see that all is well."""
    mails = story.mails(house.address)
    for mail in mails:
        await world.provider.deliver(house.address, mail)
    assert await pass_over(house.store, house.account_id, house.mailbox_id) == len(mails)
    assert (await story.stored(house))["in"] == Counter()

    await process.start()
    status = await process.end()
    if process.at is not None:
        assert status == -signal.SIGKILL, f"the point was not reached: {status}: {process.tail()}"
        await story.check_store(house)
        process.at = None
        await process.start()
        status = await process.end()
    assert status == 0, f"the command ended with {status}: {process.tail()}"
    delivered = [story.message_id_of(mail) for mail in mails]
    await _check(house, delivered)

    # What was to be edited in the mailbox is, by the daemon that comes next; and it takes nothing once more.
    daemon = Daemon(house)
    await daemon.start()
    try:
        await daemon.until(lambda: story.is_edited(house), "the edits are done")
        await daemon.stop()
    finally:
        await daemon.process.kill()
    await story.check_new_edited(world, house, delivered)
    await _check(house, delivered)


async def _check(house: House, delivered: list[str]) -> None:
    assert (await story.stored(house))["in"] == Counter(delivered), "one is missing, or is there twice"
    assert (await house.store.content.read(None, read_figures)).unaccounted_messages == 0
    await story.check_store(house)


def command(house: House) -> Process:
    return Process(house, "audit", str(house.mailbox_id), "--repair")


def killed(at: Point) -> tuple[str, Iteration]:
    async def iteration(world: World) -> None:
        async with world.house() as house:
            process = command(house)
            process.at = at
            await repair(world, house, process)

    return str(at), iteration


@pytest.mark.postgresql_is_long
@pytest.mark.timeout(300)
async def test_killed_while_what_was_lost_is_taken_in(world: World) -> None:
    tally = await campaign.run(world, [killed(point) for point in SURE])
    assert tally.failures == []
    assert tally.kills == len(SURE)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_everywhere_while_what_was_lost_is_taken_in(world: World) -> None:
    async with world.house() as house:
        process = command(house)
        process.record = house.folder / "points"
        await repair(world, house, process)
        found = Discovered.read(process.record)
    assert found.names() >= EXPECTED, f"not discovered: {EXPECTED - found.names()}"
    assert set(SURE) <= found.stages.keys()
    tally = await campaign.run(world, [killed(point) for point in found.stages])
    print(f"{world.engine}: {tally.kills} kills in a repair of what was lost, {len(tally.failures)} failures")
    assert tally.failures == []
    assert tally.kills == len(found.stages)
