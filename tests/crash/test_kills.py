"""A crash at any step breaks none of the promises.

The kill points are those that a run of the story passes (`tests.crash.points`). `make test`
kills 20 times, `make test-long` at every point and more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.crash import campaign, story
from tests.crash.points import Discovered, Point, spread
from tests.crash.world import Tuning, World, open_world
from tests.servers.postgres import PostgresServer

KILLS_MIN_LONG = 100
"""On each engine."""
RANDOM_KILLS = 20
ALWAYS = {
    # Between an edit and its record: the one moment in which the mailbox is ahead of the store.
    "settle_edits",
    # The spread may pass over what a backfill commits, as it goes on beside the rest.
    *("commit_history", "end_backfill"),
}
"""Where each run kills."""
EXPECTED = {
    *("register", "look", "bind_read_way", "settle_warnings", "recover"),
    *("commit_batch", "change_state", "take", "settle", "file_copy"),
    *ALWAYS,
    *("destroy_key", "set_step", "end_revocation", "delete_chunk", "have_read_anew", "delete_mailbox", "add_count"),
    *("append_ledger", "finish", "release"),
}
"""Names without which the discovery itself would be broken."""
APIS = ("gmail", "graph")
"""The ways on which no mail server is spoken to."""
SURE = (
    Point("content", "bind_read_way", "committed"),
    Point("content", "settle_warnings", "committing"),
    # Sent, and not known to be: looking finds it.
    Point("content", "settle", "committing"),
    Point("content", "settle_edits", "committing"),
)
"""Where `make test` kills a daemon that works by an API. That the story passes them, the long campaign checks."""


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> tuple[str, PostgresServer | None]:
    return request.param, request.getfixturevalue("postgres") if request.param == "postgresql" else None


@pytest.fixture
async def world(engine: tuple[str, PostgresServer | None], tmp_path: Path) -> AsyncIterator[World]:
    tuning = Tuning(after_import=f"move:{story.EDITED}")
    async with open_world(engine[0], tmp_path, engine[1], houses_max=200, tuning=tuning) as opened:
        yield opened


@pytest.fixture
async def deleting_world(engine: tuple[str, PostgresServer | None], tmp_path: Path) -> AsyncIterator[World]:
    """Where mail that was taken is deleted in its mailbox: the store is the only place that has it."""
    tuning = Tuning(after_import="delete")
    async with open_world(engine[0], tmp_path, engine[1], houses_max=200, tuning=tuning) as opened:
        yield opened


@pytest.fixture(params=APIS)
async def api_world(
    request: pytest.FixtureRequest, engine: tuple[str, PostgresServer | None], tmp_path: Path
) -> AsyncIterator[World]:
    """Where an API leads to the mailboxes, and the daemon speaks to no mail server."""
    tuning = Tuning(after_import=f"move:{story.EDITED}")
    way: str = request.param
    async with open_world(engine[0], tmp_path, engine[1], houses_max=200, way=way, tuning=tuning) as opened:
        yield opened


def _check_discovery(found: Discovered) -> None:
    assert found.names() >= EXPECTED, f"not discovered: {EXPECTED - found.names()}"
    assert {(one.database, one.phase) for one in found.stages} >= {
        (database, phase) for database in ("content", "keystore", "blobs") for phase in ("committing", "committed")
    }


@pytest.mark.timeout(300)
async def test_killed_at_a_commit(world: World) -> None:
    found = await campaign.discover(world)
    _check_discovery(found)
    turn = 0 if world.engine == "sqlite" else 0.5
    shares = {"ingest": 3, "reply": 4, "mirror": 1, "disconnect": 2}
    chosen = [point for stage, count in shares.items() for point in spread(found.of(stage), count, turn)]
    chosen += [one for one in found.stages if one.name in ALWAYS and one.ordinal == 1 and one not in chosen]
    tally = await campaign.run(world, [campaign.daemon_killed(point) for point in chosen])
    assert tally.failures == []
    assert tally.kills == len(chosen)


@pytest.mark.postgresql_is_long
@pytest.mark.timeout(300)
async def test_a_command_that_is_killed_is_given_again(world: World) -> None:
    """A few; where they are killed everywhere, the long campaign does that."""
    iterations = [
        campaign.command_killed(Point("keystore", "rewrap_keys", "committed"), campaign.rotate_by_command),
        campaign.command_killed(Point("keystore", "rewrap_revocation", "committing"), campaign.rotate_by_command),
        campaign.command_killed(Point("export", "ticket", "committing", 3), campaign.export_by_command),
        campaign.command_killed(Point("export", "settle", "committed"), campaign.export_by_command),
        campaign.command_killed(Point("content", "delete_requested", "committed"), campaign.erase_person_by_command),
    ]
    tally = await campaign.run(world, iterations)
    assert tally.failures == []
    assert tally.kills == len(iterations)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_everywhere(world: World) -> None:
    found = await campaign.discover(world)
    _check_discovery(found)
    iterations = [campaign.daemon_killed(point) for point in found.stages]
    for told in (
        campaign.reply_by_command,
        campaign.spam_by_command,
        campaign.merge_by_command,
        campaign.disconnect_by_command,
        campaign.rotate_by_command,
        campaign.export_by_command,
        campaign.erase_person_by_command,
    ):
        points = await campaign.discover_command(world, told)
        assert points
        iterations += [campaign.command_killed(point, told) for point in points]
    iterations += [campaign.daemon_killed_anywhere(seed) for seed in range(RANDOM_KILLS)]
    tally = await campaign.run(world, iterations)
    print(f"{world.engine}: {tally.kills} kills, {len(tally.failures)} failures")
    assert tally.failures == []
    assert tally.kills >= KILLS_MIN_LONG


@pytest.mark.postgresql_is_long
@pytest.mark.timeout(300)
async def test_killed_at_a_commit_while_it_works_by_an_api(api_world: World) -> None:
    tally = await campaign.run(api_world, [campaign.daemon_killed(point) for point in SURE])
    assert tally.failures == []
    assert tally.kills == len(SURE)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_everywhere_while_it_works_by_an_api(api_world: World) -> None:
    found = await campaign.discover(api_world)
    _check_discovery(found)
    assert set(SURE) <= found.stages.keys()
    tally = await campaign.run(api_world, [campaign.daemon_killed(point) for point in found.stages])
    print(f"{api_world.engine}, {api_world.way}: {tally.kills} kills, {len(tally.failures)} failures")
    assert tally.failures == []
    assert tally.kills == len(found.stages)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_where_taken_mail_is_deleted(deleting_world: World) -> None:
    found = await campaign.discover(deleting_world)
    _check_discovery(found)
    points = [*found.of("ingest"), *found.of("reply"), *found.of("mirror")]
    tally = await campaign.run(deleting_world, [campaign.daemon_killed(point) for point in points])
    print(f"{deleting_world.engine}: {tally.kills} kills with deletion, {len(tally.failures)} failures")
    assert tally.failures == []
    assert tally.kills == len(points)
