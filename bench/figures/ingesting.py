"""How fast mail becomes tickets, once it is fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from bench.bare import Bare, bare_table
from bench.harness import RUNS, Figure, Run
from bench.house import add_account, add_mailboxes, claim_all, opened
from bench.intake import BATCH, Mailbox, batches, mailboxes
from bench.timing import Stopwatch
from bench.workshop import Engine, Workshop
from connectors.base import RawMessage
from ingestd.inbound.parser import ParserPool

_MAILBOXES = 4
_BATCHES = 20
"""Of a run, over all mailboxes."""


async def ingest_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Corpus mails taken in a second on SQLite: four mailboxes at once, batches of 50, through two parser
    processes, identity, look-up, sealing and commit, as the daemon does it with default settings.

    Fetching is not in it. The yardstick inserts the same raw bytes into one plain table, in the same batches,
    with the same durability. Wall time, both.
    """
    async for run in _ingest(workshop, "sqlite"):
        yield run


async def ingest_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As ingest_sqlite, on a PostgreSQL of the same machine with fsync on; the yardstick by asyncpg."""
    async for run in _ingest(workshop, "postgresql"):
        yield run


async def _ingest(workshop: Workshop, engine: Engine) -> AsyncIterator[Run]:
    with workshop.temporary(engine) as installation:
        async with (
            opened(installation) as store,
            ParserPool(processes=store.settings.parser.processes) as parser,
            bare_table(workshop, engine) as bare,
        ):
            account_id = await add_account(store)
            await add_mailboxes(store, account_id, _MAILBOXES)
            taking = mailboxes(store, await claim_all(store), parser)
            for number in range(RUNS):
                mails = list(batches(_BATCHES, first=number * _BATCHES * BATCH))
                yield Run(await take_rate(taking, mails), await _bare_rate(bare, mails))


async def take_rate(taking: Sequence[Mailbox], mails: Sequence[Sequence[RawMessage]]) -> float:
    async def fill(mailbox: Mailbox, share: Sequence[Sequence[RawMessage]]) -> None:
        for batch in share:
            await mailbox.take(batch)

    watch = Stopwatch()
    async with asyncio.TaskGroup() as group:
        for index, mailbox in enumerate(taking):
            group.create_task(fill(mailbox, mails[index :: len(taking)]))
    return sum(map(len, mails)) / watch.seconds()


async def _bare_rate(bare: Bare, mails: Sequence[Sequence[RawMessage]]) -> float:
    seconds = 0.0
    for batch in mails:
        seconds += await bare.insert([message.content or b"" for message in batch])
    return sum(map(len, mails)) / seconds


FIGURES = (
    Figure("ingest_sqlite", "messages/s", "a plain insert of the same bytes", ingest_sqlite),
    Figure("ingest_postgresql", "messages/s", "a plain insert of the same bytes", ingest_postgresql),
)
