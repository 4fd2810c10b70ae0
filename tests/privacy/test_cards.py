"""Card numbers are masked before anything is stored, where the account asks for it; the mail stays the same mail."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from connectors.base import RawMessage
from ingestd.desk import Desk
from ingestd.inbound.parser import ParserPool
from ingestd.inbound.replay import replay
from storage import accounts
from storage.errors import NotFound
from storage.messages import BLOB, ROWS
from storage.quarantine import QuarantineStatus
from storage.types import new_id
from tests.inbound.test_replay import UNDERSTANDS, quarantined
from tests.office import Office, mail
from tests.privacy.witness import forms
from tests.stores import Stores

NUMBER, MASKED = "4111 1111 1111 1111", "**** **** **** 1111"
PAID = mail(f"Paid with {NUMBER}", text=f"My card is {NUMBER}, until 12/27.")


async def mask(office: Office, *, on: bool = True) -> None:
    await office.stores.content.transaction(office.held.account_id, accounts.set_mask_cards, on)


async def everything(office: Office, number: int) -> bytes:
    """Return all that is stored of a ticket, unsealed."""
    view = await office.ticket(number)
    raws = [await office.desk.raw(office.held.account_id, one.row.message_id) for one in view.messages]
    return msgspec.json.encode([view.record, [one.record for one in view.messages]]) + b"".join(raws)


def holds(data: bytes, number: str = NUMBER) -> bool:
    return any(form in data for form in forms(number))


def _large(header: bytes) -> RawMessage:
    return RawMessage("7:1:INBOX", "INBOX", 10**8, datetime.now(UTC), None, header)


async def test_a_card_number_is_nowhere_and_everywhere_where_nobody_asked(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(PAID)
    assert holds(await everything(office, 1))
    assert not (await office.ticket(1)).messages[0].row.altered
    await mask(office)
    other = mail(f"Paid with {NUMBER}", message_id="<q2@example.org>", text=f"My card is {NUMBER}, until 12/27.")
    await office.take(other)
    stored = await everything(office, 2)
    assert not holds(stored)
    assert not holds(stored, NUMBER.replace(" ", ""))
    view = await office.ticket(2)
    assert view.record.subject == f"Paid with {MASKED}"
    (one,) = view.messages
    assert (one.row.altered, one.record.mail.text) == (True, f"My card is {MASKED}, until 12/27.")
    assert await office.desk.raw(office.held.account_id, one.row.message_id) == other.replace(
        NUMBER.encode(), MASKED.encode()
    )
    await office.check()


async def test_a_mail_without_one_is_stored_as_it_came(stores: Stores) -> None:
    office = await Office.open(stores)
    await mask(office)
    await office.take(mail())
    (one,) = (await office.ticket(1)).messages
    assert not one.row.altered
    assert await office.desk.raw(office.held.account_id, one.row.message_id) == mail()


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("message_id", ["Message-ID: <q1@example.org>\r\n", ""])
async def test_it_is_the_same_mail_whether_it_is_masked_or_not(stores: Stores, first: bool, message_id: str) -> None:
    office = await Office.open(stores)
    raw = PAID.replace(b"Message-ID: <q1@example.org>\r\n", message_id.encode())
    await mask(office, on=first)
    assert (await office.take(raw)).tickets == 1
    await mask(office, on=not first)
    again = await office.take(raw)
    assert (again.tickets, again.known) == (0, 1)
    await office.check()


async def test_two_mails_that_differ_in_their_number_alone_are_two(stores: Stores) -> None:
    office = await Office.open(stores)
    await mask(office)
    await office.take(PAID)
    other = PAID.replace(NUMBER.encode(), b"4012 0000 3333 1111")
    assert (await office.take(other)).known == 0
    await office.check()


async def test_a_real_parser_process_masks(stores: Stores) -> None:
    async with ParserPool() as pool:
        masked = await pool.transform(PAID, masked=True)
        plain = await pool.transform(PAID)
    assert (masked.mail.subject, plain.mail.subject) == (f"Paid with {MASKED}", f"Paid with {NUMBER}")
    assert masked.came is not None
    assert (masked.came.raw_sha256, masked.came.body_sha256) == (plain.raw_sha256, plain.mail.body_sha256)
    assert masked.raw_sha256 != plain.raw_sha256
    assert plain.came is None


@pytest.mark.parametrize("place", [ROWS, BLOB])
async def test_what_was_in_quarantine_is_masked_when_it_is_understood(stores: Stores, place: str) -> None:
    office = await Office.open(stores)
    if place == BLOB:
        office.desk = Desk(stores.content, stores.blobs, office.keys, blob_bytes_min=1)
    await mask(office)
    raw = PAID.replace(b"Subject: Paid", b"Subject: poison paid")
    await office.take(raw)
    (row,) = await quarantined(office)
    assert row.raw_place == place
    # Nobody could read it, and so nobody could mask it.
    assert holds(await office.desk.quarantined_raw(office.held.account_id, row.quarantine_id))
    assert (await replay(office.desk, office.context, UNDERSTANDS, row)).ticket_id is not None
    assert not holds(await everything(office, 1))
    (one,) = (await office.ticket(1)).messages
    assert (one.row.altered, one.row.message_id, one.row.raw_place) == (True, row.quarantine_id, ROWS)
    assert stores.blobs.count(office.held.account_id, office.held.mailbox_id) == 0
    assert [one.status for one in await quarantined(office, tuple(QuarantineStatus))] == [QuarantineStatus.TAKEN]
    again = await office.take(raw)
    assert (again.known, again.quarantined) == (1, [])
    await office.check()


async def test_of_a_mail_over_the_limit_the_subject_is_masked(stores: Stores) -> None:
    office = await Office.open(stores)
    await mask(office)
    header = PAID.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    await office.take_fetched([_large(header)])
    assert (await office.ticket(1)).record.subject == f"Paid with {MASKED}"
    assert (await office.take_fetched([_large(header)])).known == 1
    await mask(office, on=False)
    assert (await office.take_fetched([_large(header)])).known == 1
    await office.check()


async def test_what_an_agent_writes_is_sent_as_it_was_written(stores: Stores) -> None:
    office = await Office.open(stores)
    await mask(office)
    await office.take(PAID)
    await office.reply(1, f"We charged {NUMBER}.")
    reply = (await office.ticket(1)).messages[1]
    assert (reply.row.altered, NUMBER in reply.record.mail.text) == (False, True)
    await office.check()


async def test_no_such_account(stores: Stores) -> None:
    with pytest.raises(NotFound):
        await stores.content.transaction(new_id(), accounts.set_mask_cards, True)
    assert not await stores.content.read(new_id(), accounts.masks_cards)
