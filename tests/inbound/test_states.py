"""What a failure leads to: the table, and the reading task of a real mailbox row with a scripted provider."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from config import Backoff, Inbound
from connectors.base import (
    AuthError,
    Batch,
    ConnectorError,
    CursorInvalid,
    PermanentError,
    RateLimited,
    RawMessage,
    TemporaryError,
    Trouble,
)
from ingestd.cures import WORDS
from ingestd.inbound import states
from ingestd.inbound.reader import MailboxReader
from ingestd.inbound.states import COURSES, Streak, must_ask, pause_after, state_after
from ingestd.inbound.taking import ReaderTools
from ingestd.records import FoldersRecord
from ingestd.telemetry.metrics import Metrics
from storage import events, mailboxes
from storage.database import Database
from storage.mailboxes import WORKED, Mailbox, MailboxState
from tests.office import HereParser, Office, mail
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long

BACKOFF = Backoff(initial_seconds=0.01, max_seconds=0.05)
SETTINGS = Inbound(backoff=BACKOFF, blocked_retry_seconds=0.1, suspicions_max=2)
WAIT_SECONDS = 10.0

LOST = TemporaryError("SELECT at imap.example.com:993: connection lost")
OFF = PermanentError("IMAP is off", trouble=Trouble.PROTOCOL_DISABLED)
ADMIN = PermanentError("not allowed", trouble=Trouble.ADMIN_BLOCKED)
GONE = PermanentError("the grant is gone", trouble=Trouble.GRANT_REVOKED)
WAIT = RateLimited("throttled", retry_after=0.3)
FIRST = Streak()


def suspicion() -> ConnectorError:
    error = TemporaryError("SELECT at imap.example.com:993 refused [-]")
    error.trouble = Trouble.WRONG_MAILBOX
    return error


# -- the table -------------------------------------------------------------------------------------


def test_every_trouble_has_a_course_and_words() -> None:
    assert set(COURSES) == set(WORDS) == set(Trouble)
    assert {course.state for course in COURSES.values()} <= set(states._NEWS)
    assert set(WORKED) | {MailboxState.REAUTH_REQUIRED} == set(states._NEWS)


@pytest.mark.parametrize(
    ("before", "errors", "after"),
    [
        ("active", [LOST], None),
        ("active", [LOST, LOST], "failing"),
        ("active", [AuthError("refused")], None),
        ("active", [AuthError("refused"), LOST], "failing"),
        ("active", [OFF], None),
        ("active", [OFF, OFF], "blocked"),
        ("active", [OFF, ADMIN], "failing"),
        ("active", [OFF, LOST, OFF], "failing"),
        ("active", [LOST, OFF, OFF], "blocked"),
        ("active", [GONE], "reauth_required"),
        ("failing", [PermanentError("sign in", trouble=Trouble.CONSENT_OR_MFA)], "reauth_required"),
        ("active", [WAIT], "throttled"),
        ("throttled", [LOST], None),
        ("throttled", [LOST, WAIT, LOST], None),
        ("throttled", [LOST, LOST], "failing"),
        ("active", [suspicion()] * 3, "failing"),
        ("blocked", [LOST, LOST, LOST], None),
        ("blocked", [OFF], None),
        ("blocked", [OFF, OFF], "blocked"),
        ("blocked", [GONE], "reauth_required"),
    ],
)
def test_one_failed_login_proves_nothing(before: str, errors: Sequence[ConnectorError], after: str | None) -> None:
    streak = Streak()
    for error in errors:
        streak = streak.refused(error).judged(error)
    found = state_after(MailboxState(before), streak, errors[-1])
    assert (found.value if found else None) == after


def test_the_provider_is_asked_about_a_refused_login_and_a_lasting_suspicion() -> None:
    streak = Streak()
    asked = []
    for error in (AuthError("refused"), LOST, suspicion(), suspicion(), suspicion(), LOST, suspicion()):
        streak = streak.refused(error)
        asked.append(must_ask(error, streak, 2))
    assert asked == [True, False, False, False, True, False, False]


def test_no_pause_is_shorter_than_the_provider_asked_for() -> None:
    def pause(error: Exception, attempts: int, streak: Streak = FIRST) -> list[float]:
        return [pause_after(streak, error, attempts, BACKOFF, blocked_seconds=900, jitter=one) for one in (0.0, 1.0)]

    assert pause(LOST, 1) == [0.01, 0.005]
    assert pause(LOST, 100) == [0.05, 0.025]
    assert pause(RateLimited("", retry_after=30), 1) == [30, 30]
    assert pause(RateLimited("", retry_after=0.001), 100) == [0.05, 0.025]
    assert pause(OFF, 1) == [0.01, 0.005]
    assert pause(OFF, 1, Streak(verdict=OFF.trouble, verdicts=2)) == [900, 720]


# -- the reading task ------------------------------------------------------------------------------


class ScriptedReader:
    """Each reading takes the next of its script: batches, or an error; at its end it waits for ever."""

    reads_ahead = False

    def __init__(self, *readings: Exception | Sequence[Batch]) -> None:
        self.readings = list(readings)
        self.cursors: list[str | None] = []
        self.times: list[float] = []
        self.ended = asyncio.Event()
        self.missing: Sequence[int] = ()

    async def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
        self.cursors.append(cursor)
        self.times.append(time.monotonic())
        reading = self.readings.pop(0) if self.readings else ()
        if isinstance(reading, Exception):
            raise reading
        for batch in reading:
            yield batch

    async def wait(self, timeout_seconds: float) -> bool:
        if not self.readings:
            self.ended.set()
            await asyncio.Event().wait()
        return True

    def missing_folders(self) -> Sequence[int]:
        return self.missing

    async def close(self) -> None: ...


class Reading:
    """A mailbox that is read by a script, and what its provider answers when asked."""

    def __init__(
        self,
        office: Office,
        script: ScriptedReader,
        *verdicts: ConnectorError,
        folders: FoldersRecord | None = None,
        places: int = 1,
    ) -> None:
        self.office, self.script, self.verdicts = office, script, list(verdicts)
        self.metrics = Metrics(version="0", python_version="3")
        self.tools = ReaderTools(
            content=office.stores.content,
            blobs=office.stores.blobs,
            parser=HereParser(),  # type: ignore[arg-type]
            metrics=self.metrics,
            settings=SETTINGS,
            blob_bytes_min=64 * 1024,
            batches=asyncio.Semaphore(places),
        )
        self.reader = MailboxReader(
            office.held,
            office.context,
            script,  # type: ignore[arg-type]
            self.tools,
            self.why_refused,
            folders=folders,
        )

    async def why_refused(self) -> ConnectorError:
        return self.verdicts.pop(0)

    async def run(self) -> None:
        """Run to the script's end, or until the task ends by itself."""
        running = asyncio.create_task(self.reader.run())
        ended = asyncio.create_task(self.script.ended.wait())
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.wait([running, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in (running, ended):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.office.check()

    async def mailbox(self) -> Mailbox:
        held = self.office.held
        return await self.office.stores.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)

    async def events(self) -> list[tuple[str, str | None]]:
        held = self.office.held
        found = await self.office.stores.content.read(held.account_id, events.list_events, 0, 1000)
        return [(one.type, one.detail) for one in found if one.type.startswith("mailbox.")]


async def reading(
    stores: Stores, *script: Exception | Sequence[Batch], verdicts: Sequence[ConnectorError] = ()
) -> Reading:
    one = Reading(await Office.open(stores), ScriptedReader(*script), *verdicts)
    await one.run()
    return one


async def test_a_blip_is_no_news(stores: Stores) -> None:
    one = await reading(stores, (), LOST, (), LOST, ())
    mailbox = await one.mailbox()
    assert (mailbox.state, mailbox.trouble, mailbox.retry_at) == (MailboxState.ACTIVE, None, None)
    assert await one.events() == []
    assert b'ingestd_failures_total{trouble="transient"} 2.0' in one.metrics.render()


async def test_a_lasting_failure_is_told_once_and_its_end_too(stores: Stores) -> None:
    one = await reading(stores, LOST, LOST, LOST, LOST, ())
    assert await one.events() == [("mailbox.warning", "transient"), ("mailbox.recovered", None)]
    assert (await one.mailbox()).state is MailboxState.ACTIVE


async def test_another_trouble_in_the_same_state_is_news(stores: Stores) -> None:
    one = await reading(stores, LOST, LOST, AuthError("refused"), (), verdicts=[AuthError("refused")])
    assert await one.events() == [
        ("mailbox.warning", "transient"),
        ("mailbox.warning", "token_expired"),
        ("mailbox.recovered", None),
    ]


async def test_a_refused_login_is_asked_about_and_counts_when_it_was_found_twice(stores: Stores) -> None:
    refused = AuthError("refused")
    one = await reading(stores, refused, refused, verdicts=[OFF, OFF])
    assert await one.events() == [("mailbox.blocked", "protocol_disabled"), ("mailbox.recovered", None)]
    again = await reading(stores, refused, refused, (), verdicts=[OFF, LOST])
    assert await again.events() == [("mailbox.warning", "transient"), ("mailbox.recovered", None)]


async def test_a_suspicion_is_retried_and_then_asked_about(stores: Stores) -> None:
    wrong = PermanentError("another's", trouble=Trouble.WRONG_MAILBOX)
    one = await reading(stores, *[suspicion()] * 4, (), verdicts=[wrong, wrong])
    assert one.verdicts == []
    assert await one.events() == [
        ("mailbox.warning", "wrong_mailbox"),
        ("mailbox.blocked", "wrong_mailbox"),
        ("mailbox.recovered", None),
    ]


async def test_a_lost_grant_ends_the_task(stores: Stores) -> None:
    one = await reading(stores, (), GONE, ())
    mailbox = await one.mailbox()
    assert (mailbox.state, mailbox.trouble, mailbox.reason) == (
        MailboxState.REAUTH_REQUIRED,
        "grant_revoked",
        "the grant is gone",
    )
    assert mailbox.retry_at is None
    assert len(one.script.cursors) == 2


async def test_a_throttled_mailbox_waits_as_long_as_it_was_told(stores: Stores) -> None:
    one = await reading(stores, WAIT, ())
    assert one.script.times[1] - one.script.times[0] >= WAIT.retry_after
    assert await one.events() == [("mailbox.throttled", "throttled"), ("mailbox.recovered", None)]


async def test_the_next_worker_waits_as_long_too(stores: Stores) -> None:
    one = Reading(await Office.open(stores), ScriptedReader(()))
    held = one.office.held
    await stores.content.transaction(
        held.account_id,
        states.note_failure,
        held.mailbox_id,
        fence=held.fence,
        streak=Streak(failures=1),
        error=WAIT,
        retry_in=timedelta(seconds=WAIT.retry_after),
    )
    mailbox = await one.mailbox()
    assert mailbox.retry_at is not None
    assert mailbox.retry_at - mailbox.state_since == timedelta(seconds=WAIT.retry_after)
    started = datetime.now(UTC)
    await one.run()
    assert datetime.now(UTC) >= mailbox.retry_at
    assert started < mailbox.retry_at


async def test_who_paused_a_mailbox_is_not_overruled(stores: Stores) -> None:
    office = await Office.open(stores)
    held = office.held

    class Pausing(ScriptedReader):
        async def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
            assert await stores.content.transaction(held.account_id, states.pause, held.mailbox_id)
            yield batch("2", "Too late")

    one = Reading(office, Pausing())
    await one.run()
    mailbox = await one.mailbox()
    assert (mailbox.state, mailbox.cursor_sealed) == (MailboxState.PAUSED, None)
    assert await one.events() == [("mailbox.paused", None)]
    assert await office.desk.tickets(held.account_id) == []


# -- reading anew ----------------------------------------------------------------------------------


def batch(cursor: str, *subjects: str, recovering: bool = False) -> Batch:
    raws = [mail(subject, message_id=f"<{subject.replace(' ', '-')}@example.org>") for subject in subjects]
    found = [
        RawMessage(f"{cursor}:{number}:INBOX", "INBOX", len(raw), datetime.now(UTC), raw, raw)
        for number, raw in enumerate(raws)
    ]
    return Batch(found, cursor, more=False, recovering=recovering)


async def test_a_poll_that_finds_nothing_asks_the_database_nothing(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    places: list[str] = []
    once = Database._once

    async def counted(self: Database, read_only: bool, name: str, call: Callable[[Connection], Any]) -> Any:
        asked.append(name)
        places.extend([name] * (name == "get_mailbox"))
        return await once(self, read_only, name, call)

    class Counting(ScriptedReader):
        async def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
            asked.clear()
            async for one in super().changes(cursor):
                yield one

        async def wait(self, timeout_seconds: float) -> bool:
            asked_for.append(list(asked))
            return await super().wait(timeout_seconds)

    asked_for: list[list[str]] = []
    monkeypatch.setattr(Database, "_once", counted)
    one = Reading(await Office.open(stores), Counting([batch("1", "a"), batch("2", "b")], (), (), LOST, (), ()))
    await one.run()
    assert asked_for[0].count("commit_batch") == 2
    assert asked_for[1:] == [[], [], ["change_state"], []]
    assert one.script.cursors == [None, "2", "2", "2", "2", "2"]
    assert len(places) == 2  # behind a failure, what it knew is not trusted


async def subjects(office: Office) -> list[str]:
    return [one.record.subject for one in await office.desk.tickets(office.held.account_id)]


async def test_a_cursor_that_cannot_be_read_is_repaired(stores: Stores) -> None:
    again = [batch("3", "one", "two"), batch("4", "three")]
    one = await reading(
        stores, [batch("1", "one", "two")], CursorInvalid("no cursor of ours"), again, [batch("5", "four")]
    )
    # The one reading that failed, and the other from the linking on, are one round.
    assert one.script.cursors[:4] == [None, "1", None, "4"]
    assert sorted(await subjects(one.office)) == ["four", "one", "three", "two"]
    assert await one.events() == [("mailbox.repaired", "1")]


async def test_what_the_connector_reads_anew_is_counted_through_a_loss(stores: Stores) -> None:
    class Losing(ScriptedReader):
        async def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
            async for one in super().changes(cursor):
                yield one
                if one.cursor == "2":
                    raise LOST

    script = Losing(
        [batch("1", "one")],
        [batch("2", "one", "two", recovering=True)],
        [batch("3", "three", recovering=True), batch("4", "new")],
        (),
    )
    one = Reading(await Office.open(stores), script)
    await one.run()
    assert await one.events() == [("mailbox.repaired", "2")]
    assert sorted(await subjects(one.office)) == ["new", "one", "three", "two"]
