"""How long an agent waits until a reply is taken, where many were made before."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator
from random import Random

from bench.bare import bare_table
from bench.harness import RUNS, Figure, Run
from bench.house import opened
from bench.replies import TEXT, add_replies
from bench.seed import seed
from bench.timing import Stopwatch
from bench.workshop import Engine, Workshop
from ingestd.outbound.reply import ReplyDraft, create_reply

_STORED = 100_000
_TICKETS_PER_MAILBOX = 2_000
_MAILBOXES = 10
_REPLIES = 200
"""Of a run."""


async def enqueue_p99_ms_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds from an agent's text to the reply in the outbox, the 99th percentile of 200 replies of 2 KB, one
    after the other to random tickets: read the ticket, compose, parse what was composed, seal, commit. On SQLite with
    100,000 replies already stored, five to each of 20,000 tickets, in ten mailboxes.

    The yardstick is one transaction that inserts the same raw bytes into one plain table, the 99th percentile as well.
    """
    async for run in _measure(workshop, "sqlite"):
        yield run


async def enqueue_p99_ms_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As enqueue_p99_ms_sqlite, on a PostgreSQL of the same machine with fsync on; the yardstick by asyncpg."""
    async for run in _measure(workshop, "postgresql"):
        yield run


async def _measure(workshop: Workshop, engine: Engine) -> AsyncIterator[Run]:
    tickets = _MAILBOXES * _TICKETS_PER_MAILBOX
    with workshop.temporary(engine) as installation:
        seeded = await seed(installation, messages=2 * tickets, mailboxes=_MAILBOXES, account_count=1)
        (account_id,) = seeded.accounts
        async with opened(installation) as store, bare_table(workshop, engine) as bare:
            # More to one customer in a day than anybody may.
            settings = store.settings.outbound.model_copy(update={"replies_per_recipient_per_day_max": 1_000_000})
            await add_replies(
                store,
                settings,
                account_id,
                _STORED,
                lambda written: workshop.say(f"storing {written:,} of {_STORED:,} replies"),
            )
            rng = Random(1)  # noqa: S311  (the same tickets every time)
            for _ in range(RUNS):
                ours, plain = [], []
                for number in rng.sample(range(1, seeded.tickets + 1), _REPLIES):
                    watch = Stopwatch()
                    made = await create_reply(store.desk, settings, account_id, number, ReplyDraft(TEXT))
                    ours.append(watch.seconds() * 1000)
                    plain.append(await bare.insert([await store.desk.raw(account_id, made.message_id)]) * 1000)
                yield Run(_p99(ours), _p99(plain))


def _p99(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[98]


FIGURES = (
    Figure("enqueue_p99_ms_sqlite", "ms", "a plain insert of the same reply", enqueue_p99_ms_sqlite),
    Figure("enqueue_p99_ms_postgresql", "ms", "a plain insert of the same reply", enqueue_p99_ms_postgresql),
)
