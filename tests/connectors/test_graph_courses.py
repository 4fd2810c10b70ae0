"""Random courses of a mailbox: whatever happens, in whatever order, no message is lost and none is invented."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import ConnectorError, RawMessage, ReadPlan
from connectors.graph import GraphReader
from ingestd.demo.graph_faults import Fault, dropped, lost_answer
from ingestd.demo.graph_store import Item
from tests.connectors.graphbox import GraphBox, box
from tests.servers.graph import graph

__all__ = ["box", "graph"]

LINKED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
PLAN = ReadPlan(start_at=LINKED, batch_messages_max=2)
STEPS = 60


class Caller:
    """Reads as the daemon does: a batch is committed with its cursor, or neither is."""

    def __init__(self, box: GraphBox, chance: random.Random, *, is_told: bool) -> None:
        self._box, self._chance, self._is_told = box, chance, is_told
        self.cursor: str | None = None
        self.have: dict[str, str] = {}
        self.fetched: Counter[str] = Counter()
        self.reader = self._new_reader()

    def _new_reader(self) -> GraphReader:
        return self._box.reader(PLAN, known=self._known if self._is_told else None)

    async def _known(self, ids: Sequence[str]) -> Mapping[str, str]:
        return {one: self.have[one] for one in ids if one in self.have}

    def restart(self) -> None:
        self.reader = self._new_reader()

    async def read(self, *, stops: bool = False) -> bool:
        """Read to the end, or stop behind some batch or before its commit; return whether it came to the end."""
        changes = self.reader.changes(self.cursor)
        try:
            async for batch in changes:
                if stops and self._chance.random() < 0.3:
                    self.restart()
                    return False
                self._commit(batch.messages, batch.cursor)
        except ConnectorError:
            return False
        finally:
            await changes.aclose()  # type: ignore[attr-defined]
        return True

    def _commit(self, messages: Sequence[RawMessage], cursor: str) -> None:
        for message in messages:
            assert message.provider_id is not None
            self.have[message.provider_id] = message.locator
            self.fetched[message.provider_id] += 1
        self.cursor = cursor


class Course:
    """What happens in the mailbox, step by step."""

    def __init__(self, box: GraphBox, chance: random.Random, caller: Caller) -> None:
        self._box, self._chance, self._caller = box, chance, caller
        self.inbox = box.mailbox.folder("inbox").id
        self.must: set[str] = set()
        """The messages that came into the folder."""
        self._elsewhere = [self.deliver_old("archive") for _ in range(5)]
        self._repairs = 0
        self._steps: Sequence[Callable[[], Awaitable[None]]] = (
            self._deliver,
            self._deliver,
            self._mark,
            self._move_out,
            self._move_in,
            self._read,
            self._read,
            self._stop,
            self._fail,
            self._restart,
            self._expire,
        )

    def deliver_old(self, folder: str) -> Item:
        return self._box.graph.deliver(
            self._box.user, b"Subject: old\r\n\r\n", folder, received=LINKED - timedelta(days=1)
        )

    async def step(self) -> None:
        await self._chance.choice(self._steps)()

    async def read_to_the_end(self) -> None:
        while not await self._caller.read():
            pass

    async def _deliver(self) -> None:
        for _ in range(self._chance.choice([1, 1, 6])):
            self.must.add(self._box.deliver("new").id(immutable=True))

    async def _mark(self) -> None:
        if lying := self._box.mailbox.in_folder(self.inbox):
            item = self._chance.choice(lying)
            item.is_read = not item.is_read
            self._box.mailbox.changed(item)

    async def _move_out(self) -> None:
        # What leaves before it is read may go unread.
        if read := sorted(self.must & self._caller.have.keys()):
            self._box.mailbox.move(self._box.mailbox.item(self._chance.choice(read)), "archive")

    async def _move_in(self) -> None:
        # In a repair, old mail that was moved in meanwhile cannot be told from old mail that was there.
        if self._elsewhere and not self._repairs:
            await self.read_to_the_end()
            item = self._elsewhere.pop()
            self._box.mailbox.move(item, "inbox")
            self.must.add(item.id(immutable=True))
            await self.read_to_the_end()

    async def _read(self) -> None:
        await self._caller.read()

    async def _stop(self) -> None:
        await self._caller.read(stops=True)

    async def _fail(self) -> None:
        faults = [Fault(503, "x"), dropped("GET"), lost_answer("GET", times=2), Fault(500, "y")]
        self._box.fail(self._chance.choice(faults))

    async def _restart(self) -> None:
        self._caller.restart()

    async def _expire(self) -> None:
        if self._chance.random() < 0.3:
            self._box.mailbox.expire_deltas()
            self._repairs += 1


@pytest.mark.parametrize("seed", range(8))
async def test_a_random_course(box: GraphBox, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)
    calls = box.graph.calls
    monkeypatch.setattr(calls, "page_max", chance.choice([1, 2, 5, 1000]))
    monkeypatch.setattr(calls, "replays", chance.choice([0, 3]))
    monkeypatch.setattr(calls, "empty_pages", chance.choice([0, 1]))
    monkeypatch.setattr(calls, "partial_updates", chance.choice([True, False]))
    caller = Caller(box, chance, is_told=seed % 2 == 0)
    course = Course(box, chance, caller)
    old = [course.deliver_old("inbox").id(immutable=True) for _ in range(5)]
    await course.read_to_the_end()
    for _ in range(STEPS):
        await course.step()
    await course.read_to_the_end()
    # What was withheld is asked for again.
    box.graph.faults.clear(box.user)
    for _ in range(2):
        box.mailbox.advance(timedelta(minutes=20))
        await course.read_to_the_end()
    assert course.must <= caller.have.keys(), "lost"
    assert not caller.have.keys() & set(old), "old mail became new"
    for item in box.mailbox.in_folder(course.inbox):
        identity = item.id(immutable=True)
        assert identity in old or caller.have[identity].startswith(f"graph:{course.inbox}:")
