"""Answers to the reply address of a ticket: joined by its token alone, and by no forgery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, update

from ingestd.inbound.senders import is_own_address, requester_of
from ingestd.mail.parse import parse
from ingestd.mail.reply_address import split_token, ticket_token, with_token
from ingestd.records import MailboxRecord
from ingestd.ticketing import set_status
from storage.tables import tickets
from tests.office import Office, mail
from tests.stores import Stores, sqlite_urls

PLUS = {"reply_token": "plus"}
EVE = "eve@evil.example"


@pytest.fixture
async def light(tmp_path: Path) -> AsyncIterator[Stores]:
    """SQLite alone, where what is tested is not the database's."""
    stores = await Stores.open(sqlite_urls(tmp_path))
    yield stores
    await stores.close()


async def reply_address(office: Office, number: int = 1) -> str:
    """Reply to a ticket; return where its answers go."""
    created = await office.reply(number)
    raw = await office.desk.raw(office.held.account_id, created.message_id)
    return str(message_from_bytes(raw, policy=policy.default)["reply-to"].addresses[0].addr_spec)


def answer(address: str, name: str, *, field: str = "To", sender: str = "anna@example.org") -> bytes:
    """Return a mail without any reference, that was sent to `address`."""
    raw = mail("Something else", sender=sender, message_id=f"<{name}@example.org>", text=f"This is {name}.")
    if field == "To":
        return raw.replace(b"To: support@example.com", f"To: Support <{address}>".encode())
    return raw.replace(b"Subject:", f"{field}: {address}\r\nSubject:".encode())


async def evidence(office: Office, number: int = 1) -> tuple[str, ...]:
    return (await office.ticket(number)).messages[-1].record.evidence


async def test_an_answer_without_references_joins_by_the_address_alone(stores: Stores) -> None:
    office = await Office.open(stores, mailbox=PLUS)
    await office.take(mail(), mail("Scanner", message_id="<s1@x>"))
    address = await reply_address(office)
    assert split_token(address)[0] == "support@example.com"
    assert len(address.partition("@")[0]) <= 64
    await stores.content.transaction(office.held.account_id, set_status, 1, "closed")
    fields = ("To", "Cc", "Delivered-To", "X-Original-To", "Envelope-To")
    for number, field in enumerate(fields):
        shown = address.upper() if field == "Delivered-To" else address
        committed = await office.take(answer(shown, f"a{number}", field=field))
        assert committed.tickets == 0
        assert (await evidence(office))[:2] == ("reply address token", "sender requester")
    view = await office.ticket(1)
    assert (view.ticket.status, len(view.messages)) == ("open", 2 + len(fields))
    await office.check()


async def test_a_stranger_who_shows_it_is_marked_as_one(light: Stores) -> None:
    office = await Office.open(light, mailbox=PLUS, authserv_ids=["mx.example.com"])
    await office.take(mail())
    await office.take(answer(await reply_address(office), "e", sender=EVE))
    assert await evidence(office) == ("reply address token", "sender stranger", "auth absent", "stranger")


async def test_a_forged_token_changes_nothing(stores: Stores) -> None:
    office = await Office.open(stores, mailbox=PLUS)
    other = await Office.open(stores, mailbox=PLUS, beside=office)
    await office.take(mail(), mail("Scanner", message_id="<s1@x>"))
    await other.take(mail())
    address = await reply_address(office, 1)
    base, token = split_token(address)
    third = await reply_address(other, 3)
    second = split_token(await reply_address(office, 2))[1]
    ticket_id = (await office.ticket(1)).ticket.ticket_id
    forged = [
        token[:-1] + ("a" if token[-1] != "a" else "e"),
        second[:8] + token[8:],  # the second ticket's number, the first one's proof
        ticket_token(b"another key", 1, ticket_id.bytes),
        ticket_token(b"another key", 1 << 39, ticket_id.bytes),
        split_token(third)[1],  # of another mailbox of the account
        "a" * 26,
        "7" * 26,
    ]
    for number, one in enumerate(forged):
        shown = with_token(base, one)
        assert shown is not None
        committed = await office.take(answer(shown, f"f{number}", sender=EVE))
        assert committed.tickets == 1
        assert await evidence(office, 4 + number) == ("no reference",)
    assert len((await office.ticket(1)).messages) == 2
    await office.check()


