"""Edits in the mailbox after import: what a real server shows, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, update

from config import Backoff, Inbound
from connectors.base import (
    AuthError,
    Batch,
    ConnectorError,
    Edit,
    EditKind,
    PermanentError,
    RateLimited,
    RawMessage,
    Reader,
    ReadPlan,
    TemporaryError,
    Trouble,
)
from ingestd.inbound.edits import MailboxEdits
from ingestd.inbound.reader import MailboxReader
from ingestd.inbound.taking import ReaderTools
from ingestd.telemetry.metrics import Metrics
from storage import edits, mailboxes
from storage.errors import FenceLost
from storage.mailboxes import MailboxState
from storage.tables import edits as edits_table
from tests.connectors.mailbox import EVERYTHING, LONG_AGO, Mailbox
from tests.office import HereParser, Office, mail
from tests.stores import Stores

SETTINGS = Inbound(edit_attempts_max=3, edit_backoff=Backoff(initial_seconds=60, max_seconds=600))


class ScriptedServer:
    """Stands in for a connection: notes what it is asked, and fails as told."""

    def __init__(self, *answers: Exception | None) -> None:
        self.calls: list[tuple[list[str], Edit]] = []
        self._answers = list(answers)

    async def edit(self, locators: Sequence[str], edit: Edit) -> Mapping[str, str | None]:
        self.calls.append((list(locators), edit))
        answer = self._answers.pop(0) if self._answers else None
        if answer is not None:
            raise answer
        return {one: one for one in locators}


def edits_of(office: Office, reader: Any, settings: Inbound = SETTINGS) -> MailboxEdits:
    return MailboxEdits(office.held, office.context, reader, office.stores.content, settings, asyncio.Lock())


async def rows(office: Office) -> list[Any]:
    def read(conn: Connection, account_id: UUID) -> list[Any]:
        return list(conn.execute(select(edits_table).where(edits_table.c.account_id == account_id)))

    return await office.stores.content.read(office.held.account_id, read)


async def make_due(office: Office) -> None:
    """Let the pause be over."""

    def change(conn: Connection, account_id: UUID) -> None:
        waiting = edits_table.c.account_id == account_id, edits_table.c.due_at.is_not(None)
        conn.execute(update(edits_table).where(*waiting).values(due_at=datetime.now(UTC) - timedelta(seconds=1)))

    await office.stores.content.transaction(office.held.account_id, change)


def mails(count: int) -> list[bytes]:
    return [mail(f"Printer {number}", message_id=f"<q{number}@example.org>") for number in range(count)]


async def test_an_edit_is_written_with_its_message(stores: Stores) -> None:
    office = await Office.open(stores, after_import="keyword:Ticketed")
    await office.take(*mails(2))
    await office.take(*mails(2))  # known: edited once
    assert [(row.kind, row.status, row.attempts) for row in await rows(office)] == [("keyword", "due", 0)] * 2
    await office.check()


async def test_nothing_is_the_default(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(*mails(1))
    assert await rows(office) == []
    assert await edits_of(office, ScriptedServer()).run_due() is None


async def test_quarantined_mail_is_not_edited(stores: Stores) -> None:
    office = await Office.open(stores, after_import="delete")
    await office.take(mail("poison"), mail(message_id="<q2@example.org>"))
    server = ScriptedServer()
    await edits_of(office, server).run_due()
    assert [locators for locators, _ in server.calls] == [["1:1:INBOX"]]
    await office.check()


@pytest.mark.parametrize(("after_import", "count"), [("delete", 0), ("seen", 1)])
async def test_a_mail_whose_body_was_left_on_the_server_is_not_deleted_there(
    stores: Stores, after_import: str, count: int
) -> None:
    office = await Office.open(stores, after_import=after_import)
    header = mail().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    await office.take_fetched([RawMessage("1:1:INBOX", "INBOX", 10**9, datetime.now(UTC), None, header)])
    assert len(await rows(office)) == count


async def test_one_command_for_many_messages_of_a_folder(stores: Stores) -> None:
    office = await Office.open(stores, after_import="seen")
    junk = [
        RawMessage(f"1:{number}:Junk", "Junk", len(raw), datetime.now(UTC), raw, raw)
        for number, raw in enumerate(mails(9)[6:])
    ]
    await office.take(*mails(6))
    await office.take_fetched(junk)
    server = ScriptedServer()
    assert await edits_of(office, server, Inbound(edit_messages_max=4)).run_due() is None
    assert [len(locators) for locators, _ in server.calls] == [4, 2, 2, 1]
    assert {edit for _, edit in server.calls} == {Edit(EditKind.READ)}
    assert await rows(office) == []


async def test_a_failure_is_repeated_after_a_pause_and_given_up_at_last(stores: Stores) -> None:
    office = await Office.open(stores, after_import="seen")
    await office.take(*mails(2))
    server = ScriptedServer(*[TemporaryError("STORE at imap.example.com refused for now")] * 3)
    steps = edits_of(office, server)
    pause = await steps.run_due()
    assert pause is not None
    assert 0 < pause <= 60
    assert {(row.status, row.attempts, row.reason) for row in await rows(office)} == {("due", 1, "transient")}
    assert await steps.run_due() is not None
    assert len(server.calls) == 1, "it was tried again before its time"
    await make_due(office)
    await steps.run_due()
    await make_due(office)
    assert await steps.run_due() is None
    assert {(row.status, row.attempts, row.reason) for row in await rows(office)} == {("failed", 3, "transient")}
    assert len(server.calls) == 3
    await office.check()


async def test_what_the_server_refuses_for_good_is_given_up_at_once(stores: Stores) -> None:
    office = await Office.open(stores, after_import="move:Archive")
    await office.take(*mails(1))
    assert await edits_of(office, ScriptedServer(PermanentError("MOVE refused [NOPERM]"))).run_due() is None
    assert [(row.status, row.reason, row.due_at) for row in await rows(office)] == [("failed", "refused", None)]
    await office.check()
    count = await stores.content.transaction(office.held.account_id, edits.revive, office.held.mailbox_id)
    assert count == 1
    assert await edits_of(office, ScriptedServer()).run_due() is None
    assert await rows(office) == []


@pytest.mark.parametrize(
    ("error", "reason", "pause_min"),
    [
        (RateLimited("STORE: throttled", retry_after=1800), "throttled", 1790),
        (AuthError("AUTHENTICATE refused"), "token_expired", 0),
        (PermanentError("the grant is gone", trouble=Trouble.GRANT_REVOKED), "grant_revoked", 0),
    ],
)
async def test_the_mailboxs_trouble_is_no_failure_of_an_edit(
    stores: Stores, error: Exception, reason: str, pause_min: float
) -> None:
    """All of its edits wait; the server is left alone, and none of them comes nearer to being given up."""
    office = await Office.open(stores, after_import="seen")
    await office.take(*mails(3))
    server = ScriptedServer(error)
    pause = await edits_of(office, server, Inbound(edit_messages_max=2)).run_due()
    assert pause is not None
    assert pause > pause_min
    assert len(server.calls) == 1
    assert {(row.status, row.attempts, row.reason) for row in await rows(office)} == {("due", 0, reason)}


async def test_a_mistake_of_ours_stops_nothing(stores: Stores) -> None:
    office = await Office.open(stores, after_import="seen")
    await office.take(*mails(1))
    assert await edits_of(office, ScriptedServer(RuntimeError("a bug"))).run_due() is not None
    assert [(row.attempts, row.reason) for row in await rows(office)] == [(1, "internal")]


async def test_a_damaged_record_is_given_up_and_the_others_go_on(stores: Stores) -> None:
    office = await Office.open(stores, after_import="seen")
    await office.take(*mails(2))
    damaged = (await rows(office))[0].edit_id

    def damage(conn: Connection, _account_id: UUID) -> None:
        conn.execute(update(edits_table).where(edits_table.c.edit_id == damaged).values(sealed=b"damaged"))

    await stores.content.transaction(office.held.account_id, damage)
    await edits_of(office, ScriptedServer()).run_due()
    assert [(row.edit_id, row.status, row.reason) for row in await rows(office)] == [(damaged, "failed", "damaged")]


async def test_who_lost_the_mailbox_settles_nothing(stores: Stores) -> None:
    office = await Office.open(stores, after_import="seen")
    await office.take(*mails(1))
    await stores.content.transaction(office.held.account_id, mailboxes.start_disconnect, office.held.mailbox_id)
    with pytest.raises(FenceLost):
        await edits_of(office, ScriptedServer()).run_due()
    assert len(await rows(office)) == 1


class QuietServer(ScriptedServer):
    """A mailbox to which nothing comes: whoever waits waits for its full time."""

    reads_ahead = False

    def __init__(self, *answers: Exception | None) -> None:
        super().__init__(*answers)
        self.waits: list[float] = []
        self.settled = asyncio.Event()

    async def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
        none: tuple[Batch, ...] = ()
        for batch in none:
            yield batch

    async def wait(self, timeout_seconds: float) -> bool:
        self.waits.append(timeout_seconds)
        if timeout_seconds == max(SETTINGS.poll_seconds, SETTINGS.idle_poll_seconds):
            self.settled.set()
        await asyncio.sleep(timeout_seconds)
        return False

    def missing_folders(self) -> Sequence[int]:
        return ()

    async def close(self) -> None: ...


async def not_asked() -> ConnectorError:
    raise AssertionError("no token was refused")


def tools_of(office: Office, settings: Inbound = SETTINGS) -> ReaderTools:
    metrics = Metrics(version="0", python_version="3")
    batches = asyncio.Semaphore(1)
    stores = office.stores
    return ReaderTools(stores.content, stores.blobs, HereParser(), metrics, settings, 65_536, batches)  # type: ignore[arg-type]


async def test_the_mailboxs_task_wakes_for_an_edit_that_is_to_be_repeated(stores: Stores) -> None:
    """It does not wait for new mail, and the mailbox's state says nothing of a failed edit."""
    office = await Office.open(stores, after_import="seen")
    await office.take(*mails(1))
    soon = Backoff(initial_seconds=0.2, max_seconds=0.4)
    settings = SETTINGS.model_copy(update={"edit_backoff": soon})
    server = QuietServer(TemporaryError("STORE refused for now"), RateLimited("STORE: throttled", retry_after=0.2))
    reader = MailboxReader(office.held, office.context, server, tools_of(office, settings), not_asked)  # type: ignore[arg-type]
    running = asyncio.create_task(reader.run())
    async with asyncio.timeout(20):
        await server.settled.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(server.calls) == 3
    assert all(0 <= one <= 0.4 for one in server.waits[:-1])
    assert await rows(office) == []
    mailbox = await stores.content.read(office.held.account_id, mailboxes.get_mailbox, office.held.mailbox_id)
    assert (mailbox.state, mailbox.trouble) == (MailboxState.ACTIVE, None)


