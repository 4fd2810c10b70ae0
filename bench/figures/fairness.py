"""What one mailbox, or one server, costs the others of its process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, func, select

from bench.figures.waiting import arrivals, p99
from bench.fleet import OTHER, Fleet, fleet, user
from bench.harness import Figure, Run
from bench.hostile import HEAD, hostile_mails, slowest_mail
from bench.mime import attachment, multipart, text_part
from bench.workshop import MESSAGES, Workshop
from ingestd.inbound import backfill_steps
from storage import backfills
from storage.backfills import BackfillStatus
from storage.tables import messages
from tests.story.house import until

_MAILBOXES: Final = 100
_MAILS: Final = 200
_MAILS_OF_A_TRIAL: Final = 50
_NOTHING_MS: Final = 0.1
_BUSY: Final = "busy@example.com"
_BEGIN_SECONDS_MAX: Final = 120.0

_BURST: Final = 100
"""Small mails that the busy mailbox gets at once, again and again."""
_LARGE_BYTES: Final = 20 * 1024 * 1024
_LARGE_EACH: Final = 10
"""Of so many bursts one comes with a large mail."""
_BURST_SECONDS: Final = 0.5

_OLD_MAILS: Final = 1_000_000
_SLOW_SECONDS: Final = 3.0
_SLOW_MAILBOXES: Final = 200
_SLOW_CONNECTIONS: Final = 32
"""Once there are so many, it has all that it may have of the process."""
_SLOW_MAIL_SECONDS: Final = 0.1
_HOSTILE_SECONDS: Final = 0.2
_ATTACHED_BYTES: Final = 34 * 1024 * 1024
"""Of which base64 makes a mail of 46 MB, just below what is read whole."""
_ATTACHED_SECONDS: Final = 0.5

Disturber = Callable[[Fleet], AbstractAsyncContextManager[None]]
"""Disturbs from when it is entered to its end. Raises RuntimeError at its end where it has not."""


async def fairness_added_p99_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds that a busy mailbox adds to the 99th percentile of how long a new mail of others takes, from the
    server's notification to its ticket. It is of the same process and account, and gets 200 mails a second and one of
    20 MB every five seconds: more than the process can take, so that it always has a backlog. One daemon on PostgreSQL,
    100 mailboxes beside the busy one, which is at a server of its own.

    The yardstick is that percentile without the busy mailbox.
    """
    yield await _beside(workshop, _flooded)


async def fairness_backfill_added_p99_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """The same beside a mailbox whose million old mails are read.

    The yardstick is that percentile without it.
    """
    yield await _beside(workshop, _backfilled)


async def fairness_slow_server_added_p99_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """The same beside 200 mailboxes at a server that answers each command after three seconds, which are linked at once
    and get ten mails a second together.

    The yardstick is that percentile without them.
    """
    yield await _beside(workshop, _at_a_slow_server, other_seconds=_SLOW_SECONDS)


async def fairness_hostile_added_p99_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """The same beside a mailbox that gets five mails a second that are made to be slow to parse, each fourth of them
    the slowest that we know of: more than two parser processes can parse.

    The yardstick is that percentile without it.
    """
    yield await _beside(workshop, _attacked)


async def fairness_attachment_added_p99_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """The same beside a mailbox that gets two mails of 46 MB with an attachment a second.

    The yardstick is that percentile without it.
    """
    yield await _beside(workshop, _loaded)


async def _beside(workshop: Workshop, disturber: Disturber, *, other_seconds: float = 0.0) -> Run:
    mails = _MAILS if workshop.messages == MESSAGES else _MAILS_OF_A_TRIAL
    users = [user(number) for number in range(_MAILBOXES)]
    async with (
        fleet(workshop, "postgresql", other_seconds=other_seconds, logging={"level": "warning"}) as one,
        one.daemon(),
    ):
        others = dict(zip(users, await one.link(users), strict=True))
        await one.all_idle(_MAILBOXES)
        workshop.say("alone")
        alone, _ = await arrivals(one, others, mails)
        workshop.say("waiting for what disturbs")
        async with disturber(one):
            workshop.say("beside what disturbs")
            beside, _ = await arrivals(one, others, mails, first=mails)
    return Run(max(p99(beside) - p99(alone), _NOTHING_MS), p99(alone), beside)


@contextlib.asynccontextmanager
async def _flooded(one: Fleet) -> AsyncIterator[None]:
    (busy,) = await one.link([_BUSY], provider=OTHER)
    async with _meanwhile(_flood(one)), _taking(one, busy):
        yield


async def _flood(one: Fleet) -> None:
    bursts = 0
    while True:
        for number in range(_BURST):
            one.other.deliver(_BUSY, bursts * 1000 + number)
        if bursts % _LARGE_EACH == 0:
            one.other.deliver(_BUSY, bursts * 1000 + _BURST, _LARGE_BYTES)
        bursts += 1
        await asyncio.sleep(_BURST_SECONDS)


