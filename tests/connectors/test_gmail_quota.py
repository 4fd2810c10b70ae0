"""Units are budgeted before they are spent."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from connectors.gmail_access import UNITS
from connectors.gmail_quota import SHARE, QuotaBucket, Quotas, Urgency
from ingestd.demo import gmailfaults
from tests.connectors.mailbox import until


class SteppedClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("quota", [6_000, 15_000])
@pytest.mark.parametrize("units", [25, 100, 250])
async def test_in_no_minute_more_is_spent_than_the_quota(quota: int, units: int) -> None:
    """A clock that is set forward stands in for three minutes of somebody who always wants more."""
    clock = SteppedClock()
    bucket = QuotaBucket(quota, clock=clock)
    spent: deque[tuple[float, int]] = deque()
    highest = total = 0
    while clock.now < 280:
        wait = bucket._seconds_until(units)
        if wait > 0:
            clock.now += wait
            continue
        await bucket.take(units, Urgency.NEW_MAIL)
        spent.append((clock.now, units))
        total += units
        while spent[0][0] <= clock.now - 60:
            spent.popleft()
        highest = max(highest, sum(one for _, one in spent))
    assert highest <= quota * SHARE
    assert total >= quota * SHARE * 3 * 0.9  # and nearly all of it can be used


async def test_the_most_urgent_is_served_first() -> None:
    bucket = QuotaBucket(6_000)
    served: list[str] = []

    async def take(name: str, units: int, urgency: Urgency) -> None:
        await bucket.take(units, urgency)
        served.append(name)

    await bucket.take(290, Urgency.HISTORY)
    waiting = [
        asyncio.create_task(take("old 1", 20, Urgency.HISTORY)),
        asyncio.create_task(take("old 2", 20, Urgency.HISTORY)),
        asyncio.create_task(take("new", 20, Urgency.NEW_MAIL)),
        asyncio.create_task(take("send", 20, Urgency.SEND)),
    ]
    await until(lambda: len(served) == 4)
    assert served == ["send", "new", "old 1", "old 2"]
    await asyncio.gather(*waiting)


async def test_who_waits_no_more_holds_up_nobody() -> None:
    bucket = QuotaBucket(6_000)
    await bucket.take(250, Urgency.SEND)
    first = asyncio.create_task(bucket.take(250, Urgency.SEND))
    second = asyncio.create_task(bucket.take(5, Urgency.HISTORY))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(1):
        await second


async def test_a_pause_is_of_everybody_on_the_mailbox() -> None:
    quotas = Quotas(6_000, 1_200_000)
    bucket = quotas.of("a@example.com")
    assert quotas.of("a@example.com") is bucket
    assert quotas.of("b@example.com") is not bucket
    bucket.pause(0.2)
    started = asyncio.get_running_loop().time()
    await quotas.take(quotas.of("a@example.com"), 1, Urgency.SEND)
    assert asyncio.get_running_loop().time() - started >= 0.2
    await quotas.take(quotas.of("b@example.com"), 1, Urgency.SEND)


def test_a_quota_that_is_too_low_for_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="too low"):
        QuotaBucket(300)


def test_our_costs_are_what_google_counts() -> None:
    assert UNITS.items() <= gmailfaults.UNITS.items()
