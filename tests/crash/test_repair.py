"""Killed while a folder is read again whose UIDs have come to mean other messages: nothing lost, nothing twice.

What was to be edited is edited where it lies now.

The kill points are those that a repair passes (`tests.crash.points`): `make test` kills at a few, `make test-long` at
each.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymap.backend.dict.mailbox import MailboxData, Message

from ingestd.demo.provider import DemoProvider
from tests.crash import campaign, story
from tests.crash.campaign import Iteration
from tests.crash.points import Discovered, Point, spread
from tests.crash.story import message_id_of
from tests.crash.world import CUSTOMER, Daemon, House, Process, Tuning, World, open_world
from tests.servers.postgres import PostgresServer

MAILS, BATCH = 8, 3
REPAIR = "repair"
KILLS = 4
EXPECTED = {"commit_batch", "note_repair", "settle_edits"}
_FIRST_BATCH = Point("content", "commit_batch", "committed")


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server: PostgresServer | None = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
    tuning = Tuning(after_import=f"move:{story.EDITED}", batch_messages_max=BATCH)
    async with open_world(request.param, tmp_path, server, houses_max=200, tuning=tuning) as opened:
        yield opened


def mail(house: House, number: int) -> bytes:
    name = house.address.partition("@")[0]
    head = f"From: Anna <{CUSTOMER}>\r\nTo: {house.address}\r\nSubject: Request {number}\r\n"
    return f"{head}Message-ID: <{name}-{number}@example.org>\r\n\r\nPlease do {number}.\r\n".encode()


async def number_anew(world: World, house: House) -> None:
    """Give INBOX another UIDVALIDITY and its messages other UIDs, in another order, as a rebuilt server does.

    No connection may be open.
    """
    assert isinstance(world.provider, DemoProvider)
    inbox: MailboxData = await world.provider._mailboxes._mailbox(house.address, "INBOX")
    messages = [one async for one in inbox.messages()]
    await inbox.delete([one.uid for one in messages])
    inbox._uid_validity += 1
    inbox._max_uid -= len(messages)
    for message in reversed(messages):
        inbox._max_uid += 1
        inbox._messages[inbox._max_uid] = Message.copy(message, uid=inbox._max_uid)


async def repaired(world: World, house: House, daemon: Daemon) -> None:
    """Let a crash leave edits undone, number the folder anew, and let the daemon repair that; see that all is well."""
    for number in range(MAILS):
        await world.provider.deliver(house.address, mail(house, number))
    before = Process(house)
    before.at = _FIRST_BATCH
    await before.start()
    assert await before.end() == -signal.SIGKILL, before.tail()
    assert await house.store.content.read(None, story.count_messages, house.mailbox_id) == (BATCH, 0)
    assert not await story.is_edited(house)
    await number_anew(world, house)
    await world.provider.deliver(house.address, mail(house, MAILS))
    daemon.stage(REPAIR)
    await daemon.start()
    try:
        wanted = [message_id_of(mail(house, number)) for number in range(MAILS + 1)]

        async def all_is_done() -> bool:
            count, _ = await house.store.content.read(None, story.count_messages, house.mailbox_id)
            return count >= len(wanted) and await story.is_edited(house)

        await daemon.until(all_is_done, "all mails are taken in and moved")
        daemon.stage("stop")
        await daemon.stop()
    finally:
        await daemon.process.kill()
    assert (await story.stored(house))["in"] == Counter(wanted)
    await story.check_new_edited(world, house, wanted)
    await story.check_store(house)


async def discover(world: World) -> list[Point]:
    """Repair without a kill; return the points that were passed."""
    async with world.house() as house:
        daemon = Daemon(house, record=house.folder / "points")
        await repaired(world, house, daemon)
        assert daemon.record is not None
        found = Discovered.read(daemon.record).of(REPAIR)
    names = {point.name for point in found}
    assert names >= EXPECTED, f"not discovered: {EXPECTED - names}"
    return found


def killed(at: Point) -> tuple[str, Iteration]:
    async def iteration(world: World) -> None:
        async with world.house() as house:
            daemon = Daemon(house, at=at)
            await repaired(world, house, daemon)
            # What is no part of a repair (the end of a backfill) may be over before it, on one run and not on another.
            assert daemon.kills == 1 or at.name not in EXPECTED, "the point was not reached"

    return str(at), iteration


@pytest.mark.timeout(300)
@pytest.mark.postgresql_is_long
async def test_killed_while_a_folder_is_read_again(world: World) -> None:
    turn = 0 if world.engine == "sqlite" else 0.5
    of_the_repair = [point for point in await discover(world) if point.name in EXPECTED]
    chosen = spread(of_the_repair, KILLS, turn)
    tally = await campaign.run(world, [killed(point) for point in chosen])
    assert tally.failures == []
    assert tally.kills == len(chosen)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_at_each_commit_of_a_repair(world: World) -> None:
    points = await discover(world)
    tally = await campaign.run(world, [killed(point) for point in points])
    print(f"{world.engine}: {tally.kills} kills in a repair, {len(tally.failures)} failures")
    assert tally.failures == []
    assert tally.kills >= sum(point.name in EXPECTED for point in points)