@contextlib.asynccontextmanager
async def _backfilled(one: Fleet) -> AsyncIterator[None]:
    one.other.fill(_BUSY, _OLD_MAILS)
    (busy,) = await one.link([_BUSY], provider=OTHER)
    await one.store.content.transaction(one.account_id, _ask_for_all, busy)
    async with _taking(one, busy):
        yield
    found = await one.store.content.read(one.account_id, backfills.get_backfill, busy)
    if found.status is not BackfillStatus.RUNNING:
        raise RuntimeError(f"the backfill is {found.status} after {found.seen} messages")


def _ask_for_all(conn: Connection, account_id: UUID, mailbox_id: UUID) -> None:
    backfill_steps.ask(conn, account_id, mailbox_id, days=None, newest_first=True)


@contextlib.asynccontextmanager
async def _at_a_slow_server(one: Fleet) -> AsyncIterator[None]:
    users = [f"slow{number}@example.com" for number in range(_SLOW_MAILBOXES)]
    await one.link(users, provider=OTHER)
    async with _meanwhile(_deliver_in_turn(one, users)):

        async def busy() -> bool:
            return await one.other.connections() >= _SLOW_CONNECTIONS

        await until(busy, "connections to the slow server", _BEGIN_SECONDS_MAX)
        yield
        if await one.other.idle() == len(users):
            raise RuntimeError("the slow server had nothing to do")


async def _deliver_in_turn(one: Fleet, users: list[str]) -> None:
    number = 0
    while True:
        one.other.deliver(users[number % len(users)], number)
        number += 1
        await asyncio.sleep(_SLOW_MAIL_SECONDS)


@contextlib.asynccontextmanager
async def _attacked(one: Fleet) -> AsyncIterator[None]:
    slowest = _written(one, "slowest", slowest_mail().removeprefix(HEAD))
    files: list[Path] = []
    for number, raw in enumerate(hostile_mails()):
        files.append(slowest if number % 4 == 0 else _written(one, f"hostile{number}", raw.removeprefix(HEAD)))
    async with _busy_with(one, files, _HOSTILE_SECONDS):
        yield


@contextlib.asynccontextmanager
async def _loaded(one: Fleet) -> AsyncIterator[None]:
    noise = Random(7).randbytes(_ATTACHED_BYTES)  # noqa: S311  (the same in each run)
    parts = [text_part("plain", "See the file.\r\n", "utf-8", "7bit"), attachment("a.bin", "image/jpeg", noise)]
    async with _busy_with(one, [_written(one, "attached", multipart("mixed", "mark", parts))], _ATTACHED_SECONDS):
        yield


def _written(one: Fleet, name: str, content: bytes) -> Path:
    path = one.installation.folder / name
    path.write_bytes(content)
    return path


@contextlib.asynccontextmanager
async def _busy_with(one: Fleet, files: list[Path], seconds: float) -> AsyncIterator[None]:
    """Deliver mails with these contents in turn, one in so many seconds."""

    number = 0

    async def deliver() -> None:
        nonlocal number
        while True:
            one.other.deliver(_BUSY, number, file=files[number % len(files)])
            number += 1
            await asyncio.sleep(seconds)

    (busy,) = await one.link([_BUSY], provider=OTHER)
    async with _meanwhile(deliver()), _taking(one, busy, lambda: number):
        yield


@contextlib.asynccontextmanager
async def _meanwhile(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def _taking(one: Fleet, mailbox_id: UUID, delivered: Callable[[], int] = lambda: 0) -> AsyncIterator[None]:
    """Begin once mail of a mailbox has been taken; see at the end that more was, or is still to be."""

    async def taken() -> int:
        return await one.store.content.read(one.account_id, _count, mailbox_id)

    await until(taken, "mail of what disturbs", _BEGIN_SECONDS_MAX)
    before = await taken()
    yield
    after = await taken()
    one.workshop.say(f"{after - before} taken meanwhile")
    if after == before and after >= delivered():
        raise RuntimeError("nothing was taken of what was to disturb")


def _count(conn: Connection, account_id: UUID, mailbox_id: UUID) -> int:
    mine = (messages.c.account_id == account_id, messages.c.mailbox_id == mailbox_id)
    return int(conn.execute(select(func.count()).select_from(messages).where(*mine)).scalar_one())


_YARDSTICK: Final = "all of it without what disturbs"
FIGURES = (
    Figure("fairness_added_p99_ms", "ms", _YARDSTICK, fairness_added_p99_ms),
    Figure("fairness_backfill_added_p99_ms", "ms", _YARDSTICK, fairness_backfill_added_p99_ms),
    Figure("fairness_slow_server_added_p99_ms", "ms", _YARDSTICK, fairness_slow_server_added_p99_ms),
    Figure("fairness_hostile_added_p99_ms", "ms", _YARDSTICK, fairness_hostile_added_p99_ms),
    Figure("fairness_attachment_added_p99_ms", "ms", _YARDSTICK, fairness_attachment_added_p99_ms),
)
