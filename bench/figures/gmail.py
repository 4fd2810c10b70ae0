"""How fast mail is read by the Gmail API, within its quota."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

import httplib2

from bench.gmailserver import LATENCY_SECONDS, Served, Token, running_gmail, user
from bench.harness import RUNS, Figure, Run
from bench.timing import Stopwatch
from bench.workshop import Workshop
from connectors.base import ReadPlan
from connectors.gmail_mailbox import gmail_reader

_MANY = 50
_OF_MANY = 40
"""Mails of each of the many: within what may be spent at once, so that the quota is not what is measured."""
_THREADS = 50
_QUOTA, _OLD_QUOTA = 6_000, 15_000
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


async def gmail_fifty_rate(_workshop: Workshop) -> AsyncIterator[Run]:
    """Corpus mails a second that `connectors/gmail` reads from fifty mailboxes at once, with 60 ms of latency: the
    profile, the list, the mails by batches.

    The server is the demo's, in a process of its own, on the same two cores. The yardstick is one mailbox read by
    httplib2 alone: one get a mail, one after the other. Wall time, both.
    """
    with running_gmail(RUNS * _MANY, _OF_MANY, units_per_minute=_QUOTA, threads=_THREADS) as served:
        bare = await asyncio.to_thread(_read_bare, served)
        for run in range(RUNS):
            # Fresh ones: what those of the run before may spend at once is spent.
            numbers = range(run * _MANY + 1, (run + 1) * _MANY + 1)
            watch = Stopwatch()
            counts = await asyncio.gather(*(_read(served, number) for number in numbers))
            yield Run(_rate(sum(counts), _MANY * _OF_MANY, watch), bare)
        served.highest()


async def gmail_one_rate(_workshop: Workshop) -> AsyncIterator[Run]:
    """Corpus mails a second from one mailbox at Google's quota of 6,000 units a minute, and never over it.

    The yardstick is the quota: a mail costs 5 units, so it allows 20 a second.
    """
    async for run in _of_one(_QUOTA, 900):
        yield run


async def gmail_one_rate_old_quota(_workshop: Workshop) -> AsyncIterator[Run]:
    """As gmail_one_rate, at the quota of older projects, 15,000 units a minute: 50 mails a second."""
    async for run in _of_one(_OLD_QUOTA, 1500):
        yield run


async def _of_one(quota: int, mails: int) -> AsyncIterator[Run]:
    with running_gmail(1, mails, units_per_minute=quota, threads=4) as served:
        watch, parts = Stopwatch(), []
        last = time.perf_counter()
        count = 0
        reader = gmail_reader(served.access(1), Token(1), tools=served.tools, plan=ReadPlan(start_at=_LONG_AGO))
        try:
            async with aclosing(reader.changes(None)) as batches:  # type: ignore[type-var]
                async for batch in batches:
                    count += len(batch.messages)
                    now = time.perf_counter()
                    if count > mails // 3 and batch.messages:  # what may be spent at once is behind us
                        parts.append(len(batch.messages) / (now - last))
                    last = now
        finally:
            await reader.close()
        rate = _rate(count, mails, watch)
        if (highest := served.highest()) > quota:
            raise RuntimeError(f"{highest} units were spent in a minute")
        yield Run(rate, quota / 60 / 5, parts)


async def _read(served: Served, number: int) -> int:
    reader = gmail_reader(served.access(number), Token(number), tools=served.tools, plan=ReadPlan(start_at=_LONG_AGO))
    count = 0
    try:
        async with aclosing(reader.changes(None)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                count += sum(message.content is not None for message in batch.messages)
    finally:
        await reader.close()
    return count


def _read_bare(served: Served) -> float:
    http = httplib2.Http(proxy_info=None)
    root, headers = served.tools.api.root_url, {"authorization": f"Bearer {user(1)}"}
    _, content = http.request(f"{root}gmail/v1/users/me/messages?maxResults=20", headers=headers)
    watch = Stopwatch()
    ids = [one["id"] for one in json.loads(content)["messages"]]
    for one in ids:
        http.request(f"{root}gmail/v1/users/me/messages/{one}?format=raw", headers=headers)
    return len(ids) / watch.seconds()


def _rate(count: int, there: int, watch: Stopwatch) -> float:
    if count != there:
        raise RuntimeError(f"{count} mails were read, {there} are there")
    return count / watch.seconds()


FIGURES = (
    Figure("gmail_fifty_rate", "messages/s", f"one get a mail, {LATENCY_SECONDS * 1000:g} ms away", gmail_fifty_rate),
    Figure("gmail_one_rate", "messages/s", "the quota", gmail_one_rate),
    Figure("gmail_one_rate_old_quota", "messages/s", "the quota", gmail_one_rate_old_quota),
)
