"""Old mail: threads in either order, nobody answered, nothing twice, and going on after whatever went wrong."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

import pytest
from sqlalchemy import Connection, func, select

from config import Backfill, Backoff, Inbound
from connectors.base import ConnectorError, Edit, EditKind, RateLimited, TemporaryError, Trouble
from ingestd.inbound import backfill as module
from ingestd.inbound import backfill_steps
from ingestd.inbound.progress import progress_of
from ingestd.inbound.supervisor import Supervisor
from ingestd.telemetry.health import Health
from ingestd.ticketing import set_status
from ingestd.wakes import Bell
from storage import backfills, leases, mailboxes, outbox
from storage.backfills import BackfillStatus
from storage.errors import Conflict, NotFound
from storage.mailboxes import MailboxState
from storage.outbox import ReplyStatus
from storage.tables import edits, reference_keys
from tests.inbound.attic import FAST, Attic, ask, backfill, imported, tools, worker
from tests.office import Office, mail
from tests.stores import Stores
from tests.story.mails import bounce_of

pytestmark = pytest.mark.postgresql_is_long

ANNA, BOB = "anna@example.org", "bob@example.net"


def letter(name: str, *, after: str = "", references: str = "", sender: str = ANNA, headers: str = "") -> bytes:
    """Return the mail <name@x.example>, in answer to `after`."""
    if after:
        headers += f"In-Reply-To: <{after}@x.example>\r\n"
    if references:
        headers += "References: " + " ".join(f"<{one}@x.example>" for one in references.split()) + "\r\n"
    return mail(name, sender=sender, message_id=f"<{name}@x.example>", headers=headers, text=f"This is {name}.")


async def threads(office: Office) -> list[list[str]]:
    """Return the subjects of each ticket, in the order in which they are shown."""
    found = await office.desk.tickets(office.held.account_id, limit=1000)
    views = [await office.ticket(one.ticket.number) for one in found]
    return sorted([one.record.mail.subject for one in view.messages] for view in views)


def rows(conn: Connection) -> int:
    return conn.execute(select(func.count()).select_from(reference_keys)).scalar_one()


# -- what it becomes -------------------------------------------------------------------------------


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 20])
async def test_either_order_makes_the_same_tickets(stores: Stores, newest_first: bool, batch: int) -> None:
    office = await Office.open(stores)
    letters = [
        letter("a1"),
        letter("b1", sender=BOB),
        letter("a2", after="a1"),
        letter("a3", after="our-answer", references="a1 our-answer"),  # what lies between is not in this folder
        letter("b2", after="b1", sender=BOB),
        letter("b3", after="b1", sender=BOB),  # beside b2
        letter("c1", after="lost", sender="carl@example.com"),
        letter("c2", after="lost", sender="carl@example.com"),  # two answers to something that is gone
        letter("a4", after="a3", references="a1 our-answer a3"),
    ]
    await imported(office, letters, newest_first=newest_first, batch=batch)
    assert await threads(office) == [["a1", "a2", "a3", "a4"], ["b1", "b2", "b3"], ["c1", "c2"]]
    await office.check()


async def test_old_mail_is_history(stores: Stores) -> None:
    office = await Office.open(stores)
    office.context = replace(office.context, edit=Edit(EditKind.READ))
    await imported(office, [letter("a1"), letter("a2", after="a1")])
    view = await office.ticket(1)
    assert (view.ticket.status, [one.row.received_at.year for one in view.messages]) == ("closed", [2020, 2020])
    assert view.messages[0].record.evidence == ("named by the ticket", "sender requester", "auth unknown", "imported")
    types = await office.event_types()
    assert types == ["backfill.started", "ticket.imported", "message.imported", "message.imported", "backfill.done"]
    assert await stores.content.read(None, lambda conn: conn.execute(select(edits)).all()) == []
    await office.check()


async def test_tickets_of_old_mail_can_be_open(stores: Stores) -> None:
    office = await Office.open(stores)
    await ask(office)
    await worker(office, Attic([letter("a1")]), tools(office, Backfill(ticket_status="open"))).run()
    assert (await office.ticket(1)).ticket.status == "open"


async def test_what_is_there_already_comes_in_once(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(letter("a1"))
    await imported(office, [letter("a1"), letter("a1"), letter("a2", after="a1")])
    assert await threads(office) == [["a2", "a1"]]  # a1 is new mail, which comes behind all that is old
    assert (await office.ticket(1)).ticket.status == "open"
    assert (await office.event_types()).count("message.imported") == 1
    await office.check()


async def test_new_mail_in_between_meets_its_ancestors(stores: Stores) -> None:
    office = await Office.open(stores)
    await ask(office)
    await office.take(letter("a3", after="a2", references="a1 a2"))
    await worker(office, Attic([letter("a1"), letter("a2", after="a1")])).run()
    assert await threads(office) == [["a1", "a2", "a3"]]
    assert (await office.ticket(1)).ticket.status == "open"
    await office.check()


async def test_an_answer_reopens_what_was_imported(stores: Stores) -> None:
    office = await Office.open(stores)
    await imported(office, [letter("a1")])
    await office.take(letter("a2", after="a1"))
    assert (await office.ticket(1)).ticket.status == "open"
    assert await threads(office) == [["a1", "a2"]]
    await office.check()


async def test_old_mail_reopens_nothing(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(letter("a2", after="a1"))
    await stores.content.transaction(office.held.account_id, set_status, 1, "closed")
    await ask(office)
    await office.take(letter("a3", after="a2"))
    await stores.content.transaction(office.held.account_id, set_status, 1, "closed")
    before = await office.event_types()
    await worker(office, Attic([letter("a2b", after="a2")])).run()
    assert [len(one) for one in await threads(office)] == [3]
    assert (await office.ticket(1)).ticket.status == "closed"
    assert "ticket.reopened" not in (await office.event_types())[len(before) :]
    await office.check()


async def test_a_stranger_who_names_an_old_mail_gets_only_a_suspicion(stores: Stores) -> None:
    """Neither does the old mail join his ticket, nor does he keep it from the one where it belongs."""
    office = await Office.open(stores)
    eve = letter("e1", after="a1", sender="eve@example.net")
    await imported(office, [letter("a1"), letter("a2", after="a1"), eve])
    assert await threads(office) == [["a1", "a2"], ["e1"]]
    alone = await Office.open(stores)
    await imported(alone, [letter("a1"), eve])
    assert await threads(alone) == [["a1"], ["e1"]]
    first, second = await alone.ticket(1), await alone.ticket(2)
    assert second.ticket.suspected_ticket_id == first.ticket.ticket_id
    assert "suspected only" in second.messages[0].record.evidence
    await office.check()


async def test_a_disproved_sender_is_not_joined_by_a_reference(stores: Stores) -> None:
    office = await Office.open(stores, authserv_ids=["mx.example.com"])
    spoofed = "Authentication-Results: mx.example.com; dmarc=fail header.from=example.org\r\n"
    await imported(office, [letter("a1", headers=spoofed), letter("a2", after="a1")])
    assert await threads(office) == [["a1"], ["a2"]]
    await office.check()


async def test_a_bounce_among_old_mail_changes_no_reply(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(letter("a1"))
    created = await office.reply(1)
    sent = await office.desk.raw(office.held.account_id, created.message_id)
    bounce = bounce_of(sent, ANNA, "support@example.com").raw
    await imported(office, [bounce])
    reply = await stores.content.read(office.held.account_id, outbox.get_reply, created.message_id)
    assert reply.status is ReplyStatus.QUEUED
    assert "reply.bounced" not in await office.event_types()
    await office.check()


async def test_what_cannot_be_understood_is_quarantined_as_old_mail(stores: Stores) -> None:
    office = await Office.open(stores)
    await imported(office, [letter("poison"), letter("a1")])
    assert await threads(office) == [["a1"]]
    assert "message.quarantined" in await office.event_types()
    await office.check()


async def test_how_old_it_is_is_no_lag(stores: Stores) -> None:
    office = await Office.open(stores)
    await ask(office)
    used = tools(office, Backfill())
    await worker(office, Attic([letter("a1")]), used).run()
    figures = used.reading.metrics.render().decode()
    assert 'ingestd_messages_total{kind="customer"} 1.0' in figures
    assert "ingestd_message_lag_seconds_count 0.0" in figures


# -- how it goes on --------------------------------------------------------------------------------


async def test_the_plan_is_what_was_asked_for(stores: Stores) -> None:
    office = await Office.open(stores)
    linked_at = (await _mailbox(office)).created_at
    await ask(office, days=30, newest_first=False)
    box = Attic([])
    await worker(office, box).run()
    assert [(one.before, one.since, one.newest_first) for one in box.plans] == [
        (linked_at, linked_at - timedelta(days=30), False)
    ]
    assert (await backfill(office)).status is BackfillStatus.DONE
    assert box.closed == 1
    await office.check()


async def test_a_failure_is_the_backfills_own(stores: Stores) -> None:
    """It pauses and goes on behind the last batch; the mailbox stays active, whatever it was."""
    office = await Office.open(stores)
    await ask(office, newest_first=False)
    errors = iter([TemporaryError("lost"), TemporaryError("lost"), None])
    box = Attic([letter("a1"), letter("a2", after="a1"), letter("b1", sender=BOB)])
    box.fail = lambda seen: next(errors, None) if seen == 2 else None
    await worker(office, box).run()
    assert box.cursors == [None, "2", "2"]
    found = await backfill(office)
    assert (found.status, found.seen, found.total, found.trouble) == (BackfillStatus.DONE, 3, 3, None)
    assert (await _mailbox(office)).state is MailboxState.ACTIVE
    assert await threads(office) == [["a1", "a2"], ["b1"]]
    await office.check()


async def test_a_provider_that_asks_for_a_pause_gets_it_from_the_next_worker_too(stores: Stores) -> None:
    office = await Office.open(stores)
    await ask(office)
    box = Attic([letter("a1")], fail=lambda _seen: RateLimited("later", retry_after=3600))
    running = asyncio.create_task(worker(office, box).run())
    async with asyncio.timeout(10):
        while (found := await backfill(office)).trouble is None:
            await asyncio.sleep(0.01)
    await _cancel(running)
    assert found.trouble == Trouble.THROTTLED
    left = await stores.content.read(office.held.account_id, backfills.retry_in, office.held.mailbox_id)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert (await _mailbox(office)).state is MailboxState.ACTIVE
    again = asyncio.create_task(worker(office, box).run())
    await asyncio.wait([again], timeout=0.3)
    assert len(box.plans) == 1
    await _cancel(again)
    await office.check()


async def test_it_is_given_up_after_too_many_failures_and_goes_on_when_asked(stores: Stores) -> None:
    office = await Office.open(stores)
    await ask(office)
    box = Attic([letter("a1"), letter("a2", after="a1")])
    box.fail = lambda seen: TemporaryError("lost") if seen == 1 else None
    await worker(office, box, tools(office, Backfill(attempts_max=3, backoff=FAST))).run()
    found = await backfill(office)
    assert (found.status, found.seen, found.trouble) == (BackfillStatus.FAILED, 1, Trouble.TRANSIENT)
    assert box.cursors == [None, "1", "1"]
    await office.check()
    box.fail = lambda _seen: None
    await ask(office)
    await worker(office, box).run()
    assert box.cursors[3:] == ["1"]
    assert (await backfill(office)).status is BackfillStatus.DONE
    assert await threads(office) == [["a1", "a2"]]
    await office.check()


async def test_a_person_stops_it_and_lets_it_go_on(stores: Stores) -> None:
    office = await Office.open(stores)
    where = (office.held.account_id, office.held.mailbox_id)
    with pytest.raises(NotFound):
        await stores.content.transaction(where[0], backfill_steps.stop, where[1])
    await ask(office)
    with pytest.raises(Conflict):
        await ask(office)
    box = Attic([letter("a1"), letter("a2", after="a1"), letter("a3", after="a2")])
    stops = iter([True])

    def stopping(seen: int) -> ConnectorError | None:
        if seen == 1 and next(stops, False):
            return TemporaryError("lost")
        return None

    box.fail = stopping
    running = asyncio.create_task(worker(office, box, tools(office, Backfill(backoff=_slow()))).run())
    async with asyncio.timeout(10):
        while (await backfill(office)).trouble is None:
            await asyncio.sleep(0.01)
    await stores.content.transaction(where[0], backfill_steps.stop, where[1])
    await _cancel(running)
    assert (await backfill(office)).status is BackfillStatus.STOPPED
    await worker(office, box).run()  # has nothing to do
    assert len(box.plans) == 1
    assert await stores.content.read(None, rows) == 1  # what a3 names
    await office.check()
    await ask(office)
    await worker(office, box).run()
    assert box.cursors == [None, "1"]
    assert await threads(office) == [["a1", "a2", "a3"]]
    types = [one for one in await office.event_types() if one.startswith("backfill.")]
    assert types == ["backfill.started", "backfill.stopped", "backfill.started", "backfill.done"]
    await office.check()


async def test_a_batch_under_way_when_it_is_stopped_is_refused(stores: Stores) -> None:
    office = await Office.open(stores)
    await ask(office)
    box = Attic([letter("a1")], gate=asyncio.Event())
    running = asyncio.create_task(worker(office, box).run())
    async with asyncio.timeout(10):
        while not box.plans:
            await asyncio.sleep(0.01)
    await stores.content.transaction(office.held.account_id, backfill_steps.stop, office.held.mailbox_id)
    assert box.gate is not None
    box.gate.set()
    async with asyncio.timeout(10):
        await running
    assert await threads(office) == []
    await office.check()


async def test_another_wish_begins_anew_and_refuses_the_batch_before(stores: Stores) -> None:
    office = await Office.open(stores)
    await imported(office, [letter("a1")])
    before = await backfill(office)
    await ask(office, newest_first=False)
    found = await backfill(office)
    assert (found.cursor_sealed, found.seen, found.total, found.newest_first) == (None, 0, None, False)
    assert found.cursor_sequence > before.cursor_sequence
    box = Attic([letter("a1"), letter("b1", sender=BOB)])
    await worker(office, box).run()
    assert await threads(office) == [["a1"], ["b1"]]
    await office.check()


async def test_who_lost_the_mailbox_reads_no_more(stores: Stores) -> None:
    office = await Office.open(stores)
    await ask(office)
    await stores.content.transaction(None, leases.release, office.lease.worker_id)
    box = Attic([letter("a1")])
    await worker(office, box).run()
    assert await threads(office) == []
    assert (await backfill(office)).seen == 0
    assert box.closed == 1


async def test_what_was_remembered_is_forgotten_in_small_steps(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FORGET_ROWS", 2)
    office = await Office.open(stores)
    await ask(office)
    await office.take(*(letter(f"a{n}", after=f"a{n - 1}") for n in range(2, 8)))
    assert await stores.content.read(None, rows) == 6
    finished: list[bool] = []
    finish = backfill_steps.end_backfill

    def counting(*args: object, **kwargs: object) -> bool:
        finished.append(finish(*args, **kwargs))  # type: ignore[arg-type]
        return finished[-1]

    monkeypatch.setattr(backfill_steps, "end_backfill", counting)
    await worker(office, Attic([letter("a1")])).run()
    assert finished == [False, False, False, True]
    assert await stores.content.read(None, rows) == 0
    await office.take(letter("a9", after="a8"))
    assert await stores.content.read(None, rows) == 0  # no older mail will come
    await office.check()


async def test_it_waits_until_new_mail_was_read(stores: Stores) -> None:
    office = await Office.open(stores)
    await ask(office)
    box = Attic([letter("a1")])
    one = worker(office, box)
    one._caught_up.clear()
    running = asyncio.create_task(one.run())
    await asyncio.wait([running], timeout=0.2)
    assert box.plans == []
    one._caught_up.set()
    await asyncio.wait_for(running, 10)
    assert await threads(office) == [["a1"]]


async def test_few_mailboxes_are_read_at_a_time(stores: Stores) -> None:
    first, second = await Office.open(stores), await Office.open(stores)
    used = tools(first, Backfill(mailboxes_max=1))
    gate, boxes = asyncio.Event(), []
    tasks = []
    for office in (first, second):
        await ask(office)
        box = Attic([letter("a1")], gate=gate)
        boxes.append(box)
        tasks.append(asyncio.create_task(worker(office, box, used).run()))
    async with asyncio.timeout(10):
        while not any(box.plans for box in boxes):
            await asyncio.sleep(0.01)
    assert sorted(len(box.plans) for box in boxes) == [0, 1]
    gate.set()
    await asyncio.gather(*tasks)
    assert [len(box.plans) for box in boxes] == [1, 1]


class Work:
    """Counts what the supervisor asks for."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    async def read(self) -> None:
        await asyncio.Event().wait()

    async def backfill(self) -> None:
        self.begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1

    def edit_due(self) -> None: ...

    async def send_due(self) -> None: ...

    async def push_due(self) -> None: ...

    def stop_sending(self) -> None: ...

    async def close(self) -> None: ...


