"""Whether taking mail in slows down as the database grows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from bench.figures.ingesting import take_rate
from bench.harness import RUNS, Figure, Run
from bench.house import claim_all, opened
from bench.intake import BATCH, Mailbox, batches, mailboxes
from bench.seed import seed
from bench.workshop import Engine, Workshop
from ingestd.inbound.parser import ParserPool

_MAILBOXES = 50
_BATCHES = 50
"""Of a run: one for each mailbox."""


async def growth_ratio_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Corpus mails taken in a second into 50 mailboxes of 1,000 messages each, in the large database, on SQLite; from
    fetched bytes to the commit, as in ingest_sqlite.

    The yardstick is the same in a database that holds those 50 alone. In turns, the first of which is not counted.
    """
    async for run in _measure(workshop, "sqlite"):
        yield run


async def growth_ratio_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As growth_ratio_sqlite, on a PostgreSQL of the same machine with fsync on."""
    async for run in _measure(workshop, "postgresql"):
        yield run


async def _measure(workshop: Workshop, engine: Engine) -> AsyncIterator[Run]:
    large = await workshop.large(engine)
    each = workshop.messages // workshop.mailboxes
    count = min(_MAILBOXES, workshop.mailboxes)
    with workshop.temporary(engine) as alone:
        await seed(alone, messages=each * count, mailboxes=count, account_count=1)
        async with contextlib.AsyncExitStack() as stack:
            parser = await stack.enter_async_context(ParserPool(processes=2))
            taking: list[Sequence[Mailbox]] = []
            for installation in (large.installation, alone):
                store = await stack.enter_async_context(opened(installation))
                taking.append(mailboxes(store, await claim_all(store), parser)[:count])
            for number in range(RUNS + 1):
                mails = list(batches(_BATCHES, first=number * _BATCHES * BATCH))
                workshop.say(f"run {number} of {RUNS}")
                run = Run(await take_rate(taking[0], mails), await take_rate(taking[1], mails))
                if number:
                    yield run


_ALONE = "a database with those mailboxes alone"
FIGURES = (
    Figure("growth_ratio_sqlite", "messages/s", _ALONE, growth_ratio_sqlite),
    Figure("growth_ratio_postgresql", "messages/s", _ALONE, growth_ratio_postgresql),
)
