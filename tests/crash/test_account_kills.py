"""An account is suspended, warned, held, released and resumed, and who does it is killed: each is done, once."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Connection, update

from storage import events, mailboxes
from storage.database import now
from storage.mailboxes import MailboxState
from storage.outbox import ReplyStatus
from storage.tables import accounts
from tests.crash import campaign, story
from tests.crash.campaign import Iteration
from tests.crash.points import Discovered, Point
from tests.crash.world import Daemon, House, Process, World, open_world
from tests.servers.postgres import PostgresServer

COMMANDS: Final = ("suspend", "hold", "release", "resume")
SURE: Final = (
    Point("content", "suspend", "committed"),
    Point("content", "resume", "committing"),
)
"""Where `make test` kills a command."""
SURE_OF_DAEMON: Final = (
    # Warned, and the event of it: together, or not at all.
    Point("content", "apply", "committing"),
    Point("content", "apply", "committed"),
)
_RETENTION: Final = "retention: {suspended: [{days: 92}], warn_days: [30], check_seconds: 0.3}\n"
_SUSPENDED_DAYS: Final = 80
"""After so many it is warned, and not yet erased."""
_EVENTS_MAX: Final = 1_000


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server: PostgresServer | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    async with open_world(request.param, tmp_path, server, houses_max=200) as opened:
        yield opened


async def tell(world: World, house: House, daemon: Daemon, process: Process) -> None:
    """The operator gives the commands while a daemon is at work; either may be killed once."""
    store, account_id = house.store, house.account_id
    house.config.write_text(house.config.read_text() + _RETENTION)
    try:
        daemon.stage("start")
        await story.begin(world, house, daemon)

        daemon.stage("suspend")
        await _command(process, house, "suspend")
        assert await _state(house) is MailboxState.SUSPENDED
        await story.answer(world, house, 1)
        message_id = await story.reply(house)
        await store.content.transaction(None, _suspended_long_ago)
        await daemon.until(lambda: _has_warned(house, 1), "it is warned")

        daemon.stage("hold")
        await _command(process, house, "hold")
        await _command(process, house, "release")
        await daemon.until(lambda: _has_warned(house, 2), "it is warned anew")
        assert not await story.is_answered(house, 1), "mail was taken in for a suspended account"
        view = await store.desk.ticket(account_id, 1)
        assert [one.reply.reply.status for one in view.messages if one.reply is not None] == [ReplyStatus.QUEUED]

        daemon.stage("resume")
        await _command(process, house, "resume")
        assert await _state(house) is MailboxState.ACTIVE
        await daemon.until(lambda: story.is_answered(house, 1), "what came meanwhile is taken in")
        told = await story.after_reply(world, house, daemon, message_id)
        daemon.stage("end")
        await daemon.stop()

        known = await story.stored(house)
        assert Counter(known["in"].values()) == {1: story.MAILS + story.OLD_MAILS + 1}, (
            "one is missing, or is there twice"
        )
        await story.check_sent(world, house, told)
        assert await _events(house) == {
            "account.suspended": 1,
            "account.erasure_warning": 2,
            "account.resumed": 1,
        }
        await story.check_store(house)
    finally:
        await daemon.process.kill()


def command_killed(at: Point) -> tuple[str, Iteration]:
    async def iteration(world: World) -> None:
        async with world.house() as house:
            process = Process(house)
            process.at = at
            await tell(world, house, Daemon(house), process)
            assert process.at is None, "the point was not reached"

    return f"command {at}", iteration


def daemon_killed(at: Point) -> tuple[str, Iteration]:
    async def iteration(world: World) -> None:
        async with world.house() as house:
            daemon = Daemon(house, at=at)
            await tell(world, house, daemon, Process(house))
            assert daemon.kills == 1, "the point was not reached"

    return f"daemon {at}", iteration


@pytest.mark.postgresql_is_long
@pytest.mark.timeout(300)
async def test_killed_while_an_account_is_suspended(world: World) -> None:
    iterations = [*map(command_killed, SURE), *map(daemon_killed, SURE_OF_DAEMON)]
    tally = await campaign.run(world, iterations)
    assert tally.failures == []
    assert tally.kills == len(iterations)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_everywhere_while_an_account_is_suspended(world: World) -> None:
    async with world.house() as house:
        daemon, process = Daemon(house, record=house.folder / "points"), Process(house)
        process.record = house.folder / "commanded"
        await tell(world, house, daemon, process)
        assert daemon.record is not None
        found, commanded = Discovered.read(daemon.record), Discovered.read(process.record)
    assert commanded.names() >= set(COMMANDS)
    assert set(SURE) <= commanded.stages.keys()
    assert set(SURE_OF_DAEMON) <= found.stages.keys()
    theirs = [point for stage in ("suspend", "hold", "resume") for point in found.of(stage)]
    iterations = [*map(command_killed, commanded.stages), *map(daemon_killed, theirs)]
    tally = await campaign.run(world, iterations)
    print(f"{world.engine}: {tally.kills} kills while an account is suspended, {len(tally.failures)} failures")
    assert tally.failures == []
    assert tally.kills == len(iterations)


async def _command(process: Process, house: House, word: str) -> None:
    """Give a command; where it is killed as planned, give it again."""
    process.arguments = ("account", word, str(house.account_id))
    await process.start()
    status = await process.end()
    if status == -signal.SIGKILL and process.at is not None:
        process.at = None
        await process.start()
        status = await process.end()
    assert status == 0, f"{word} ended with {status}: {process.tail()}"


def _suspended_long_ago(conn: Connection) -> None:
    conn.execute(update(accounts).values(status_since=now(conn) - timedelta(days=_SUSPENDED_DAYS)))


async def _state(house: House) -> MailboxState:
    return (await house.store.content.read(house.account_id, mailboxes.get_mailbox, house.mailbox_id)).state


async def _has_warned(house: House, times: int) -> bool:
    return (await _events(house))["account.erasure_warning"] == times


async def _events(house: House) -> Counter[str]:
    """Return how often each event about the account itself was written."""
    log = await house.store.content.read(house.account_id, events.list_events, 0, _EVENTS_MAX)
    return Counter(one.type for one in log if one.type.startswith("account."))
