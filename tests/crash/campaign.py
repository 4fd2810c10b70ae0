"""Kills, one an iteration, each in a fresh store: the story must come to its end all the same."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, select

from config import load
from ingestd.build.store import open_store
from ingestd.privacy.export import FILES, MAIL, MANIFEST
from storage import keystore
from storage.tables import erasures, outbox
from tests import growth, statements
from tests.crash import story
from tests.crash.points import Discovered, Point
from tests.crash.world import CUSTOMER, Daemon, House, Process, World, link

TOGETHER = 3
"""Iterations at a time: mostly they wait for a process to start."""
_STORY_SECONDS = 5.0
_NOBODY = "http://127.0.0.1:9"
"""Where no authorization server listens."""


@dataclass
class Tally:
    """What a campaign did."""

    kills: int = 0
    failures: list[str] = field(default_factory=list)


Iteration = Callable[[World], Awaitable[None]]


async def run(world: World, iterations: Sequence[tuple[str, Iteration]]) -> Tally:
    """Run all of them; an iteration that returns has had its kill."""
    tally, slots = Tally(), asyncio.Semaphore(TOGETHER)

    async def one(name: str, iteration: Iteration) -> None:
        async with slots:
            try:
                await iteration(world)
                tally.kills += 1
            except Exception as error:  # noqa: BLE001  (whatever it was, the others go on)
                tally.failures.append(f"{world.engine} {name}: {type(error).__name__}: {error}")

    async with asyncio.TaskGroup() as group:
        for name, iteration in iterations:
            group.create_task(one(name, iteration))
    return tally


async def discover(world: World) -> Discovered:
    """Tell the story without a kill, and return the points that the daemon passed.

    What it asked of its database on the way must not take longer the more that holds.
    """
    async with world.house() as house:
        daemon = Daemon(house, record=house.folder / "points", statements=house.folder / "statements")
        await _whole(world, house, daemon)
        assert daemon.record is not None
        assert daemon.statements is not None
        await growth.check(house.store.content, house.store.keystore, statements.read_from(daemon.statements))
        return Discovered.read(daemon.record)


async def discover_command(world: World, iteration: Callable[[World, House, Process], Awaitable[None]]) -> list[Point]:
    async with world.house() as house:
        process = Process(house)
        process.record = house.folder / "points"
        await iteration(world, house, process)
        return list(Discovered.read(process.record).stages)


def daemon_killed(at: Point) -> tuple[str, Iteration]:
    """The daemon is killed at a commit."""

    async def iteration(world: World) -> None:
        async with world.house() as house:
            daemon = Daemon(house, at=at)
            await _whole(world, house, daemon)
            assert daemon.kills == 1, "the point was not reached"

    return str(at), iteration


def daemon_killed_anywhere(seed: int) -> tuple[str, Iteration]:
    """The daemon is killed at some moment, whatever it does."""
    moment = random.Random(seed).uniform(0.2, _STORY_SECONDS)

    async def iteration(world: World) -> None:
        async with world.house() as house:
            daemon = Daemon(house, timed=True)

            async def kill() -> None:
                await asyncio.sleep(moment)
                daemon.process.send(signal.SIGKILL)

            killing = asyncio.create_task(kill())
            try:
                await _whole(world, house, daemon, before_stop=killing)
            finally:
                killing.cancel()
            assert daemon.kills == 1

    return f"seed {seed}, {moment:.2f} s", iteration


def command_killed(at: Point, told: Callable[[World, House, Process], Awaitable[None]]) -> tuple[str, Iteration]:
    """A command of the operator's is killed at a commit, and given again."""

    async def iteration(world: World) -> None:
        async with world.house() as house:
            process = Process(house)
            process.at = at
            await told(world, house, process)

    return f"{told.__name__} {at}", iteration


