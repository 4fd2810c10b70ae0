"""How long reading takes in a database of a million messages."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from uuid import UUID

from sqlalchemy import Connection, text

from bench.harness import RUNS, Figure, Run
from bench.house import opened
from bench.timing import Stopwatch
from bench.words import pick
from bench.workshop import Engine, Workshop
from ingestd.build.store import Store
from storage import accounts

_READS = 100
"""Of a run."""
_PAGE = 100

_PAGE_QUERY = "SELECT sealed FROM tickets WHERE account_id = :account AND number > :number ORDER BY number LIMIT :limit"
_TICKET_QUERY = (
    "SELECT m.sealed FROM tickets t JOIN messages m ON m.account_id = t.account_id AND m.ticket_id = t.ticket_id "
    "WHERE t.account_id = :account AND t.number = :number ORDER BY m.message_id"
)


async def ticket_list_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds to list 100 tickets, subjects opened, behind a random one of a random account: the median of
    100 lists, on SQLite with a million messages in 500,000 tickets of ten accounts. What `ingestd ticket list`
    and the API call; starting the command is not in it.

    The yardstick is a bare query for the same sealed rows, on the same connections.
    """
    async for run in _measure(workshop, "sqlite", _list, _list_bare):
        yield run


async def ticket_show_sqlite(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds to read a random ticket with its messages opened: the median of 100, in the same database.

    The yardstick is a bare query for the same sealed messages, on the same connections.
    """
    async for run in _measure(workshop, "sqlite", _show, _show_bare):
        yield run


async def ticket_list_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As ticket_list_sqlite, on a PostgreSQL of the same machine."""
    async for run in _measure(workshop, "postgresql", _list, _list_bare):
        yield run


async def ticket_show_postgresql(workshop: Workshop) -> AsyncIterator[Run]:
    """As ticket_show_sqlite, on a PostgreSQL of the same machine."""
    async for run in _measure(workshop, "postgresql", _show, _show_bare):
        yield run


_Read = Callable[[Store, UUID, int], Awaitable[int]]
"""Reads at a ticket's number, and returns how many rows there were."""


async def _measure(workshop: Workshop, engine: Engine, ours: _Read, bare: _Read) -> AsyncIterator[Run]:
    large = await workshop.large(engine)
    async with opened(large.installation) as store:
        owners = [one.account_id for one in await store.content.read(None, accounts.list_accounts)]
        tickets = large.seeded.tickets // len(owners) - _PAGE
        rng = Random(1)  # noqa: S311  (the same reads every time)
        for _ in range(RUNS):
            places = [(pick(rng, owners), 1 + int(rng.random() * tickets)) for _ in range(_READS)]
            plain, rows_plain = await _median(store, places, bare)
            value, rows = await _median(store, places, ours)
            if rows != rows_plain:
                raise RuntimeError("the yardstick read something else")
            yield Run(value, plain)


async def _median(store: Store, places: list[tuple[UUID, int]], read: _Read) -> tuple[float, int]:
    """Return the median in milliseconds, and how many rows there were in all."""
    samples, rows = [], 0
    for account_id, number in places:
        watch = Stopwatch()
        rows += await read(store, account_id, number)
        samples.append(watch.seconds() * 1000)
    return statistics.median(samples), rows


async def _list(store: Store, account_id: UUID, number: int) -> int:
    return len(await store.desk.tickets(account_id, after_number=number, limit=_PAGE))


async def _show(store: Store, account_id: UUID, number: int) -> int:
    return len((await store.desk.ticket(account_id, number)).messages)


async def _list_bare(store: Store, account_id: UUID, number: int) -> int:
    return await store.content.read(
        account_id, _query, store.content.is_sqlite, _PAGE_QUERY, number=number, limit=_PAGE
    )


async def _show_bare(store: Store, account_id: UUID, number: int) -> int:
    return await store.content.read(account_id, _query, store.content.is_sqlite, _TICKET_QUERY, number=number)


def _query(conn: Connection, account_id: UUID, /, is_sqlite: bool, query: str, **values: int) -> int:
    account = account_id.bytes if is_sqlite else account_id
    return len(conn.execute(text(query), {"account": account, **values}).all())


FIGURES = (
    Figure("ticket_list_sqlite", "ms", "a bare query for the rows", ticket_list_sqlite),
    Figure("ticket_show_sqlite", "ms", "a bare query for the rows", ticket_show_sqlite),
    Figure("ticket_list_postgresql", "ms", "a bare query for the rows", ticket_list_postgresql),
    Figure("ticket_show_postgresql", "ms", "a bare query for the rows", ticket_show_postgresql),
)
