"""How long a new mail waits when processes die, and that none is lost or taken twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, func, select

from bench.fleet import Daemon, Fleet, fleet, user
from bench.harness import Figure, Run
from bench.workshop import MESSAGES, Workshop
from connectors.imap_cursor import Locator
from ingestd.records import MessageRecord
from ingestd.verify.check import verify
from storage.tables import messages
from tests.servers.process import free_port

_MAILBOXES: Final = 300
_MAILBOXES_OF_A_TRIAL: Final = 60
_PROCESSES: Final = 3
_RATE: Final = 50.0
_SECONDS: Final = 300.0
_SECONDS_OF_A_TRIAL: Final = 60.0
_KILL_SECONDS: Final = 20.0
_END_SECONDS_MAX: Final = 60.0
_WAIT_SECONDS_MAX: Final = 20.0
_SAMPLES: Final = 10
_LOOK_SECONDS: Final = 0.5


async def failover_wait_s(workshop: Workshop) -> AsyncIterator[Run]:
    """The longest that a mail waits from its arrival at the server to its transaction, in seconds, while one of three
    processes on one PostgreSQL is killed every 20 seconds and started anew: 300 mailboxes, 50 mails a second, five
    minutes; at most 20. Afterwards all mails are there, each once, and `verify` finds every promise kept. The server
    notes when it delivers each.

    The yardstick is what is allowed: the lease of 15 seconds, and 5 to begin.
    """
    waits = await _measure(workshop)
    size = max(1, len(waits) // _SAMPLES)
    parts = [max(waits[at : at + size]) for at in range(0, len(waits), size)]
    yield Run(max(waits), _WAIT_SECONDS_MAX, parts)


async def _measure(workshop: Workshop) -> list[float]:
    """Return how long each mail waited, in the order of their commits."""
    is_trial = workshop.messages != MESSAGES
    users = [user(number) for number in range(_MAILBOXES_OF_A_TRIAL if is_trial else _MAILBOXES)]
    seconds = _SECONDS_OF_A_TRIAL if is_trial else _SECONDS
    async with fleet(workshop, "postgresql", logging={"level": "warning"}, parser={"processes": 1}) as one:
        linked = dict(zip(users, await one.link(users), strict=True))
        async with contextlib.AsyncExitStack() as stack:
            daemons = [await stack.enter_async_context(_replica(one, number)) for number in range(_PROCESSES)]
            await one.all_idle(len(users))
            stop = asyncio.Event()
            killing = asyncio.create_task(_kill(one, stack, daemons, stop))
            count = await _deliver(one, users, seconds)
            stop.set()
            await killing
            await _all_there(one, count)
        await _check(one, count)
        return await _waits(one, linked)


def _replica(one: Fleet, number: int) -> contextlib.AbstractAsyncContextManager[Daemon]:
    return one.daemon("--role", "worker", port=free_port(), name=f"worker{number}")


async def _kill(one: Fleet, stack: contextlib.AsyncExitStack, daemons: list[Daemon], stop: asyncio.Event) -> None:
    order = random.Random(7)  # noqa: S311  (the same in each run)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILL_SECONDS):
                await stop.wait()
                return
        place = order.randrange(len(daemons))
        one.workshop.say(f"process {place} is killed")
        daemons[place].process.send_signal(signal.SIGKILL)
        await daemons[place].process.wait()
        daemons[place] = await stack.enter_async_context(_replica(one, place))


async def _deliver(one: Fleet, users: list[str], seconds: float) -> int:
    """Deliver at an even rate; return how many."""
    order = random.Random(11)  # noqa: S311  (the same in each run)
    started, count = time.monotonic(), 0
    while (at := time.monotonic() - started) < seconds:
        while count < at * _RATE:
            one.server.deliver(order.choice(users), count)
            count += 1
        await asyncio.sleep(1 / _RATE)
    return count


async def _all_there(one: Fleet, count: int) -> None:
    """Wait until so many messages are stored."""
    deadline = time.monotonic() + _END_SECONDS_MAX
    while (found := await one.store.content.read(None, _count)) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{found} of {count} mails were taken")
        await asyncio.sleep(_LOOK_SECONDS)


def _count(conn: Connection) -> int:
    return int(conn.execute(select(func.count()).select_from(messages)).scalar_one())


async def _check(one: Fleet, count: int) -> None:
    report = await verify(one.store.content, one.store.keystore, one.store.blobs, one.store.keys)
    if not report.clean:
        raise RuntimeError(f"verify: {report.violations}")
    if (found := await one.store.content.read(None, _count)) != count:
        raise RuntimeError(f"{count} mails were delivered, {found} are stored")


async def _waits(one: Fleet, linked: Mapping[str, UUID]) -> list[float]:
    """Return how long each stored message waited, by the UID that its locator names and the server's own note of when
    that one was delivered. Raises RuntimeError where a mail of the server's has no message."""
    delivered = await one.server.delivered(one.installation.folder / "delivered.json")
    stored: list[tuple[datetime, float]] = []
    for address, mailbox_id in linked.items():
        key = await one.store.keys.mailbox(one.account_id, mailbox_id)
        left = dict(enumerate(delivered.get(address, []), 1))
        for message_id, created_at, sealed in await one.store.content.read(one.account_id, _rows, mailbox_id):
            record = key.open_record(MessageRecord.place(message_id), sealed, MessageRecord)
            stored.append((created_at, created_at.timestamp() - left.pop(Locator.parse(record.locator).uid)))
        if left:
            raise RuntimeError(f"{len(left)} mails of a mailbox have no message")
    return [wait for _, wait in sorted(stored)]


def _rows(conn: Connection, account_id: UUID, mailbox_id: UUID) -> list[tuple[UUID, datetime, bytes]]:
    asked = select(messages.c.message_id, messages.c.created_at, messages.c.sealed).where(
        messages.c.account_id == account_id, messages.c.mailbox_id == mailbox_id
    )
    return [(message_id, created_at, sealed) for message_id, created_at, sealed in conn.execute(asked)]


FIGURES = (Figure("failover_wait_s", "s", "what is allowed", failover_wait_s),)
