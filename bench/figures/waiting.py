"""What thousands of mailboxes cost that wait for mail, and how soon a new mail is a ticket."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from bench.fleet import Daemon, Fleet, fleet, listen, user
from bench.harness import Figure, Run
from bench.workshop import MESSAGES, Workshop
from storage.database import wake
from storage.events import list_events

_MAILBOXES = 5000
_MAILBOXES_OF_A_TRIAL = 500
_KB_MAX = 64.0
_CPU_PERCENT_MAX = 2.0
_CPU_SECONDS = 300
_CPU_SECONDS_OF_A_TRIAL = 60
_SAMPLES = 10
_SETTLE_SECONDS = 5.0
_MAILS = 300
_MAILS_AT_ONCE = 1
_ARRIVAL_SECONDS_MAX = 20.0


async def idle_kb_per_mailbox(workshop: Workshop) -> AsyncIterator[Run]:
    """Memory of a process for each of 5,000 mailboxes that wait in IDLE over TLS: what it has then above what it had
    without mailboxes, in kB; at most 64. One daemon on PostgreSQL, with its defaults; parsers and server apart.

    The yardstick is what is allowed.
    """
    measured = await workshop.once("waiting", partial(_measure, workshop))
    yield Run(statistics.median(measured.kilobytes), _KB_MAX, measured.kilobytes)


async def idle_cpu_percent(workshop: Workshop) -> AsyncIterator[Run]:
    """CPU time of that process, in percent of a core, over five minutes in which no mail comes: renewals of IDLE, slow
    polls, heartbeats; at most 2.

    The yardstick is what is allowed.
    """
    measured = await workshop.once("waiting", partial(_measure, workshop))
    yield Run(statistics.fmean(measured.cpu_percent), _CPU_PERCENT_MAX, measured.cpu_percent)


async def arrival_p50_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds from the server's own notification, as a bare connection in IDLE on the same mailbox hears it, to
    the committed ticket, while 5,000 mailboxes wait: the median of 300 mails, one after the other; at most 30.

    The yardstick is how long the server takes to tell the bare connection.
    """
    measured = await workshop.once("waiting", partial(_measure, workshop))
    yield Run(statistics.median(measured.ours_ms), statistics.median(measured.server_ms), measured.ours_ms)


async def arrival_p99_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """Their 99th percentile; at most 250.

    The yardstick is that of the server's own delay.
    """
    measured = await workshop.once("waiting", partial(_measure, workshop))
    yield Run(p99(measured.ours_ms), p99(measured.server_ms), measured.ours_ms)


def p99(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[98]


@dataclass(frozen=True, slots=True)
class _Waiting:
    kilobytes: list[float]
    cpu_percent: list[float]
    ours_ms: list[float]
    server_ms: list[float]


async def _measure(workshop: Workshop) -> _Waiting:
    is_trial = workshop.messages != MESSAGES
    count = _MAILBOXES_OF_A_TRIAL if is_trial else _MAILBOXES
    seconds = _CPU_SECONDS_OF_A_TRIAL if is_trial else _CPU_SECONDS
    async with fleet(workshop, "postgresql", logging={"level": "warning"}) as one, one.daemon() as daemon:
        await asyncio.sleep(_SETTLE_SECONDS)
        alone = daemon.memory_bytes()
        users = [user(number) for number in range(count)]
        linked = dict(zip(users, await one.link(users), strict=True))
        await one.all_idle(count)
        await asyncio.sleep(_SETTLE_SECONDS)
        kilobytes, cpu_percent = [], []
        for number in range(_SAMPLES):
            workshop.say(f"waiting, {number} of {_SAMPLES}")
            before = daemon.cpu_seconds()
            await asyncio.sleep(seconds / _SAMPLES)
            cpu_percent.append((daemon.cpu_seconds() - before) / (seconds / _SAMPLES) * 100)
            kilobytes.append((daemon.memory_bytes() - alone) / count / 1000)
        _check_threads(daemon)
        ours, server = await arrivals(one, linked, _MAILS)
        return _Waiting(kilobytes, cpu_percent, ours, server)


def _check_threads(daemon: Daemon) -> None:
    """No mailbox may have one of its own."""
    if (threads := daemon.threads()) > 150:
        raise RuntimeError(f"{threads} threads")


async def arrivals(
    one: Fleet, linked: Mapping[str, UUID], mails: int, *, first: int = 0
) -> tuple[list[float], list[float]]:
    """Deliver mails, of numbers from `first` on, to some of the users that are `linked` at random, one after the other.

    Returns, in milliseconds, how long each took from the server's notification to its ticket, and from its delivery to
    the notification.
    """
    ours, server = [], []
    order = random.Random(7)  # noqa: S311  (the same in each run)
    announced = asyncio.Event()
    listening = asyncio.create_task(one.store.content.listen(_ring(announced, one.account_id)))
    try:
        while not announced.is_set():  # until it is heard, nothing else would be
            await one.store.content.transaction(None, wake, f"events:{one.account_id}")
            await asyncio.sleep(0.01)
        announced.clear()
        seen = 0
        while events := await one.store.content.read(one.account_id, list_events, seen, 1000):
            seen = events[-1].sequence
        for number in range(mails):
            address = order.choice(list(linked))
            listener = await listen(one.server, address)
            delivered_at = time.monotonic()
            one.server.deliver(address, first + number)
            heard_at = await listener.heard()
            async with asyncio.timeout(_ARRIVAL_SECONDS_MAX):
                while True:
                    await announced.wait()
                    announced.clear()
                    committed_at = time.monotonic()
                    events = await one.store.content.read(one.account_id, list_events, seen, 1000)
                    seen = events[-1].sequence if events else seen
                    if any(
                        event.type == "message.received" and event.mailbox_id == linked[address] for event in events
                    ):
                        break
            ours.append(max(committed_at - heard_at, 0.0) * 1000)
            server.append((heard_at - delivered_at) * 1000)
            listener.close()
    finally:
        listening.cancel()
    return ours, server


def _ring(announced: asyncio.Event, account_id: UUID) -> Callable[[frozenset[str]], None]:
    def woken(topics: frozenset[str]) -> None:
        if f"events:{account_id}" in topics:
            announced.set()

    return woken


FIGURES = (
    Figure("idle_kb_per_mailbox", "kB", "what is allowed", idle_kb_per_mailbox),
    Figure("idle_cpu_percent", "%", "what is allowed", idle_cpu_percent),
    Figure("arrival_p50_ms", "ms", "the server's own notification", arrival_p50_ms),
    Figure("arrival_p99_ms", "ms", "the server's own notification", arrival_p99_ms),
)
