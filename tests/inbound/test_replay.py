"""The quarantine: a poison mail costs its mailbox nothing else; it is replayed or dropped, and is one message."""

from __future__ import annotations

import asyncio
import base64
import random
import sys
from collections.abc import Hashable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config import Inbound
from connectors.base import RawMessage
from ingestd.inbound import replay
from ingestd.inbound.edits import MailboxEdits
from ingestd.inbound.parser import ParserPool, ParserRejected
from ingestd.mail.transform import Transformed, transform
from storage import edits, mailboxes, messages
from storage.errors import Conflict, NotFound
from storage.quarantine import Quarantined, QuarantineStatus
from tests.connectors.mailbox import Mailbox, raw_mail
from tests.office import Office, OneByOne, mail
from tests.stores import Stores

CHILD = [sys.executable, str(Path(__file__).with_name("parser_child.py"))]
HELD = (QuarantineStatus.HELD,)
ANY = tuple(QuarantineStatus)


class Parser(OneByOne):
    """Parses in the test's own process, or gives up for this reason."""

    def __init__(self, rejects: str = "") -> None:
        self._rejects = rejects

    async def transform(
        self, raw: bytes, *, live: bool = True, masked: bool = False, owner: Hashable = None
    ) -> Transformed:
        if self._rejects:
            raise ParserRejected(self._rejects)
        return transform(raw, masked=masked)


UNDERSTANDS: Any = Parser()


async def quarantined(office: Office, statuses: tuple[QuarantineStatus, ...] = HELD) -> list[Quarantined]:
    return await office.desk.quarantine(office.held.account_id, statuses=statuses)


async def replayed(office: Office, parser: Any = UNDERSTANDS) -> replay.Replayed:
    (row,) = await quarantined(office)
    return await replay.replay(office.desk, office.context, parser, row)


def withheld(uid: int, header: bytes = b"") -> RawMessage:
    return RawMessage(f"7:{uid}:INBOX", "INBOX", 500, datetime.now(UTC), None, header, withheld=True)


async def test_what_the_server_gives_nothing_of_is_quarantined_each_by_itself(stores: Stores) -> None:
    office = await Office.open(stores)
    committed = await office.take_fetched([withheld(1), withheld(2)])
    assert list(committed.quarantined) == ["withheld", "withheld"]
    assert (await office.take_fetched([withheld(2), withheld(3)])).quarantined == ["withheld"]
    assert [row.reason for row in await quarantined(office)] == ["withheld"] * 3
    for row in await quarantined(office):
        outcome = await replay.replay(office.desk, office.context, UNDERSTANDS, row)
        assert (outcome.rejected, outcome.ticket_id) == ("withheld", None)
    await office.check()


async def test_what_the_server_gives_the_header_of_is_a_ticket_that_says_so(stores: Stores) -> None:
    office = await Office.open(stores, after_import="delete")
    header = mail("Printer").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    committed = await office.take_fetched([withheld(1, header)])
    assert committed.tickets == 1
    view = await office.ticket(1)
    assert (view.record.subject, view.messages[0].record.truncated) == ("Printer", True)
    # It is not deleted: the server has what we do not.
    due, _ = await office.stores.content.read(office.held.account_id, edits.list_due, office.held.mailbox_id, limit=9)
    assert due == []
    await office.check()


