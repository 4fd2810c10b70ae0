"""Repeating a request a bounded number of times, where its errors say that this is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from ingestd.linking.errors import TokenEndpointBusy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Waits:
    """How often and how long; `sleep` takes seconds."""

    attempts_max: int = 3
    first_seconds: float = 0.25
    longest_seconds: float = 2.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


_DEFAULT: Final = Waits()


async def repeating(
    once: Callable[[], Awaitable[T]], may_repeat: Callable[[BaseException], bool], waits: Waits | None
) -> T:
    """Return what `once` returns; repeat it, with jitter, after errors for which `may_repeat` is true.

    Raises the last error of `once`.
    """
    waits = waits or _DEFAULT
    jittered = wait_random_exponential(multiplier=waits.first_seconds, max=waits.longest_seconds)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after if isinstance(error, TokenEndpointBusy) else 0.0
        return asked + jittered(state)

    async def attempt() -> T:
        # tenacity awaits only what it knows to be a coroutine function, which a lambda is not.
        return await once()

    return await AsyncRetrying(
        stop=stop_after_attempt(waits.attempts_max),
        retry=retry_if_exception(may_repeat),
        wait=wait,
        sleep=waits.sleep,
        reraise=True,
    )(attempt)