async def reply_by_command(world: World, house: House, process: Process) -> None:
    """`ticket reply`, killed perhaps, then the same request again: one reply."""
    manual = house.folder / "manual.bin"
    manual.write_bytes(random.Random(0).randbytes(40_000))
    daemon = Daemon(house)
    try:
        await story.begin(world, house, daemon)
        key = ("--idempotency-key", "first")
        await twice(process, "ticket", "reply", "1", "--text", "Switch it on.", "--attach", str(manual), *key)
        (message_id,) = await house.store.content.read(None, _replies, house.mailbox_id)
        told = await story.after_reply(world, house, daemon, message_id)
        await story.check_told(world, house, told)
        await story.check_edited(world, house, told)
        await story.forget(house, daemon)
        await daemon.stop()
        await story.check_forgotten(world, house)
    finally:
        await daemon.process.kill()


async def spam_by_command(world: World, house: House, process: Process) -> None:
    """`ticket spam`, killed perhaps, then again: the status and its edits are there together, or not at all."""
    daemon = Daemon(house)
    try:
        await story.begin(world, house, daemon)
        await daemon.until(lambda: story.is_edited(house), "what came in is edited")
        before = await story.everywhere(world, house)
        await twice(process, "ticket", "spam", "1")
        view = await house.store.desk.ticket(house.account_id, 1)
        received = sum(one.row.direction == "in" for one in view.messages)
        await story.check_mirrored(world, house, daemon, before, received)
        await daemon.stop()
    finally:
        await daemon.process.kill()


async def merge_by_command(world: World, house: House, process: Process) -> None:
    """`ticket merge` while mail to the source comes in, killed perhaps, then again: all of it is in the target."""
    daemon = Daemon(house)
    try:
        await story.begin(world, house, daemon)
        source, target = await story.two_tickets(house)
        await story.answer(world, house, source)
        await twice(process, "ticket", "merge", str(source), str(target))
        await daemon.until(lambda: story.is_answered(house, target), "the answer to the source is in the target")
        await story.check_merged(world, house, source, target)
        await daemon.stop()
    finally:
        await daemon.process.kill()


async def disconnect_by_command(world: World, house: House, process: Process) -> None:
    """`mailbox disconnect` where no daemon runs, killed perhaps, then again."""
    daemon = Daemon(house)
    try:
        await story.begin(world, house, daemon)
        await daemon.stop()
    finally:
        await daemon.process.kill()
    await twice(
        process,
        *("mailbox", "disconnect", str(house.mailbox_id)),
        done=lambda: house.store.content.read(None, _is_erased, house.mailbox_id),
    )
    await story.check_forgotten(world, house)


async def rotate_by_command(world: World, house: House, process: Process) -> None:
    """`keys rotate`, killed perhaps, then again: the new master key alone opens every key and every token."""
    other = world.addresses.pop()
    other_id = await link(house.store, house.account_id, other)
    # Its grant waits for its revocation, wrapped by the master key as the keys are. This house alone does not reach the
    # provider, by its configuration: a failure of the provider's own could come to another house.
    before = house.config.read_text()
    assert world.provider.auth.issuer in before
    house.config.write_text(before.replace(world.provider.auth.issuer, _NOBODY))
    await _once(house, "mailbox", "disconnect", str(other_id))
    assert len(await house.store.keystore.read(None, keystore.list_revocations)) == 1

    new = house.folder / "new.key"
    new.write_text(base64.b64encode(os.urandom(32)).decode())
    new.chmod(0o600)
    old_line, new_line = f"master_key_file: {house.folder}/master.key", f"master_key_file: {new}"
    assert old_line in before
    house.config.write_text(before.replace(old_line, f"{new_line}\n  previous_{old_line}"))
    await twice(process, "keys", "rotate")

    house.config.write_text(before.replace(old_line, new_line))
    async with open_store(load(house.config)) as store:
        (view,) = await store.desk.mailboxes(house.account_id)
        assert view.record is not None
        assert view.record.address == house.address
        assert await store.keystore.read(None, keystore.count_other_keys, store.keys.master_key_id) == 0
        (waiting,) = await store.keystore.read(None, keystore.list_revocations)
        assert store.keys.unwrap_token(waiting.account_id, waiting.mailbox_id, waiting.wrapped)
    await _once(house, "verify")