async def test_one_poison_mail_among_fifty(stores: Stores, mailbox: Mailbox) -> None:
    """From a real server, with real parser processes, one of which it kills."""
    office = await Office.open(stores, after_import="keyword:Ticketed")
    for number in range(50):
        body = b"Hello\r\n"
        mailbox.server.deliver(mailbox.user, b"abort\r\n" + body if number == 24 else raw_mail(f"Printer {number}"))
    reader = mailbox.reader()
    sizes = []
    async with ParserPool(processes=2, command=CHILD) as parser, aclosing(reader.changes(None)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            sizes.append(len(batch.messages))
            committed = await office.take_fetched(batch.messages, parser=parser)
            assert (committed.tickets, list(committed.quarantined)) == (49, ["crash"])
    assert sizes == [50]
    row = await stores.content.read(office.held.account_id, mailboxes.get_mailbox, office.held.mailbox_id)
    assert row.cursor_sequence == 1
    steps = MailboxEdits(office.held, office.context, reader, stores.content, Inbound(), asyncio.Lock())
    assert await steps.run_due() is None
    flags = mailbox.server.flags(mailbox.user)
    assert [index for index, one in enumerate(flags) if "Ticketed" not in one] == [24]
    (held,) = await quarantined(office)
    assert (await office.desk.quarantined_raw(office.held.account_id, held.quarantine_id)).startswith(b"abort\r\n")
    await office.check()
    await mailbox.close()


async def test_what_is_understood_at_last_becomes_a_ticket_message(stores: Stores) -> None:
    office = await Office.open(stores, after_import="seen")
    raw = mail("poison")
    await office.take(raw)
    (before,) = await quarantined(office)
    outcome = await replayed(office)
    view = await office.ticket(1)
    assert outcome == replay.Replayed(ticket_id=view.ticket.ticket_id)
    (message,) = view.messages
    assert message.row.message_id == before.quarantine_id
    assert message.row.received_at == before.received_at
    assert message.record.locator == "1:0:INBOX"
    assert await office.desk.raw(office.held.account_id, message.row.message_id) == raw
    assert await office.event_types() == ["message.quarantined", "ticket.created", "message.received"]
    counts = await stores.content.read(office.held.account_id, edits.count_of_mailbox, office.held.mailbox_id)
    assert counts == {"due": 1}, "it is a message like others now, also for what is done in the mailbox"
    assert await quarantined(office) == []
    (left,) = await quarantined(office, ANY)
    assert (left.status, left.chunks) == (QuarantineStatus.TAKEN, 0)
    await office.check()


async def test_a_replayed_message_is_known_whether_it_is_understood_or_not(stores: Stores) -> None:
    """It comes from the mailbox again, as after a change of UIDVALIDITY, and from elsewhere with other headers."""
    office = await Office.open(stores)
    await office.take(mail("poison"))
    await replayed(office)
    again = b"Received: from elsewhere.example.net\r\n" + mail("poison")
    for raw, parser in ((mail("poison"), None), (mail("poison"), UNDERSTANDS), (again, UNDERSTANDS)):
        one = RawMessage("9:9:INBOX", "INBOX", len(raw), (await office.ticket(1)).messages[0].row.received_at, raw, raw)
        committed = await office.take_fetched([one], parser=parser)
        assert (committed.tickets, len(committed.quarantined), committed.known) == (0, 0, 1)
    await office.check()


async def test_what_waits_in_quarantine_is_known_when_it_can_be_understood(stores: Stores) -> None:
    """Else it would be a ticket and be quarantined; and what was dropped would come back."""
    office = await Office.open(stores)
    raw = mail("poison")
    await office.take(raw)
    (row,) = await quarantined(office)
    one = RawMessage("9:9:INBOX", "INBOX", len(raw), row.received_at, raw, raw)
    assert (await office.take_fetched([one], parser=UNDERSTANDS)).known == 1
    await replay.drop(office.desk, office.context.key, row)
    assert (await office.take_fetched([one], parser=UNDERSTANDS)).known == 1
    assert (await office.take_fetched([one])).known == 1
    await office.check()


async def test_an_answer_in_quarantine_joins_its_ticket(stores: Stores) -> None:
    office = await Office.open(stores)
    answer = mail("poison", message_id="<q2@example.org>", headers="In-Reply-To: <q1@example.org>\r\n")
    await office.take(mail(), answer)
    outcome = await replayed(office)
    view = await office.ticket(1)
    assert outcome.ticket_id == view.ticket.ticket_id
    assert len(view.messages) == 2
    await office.check()


async def test_a_replay_that_fails_is_counted(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail("poison"))
    for count in (1, 2):
        assert await replayed(office, Parser("memory")) == replay.Replayed(rejected="memory")
        (row,) = await quarantined(office)
        assert (row.replays, row.reason) == (count, "memory")
        assert row.replayed_at is not None
    assert await office.event_types() == ["message.quarantined"]
    await office.check()


async def test_a_message_that_the_mailbox_has_under_another_shape(stores: Stores) -> None:
    """The same mail came twice, with other trace headers: one copy was understood, the other was not."""
    office = await Office.open(stores)
    await office.take(mail("poison"))
    copy = b"Received: from elsewhere.example.net\r\n" + mail("poison")
    (row,) = await quarantined(office)
    one = RawMessage("1:9:INBOX", "INBOX", len(copy), row.received_at, copy, copy)
    assert (await office.take_fetched([one], parser=UNDERSTANDS)).tickets == 1
    assert await replayed(office) == replay.Replayed()
    assert len((await office.ticket(1)).messages) == 1
    assert (await office.event_types())[-1] == "message.dropped"
    await office.check()


async def test_what_is_dropped_leaves_nothing_but_its_identity(stores: Stores) -> None:
    office = await Office.open(stores)
    noise = base64.encodebytes(random.Random(1).randbytes(300_000)).decode().replace("\n", "\r\n")
    await office.take(mail("poison", text=noise))
    (row,) = await quarantined(office)
    assert row.raw_place == messages.BLOB
    account_id, blobs = office.held.account_id, stores.blobs
    assert blobs.count(account_id, office.held.mailbox_id) == 1
    await replay.drop(office.desk, office.context.key, row)
    assert blobs.count(account_id, office.held.mailbox_id) == 0
    assert await stores.content.read(account_id, messages.get_chunks, row.quarantine_id) == []
    view = await office.desk.quarantined(account_id, row.quarantine_id)
    assert (view.row.status, view.record.locator, view.record.raw_sha256) == (QuarantineStatus.DROPPED, "", b"")
    with pytest.raises(NotFound):
        await office.desk.quarantined_raw(account_id, row.quarantine_id)
    with pytest.raises(Conflict):
        await replay.drop(office.desk, office.context.key, row)
    assert (await office.event_types())[-1] == "message.dropped"
    await office.check()


async def test_a_blob_stays_where_it_is_when_it_is_understood(stores: Stores) -> None:
    office = await Office.open(stores)
    noise = base64.encodebytes(random.Random(1).randbytes(300_000)).decode().replace("\n", "\r\n")
    large = mail("poison", text=noise)
    await office.take(large)
    await replayed(office)
    message = (await office.ticket(1)).messages[0].row
    assert message.raw_place == messages.BLOB
    assert await office.desk.raw(office.held.account_id, message.message_id) == large
    await office.check()


async def test_two_people_replay_at_the_same_time(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail("poison"))
    (row,) = await quarantined(office)
    await replay.replay(office.desk, office.context, UNDERSTANDS, row)
    with pytest.raises(Conflict):
        await replay.replay(office.desk, office.context, UNDERSTANDS, row)
    assert len((await office.ticket(1)).messages) == 1
    await office.check()


async def test_nothing_is_replayed_in_a_mailbox_that_is_being_forgotten(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail("poison"))
    (row,) = await quarantined(office)
    await stores.content.transaction(office.held.account_id, mailboxes.start_disconnect, office.held.mailbox_id)
    assert await quarantined(office) == []
    with pytest.raises(NotFound):
        await replay.replay(office.desk, office.context, UNDERSTANDS, row)
    with pytest.raises(NotFound):
        await office.desk.quarantined_raw(office.held.account_id, row.quarantine_id)


@pytest.mark.parametrize("after_import", ["delete", "seen"])
async def test_a_mail_of_which_only_the_header_was_kept(stores: Stores, after_import: str) -> None:
    office = await Office.open(stores, after_import=after_import)
    header = mail("poison").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    one = RawMessage("1:1:INBOX", "INBOX", 10**9, datetime.now(UTC), None, header, provider_id="p1")
    await office.take_fetched([one])
    await replayed(office)
    assert (await office.ticket(1)).messages[0].record.truncated
    counts = await stores.content.read(office.held.account_id, edits.count_of_mailbox, office.held.mailbox_id)
    assert counts == ({} if after_import == "delete" else {"due": 1})
    again = replace(one, locator="2:1:INBOX")
    assert (await office.take_fetched([again], parser=UNDERSTANDS)).known == 1
    await office.check()
