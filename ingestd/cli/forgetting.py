"""Waiting until something is forgotten: the daemon does it, or, where none runs, the command itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from ingestd.build.outside import Forgetters, Outside, new_forgetters, new_metrics
from ingestd.build.store import Store
from ingestd.cli.common import Trouble
from ingestd.lock import StoreLock
from storage import erasures, leases
from storage.errors import StoreLocked

T = TypeVar("T")

_POLL_SECONDS = 0.2


async def forgotten(
    store: Store,
    account_id: UUID,
    owner_id: UUID,
    wait_seconds: float,
    *,
    receipt: Callable[[], Awaitable[T | None]],
    forget: Callable[[Forgetters], Awaitable[object]],
) -> T:
    """Return the receipt of a mailbox, or of an account (then `owner_id` is its own), once it is forgotten.

    `receipt` reads it, `forget` brings the erasure to its end in this process. Raises Trouble where it takes longer
    than `wait_seconds`, NotFound where nobody asked for it.
    """
    until = time.monotonic() + wait_seconds
    while time.monotonic() < until:
        erasure = await store.content.read(account_id, erasures.get_erasure, owner_id)
        if erasure.step == "done":
            written = await receipt()
            if written is None:
                raise Trouble("the erasure is done, but its receipt is not in the ledger: run `ingestd verify`")
            return written
        if not await here_unless_daemon(store, forget):
            await asyncio.sleep(_POLL_SECONDS)
    raise Trouble(f"not finished within {wait_seconds:g} seconds; the daemon goes on with it")


async def here_unless_daemon(store: Store, forget: Callable[[Forgetters], Awaitable[object]]) -> bool:
    """Forget in this process where no daemon runs; return whether that was so."""
    if not await store.content.read(None, leases.others_alive, None, store.settings.inbound.lease_seconds):
        with contextlib.suppress(StoreLocked):  # one is just starting: it will do it
            await _here(store, forget)
            return True
    return False


async def _here(store: Store, forget: Callable[[Forgetters], Awaitable[object]]) -> None:
    path = store.content.sqlite_path
    with StoreLock(path) if path else contextlib.nullcontext():
        outside = Outside(store.settings)
        try:
            await forget(new_forgetters(store, outside, new_metrics()))
        finally:
            await outside.close()


def told(value: object) -> object:
    """Return a value of a receipt in words."""
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in value.items()) or "nothing"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return value
