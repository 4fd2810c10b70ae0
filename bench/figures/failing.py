"""How long a new mail waits when processes die, and that none is lost or taken twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator
from typing import Final

from sqlalchemy import Connection, select

from bench.fleet import Daemon, Fleet, fleet, user
from bench.harness import Figure, Run
from bench.workshop import MESSAGES, Workshop
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
    """The longest that a mail waits from its arrival at the server to its commit, in seconds, while one of three
    processes on one PostgreSQL is killed every 20 seconds and started anew: 300 mailboxes, 50 mails a second, five
    minutes; at most 20. Afterwards all mails are there, each once, and `verify` finds every promise kept.

    The yardstick is what is allowed: the lease of 15 seconds, and 5 to begin.
    """
    waits = await _measure(workshop)
    size = max(1, len(waits) // _SAMPLES)
    parts = [max(waits[at : at + size]) for at in range(0, len(waits), size)]
    yield Run(max(waits), _WAIT_SECONDS_MAX, parts)


async def _measure(workshop: Workshop) -> list[float]:
    """Return how long each mail waited, in the order of their commits. The server tells whole seconds, rounded down."""
    is_trial = workshop.messages != MESSAGES
    users = [user(number) for number in range(_MAILBOXES_OF_A_TRIAL if is_trial else _MAILBOXES)]
    seconds = _SECONDS_OF_A_TRIAL if is_trial else _SECONDS
    async with fleet(workshop, "postgresql", logging={"level": "warning"}, parser={"processes": 1}) as one:
        await one.link(users)
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
        return await one.store.content.read(None, _waits)


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
    while (found := len(await one.store.content.read(None, _waits))) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{found} of {count} mails were taken")
        await asyncio.sleep(_LOOK_SECONDS)


def _waits(conn: Connection) -> list[float]:
    rows = conn.execute(select(messages.c.received_at, messages.c.created_at).order_by(messages.c.created_at))
    return [(created_at - received_at).total_seconds() for received_at, created_at in rows]


async def _check(one: Fleet, count: int) -> None:
    report = await verify(one.store.content, one.store.keystore, one.store.blobs, one.store.keys)
    if not report.clean:
        raise RuntimeError(f"verify: {report.violations}")
    if (found := len(await one.store.content.read(None, _waits))) != count:
        raise RuntimeError(f"{count} mails were delivered, {found} are stored")


FIGURES = (Figure("failover_wait_s", "s", "what is allowed", failover_wait_s),)
