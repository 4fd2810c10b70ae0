"""What a busy mailbox costs the others of its process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from bench.figures.waiting import arrivals, p99
from bench.fleet import Fleet, fleet, user
from bench.harness import Figure, Run
from bench.workshop import MESSAGES, Workshop

_MAILBOXES: Final = 100
_MAILS: Final = 200
_MAILS_OF_A_TRIAL: Final = 50
_BURST: Final = 100
"""Small mails that the busy mailbox gets at once, again and again."""
_LARGE_BYTES: Final = 20 * 1024 * 1024
_LARGE_EACH: Final = 10
"""Of so many bursts one comes with a large mail."""
_BURST_SECONDS: Final = 0.5
_NOTHING_MS: Final = 0.1
_BUSY: Final = "busy@example.com"


async def fairness_added_p99_ms(workshop: Workshop) -> AsyncIterator[Run]:
    """Milliseconds that a busy mailbox adds to the 99th percentile of how long a new mail of others takes, from the
    server's notification to its ticket. It is of the same process and account, and gets 200 mails a second and one of
    20 MB every five seconds: more than the process can take, so that it always has a backlog. One daemon on PostgreSQL,
    100 mailboxes beside the busy one.

    The yardstick is that percentile without the busy mailbox.
    """
    mails = _MAILS if workshop.messages == MESSAGES else _MAILS_OF_A_TRIAL
    users = [user(number) for number in range(_MAILBOXES)]
    async with fleet(workshop, "postgresql", logging={"level": "warning"}) as one, one.daemon():
        ids = await one.link([*users, _BUSY])
        others = dict(zip(users, ids, strict=False))
        await one.all_idle(_MAILBOXES + 1)
        workshop.say("alone")
        alone, _ = await arrivals(one, others, mails)
        flooding = asyncio.create_task(_flood(one))
        try:
            workshop.say("beside a busy mailbox")
            beside, _ = await arrivals(one, others, mails, first=mails)
        finally:
            flooding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await flooding
    yield Run(max(p99(beside) - p99(alone), _NOTHING_MS), p99(alone), beside)


async def _flood(one: Fleet) -> None:
    bursts = 0
    while True:
        for number in range(_BURST):
            one.server.deliver(_BUSY, bursts * 1000 + number)
        if bursts % _LARGE_EACH == 0:
            one.server.deliver(_BUSY, bursts * 1000 + _BURST, _LARGE_BYTES)
        bursts += 1
        await asyncio.sleep(_BURST_SECONDS)


FIGURES = (Figure("fairness_added_p99_ms", "ms", "all of it without the busy mailbox", fairness_added_p99_ms),)
