"""A known message that is read again lies elsewhere: its record and the edits that it waits for follow it."""

from __future__ import annotations

from datetime import UTC, datetime

from connectors.base import RawMessage
from ingestd.records import EditRecord
from storage import edits
from tests.office import Office, mail
from tests.stores import Stores

WHEN = datetime(2026, 11, 1, 12, tzinfo=UTC)


def lying(raw: bytes, locator: str, folder: str) -> RawMessage:
    return RawMessage(locator, folder, len(raw), WHEN, raw, raw)


async def places(office: Office) -> tuple[str, str]:
    """Return the locator of the only message, and that of its edit."""
    account_id, mailbox_id = office.held.account_id, office.held.mailbox_id
    (message,) = (await office.ticket(1)).messages
    due, _ = await office.stores.content.read(account_id, edits.list_due, mailbox_id, limit=10)
    (edit,) = due
    record = office.context.key.open_record(EditRecord.place(edit.edit_id), edit.sealed, EditRecord)
    assert record.folder == message.record.folder
    return message.record.locator, record.locator


async def test_record_and_edit_follow_the_message(stores: Stores) -> None:
    office = await Office.open(stores, after_import="seen")
    raw = mail()
    await office.take_fetched([lying(raw, "1:7:INBOX", "INBOX")])
    assert await places(office) == ("1:7:INBOX", "1:7:INBOX")
    again = await office.take_fetched([lying(raw, "2:1:Aside", "Aside")])
    assert (list(again.kinds), again.known) == ([], 1)
    assert await places(office) == ("2:1:Aside", "2:1:Aside")
    await office.check()


async def test_others_stay_where_they_are(stores: Stores) -> None:
    office = await Office.open(stores)
    first, second = mail(), mail("Scanner", message_id="<q2@example.org>", sender="berta@example.org")
    await office.take_fetched([lying(first, "1:7:INBOX", "INBOX"), lying(second, "1:8:INBOX", "INBOX")])
    await office.take_fetched([lying(second, "1:9:INBOX", "INBOX")])
    locators = [(await office.ticket(number)).messages[0].record.locator for number in (1, 2)]
    assert locators == ["1:7:INBOX", "1:9:INBOX"]
