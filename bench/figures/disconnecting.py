"""How fast a mailbox of 100,000 messages is forgotten in a database of a million, and what that costs the others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy.engine import make_url

from bench.bare import bare_table
from bench.harness import Figure, Run
from bench.house import Installation, add_mailboxes, claim_all, fetched, opened
from bench.intake import Mailbox, mailboxes, plain_mail
from bench.seed import seed
from bench.timing import Stopwatch
from bench.workshop import Engine, Workshop
from ingestd.build.outside import Outside, new_metrics
from ingestd.build.store import Store, open_store
from ingestd.build.webhooks import new_courier
from ingestd.build.worker import new_worker
from ingestd.inbound.parser import ParserPool
from ingestd.privacy.disconnect import compact
from ingestd.privacy.requests import disconnect_mailbox
from ingestd.telemetry.health import Health
from ingestd.wakes import Bell, watch
from storage import erasures, keystore
from storage.erasures import Erasure
from storage.errors import KeyDestroyed
from storage.mailboxes import list_all_mailboxes
from storage.tables import MAILBOX_TABLES

_LARGE: Final = 10
"""Mailboxes of the same size, in two accounts: with a million messages, each has 100,000."""
_PART: Final = 50
"""Messages of a mailbox that lie together, between those of the others: a batch of a backfill."""
_ROUNDS: Final = 2
_OTHERS: Final = 20
"""Mailboxes that take mail meanwhile, in the same two accounts."""
_A_SECOND: Final = 20
"""Mails that they commit together, each by itself."""
_QUIET_SECONDS: Final = 20.0
_SECOND_AFTER_SECONDS: Final = 5.0
"""When the second mailbox of a round is disconnected: the first one's rows are being deleted."""
_GONE_SECONDS_MAX: Final = 1800.0
_LOOK_SECONDS: Final = 0.01
_KEY_BYTES: Final = 60
"""Of a wrapped key."""
_ADDED_MS_MIN: Final = 0.01
"""A ratio needs something positive."""


@dataclass(slots=True)
class Measured:
    """What came of the rounds on one engine."""

    unreadable: list[Run] = field(default_factory=list)
    """Seconds; two commands a round."""
    gone: list[Run] = field(default_factory=list)
    """Seconds."""
    others: list[tuple[float, float]] = field(default_factory=list)
    """Milliseconds: the 99th percentile of the others' commits without a disconnect, and with one."""


async def disconnect_unreadable_s(workshop: Workshop) -> AsyncIterator[Run]:
    """Seconds from the commit of the command, in another process's place, until the key of a mailbox of 100,000
    messages is destroyed, in a database of a million; the worst of eight: on both engines, two rounds of two, of which
    the second is asked for while the first one's rows are being deleted. Meanwhile other mailboxes take 20 mails a
    second.

    The yardstick is two plain inserts of as many bytes as a wrapped key has, one after the other, each with a commit.
    """
    runs = [run for engine in _ENGINES for run in (await _measured(workshop, engine)).unreadable]
    worst = max(runs, key=lambda run: run.value)
    yield Run(worst.value, statistics.median(run.yardstick for run in runs), [run.value for run in runs])


async def disconnect_gone_s_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Seconds from the command until a mailbox of 100,000 messages is forgotten, in a database of a million on SQLite:
    its rows deleted, the pages given back, the WAL emptied, the receipt written. The daemon's own maintenance does it,
    in one process with the intake of 20 other mailboxes, which take 20 mails of 2 KB a second. The rows of ten
    mailboxes of that size lie mixed, 50 messages of each in turn.

    The yardstick deletes another mailbox of the same size by one plain DELETE for each table, in one transaction by
    bare sqlite3 with the same pragmas, and gives the pages back, while nobody else writes.
    """
    for run in (await _measured(workshop, "sqlite")).gone:
        yield run


async def disconnect_gone_s_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As disconnect_gone_s_sqlite, on a PostgreSQL of the same machine with fsync on; the yardstick by asyncpg."""
    for run in (await _measured(workshop, "postgresql")).gone:
        yield run


