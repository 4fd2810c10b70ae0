"""How long the one transaction of a batch takes: other mailboxes wait for it on SQLite."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench.bare import bare_table
from bench.harness import RUNS, Figure, Run
from bench.house import add_account, add_mailboxes, claim_all, opened
from bench.intake import BATCH, batches, mailboxes
from bench.timing import Stopwatch
from bench.workshop import Engine, Workshop
from ingestd.inbound.parser import ParserPool

_BATCHES = 20
"""Of a run."""


async def commit_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds of `commit_batch` on SQLite with 50 corpus mails, prepared before: the median of 20 batches.

    From the call to its return, so the threads' hand-over is in it. Large mails are blobs by then and not in it.
    The yardstick is one transaction that inserts the same raw bytes into one plain table.
    """
    async for run in _commit(workshop, "sqlite", 50):
        yield run


async def commit_sqlite_p95(workshop: Workshop) -> AsyncIterator[Run]:
    """As commit_sqlite, the 95th percentile of 20 batches against that of the plain insert."""
    async for run in _commit(workshop, "sqlite", 95):
        yield run


async def commit_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As commit_sqlite, on a PostgreSQL of the same machine with fsync on; the yardstick by asyncpg."""
    async for run in _commit(workshop, "postgresql", 50):
        yield run


async def commit_postgresql_p95(workshop: Workshop) -> AsyncIterator[Run]:
    """As commit_postgresql, the 95th percentile of 20 batches against that of the plain insert."""
    async for run in _commit(workshop, "postgresql", 95):
        yield run


@dataclass(frozen=True, slots=True)
class _Batches:
    """Milliseconds of each batch of a run."""

    ours: Sequence[float]
    plain: Sequence[float]


async def _commit(workshop: Workshop, engine: Engine, percentile: int) -> AsyncIterator[Run]:
    """Median and percentile are of the same batches where both are asked for."""
    for run in await workshop.once(f"commits {engine}", partial(_commit_all, workshop, engine)):
        yield Run(_percentile(run.ours, percentile), _percentile(run.plain, percentile))


async def _commit_all(workshop: Workshop, engine: Engine) -> list[_Batches]:
    runs = []
    with workshop.temporary(engine) as installation:
        async with opened(installation) as store, ParserPool() as parser, bare_table(workshop, engine) as bare:
            await add_mailboxes(store, await add_account(store), 1)
            (mailbox,) = mailboxes(store, await claim_all(store), parser)
            mails = batches(RUNS * _BATCHES, first=0)
            for _ in range(RUNS):
                ours, plain = [], []
                for batch in itertools.islice(mails, _BATCHES):
                    prepared = await mailbox.prepare(batch)
                    watch = Stopwatch()
                    await mailbox.commit(prepared)
                    ours.append(watch.seconds() * 1000)
                    plain.append(await bare.insert([message.content or b"" for message in batch]) * 1000)
                runs.append(_Batches(ours, plain))
                workshop.say(f"run {len(runs)}")
    return runs


def _percentile(samples: Sequence[float], percentile: int) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[percentile - 1]


_PLAIN = f"a plain insert of the same {BATCH} mails"
FIGURES = (
    Figure("commit_sqlite", "ms", _PLAIN, commit_sqlite),
    Figure("commit_sqlite_p95", "ms", _PLAIN, commit_sqlite_p95),
    Figure("commit_postgresql", "ms", _PLAIN, commit_postgresql),
    Figure("commit_postgresql_p95", "ms", _PLAIN, commit_postgresql_p95),
)
