"""How long it takes to seed the large database: every figure that is measured on it waits for that first."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bench.bare import bare_table
from bench.harness import Figure, Run
from bench.seed_mails import SeedMails
from bench.workshop import Engine, Workshop

_BATCH = 1000


async def seed_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Seconds to seed a million messages of 1 KB over a thousand mailboxes on SQLite, from empty databases to the
    last commit, by as many processes as there are cores.

    The yardstick inserts the same raw messages unsealed into one plain table, a thousand in a transaction that
    waits for the disk, without the time to make them. Its spread is that of the mailboxes: how long each took.
    """
    async for run in _seed(workshop, "sqlite"):
        yield run


async def seed_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As seed_sqlite, on a PostgreSQL of the same machine; the yardstick by asyncpg, row by row as well."""
    async for run in _seed(workshop, "postgresql"):
        yield run


async def _seed(workshop: Workshop, engine: Engine) -> AsyncIterator[Run]:
    large = await workshop.large(engine)
    mails, seconds = SeedMails(), 0.0
    async with bare_table(workshop, engine) as bare:
        for first in range(0, large.seeded.messages, _BATCH):
            count = min(_BATCH, large.seeded.messages - first)
            seconds += await bare.insert([mails.make(number, number, []).raw for number in range(first, first + count)])
            workshop.say(f"yardstick: {first + count:,} messages")
    yield Run(large.seeded.seconds, seconds, large.seeded.part_seconds)


FIGURES = (
    Figure("seed_sqlite", "s", "a plain insert of the raw messages", seed_sqlite),
    Figure("seed_postgresql", "s", "a plain insert of the raw messages", seed_postgresql),
)