async def test_forged_tokens_before_it_hide_the_true_one_only_from_their_writer(light: Stores) -> None:
    office = await Office.open(light, mailbox=PLUS)
    await office.take(mail())
    address = await reply_address(office)
    forged = ", ".join(f"support+{char * 26}@example.com" for char in "abcdefgh")
    await office.take(answer(f"{forged}, {address}", "c", field="Cc"))
    assert await evidence(office, 2) == ("no reference",)
    # Where the mail was delivered to, the server says, and it counts first.
    await office.take(answer(forged, "d", field=f"Delivered-To: {address}\r\nCc"))
    assert (await evidence(office))[0] == "reply address token"


async def test_the_message_that_is_answered_counts_before_the_address(light: Stores) -> None:
    office = await Office.open(light, mailbox=PLUS)
    await office.take(mail(), mail("Scanner", message_id="<s1@x>"))
    address = await reply_address(office, 1)
    created = await office.reply(2)
    message_id = parse(await office.desk.raw(office.held.account_id, created.message_id)).message_id
    await office.take(answer(address, "both", field=f"In-Reply-To: {message_id}\r\nCc"))
    assert (await evidence(office, 2))[0] == "token verified"


@pytest.mark.parametrize("mailbox", [{}, {"reply_token": "off"}])
async def test_by_default_there_is_no_token_and_none_is_believed(light: Stores, mailbox: dict[str, Any]) -> None:
    office = await Office.open(light, mailbox=mailbox)
    await office.take(mail())
    created = await office.reply(1)
    assert b"\nReply-To:" not in await office.desk.raw(office.held.account_id, created.message_id)
    ticket = (await office.ticket(1)).ticket
    token = ticket_token(office.context.key.subkey("reply-address hmac"), 1, ticket.ticket_id.bytes)
    await office.take(answer(f"support+{token}@example.com", "a"))
    assert await evidence(office, 2) == ("no reference",)


async def test_a_reply_to_that_is_too_long_for_a_token_has_none(light: Stores) -> None:
    long = f"{'h' * 40}@example.com"
    office = await Office.open(light, mailbox={**PLUS, "reply_to": long})
    await office.take(mail())
    assert await reply_address(office) == long


async def test_the_next_reply_comes_from_the_address_without_the_token(light: Stores) -> None:
    office = await Office.open(light, aliases=["sales@example.com"], mailbox=PLUS)
    await office.take(mail())
    address = await reply_address(office)
    await office.take(answer(address.replace("support", "sales"), "a"))
    created = await office.reply(1)
    found = parse(await office.desk.raw(office.held.account_id, created.message_id))
    assert (found.from_[0].addr, split_token(found.reply_to[0].addr)[0]) == ("sales@example.com", "support@example.com")


async def test_mail_from_the_address_is_our_own(light: Stores) -> None:
    office = await Office.open(light, mailbox=PLUS)
    await office.take(mail())
    address = await reply_address(office)
    assert is_own_address(office.context, address)
    own = parse(mail(sender=address, headers="Reply-To: bob@example.net\r\n"))
    assert requester_of(office.context, own).addr == "bob@example.net"
    # Our reply, come back through a list that took its headers: known by its own header, and no loop.
    created = await office.reply(1)
    raw = await office.desk.raw(office.held.account_id, created.message_id)
    lines = [one for one in raw.split(b"\r\n") if not one.startswith(b"Message-ID:")]
    back = b"\r\n".join(lines).replace(b"From: support@example.com", f"From: {address}".encode())
    committed = await office.take(b"Message-ID: <list@x>\r\n" + back)
    assert [one.value for one in committed.kinds] == ["own"]


async def test_a_number_that_is_given_a_second_time_is_another_ticket(light: Stores) -> None:
    """A content database that was restored gives numbers again: the proof is over the ticket's id."""
    office = await Office.open(light, mailbox=PLUS)
    await office.take(mail())
    address = await reply_address(office)
    await office.take(mail("Scanner", message_id="<s1@x>"))
    await light.content.transaction(office.held.account_id, _swap_numbers)
    await office.take(answer(address, "a"))
    assert await evidence(office, 3) == ("no reference",)


def _swap_numbers(conn: Connection, account_id: object) -> None:
    for was, then in ((1, 99), (2, 1), (99, 2)):
        conn.execute(update(tickets).where(tickets.c.number == was).values(number=then))


def test_old_records_have_no_token() -> None:
    record = MailboxRecord("support@example.com", "1", "https://login.example.com", "support@example.com")
    assert (record.reply_token, record.reply_to, record.signature) == ("off", "", "")
    assert record.own_address_of("Support+aaaaaaaaaaaaaaaaaaaaaaaaaa@example.com") == "support@example.com"
    assert record.own_address_of("support+news@example.com") is None
