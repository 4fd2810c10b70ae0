"""Whose turn it is: places for calls, shared by a mailbox's reader, backfill and sender."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from connectors.base import RateLimited
from connectors.graph_limiter import MailboxLimiter


async def test_turns_go_round_among_those_who_wait() -> None:
    limiter = MailboxLimiter(1)
    order: list[str] = []

    async def call(name: str) -> None:
        async with limiter.place(name, wait_seconds_max=1):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(*(call("history") for _ in range(6)), call("sender"), call("reader"), call("sender"))
    assert order == ["history", "history", "sender", "reader", "history", "sender", "history", "history", "history"]


async def test_no_more_than_its_places_are_taken_and_each_is_given_back() -> None:
    limiter = MailboxLimiter(4)
    at_once = most = 0

    async def call(number: int) -> None:
        nonlocal at_once, most
        async with limiter.place(f"user {number % 3}", wait_seconds_max=1):
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.001)
            at_once -= 1
            if number % 5 == 0:
                raise RuntimeError

    tasks = [asyncio.ensure_future(call(number)) for number in range(50)]
    await asyncio.sleep(0.002)
    for task in tasks[20:40:2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 4
    # All four are free again.
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(5):
        for _ in range(4):
            await stack.enter_async_context(limiter.place("again", wait_seconds_max=1))


async def test_who_is_given_a_place_while_it_is_cancelled_passes_it_on() -> None:
    limiter = MailboxLimiter(1)

    async def hold() -> None:
        async with limiter.place("a", wait_seconds_max=1):
            await asyncio.sleep(60)

    holder = asyncio.ensure_future(hold())
    await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(hold()) for _ in range(2)]
    await asyncio.sleep(0)
    holder.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await holder
    waiting[0].cancel()  # its turn has come, and it has not run yet
    await asyncio.sleep(0.01)
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(5), limiter.place("b", wait_seconds_max=1):
        pass


async def test_a_long_pause_is_told_and_a_short_one_waited_out() -> None:
    now = 100.0
    limiter = MailboxLimiter(1, clock=lambda: now)
    limiter.pause(30)
    with pytest.raises(RateLimited) as refused:
        async with limiter.place("reader", wait_seconds_max=10):
            pass
    assert refused.value.retry_after == 30
    now = 131.0
    async with limiter.place("reader", wait_seconds_max=10):
        assert limiter.pause_left == 0
