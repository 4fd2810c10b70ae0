"""Waiting for the owner of a mailbox to type in a device code (RFC 8628 §3.4, §3.5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from ingestd.linking.client import DeviceCode, Pending, ProviderClient
from ingestd.linking.errors import CodeRefused, ProviderDown, TokenEndpointBusy
from ingestd.linking.tokens import TokenSet

_SLOWER_SECONDS: Final = 5.0
_INTERVAL_SECONDS_MAX: Final = 60.0


async def await_consent(
    client: ProviderClient,
    code: DeviceCode,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    now: Callable[[], float] = time.monotonic,
) -> TokenSet:
    """Ask again and again, as slowly as the provider wants, until the owner has decided.

    An endpoint that is down is asked again, more slowly. Raises CodeRefused when the
    code's time is over, and what `ask_device` raises; `now` is a monotonic clock.
    """
    until, interval = now() + code.expires_seconds, code.interval_seconds
    while now() + interval < until:
        await sleep(interval)
        try:
            answer = await client.ask_device(code)
        except TokenEndpointBusy as busy:
            interval = min(max(interval + _SLOWER_SECONDS, busy.retry_after), _INTERVAL_SECONDS_MAX)
            continue
        except ProviderDown:
            interval = min(interval * 2, _INTERVAL_SECONDS_MAX)
            continue
        if isinstance(answer, TokenSet):
            return answer
        if answer is Pending.SLOW_DOWN:
            interval = min(interval + _SLOWER_SECONDS, _INTERVAL_SECONDS_MAX)
    raise CodeRefused("device: nobody typed the code in in time")