async def test_the_supervisor_begins_what_is_asked_for_and_ends_what_is_stopped(stores: Stores) -> None:
    """Also one that is in a long pause, and would not notice by itself."""
    office, work = await Office.open(stores), Work()
    await stores.content.transaction(None, leases.release, office.lease.worker_id)

    async def begin(_held: object) -> Work:
        return work

    bell = Bell()
    supervisor = Supervisor(stores.content, office.lease, Inbound(), bell, Health(["lease"]), begin)
    stores.content.on_wake(bell.ring)
    await supervisor.register()
    running = asyncio.create_task(supervisor.run())
    try:
        async with asyncio.timeout(30):
            for round_number in (1, 2):
                await ask(office)
                while work.begun < round_number:
                    await asyncio.sleep(0.01)
                await stores.content.transaction(office.held.account_id, backfill_steps.stop, office.held.mailbox_id)
                while work.ended < round_number:
                    await asyncio.sleep(0.01)
        assert (work.begun, work.ended) == (2, 2)
    finally:
        await _cancel(running)
        await supervisor.drain(1)


async def test_progress_and_estimate(stores: Stores) -> None:
    office = await Office.open(stores)
    await ask(office)
    box = Attic([letter(f"a{n}") for n in range(4)], fail=lambda seen: TemporaryError("lost") if seen == 1 else None)
    await worker(office, box, tools(office, Backfill(attempts_max=1))).run()
    await ask(office)
    found = await backfill(office)
    assert (found.seen, found.total) == (1, 4)
    assert progress_of(replace(found, reading_seconds=10.0)).seconds_left == 30.0
    await stores.content.transaction(office.held.account_id, backfill_steps.stop, office.held.mailbox_id)
    assert progress_of(await backfill(office)).seconds_left is None


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


