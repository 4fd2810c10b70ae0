"""Mail over the size limit, of which only the header is taken: one message, whatever the limit was before."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from connectors.base import RawMessage
from ingestd.inbound.identity import header_key
from ingestd.inbound.replay import replay
from ingestd.mail.transform import Transformed
from ingestd.records import EditRecord
from storage import edits, quarantine
from storage.tables import messages
from tests.office import HereParser, Office, mail
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long

WHEN = datetime(2026, 11, 1, 12, tzinfo=UTC)


def whole(raw: bytes, uid: int = 7, provider_id: str | None = None) -> RawMessage:
    header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return RawMessage(f"1:{uid}:INBOX", "INBOX", len(raw), WHEN, raw, header, provider_id)


def in_part(raw: bytes, uid: int = 8, *, size_bytes: int | None = None, provider_id: str | None = None) -> RawMessage:
    """As `whole`, under a lower limit."""
    header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return RawMessage(f"2:{uid}:INBOX", "INBOX", size_bytes or len(raw), WHEN, None, header, provider_id)


@pytest.mark.parametrize("message_id", ["<q1@example.org>", ""])
@pytest.mark.parametrize("provider_id", [None, "M1"])
@pytest.mark.parametrize("order", ["lowered", "raised", "estimated"])
async def test_another_limit_makes_no_second_message(
    stores: Stores, order: str, provider_id: str | None, message_id: str
) -> None:
    """A server without ids of its own numbers its messages anew, after the limit was changed."""
    office = await Office.open(stores, after_import="seen")
    raw = mail(message_id=message_id).replace(b"Message-ID: \r\n", b"")
    readings = {
        "lowered": [whole(raw, provider_id=provider_id), in_part(raw, provider_id=provider_id)],
        "raised": [in_part(raw, provider_id=provider_id), whole(raw, provider_id=provider_id)],
        "estimated": [
            in_part(raw, provider_id=provider_id, size_bytes=10**8),
            in_part(raw, provider_id=provider_id, size_bytes=10**8 + 5),
        ],
    }[order]
    first = await office.take_fetched(readings[:1])
    assert (len(first.kinds), first.known) == (1, 0)
    again = await office.take_fetched(readings[1:])
    assert (len(again.kinds), again.known) == (0, 1)
    (message,) = (await office.ticket(1)).messages
    assert message.record.locator == readings[1].locator
    due, _ = await stores.content.read(office.held.account_id, edits.list_due, office.held.mailbox_id, limit=9)
    places = [office.context.key.open_record(EditRecord.place(one.edit_id), one.sealed, EditRecord) for one in due]
    assert [place.locator for place in places] == [readings[1].locator]
    await office.check()


async def test_whole_messages_with_one_header_are_as_many_as_their_bodies(stores: Stores) -> None:
    office = await Office.open(stores)
    first, second = mail(text="One."), mail(text="Two.")
    await office.take_fetched([whole(first)])
    assert len((await office.take_fetched([whole(second)])).kinds) == 1
    # Also beside one that is known by that header.
    third = mail(text="Three.")
    taken = await office.take_fetched([in_part(first), whole(third, 9)])
    assert (len(taken.kinds), taken.known) == (1, 1)
    await office.check()


async def test_large_mails_with_other_headers_are_two(stores: Stores) -> None:
    office = await Office.open(stores)
    one, other = mail(headers="Received: by a; 1 Nov\r\n"), mail(headers="Received: by a; 2 Nov\r\n")
    assert len((await office.take_fetched([in_part(one), in_part(other)])).kinds) == 2
    await office.check()


@pytest.mark.parametrize("lowered", [True, False])
async def test_what_is_in_quarantine_is_known_under_another_limit(stores: Stores, lowered: bool) -> None:
    office = await Office.open(stores)
    raw = mail("poison")
    readings = [whole(raw), in_part(raw)] if lowered else [in_part(raw), whole(raw)]
    await office.take_fetched(readings[:1])
    again = await office.take_fetched(readings[1:])
    assert (list(again.quarantined), list(again.kinds), again.known) == ([], [], 1)
    (row,) = await stores.content.read(office.held.account_id, quarantine.list_quarantined)

    class Mended(HereParser):
        async def transform(
            self, raw: bytes, *, live: bool = True, masked: bool = False, owner: Hashable = None
        ) -> Transformed:
            return await super().transform(raw.replace(b"Subject: poison", b"Subject: mended"), live=live)

    replayed = await replay(office.desk, office.context, Mended(), row)  # type: ignore[arg-type]
    assert replayed.ticket_id is not None
    again = await office.take_fetched(readings[1:])
    assert (list(again.quarantined), list(again.kinds), again.known) == ([], [], 1)
    await office.check()


async def test_what_an_earlier_version_took_in_part_is_known(stores: Stores) -> None:
    """It knew such a message by its Message-ID and its size."""
    office = await Office.open(stores)
    raw = mail()
    await office.take_fetched([in_part(raw)])
    was = office.context.key.hash("identity", b"message\x00<q1@example.org>\x00size %d" % len(raw))

    def as_before(conn: Connection, _account_id: UUID) -> None:
        conn.execute(update(messages).values(identity_key=was))

    await stores.content.transaction(office.held.account_id, as_before)
    assert (await office.take_fetched([in_part(raw)])).known == 1


async def test_how_lines_end_says_nothing(stores: Stores) -> None:
    key = (await Office.open(stores)).context.key
    assert header_key(key, b"A: 1\r\nB: 2\r\n\r\n") == header_key(key, b"A: 1\nB: 2\n")
    assert header_key(key, b"A: 1\r\n\r\n") != header_key(key, b"A: 2\r\n\r\n")
    assert header_key(key, b"\r\n") is None
