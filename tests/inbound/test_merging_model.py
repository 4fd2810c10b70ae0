"""Merging against a model: whatever comes in whatever order, no message is lost, and each later mail finds its ticket.

Hypothesis makes up what customers and agents do; the steps are the daemon's own, on a real database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ingestd.merging import merge_tickets
from storage.errors import Conflict, TicketMerged
from tests.office import Office, mail
from tests.servers.postgres import PostgresServer
from tests.stores import Stores, StoreUrls, postgres_copies, sqlite_copies

PEOPLE = ("anna@example.org", "bob@example.net")
Step = tuple[str, int, int]
BEGIN: tuple[Step, ...] = (("write", 0, 0), ("write", 1, 0), ("reply", 0, 0), ("reply", 1, 0))
"""Tickets of two people, with a reply each: what can be confused."""
STEPS = st.tuples(
    st.sampled_from(
        (
            "write",
            "answer",
            "answer_reply",
            "answer_address",
            "answer_address",
            "reply",
            "reply",
            "close",
            "merge",
            "merge",
        )
    ),
    st.integers(0, 7),
    st.integers(0, 7),
)


@dataclass(frozen=True)
class Sent:
    """A reply of ours, as its recipient has it."""

    name: str
    message_id: str
    address: str
    """Its Reply-To, with a token."""
    to: str


@dataclass
class Model:
    office: Office
    threads: dict[int, list[str]] = field(default_factory=dict)
    """What each ticket has: mails by their subjects, replies by their text, in the order in which they were written."""
    into: dict[int, int] = field(default_factory=dict)
    """Which ticket each merged one was merged into."""
    ticket_of: dict[str, int] = field(default_factory=dict)
    """To which ticket each mail or reply came."""
    sender_of: dict[str, str] = field(default_factory=dict)
    replies: list[Sent] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def leads_to(self, number: int) -> int:
        while number in self.into:
            number = self.into[number]
        return number

    def pick(self, choice: int) -> int:
        """Return the number of one of the tickets."""
        return 1 + choice % len(self.threads)

    async def do(self, step: Step) -> None:
        kind, a, b = step
        if kind == "write" or not self.threads:
            await self.write(PEOPLE[a % 2])
        elif kind == "answer":
            named = [name for name in self.written if name in self.sender_of]
            name = named[a % len(named)]
            await self.answer(self.sender_of[name], f"In-Reply-To: <{name}@x>\r\n", self.ticket_of[name])
        elif kind == "reply":
            await self.reply(self.pick(a))
        elif kind == "close":
            await self.close(self.pick(a))
        elif kind == "merge":
            await self.merge(self.pick(a), self.pick(b))
        elif self.replies:
            sent = self.replies[a % len(self.replies)]
            if kind == "answer_reply":
                await self.answer(sent.to, f"In-Reply-To: {sent.message_id}\r\n", self.ticket_of[sent.name])
            else:
                await self.answer(sent.to, f"Delivered-To: {sent.address}\r\n", self.ticket_of[sent.name])

    async def take(self, sender: str, headers: str) -> tuple[str, int]:
        name = f"m{len(self.written)}"
        raw = mail(name, sender=sender, message_id=f"<{name}@x>", headers=headers, text=f"This is {name}.")
        return name, (await self.office.take(raw)).tickets

    async def write(self, sender: str) -> None:
        name, opened = await self.take(sender, "")
        assert opened == 1
        number = len(self.threads) + 1
        self.threads[number] = []
        self.note(name, number)
        self.sender_of[name] = sender

    async def answer(self, sender: str, headers: str, came_to: int) -> None:
        name, opened = await self.take(sender, headers)
        assert opened == 0, "an answer opened a ticket"
        self.note(name, self.leads_to(came_to))
        self.sender_of[name] = sender
        view = await self.office.ticket(self.leads_to(came_to))
        assert (view.ticket.status, view.messages[-1].record.mail.subject) == ("open", name)

    async def reply(self, number: int) -> None:
        name = f"r{len(self.written)}"
        if number in self.into:
            with pytest.raises(TicketMerged, match=f"into ticket {self.leads_to(number)}$"):
                await self.office.reply(number, name)
            return
        created = await self.office.reply(number, name, quote=True)
        raw = await self.office.desk.raw(self.office.held.account_id, created.message_id)
        parsed = message_from_bytes(raw, policy=policy.default)
        to, address = (parsed[field].addresses[0].addr_spec for field in ("to", "reply-to"))
        assert [other for other in PEOPLE if other != to and other.encode() in raw] == [], "it names another's mail"
        self.note(name, number)
        self.replies.append(Sent(name, parsed["message-id"], address, to))

    async def close(self, number: int) -> None:
        if number in self.into:
            with pytest.raises(TicketMerged):
                await self.office.act(number, "closed")
        else:
            await self.office.act(number, "closed")

    async def merge(self, number: int, into: int) -> None:
        transaction, account_id = self.office.stores.content.transaction, self.office.held.account_id
        if number == into or into in self.into or (number in self.into and self.into[number] != into):
            with pytest.raises(Conflict):
                await transaction(account_id, merge_tickets, number, into, messages_max=1000)
            return
        done = await transaction(account_id, merge_tickets, number, into, messages_max=1000)
        assert done.changed == (number not in self.into)
        moved = self.threads[number]
        self.threads[into] = sorted(self.threads[into] + moved, key=self.written.index)
        self.threads[number] = []
        self.into = {one: into if other == number else other for one, other in self.into.items()} | {number: into}

    def note(self, name: str, number: int) -> None:
        self.written.append(name)
        self.threads[number].append(name)
        self.ticket_of[name] = number

    async def compare(self) -> None:
        for number, thread in self.threads.items():
            view = await self.office.ticket(number)
            found = [
                one.record.mail.new_text.split()[0] if one.row.direction == "out" else one.record.mail.subject
                for one in view.messages
            ]
            assert (found, view.merged_into) == (thread, self.into.get(number))
        await self.office.check()


def _run(connect: Callable[[], Stores], *, examples: int, steps_max: int) -> None:
    @given(st.lists(STEPS, min_size=steps_max // 2, max_size=steps_max))
    @settings(
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
        # To make a failure small takes minutes: the campaigns do it.
        phases=list(Phase) if examples > 100 else [Phase.explicit, Phase.reuse, Phase.generate],
    )
    def lives(steps: Sequence[Step]) -> None:
        async def live() -> None:
            stores = connect()
            try:
                model = Model(await Office.open(stores, mailbox={"reply_token": "plus"}))
                for step in (*BEGIN, *steps):
                    await model.do(step)
                await model.compare()
            finally:
                await stores.close()

        asyncio.run(live())

    lives()


def _sqlite(migrated: StoreUrls, factory: pytest.TempPathFactory) -> Callable[[], Stores]:
    return lambda: Stores.connect(sqlite_copies(migrated, factory.mktemp("merging")))


def _postgresql(server: PostgresServer, migrated: StoreUrls, folder: Path) -> Callable[[], Stores]:
    return lambda: Stores.connect(postgres_copies(server, migrated, folder))


def test_on_sqlite(sqlite_migrated: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> None:
    _run(_sqlite(sqlite_migrated, tmp_path_factory), examples=6, steps_max=24)


def test_on_postgresql(postgres: PostgresServer, postgres_migrated: StoreUrls, tmp_path: Path) -> None:
    _run(_postgresql(postgres, postgres_migrated, tmp_path), examples=1, steps_max=24)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_on_sqlite_for_long(sqlite_migrated: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> None:
    _run(_sqlite(sqlite_migrated, tmp_path_factory), examples=300, steps_max=40)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_on_postgresql_for_long(postgres: PostgresServer, postgres_migrated: StoreUrls, tmp_path: Path) -> None:
    _run(_postgresql(postgres, postgres_migrated, tmp_path), examples=101, steps_max=40)