async def export_by_command(world: World, house: House, process: Process) -> None:
    """`export`, killed perhaps, then again: the files are those of an export that was never killed."""
    daemon = Daemon(house)
    try:
        await story.begin(world, house, daemon)
        await daemon.stop()
    finally:
        await daemon.process.kill()
    whole, killed = house.folder / "whole", house.folder / "killed"
    await _once(house, "export", str(whole))

    async def is_finished() -> bool:
        return json.loads((killed / MANIFEST).read_bytes())["finished_at"] is not None

    await twice(process, "export", str(killed), done=is_finished)
    assert (whole / MAIL).stat().st_size > 0
    for name in FILES:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


async def erase_person_by_command(world: World, house: House, process: Process) -> None:
    """`person erase`, killed perhaps, then again: nothing of the customer is left, and all else is."""
    daemon = Daemon(house)
    try:
        await story.begin(world, house, daemon)
        await daemon.stop()
    finally:
        await daemon.process.kill()
    assert await _naming(house), "the control: there is somebody to erase"
    await twice(process, "person", "erase", str(house.account_id), CUSTOMER, "--yes")
    assert await _naming(house) == []
    await _once(house, "verify")
    # Their erasure is one, and has one receipt, however often it was begun.
    entries = await house.store.keystore.read(None, keystore.list_ledger)
    assert [one.entry for one in entries if one.account_id == house.account_id] == ["person", "receipt"]


async def _naming(house: House) -> list[int]:
    """Return the tickets that still name the customer: in a record, or in a raw mail."""
    desk, found = house.store.desk, []
    for one in await desk.tickets(house.account_id, limit=1000):
        view = await desk.ticket(house.account_id, one.ticket.number)
        texts = [repr(view.record).encode(), *(repr(message.record).encode() for message in view.messages)]
        texts += [await desk.raw(house.account_id, message.row.message_id) for message in view.messages]
        if any(CUSTOMER.encode() in text.lower() for text in texts):
            found.append(one.ticket.number)
    return found


async def _once(house: House, *command: str) -> None:
    await twice(Process(house), *command)


async def twice(process: Process, *command: str, done: Callable[[], Awaitable[bool]] | None = None) -> None:
    """Give a command; where it is killed as planned, give it again unless its work was done."""
    process.arguments = command
    await process.start()
    status = await process.end()
    if process.at is not None:
        assert status == -signal.SIGKILL, f"{command[:2]} ended with {status}: {process.tail()}"
        if done is not None and await done():
            return
        process.at = None
        await process.start()
        status = await process.end()
    assert status == 0, f"{command[:2]} ended with {status}: {process.tail()}"


async def _whole(world: World, house: House, daemon: Daemon, before_stop: asyncio.Task[None] | None = None) -> None:
    try:
        await story.tell(world, house, daemon)
        await story.call_spam(world, house, daemon)
        await story.forget(house, daemon)
        if before_stop is not None:
            await before_stop
            await asyncio.wait_for(daemon.process.end(), 10) if daemon.kills == 0 else None
            await daemon.keep()
        daemon.stage("stop")
        await daemon.stop()
        await story.check_forgotten(world, house)
    finally:
        await daemon.process.kill()


def _replies(conn: Connection, mailbox_id: UUID) -> list[UUID]:
    return list(conn.execute(select(outbox.c.message_id).where(outbox.c.mailbox_id == mailbox_id)).scalars())


def _is_erased(conn: Connection, mailbox_id: UUID) -> bool:
    return conn.execute(select(erasures.c.step).where(erasures.c.mailbox_id == mailbox_id)).scalar() == "done"