# -- on a real server ----------------------------------------------------------------------------


async def take_all(office: Office, reader: Reader, cursor: str | None = None) -> str | None:
    async with aclosing(reader.changes(cursor)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            await office.take_fetched(batch.messages)
            cursor = batch.cursor
    return cursor


async def locators(office: Office, count: int) -> list[tuple[str, str]]:
    views = [await office.ticket(number) for number in range(1, count + 1)]
    return [(one.record.locator, one.record.folder) for view in views for one in view.messages]


async def test_each_edit_on_a_real_server(stores: Stores, mailbox: Mailbox) -> None:
    server, user = mailbox.server, mailbox.user
    for after_import, wanted in (("seen", "\\Seen"), ("keyword:Ticketed", "Ticketed")):
        office = await Office.open(stores, after_import=after_import)
        mailbox.deliver(f"for {after_import}")
        reader = mailbox.reader()
        await take_all(office, reader)
        await edits_of(office, reader).run_due()
        assert await rows(office) == []
        flags = await asyncio.to_thread(server.flags, user)
        assert [wanted in one for one in flags] == [True] * len(flags)
    office = await Office.open(stores, after_import="move:Archive")
    await take_all(office, reader)
    await edits_of(office, reader).run_due()
    assert await asyncio.to_thread(server.flags, user) == []
    assert len(await asyncio.to_thread(server.mails, user, "Archive")) == 2
    moved = await locators(office, 2)
    assert {folder for _, folder in moved} == {"Archive"}
    fetched = [await reader.fetch(locator) for locator, _ in moved]
    assert [one.folder for one in fetched if one is not None] == ["Archive"] * 2, (
        "the stored locators do not lead there"
    )
    office = await Office.open(stores, after_import="delete")
    archive = mailbox.reader(ReadPlan(folders=("Archive",), start_at=LONG_AGO))
    await take_all(office, archive)
    await edits_of(office, archive).run_due()
    assert await asyncio.to_thread(server.mails, user, "Archive") == []
    assert [locator for locator, _ in await locators(office, 2)] == ["", ""]
    await office.check()
    await mailbox.close()


class DiesAfterwards:
    """A connection on which the work is done, and we die before we can write that down."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def edit(self, locators: Sequence[str], edit: Edit) -> Mapping[str, str | None]:
        await self._reader.edit(locators, edit)
        raise asyncio.CancelledError


@pytest.mark.parametrize("after_import", ["keyword:Ticketed", "move:Archive", "delete"])
async def test_an_edit_that_was_done_is_done_again_without_harm(
    stores: Stores, mailbox: Mailbox, after_import: str
) -> None:
    office = await Office.open(stores, after_import=after_import)
    for number in range(3):
        mailbox.deliver(f"Printer {number}")
    reader = mailbox.reader()
    cursor = await take_all(office, reader)
    with pytest.raises(asyncio.CancelledError):
        await edits_of(office, DiesAfterwards(reader)).run_due()
    assert len(await rows(office)) == 3
    await edits_of(office, reader).run_due()
    assert await rows(office) == []
    server, user = mailbox.server, mailbox.user
    flags = await asyncio.to_thread(server.flags, user)
    assert len(flags) == (3 if after_import.startswith("keyword") else 0)
    assert all("Ticketed" in one for one in flags)
    archived = [] if "move" not in after_import else await asyncio.to_thread(server.mails, user, "Archive")
    assert len(archived) == (3 if "move" in after_import else 0)
    # Where the target is read too, it is the same message.
    if archived:
        both = mailbox.reader(dataclasses.replace(EVERYTHING, folders=("INBOX", "Archive")))
        await take_all(office, both, cursor)
        assert len(await office.event_types()) == 6, "a moved message came in twice"
        assert await rows(office) == []
    await office.check()
    await mailbox.close()


async def test_a_message_that_somebody_removed_needs_no_edit(stores: Stores, mailbox: Mailbox) -> None:
    office = await Office.open(stores, after_import="keyword:Ticketed")
    mailbox.deliver("Gone")
    mailbox.deliver("Stays")
    reader = mailbox.reader()
    await take_all(office, reader)
    await asyncio.to_thread(mailbox.server.expunge, mailbox.user, "INBOX", 1)
    assert await edits_of(office, reader).run_due() is None
    assert await rows(office) == []
    (flags,) = await asyncio.to_thread(mailbox.server.flags, mailbox.user)
    assert "Ticketed" in flags
    await mailbox.close()
