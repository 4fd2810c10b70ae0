"""Processes that start together on one store take none of each other for a restored backup."""

from __future__ import annotations

import asyncio

import structlog

from ingestd.privacy.positions import epoch, reconcile
from storage import keystore, meta
from storage.tables import store_meta
from tests.stores import Stores


async def test_a_start_of_several_processes_is_no_restore(stores: Stores) -> None:
    with structlog.testing.capture_logs() as logged:
        for _ in range(5):
            await asyncio.gather(*(reconcile(stores.content, stores.keystore) for _ in range(4)))
    assert [one["event"] for one in logged] == []
    assert await stores.content.read(None, epoch) == 1


async def test_a_generation_never_goes_back(stores: Stores) -> None:
    for number in (9, 10, 9):
        await stores.content.transaction(None, meta.raise_to, store_meta, "counted", number)
        await stores.keystore.transaction(None, keystore.raise_fact, "counted", number)
    assert await stores.content.read(None, meta.get, store_meta, "counted") == "10"
    assert await stores.keystore.read(None, keystore.get_fact, "counted") == "10"
