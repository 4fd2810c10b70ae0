"""The outbox against a model: whatever comes in whatever order, no reply is sent twice, and none overtakes another.

Hypothesis makes up the lives of a few replies; the steps are the daemon's own, on a real database. Time passes by
moving what the database holds into the past.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, select, update

from config import Backoff, Outbound
from connectors.base import Envelope, FiledCopy, Refusal, SendOutcome, SendStatus, StillOurs, TemporaryError, always
from ingestd.mail import OWN_HEADER
from ingestd.mail.types import Address
from ingestd.outbound import steps
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.outbound.resolve import decide
from ingestd.outbound.sender import MailboxOutbox
from ingestd.outbound.sent_copies import SentPolicy
from ingestd.outbound.statuses import TABLE, IllegalStepError, ReplyEvent
from storage import due, outbox
from storage.outbox import ReplyStatus
from storage.reply_recipients import RecipientStatus, list_recipients
from storage.tables import mailboxes as mailboxes_table
from storage.tables import outbox as outbox_table
from tests.office import Office, mail
from tests.servers.postgres import PostgresServer
from tests.stores import Stores, StoreUrls, postgres_copies, sqlite_copies
from tests.story.mails import bounce_of

T = TypeVar("T")

_ATTEMPTS_MAX = 3
_SETTINGS = Outbound(
    attempts_max=_ATTEMPTS_MAX,
    backoff=Backoff(initial_seconds=30.0, max_seconds=600.0),
    sent_attempts_max=2,
    absence_seconds=900.0,
)
_POLICY = SentPolicy("auto", 20.0)
_TICKETS = 2
_ANNA, _BOB = "anna@example.org", "bob@example.org"

_DECISIONS = {
    ReplyEvent.PERSON_SENT: ({ReplyStatus.UNKNOWN}, ReplyStatus.SENT),
    ReplyEvent.PERSON_FAILED: ({ReplyStatus.UNKNOWN}, ReplyStatus.FAILED),
    ReplyEvent.PERSON_RESEND: ({ReplyStatus.UNKNOWN, ReplyStatus.FAILED}, ReplyStatus.QUEUED),
}
"""Of which replies it can be decided, and where they stand then."""

ACCEPTED, REFUSED, DEFERRED, THROTTLED, PARTLY, LOST, LOST_UNSEEN, TROUBLE = range(8)
"""What the server makes of one attempt. Of the two losses the mail left in the first only."""


@dataclass
class Known:
    """What the model says of one reply."""

    message_id: UUID
    ticket: int
    token: str
    status: ReplyStatus = ReplyStatus.QUEUED
    left: int = 0
    """How often the server took it."""
    may_leave: int = 1
    """How often it may: once, and once more for each word of a person."""
    deferred: int = 0
    """Since a person last decided."""
    for_person: bool = False
    later: bool = False
    """Put off to a time to come."""
    filed: bool = False
    """There is a copy in Sent."""

    @property
    def holds_up(self) -> bool:
        if self.status is ReplyStatus.QUEUED:
            return not self.later
        if self.status is ReplyStatus.UNKNOWN:
            return not self.for_person
        return self.status in {ReplyStatus.SENDING, ReplyStatus.DEFERRED}


@dataclass
class Model:
    replies: list[Known] = field(default_factory=list)

    def by_token(self, token: str) -> Known:
        return next(one for one in self.replies if one.token == token)

    def begin_attempt(self, one: Known) -> None:
        """What must hold whenever a mail is about to leave."""
        assert one.status in {ReplyStatus.QUEUED, ReplyStatus.DEFERRED}, f"it is {one.status}"
        assert not one.later, "its time has not come"
        assert one.left < one.may_leave, "the server has it already, and nobody said that it is to be sent again"
        earlier = [other for other in self.replies if other.ticket == one.ticket]
        earlier = earlier[: earlier.index(one)]
        assert [other.status for other in earlier if other.holds_up] == [], "it overtakes an earlier reply"
        one.status = ReplyStatus.SENDING


class Provider:
    """Answers as it is told, and tells the model."""

    def __init__(self, model: Model, look: Callable[[], Awaitable[None]]) -> None:
        self.model = model
        self.look = look
        """Lets the model know for which replies nobody looks any more."""
        self.answers: list[int] = []
        self.files_itself = False

    async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
        if not await still_ours():
            return SendOutcome(SendStatus.DEFERRED, "data")
        one = self.model.by_token(envelope.envelope_id)
        await self.look()
        self.model.begin_attempt(one)
        answer = self.answers.pop(0) if self.answers else ACCEPTED
        if answer in {ACCEPTED, PARTLY, LOST}:
            one.left += 1
            one.filed = one.filed or self.files_itself
        return self._outcome(one, answer, envelope)

    def _outcome(self, one: Known, answer: int, envelope: Envelope) -> SendOutcome:
        if answer == TROUBLE:
            one.status = ReplyStatus.QUEUED
            raise TemporaryError("cannot be reached")
        if answer == THROTTLED:
            one.status = ReplyStatus.QUEUED
            return SendOutcome(SendStatus.DEFERRED, "mail", 432, "4.3.2", retry_after=60.0)
        if answer == REFUSED:
            one.status = ReplyStatus.FAILED
            return SendOutcome(SendStatus.REFUSED, "mail", 550, "5.7.1")
        if answer == DEFERRED:
            one.deferred += 1
            one.status = ReplyStatus.FAILED if one.deferred >= _ATTEMPTS_MAX else ReplyStatus.DEFERRED
            return SendOutcome(SendStatus.DEFERRED, "rcpt", 450, "4.2.0")
        refused = {name: Refusal(550, "5.1.1") for name in envelope.recipients[1:]}
        if answer in {LOST, LOST_UNSEEN}:
            one.status = ReplyStatus.UNKNOWN
            return SendOutcome(SendStatus.UNKNOWN, "dot", refused_recipients=refused)
        one.status = ReplyStatus.SENT
        if answer == ACCEPTED:
            refused = {}
        return SendOutcome(SendStatus.ACCEPTED, "dot", 250, refused_recipients=refused)

    async def find_in_sent(self, message_id: str, token: str) -> Sequence[FiledCopy]:
        one = self.model.by_token(token)
        if not one.filed:
            return []
        if one.status is ReplyStatus.UNKNOWN:
            one.status = ReplyStatus.SENT
        return [FiledCopy("1:1:Sent", message_id)]

    async def file_in_sent(self, content: bytes, sent_at: datetime) -> FiledCopy:
        # By our own header: References may hold the Message-ID, and with it the token, of an earlier reply.
        one = next(one for one in self.model.replies if f"{OWN_HEADER}: {one.token}".encode() in content)
        assert not one.filed, "a second copy in Sent"
        one.filed = True
        return FiledCopy("1:2:Sent", None)

    async def hang_up(self) -> None: ...

    async def close(self) -> None: ...


class Machine(RuleBasedStateMachine):
    runner: ClassVar[asyncio.Runner]
    open_stores: ClassVar[Callable[[], Stores]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.provider = Provider(self.model, self._note_who_waits_for_a_person)
        self.stores: Stores | None = None
        self.change_reply = outbox.change_reply

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize()
    def begin(self) -> None:
        self.run(self._begin())

    async def _begin(self) -> None:
        self.stores = type(self).open_stores()
        self.office = await Office.open(self.stores)
        await self.office.take(*(mail(f"T{n}", message_id=f"<q{n}@example.org>") for n in range(_TICKETS)))
        self.account_id, self.mailbox_id = self.office.held.account_id, self.office.held.mailbox_id
        self.outbox = self._new_outbox()
        outbox.change_reply = self._only_by_the_table

    def _new_outbox(self) -> MailboxOutbox:
        return self.office.outbox(self.provider, _SETTINGS, _POLICY)

    def _only_by_the_table(self, *args: Any, was: ReplyStatus, status: ReplyStatus, **kwargs: Any) -> None:
        assert status is was or status in {to for (source, _), to in TABLE.items() if source is was}
        self.change_reply(*args, was=was, status=status, **kwargs)

    def teardown(self) -> None:
        outbox.change_reply = self.change_reply
        if self.stores is not None:
            self.run(self._end(self.stores))

    async def _end(self, stores: Stores) -> None:
        await self.office.check()
        await stores.close()

    # -- what can happen -------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.replies) < 6)
    @rule(ticket=st.integers(1, _TICKETS), copied=st.booleans(), hours=st.sampled_from([0, 0, 0, 3]))
    def write(self, ticket: int, copied: bool, hours: int) -> None:
        self.run(self._write(ticket, [Address(_BOB)] if copied else [], hours))

    async def _write(self, ticket: int, cc: Sequence[Address], hours: int) -> None:
        send_at = datetime.now(UTC) + timedelta(hours=hours) if hours else None
        draft = ReplyDraft("We look into it.", cc=cc, send_at=send_at)
        created = await create_reply(self.office.desk, _SETTINGS, self.account_id, ticket, draft)
        _, view = await self.office.desk.reply(self.account_id, created.message_id)
        self.model.replies.append(Known(created.message_id, ticket, view.record.token, later=bool(hours)))

    @rule(answers=st.lists(st.integers(ACCEPTED, TROUBLE), max_size=4), files_itself=st.booleans())
    def work(self, answers: list[int], files_itself: bool) -> None:
        """The worker does all that is due."""
        self.provider.answers, self.provider.files_itself = answers, files_itself
        self.run(self.outbox.run_due())
        self.run(self._note_who_waits_for_a_person())

    async def _note_who_waits_for_a_person(self) -> None:
        """Nobody else may decide that: it must have been missing for long enough."""
        for one in self.model.replies:
            if one.status is ReplyStatus.UNKNOWN and not one.for_person:
                reply = await self._read(outbox.get_reply, one.message_id)
                if reply.due_at is None:
                    assert datetime.now(UTC) - reply.status_since >= timedelta(seconds=_SETTINGS.absence_seconds)
                    assert not one.filed, "it is in Sent"
                    one.for_person = True

    @rule(left=st.booleans(), data=st.data())
    def crash(self, left: bool, data: st.DataObject) -> None:
        """The worker dies within an attempt; the next one takes the mailbox over."""
        self.run(self._crash(left, data))

    async def _crash(self, left: bool, data: st.DataObject) -> None:
        listed = await self._read(due.list_due, self.mailbox_id, limit=10)
        waiting = [one for one in listed if one.status in outbox.UNSENT]
        if waiting:
            reply = data.draw(st.sampled_from(waiting))
            taken = await self._write_by(steps.take, self.office.held, reply, self.office.lease.worker_id)
            if taken is not None:
                one = next(one for one in self.model.replies if one.message_id == reply.message_id)
                await self._note_who_waits_for_a_person()
                self.model.begin_attempt(one)
                one.left += left
                one.status = ReplyStatus.UNKNOWN
        await self._write_by(steps.recover, self.office.held)
        self.outbox = self._new_outbox()

    @precondition(lambda self: self.model.replies)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.model.replies))
        if one.status is ReplyStatus.CANCELLED:
            assert not self._decide(one, ReplyEvent.CANCEL)
        elif self._decided(one, ReplyEvent.CANCEL, {ReplyStatus.QUEUED, ReplyStatus.DEFERRED}):
            one.status = ReplyStatus.CANCELLED

    @precondition(lambda self: self.model.replies)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.model.replies))
        may = {ReplyStatus.QUEUED, ReplyStatus.DEFERRED, ReplyStatus.FAILED}
        if self._decided(one, ReplyEvent.PERSON_RETRY, may):
            if one.status is ReplyStatus.FAILED:
                one.may_leave = one.left + 1
                one.status = ReplyStatus.QUEUED
            one.later, one.deferred = False, 0

    @precondition(lambda self: self.model.replies)
    @rule(data=st.data(), event=st.sampled_from(list(_DECISIONS)))
    def resolve(self, data: st.DataObject, event: ReplyEvent) -> None:
        one = data.draw(st.sampled_from(self.model.replies))
        may, then = _DECISIONS[event]
        if one.status is then:
            assert not self._decide(one, event)
        elif self._decided(one, event, may):
            one.status, one.for_person = then, False
            if then is ReplyStatus.QUEUED:
                one.may_leave, one.deferred = one.left + 1, 0

    def _decided(self, one: Known, event: ReplyEvent, may: set[ReplyStatus]) -> bool:
        """Decide; where the model says that it cannot be, the outbox must say so, too. Whether it was news."""
        if one.status in may:
            return self._decide(one, event)
        with pytest.raises(IllegalStepError):
            self._decide(one, event)
        return False

    def _decide(self, one: Known, event: ReplyEvent) -> bool:
        return self.run(decide(self.office.desk, self.account_id, one.message_id, event, author="kim")).changed

    @precondition(lambda self: self.model.replies)
    @rule(data=st.data(), recipient=st.sampled_from([_ANNA, _BOB, "stranger@example.org"]), forged=st.booleans())
    def bounce(self, data: st.DataObject, recipient: str, forged: bool) -> None:
        one = data.draw(st.sampled_from(self.model.replies))
        self.run(self._bounce(one, recipient, forged))
        if not forged and one.status in {ReplyStatus.SENT, ReplyStatus.UNKNOWN}:
            one.status, one.for_person = ReplyStatus.BOUNCED, False

    async def _bounce(self, one: Known, recipient: str, forged: bool) -> None:
        raw = bounce_of(
            await self.office.desk.raw(self.account_id, one.message_id), recipient, "support@example.com"
        ).raw
        if forged:
            raw = raw.replace(one.token.encode(), one.token[:-4].encode() + b"aaaa")
        await self.office.take(raw)

    @rule(seconds=st.sampled_from([10, 120, 1000, 4000, 12_000]))
    def time_passes(self, seconds: int) -> None:
        self.run(self._write_all(_shift, timedelta(seconds=seconds)))
        self.run(self._note_whose_time_has_come())

    async def _note_whose_time_has_come(self) -> None:
        for one in self.model.replies:
            reply = await self._read(outbox.get_reply, one.message_id)
            one.later = one.later and reply.send_at is not None and reply.send_at > datetime.now(UTC)

    # -- what always holds -----------------------------------------------------------------------

    @invariant()
    def the_outbox_says_what_the_model_says(self) -> None:
        if self.stores is not None:
            self.run(self._compare())

    async def _compare(self) -> None:
        for one in self.model.replies:
            reply = await self._read(outbox.get_reply, one.message_id)
            assert reply.status is one.status
            attempts = await self._read(outbox.list_attempts, one.message_id)
            assert [attempt.number for attempt in attempts] == list(range(1, reply.attempts + 1))
            assert all(attempt.ended_at is not None for attempt in attempts)  # no rule leaves one under way
            recipients = {row.status for row in await self._read(list_recipients, one.message_id)}
            if reply.status in {ReplyStatus.SENT, ReplyStatus.BOUNCED}:
                assert RecipientStatus.PENDING not in recipients
            if reply.status in outbox.UNSENT:
                assert recipients == {RecipientStatus.PENDING}

    @invariant()
    def who_is_said_to_be_due_has_something_to_do(self) -> None:
        if self.stores is not None:
            self.run(self._not_busy())

    async def _not_busy(self) -> None:
        assert self.stores is not None
        ready, _ = await self.stores.content.read(None, due.due_mailboxes, self.office.lease.worker_id, limit=10)
        listed = await self._read(due.list_due, self.mailbox_id, limit=10)
        assert bool(ready) == bool(listed)

    async def _read(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        assert self.stores is not None
        return await self.stores.content.read(self.account_id, function, *args, **kwargs)

    async def _write_by(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        assert self.stores is not None
        return await self.stores.content.transaction(self.account_id, function, *args, **kwargs)

    async def _write_all(self, function: Callable[..., T], *args: Any) -> T:
        assert self.stores is not None
        return await self.stores.content.transaction(None, function, *args)


def _shift(conn: Connection, by: timedelta) -> None:
    """Let time pass: what the database holds lies so much further back."""
    for table, key, names in (
        (outbox_table, outbox_table.c.message_id, ("due_at", "send_at", "status_since", "sent_at")),
        (mailboxes_table, mailboxes_table.c.mailbox_id, ("retry_at", "send_retry_at")),
    ):
        for row in conn.execute(select(key, *(table.c[name] for name in names))).all():
            moved = {name: at - by for name, at in zip(names, row[1:], strict=True) if at is not None}
            if moved:
                conn.execute(update(table).where(key == row[0]).values(**moved))


def _run(open_stores: Callable[[], Stores], *, examples: int, steps_max: int, shrinks: bool = False) -> None:
    class Bound(Machine):
        pass

    Bound.open_stores = staticmethod(open_stores)
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps_max,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        # To make a failure small takes minutes: the campaigns do it.
        phases=list(Phase) if shrinks else [Phase.explicit, Phase.reuse, Phase.generate],
    )
    with asyncio.Runner() as Bound.runner:
        run_state_machine_as_test(Bound, settings=limits)


def _sqlite(migrated: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Stores]:
    return lambda: Stores.connect(sqlite_copies(migrated, tmp_path_factory.mktemp("machine")))


def _postgresql(server: PostgresServer, migrated: StoreUrls, folder: Path) -> Callable[[], Stores]:
    return lambda: Stores.connect(postgres_copies(server, migrated, folder))


def test_on_sqlite(sqlite_migrated: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> None:
    _run(_sqlite(sqlite_migrated, tmp_path_factory), examples=8, steps_max=20)


def test_on_postgresql(postgres: PostgresServer, postgres_migrated: StoreUrls, tmp_path: Path) -> None:
    _run(_postgresql(postgres, postgres_migrated, tmp_path), examples=2, steps_max=20)


@pytest.mark.long
def test_on_sqlite_for_long(sqlite_migrated: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> None:
    _run(_sqlite(sqlite_migrated, tmp_path_factory), examples=400, steps_max=50, shrinks=True)


@pytest.mark.long
def test_on_postgresql_for_long(postgres: PostgresServer, postgres_migrated: StoreUrls, tmp_path: Path) -> None:
    _run(_postgresql(postgres, postgres_migrated, tmp_path), examples=100, steps_max=50, shrinks=True)