async def test_the_estimate_knows_reading_from_waiting(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the turn that was waited for, nor a throttle, nor a day without a worker is time that reading takes."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)

    class Turns(asyncio.Semaphore):
        async def acquire(self) -> Literal[True]:
            clock.now += 1000
            return await super().acquire()

    office = await Office.open(stores)
    await ask(office)
    errors: dict[int, ConnectorError] = {2: RateLimited("later", retry_after=0.001), 3: TemporaryError("lost")}

    def read(seen: int) -> ConnectorError | None:
        clock.now += 10
        if (error := errors.pop(seen, None)) is not None:
            clock.now += 5000
        return error

    box = Attic([letter(f"a{n}") for n in range(4)], fail=read)
    used = replace(tools(office, Backfill(attempts_max=1, backoff=FAST)), slots=Turns(1))
    await worker(office, box, used).run()
    found = await backfill(office)
    assert (found.status, found.seen, found.reading_seconds) == (BackfillStatus.FAILED, 3, 30.0)
    clock.now += 86_400
    await ask(office)
    assert progress_of(await backfill(office)).seconds_left == 10.0
    await worker(office, box, used).run()
    assert (await backfill(office)).reading_seconds == 40.0
    await ask(office)
    assert (await backfill(office)).reading_seconds == 0


async def test_a_throttle_is_no_failure_however_long_it_lasts(stores: Stores) -> None:
    office = await Office.open(stores)
    await ask(office)
    errors = iter([RateLimited("later", retry_after=0.001)] * 5 + [TemporaryError("lost")])
    box = Attic([letter("a1")], fail=lambda _seen: next(errors, None))
    await worker(office, box, tools(office, Backfill(attempts_max=2, backoff=FAST))).run()
    assert (await backfill(office)).status is BackfillStatus.DONE
    assert len(box.plans) == 7


def _slow() -> Backoff:
    return Backoff(initial_seconds=60, max_seconds=60)


async def _mailbox(office: Office) -> mailboxes.Mailbox:
    return await office.stores.content.read(office.held.account_id, mailboxes.get_mailbox, office.held.mailbox_id)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
