"""Reading ahead: what is fetched while a batch is committed comes in once, whatever becomes of that commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from connectors.base import Batch
from ingestd.inbound.commit import commit_batch
from storage import messages
from storage.errors import StorageUnavailable
from tests.inbound.test_states import WAIT_SECONDS, Reading, ScriptedReader, batch, subjects
from tests.office import Office
from tests.stores import Stores


class Ahead(ScriptedReader):
    """Yields the batches behind its cursor, as a server does; tells of each that it was asked for."""

    reads_ahead = True

    def __init__(self, *batches: Batch) -> None:
        super().__init__(())
        self._batches = batches
        self.asked: dict[str, asyncio.Event] = {one.cursor: asyncio.Event() for one in batches}

    async def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
        self.cursors.append(cursor)
        for one in self._batches[int(cursor or 0) :]:
            self.asked[one.cursor].set()
            yield one
        self.readings.clear()


def on_commit(stores: Stores, monkeypatch: pytest.MonkeyPatch, begin: Callable[[str], Any]) -> None:
    """Have `begin` awaited with the cursor of each batch that is about to be committed."""
    transaction = stores.content.transaction

    async def watched(account_id: Any, function: Any, *args: Any, **more: Any) -> Any:
        if function is commit_batch:
            await begin(more["cursor"])
        return await transaction(account_id, function, *args, **more)

    monkeypatch.setattr(stores.content, "transaction", watched)


async def test_the_batches_behind_are_fetched_while_one_is_committed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Ahead(batch("1", "one"), batch("2", "two"), batch("3", "three"))
    following = {"1": "3"}

    async def begin(cursor: str) -> None:
        if cursor in following:
            async with asyncio.timeout(WAIT_SECONDS):
                await script.asked[following[cursor]].wait()

    office = await Office.open(stores)
    on_commit(stores, monkeypatch, begin)
    await Reading(office, script).run()
    assert await subjects(office) == ["one", "two", "three"]
    assert script.cursors == [None]


async def test_what_follows_a_failed_commit_is_read_again(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Ahead(batch("1", "one"), batch("2", "two"), batch("3", "three"), batch("4", "four"))
    failed: list[str] = []

    async def begin(cursor: str) -> None:
        if cursor in {"2", "4"} and cursor not in failed:
            if cursor == "2":
                await script.asked["4"].wait()
            failed.append(cursor)
            raise StorageUnavailable("away")

    office = await Office.open(stores)
    on_commit(stores, monkeypatch, begin)
    one = Reading(office, script)
    script.readings = [(), ()]
    await one.run()
    assert failed == ["2", "4"]
    assert script.cursors == [None, "1", "3"]
    assert await subjects(office) == ["one", "two", "three", "four"]
    assert not one.tools.batches.locked(), "a place among the batches in memory is lost"


async def test_a_message_that_is_in_two_batches_is_one_and_lies_where_it_was_read_last(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Ahead(batch("1", "one"), batch("2", "one", "two"))
    read, looked_up = stores.content.read, asyncio.Semaphore(0)

    async def watched(account_id: Any, function: Any, *args: Any, **more: Any) -> Any:
        found = await read(account_id, function, *args, **more)
        if function is messages.known_identities:
            looked_up.release()
        return found

    async def begin(cursor: str) -> None:
        if cursor == "1":
            async with asyncio.timeout(WAIT_SECONDS):  # both were looked up before the first is there
                await looked_up.acquire()
                await looked_up.acquire()

    office = await Office.open(stores)
    monkeypatch.setattr(stores.content, "read", watched)
    on_commit(stores, monkeypatch, begin)
    await Reading(office, script, places=2).run()
    assert await subjects(office) == ["one", "two"]
    (message,) = (await office.ticket(1)).messages
    assert message.record.locator == "2:0:INBOX"