async def disconnect_others_added_p99_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds that a disconnect of 100,000 messages adds to the 99th percentile of other mailboxes' commits: that
    of all commits while it runs, less that of 20 seconds right before it; the worst of two rounds on each engine.

    The yardstick is the 99th percentile without it, the median of the rounds.
    """
    rounds = [one for engine in _ENGINES for one in (await _measured(workshop, engine)).others]
    added = [max(during - before, _ADDED_MS_MIN) for before, during in rounds]
    yield Run(max(added), statistics.median(before for before, _ in rounds), added)


async def _measured(workshop: Workshop, engine: Engine) -> Measured:
    return await workshop.once(f"disconnect {engine}", lambda: _seed_and_measure(workshop, engine))


async def _seed_and_measure(workshop: Workshop, engine: Engine) -> Measured:
    with workshop.temporary(engine) as installation:
        seeded = await seed(
            installation,
            messages=workshop.messages,
            mailboxes=_LARGE,
            account_count=2,
            part=_PART,
            progress=lambda written: workshop.say(f"seeding {written:,} of {workshop.messages:,} messages"),
        )
        return await measure(workshop, engine, installation, seeded.accounts)


async def measure(workshop: Workshop, engine: Engine, installation: Installation, owners: Sequence[UUID]) -> Measured:
    """Disconnect some of the large mailboxes, one after the other."""
    measured = Measured()
    async with (
        opened(installation) as store,
        # A command is a process of its own: the daemon hears of it by the database alone.
        open_store(installation.settings()) as command,
        ParserPool(processes=store.settings.parser.processes) as parser,
        bare_table(workshop, engine) as bare,
    ):
        await compact(store.content)
        await asyncio.to_thread(os.sync)  # what seeding left to be written would slow every commit down
        large = [_Target(one.account_id, one.mailbox_id) for one in await store.content.read(None, list_all_mailboxes)]
        small = [_Target(owner, one) for owner in owners for one in await add_mailboxes(store, owner, _ROUNDS)]
        others = [one for owner in owners for one in await add_mailboxes(store, owner, _OTHERS // len(owners))]
        busy = [one for one in mailboxes(store, await claim_all(store), parser) if one.mailbox_id in others]
        async with _maintained(store, parser):
            for number in range(_ROUNDS):
                workshop.say(f"round {number + 1} of {_ROUNDS}")
                traffic = _Traffic(busy, number)
                async with traffic:
                    await asyncio.sleep(_QUIET_SECONDS)
                    before = traffic.taken()
                    seconds = await _disconnect(command, large.pop(0), small.pop(0))
                    during = traffic.taken()
                measured.others.append((_p99(before), _p99(during)))
                wrapped = [
                    await bare.insert([bytes(_KEY_BYTES)]) + await bare.insert([bytes(_KEY_BYTES)]) for _ in "12"
                ]
                measured.unreadable += [Run(*one) for one in zip(seconds.unreadable, wrapped, strict=True)]
                measured.gone.append(Run(seconds.gone, await _PLAIN[engine](installation, large.pop(0))))
    return measured


@dataclass(frozen=True, slots=True)
class _Target:
    account_id: UUID
    mailbox_id: UUID


@dataclass(frozen=True, slots=True)
class _Seconds:
    unreadable: Sequence[float]
    gone: float


@contextlib.asynccontextmanager
async def _maintained(store: Store, parser: ParserPool) -> AsyncIterator[None]:
    """Forget as a daemon does."""
    outside, bell, settings = Outside(store.settings), Bell(), store.settings
    courier = new_courier(outside, lambda: settings)
    worker = await new_worker(
        store, outside, courier, new_metrics(), bell, Health(()), parser, current=lambda: settings
    )
    tasks = [
        asyncio.create_task(worker.maintenance.run()),
        asyncio.create_task(watch(store.content, bell, poll_seconds=settings.storage.data_version_poll_seconds)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await courier.close()
        await outside.close()


async def _disconnect(command: Store, first: _Target, second: _Target) -> _Seconds:
    """Disconnect a mailbox, and a second one meanwhile; wait until the first is forgotten."""
    clock = Stopwatch()
    unreadable = [await _until_unreadable(command, first)]
    await asyncio.sleep(_SECOND_AFTER_SECONDS - clock.seconds())
    if (await _progress(command, first)).step not in {"unreadable", "deleted", "done"}:
        raise RuntimeError("the first mailbox is not being deleted yet: what was measured is something else")
    unreadable.append(await _until_unreadable(command, second))
    while (erasure := await _progress(command, first)).step != "done":
        if clock.seconds() > _GONE_SECONDS_MAX:
            raise RuntimeError(f"the mailbox is not forgotten after {clock.seconds():.0f} s")
        await asyncio.sleep(_LOOK_SECONDS * 10)
    gone = clock.seconds()
    if await command.content.read(first.account_id, erasures.count_rows, first.mailbox_id):
        raise RuntimeError("the mailbox is said to be forgotten, and has rows")
    if not erasure.deleted.get("messages"):
        raise RuntimeError("the mailbox had no messages: what was measured is something else")
    return _Seconds(unreadable, gone)


async def _until_unreadable(command: Store, target: _Target) -> float:
    await command.content.transaction(target.account_id, disconnect_mailbox, target.mailbox_id)
    clock = Stopwatch()
    while clock.seconds() < _GONE_SECONDS_MAX:
        try:
            await command.keystore.read(target.account_id, keystore.get_key, target.mailbox_id)
        except KeyDestroyed:
            return clock.seconds()
        await asyncio.sleep(_LOOK_SECONDS)
    raise RuntimeError("the key is not destroyed")


async def _progress(command: Store, target: _Target) -> Erasure:
    return await command.content.read(target.account_id, erasures.get_erasure, target.mailbox_id)


class _Traffic:
    """Mails that come to other mailboxes at a steady pace, each committed by itself; use as a context.

    A mail does not wait for the one before it, unless that is its own mailbox's: what waits is seen to wait.
    """

    def __init__(self, busy: Sequence[Mailbox], number: int) -> None:
        self._busy = [(one, asyncio.Lock()) for one in busy]
        self._first = number * 1_000_000
        self._samples: list[float] = []
        self._came = 0

    async def __aenter__(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    def taken(self) -> list[float]:
        """Return the milliseconds of each commit since the last call."""
        if len(self._samples) < self._came * 0.9:
            raise RuntimeError(
                "the others' mails cannot be committed at their pace: what was measured is something else"
            )
        samples, self._samples, self._came = self._samples, [], 0
        return samples

    async def _run(self) -> None:
        clock, number = Stopwatch(), 0
        async with asyncio.TaskGroup() as group:
            while True:
                mailbox, lock = self._busy[number % len(self._busy)]
                group.create_task(self._take(mailbox, lock, self._first + number))
                number += 1
                self._came += 1
                await asyncio.sleep(max(0.0, number / _A_SECOND - clock.seconds()))

    async def _take(self, mailbox: Mailbox, lock: asyncio.Lock, number: int) -> None:
        prepared = await mailbox.prepare([fetched(plain_mail(number), number, datetime.now(UTC))])
        clock = Stopwatch()
        async with lock:
            await mailbox.commit(prepared)
        self._samples.append(clock.seconds() * 1000)


async def _plain_sqlite(installation: Installation, target: _Target) -> float:
    return await asyncio.to_thread(_delete_plainly, installation, target)


def _delete_plainly(installation: Installation, target: _Target) -> float:
    path, mine = str(make_url(installation.database).database), (target.account_id.bytes, target.mailbox_id.bytes)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as conn:
        for pragma in ("secure_delete=ON", "synchronous=FULL", "foreign_keys=ON"):
            conn.execute(f"PRAGMA {pragma}")
        clock = Stopwatch()
        conn.execute("BEGIN IMMEDIATE")
        for table in MAILBOX_TABLES:
            conn.execute(f"DELETE FROM {table.name} WHERE account_id = ? AND mailbox_id = ?", mine)  # noqa: S608
        conn.execute("COMMIT")
        conn.executescript("PRAGMA incremental_vacuum")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return clock.seconds()


async def _plain_postgres(installation: Installation, target: _Target) -> float:
    import asyncpg  # noqa: PLC0415  (only where PostgreSQL is used)

    conn = await asyncpg.connect(installation.database)
    try:
        clock = Stopwatch()
        async with conn.transaction():
            for table in MAILBOX_TABLES:
                statement = f"DELETE FROM {table.name} WHERE account_id = $1 AND mailbox_id = $2"  # noqa: S608
                await conn.execute(statement, target.account_id, target.mailbox_id)
        return clock.seconds()
    finally:
        await conn.close()


def _p99(samples: Sequence[float]) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[98]


_PLAIN: Final[dict[Engine, Callable[[Installation, _Target], Awaitable[float]]]] = {
    "sqlite": _plain_sqlite,
    "postgresql": _plain_postgres,
}
_ENGINES: Final[tuple[Engine, ...]] = ("sqlite", "postgresql")
_DELETE: Final = "one plain DELETE for each table"
FIGURES = (
    Figure("disconnect_gone_s_sqlite", "s", _DELETE, disconnect_gone_s_sqlite),
    Figure("disconnect_gone_s_postgresql", "s", _DELETE, disconnect_gone_s_postgresql),
    Figure("disconnect_unreadable_s", "s", "two plain inserts", disconnect_unreadable_s),
    Figure("disconnect_others_added_p99_ms", "ms", "their commits without it", disconnect_others_added_p99_ms),
)
