"""The folders that are watched: since when, and what is told of those that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, update

from config import MailboxDefaults
from ingestd.inbound.folders import SLACK, begin_folders, changed_folders, first_folders, note_missing, open_folders
from ingestd.options import Options, choose
from ingestd.records import FoldersRecord
from storage import events, mailboxes
from storage.mailboxes import Mailbox, MailboxState
from storage.tables import edits as edits_table
from storage.tables import mailboxes as mailboxes_table
from tests.inbound.test_edits import mails, rows
from tests.inbound.test_states import LOST, Reading, ScriptedReader
from tests.office import Office
from tests.stores import Stores

LINKED = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DEFAULTS = MailboxDefaults(folders=("INBOX",))


# -- since when ------------------------------------------------------------------------------------


def test_a_folder_that_is_added_is_watched_from_then_on() -> None:
    first = first_folders(["INBOX", "Help"], LINKED)
    assert first.since == {"INBOX": LINKED, "Help": LINKED}
    added = changed_folders(first, ["Spam", "INBOX"], NOW)
    assert list(added.since.items()) == [("Spam", NOW - SLACK), ("INBOX", LINKED)]
    assert changed_folders(added, ["Spam", "INBOX"], NOW + timedelta(days=1)) == added


def test_no_folder_is_watched_since_before_the_linking() -> None:
    first = first_folders(["INBOX"], NOW)
    assert changed_folders(first, ["INBOX", "Spam"], NOW + timedelta(seconds=5)).since["Spam"] == NOW


def test_what_takes_the_place_of_a_missing_folder_may_be_the_same_one() -> None:
    first = FoldersRecord({"INBOX": LINKED, "Help": LINKED + timedelta(days=9)}, missing=("Help",))
    changed = changed_folders(first, ["INBOX", "Support"], NOW)
    assert changed == FoldersRecord({"INBOX": LINKED, "Support": LINKED + timedelta(days=9)})
    beside = changed_folders(first, ["INBOX", "Help", "Support"], NOW)
    assert (beside.since["Support"], beside.missing) == (NOW - SLACK, ("Help",))


async def _mailbox(office: Office) -> Mailbox:
    return await office.stores.content.read(office.held.account_id, mailboxes.get_mailbox, office.held.mailbox_id)


async def known(office: Office) -> FoldersRecord | None:
    return open_folders(office.context.key, await _mailbox(office))


async def begin(office: Office, *entries: str) -> FoldersRecord:
    where = office.held.account_id
    return await office.stores.content.transaction(where, begin_folders, office.held, office.context.key, entries)


async def linked_long_ago(stores: Stores) -> Office:
    office = await Office.open(stores)

    def age(conn: Connection, account_id: UUID) -> None:
        here = mailboxes_table.c.account_id == account_id
        conn.execute(update(mailboxes_table).where(here).values(created_at=LINKED))

    await stores.content.transaction(office.held.account_id, age)
    return office


async def test_a_person_who_adds_a_folder_says_since_when(stores: Stores) -> None:
    """Also where no worker has seen the mailbox since the linking, or ever."""
    office = await linked_long_ago(stores)
    held, options = office.held, Options(folders=("INBOX", "Spam"))
    before = datetime.now(UTC) - SLACK - timedelta(seconds=5)
    await stores.content.transaction(held.account_id, choose, held.mailbox_id, office.context.key, options, DEFAULTS)
    found = await known(office)
    assert found is not None
    assert found.since["INBOX"] == LINKED
    assert before < found.since["Spam"] < datetime.now(UTC)
    await office.check()


async def test_a_change_of_the_configuration_is_seen_when_the_work_begins(stores: Stores) -> None:
    office = await linked_long_ago(stores)
    assert (await begin(office, "INBOX")).since == {"INBOX": LINKED}
    changed = await begin(office, "INBOX", "Spam")
    assert changed == await known(office)
    assert changed.since["INBOX"] == LINKED
    assert changed.since["Spam"] > datetime.now(UTC) - SLACK - timedelta(minutes=1)
    assert await begin(office, "INBOX", "Spam") == changed
    await office.check()


# -- those that are not there ----------------------------------------------------------------------


class Losing(ScriptedReader):
    """At each reading these folders are missing."""

    def __init__(self, *missing: Sequence[int]) -> None:
        super().__init__(*[()] * len(missing))
        self._script = list(missing)

    def missing_folders(self) -> Sequence[int]:
        if self._script:
            self.missing = self._script.pop(0)
        return self.missing


async def test_it_is_told_once_a_change_and_reading_goes_on(stores: Stores) -> None:
    office = await Office.open(stores)
    folders = await begin(office, "INBOX", "Support", "Sales")
    reading = Reading(office, Losing([], [1], [1], [2], [1, 2], []), folders=folders)
    await reading.run()
    assert await reading.events() == [
        ("mailbox.folders_missing", "1"),
        ("mailbox.folders_missing", "1"),
        ("mailbox.folders_missing", "2"),
        ("mailbox.folders_found", None),
    ]
    assert reading.reader.caught_up.is_set()
    mailbox = await _mailbox(office)
    assert (mailbox.state, mailbox.trouble, mailbox.retry_at) == (MailboxState.ACTIVE, None, None)
    assert (mailbox.folders_missing, mailbox.folders_missing_since) == (0, None)
    assert b'ingestd_failures_total{trouble="transient"} 0.0' in reading.metrics.render()


async def test_the_next_worker_knows_what_was_told(stores: Stores) -> None:
    office = await Office.open(stores)
    folders = await begin(office, "INBOX", "Support")
    await Reading(office, Losing([1]), folders=folders).run()
    since = (await _mailbox(office)).folders_missing_since
    assert since is not None
    found = await known(office)
    assert found is not None
    assert found.missing == ("Support",)
    again = Reading(office, Losing([1]), folders=found)
    await again.run()
    assert await again.events() == [("mailbox.folders_missing", "1")]
    assert (await _mailbox(office)).folders_missing_since == since


async def test_a_failure_of_the_mailbox_says_nothing_of_its_folders(stores: Stores) -> None:
    office = await Office.open(stores)
    script = Losing([1])
    script.readings = [(), LOST, LOST]
    one = Reading(office, script, folders=await begin(office, "INBOX", "Support"))
    await one.run()
    assert [kind for kind, _ in await one.events()] == [
        "mailbox.folders_missing",
        "mailbox.warning",
        "mailbox.recovered",
    ]


async def test_edits_that_waited_for_a_folder_are_due_when_it_is_back(stores: Stores) -> None:
    office = await Office.open(stores, after_import="seen")
    await office.take(*mails(2))
    await begin(office, "INBOX")

    async def note(*missing: str) -> bool:
        held, key = office.held, office.context.key
        return await stores.content.transaction(held.account_id, note_missing, held, key, missing)

    assert await note("INBOX")
    first = (await rows(office))[0].edit_id

    def give_up(conn: Connection, _account_id: UUID) -> None:
        values = {"status": "failed", "reason": "displaced", "due_at": None, "attempts": 3}
        conn.execute(update(edits_table).where(edits_table.c.edit_id == first).values(values))

    await stores.content.transaction(office.held.account_id, give_up)
    assert not await note("INBOX")
    assert {row.status for row in await rows(office)} == {"due", "failed"}
    assert await note()
    assert {(row.status, row.reason, row.attempts) for row in await rows(office)} == {("due", None, 0)}
    told = await stores.content.read(office.held.account_id, events.list_events, 0, 100)
    assert "INBOX" not in str(told)
    await office.check()
