"""What a batch becomes: tickets, joins, suspicions, the quarantine, and nothing twice."""

from __future__ import annotations

import asyncio
import base64
import random

import pytest

from ingestd.mail.types import Kind
from storage import mailboxes, tickets
from storage.errors import CursorMoved, FenceLost
from tests.office import Office, mail
from tests.stores import Stores


async def test_a_mail_becomes_a_ticket(stores: Stores) -> None:
    office = await Office.open(stores)
    committed = await office.take(mail(sender="Анна <anna@example.org>"))
    assert (committed.tickets, committed.kinds) == (1, [Kind.CUSTOMER])
    view = await office.ticket(1)
    assert (view.record.subject, view.record.requester.addr, view.record.requester.name) == (
        "Printer",
        "anna@example.org",
        "Анна",
    )
    assert await office.event_types() == ["ticket.created", "message.received"]
    await office.check()


async def test_the_same_mail_again_is_known(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    again = await office.take(mail(), mail())
    assert (again.tickets, again.known, list(again.kinds)) == (0, 1, [])
    await office.check()


async def test_two_mails_that_share_a_message_id_are_two(stores: Stores) -> None:
    office = await Office.open(stores)
    committed = await office.take(mail(text="one"), mail(text="two"))
    assert committed.tickets == 2
    await office.check()


async def test_a_mail_without_a_message_id_is_its_bytes(stores: Stores) -> None:
    office = await Office.open(stores)
    bare = mail().replace(b"Message-ID: <q1@example.org>\r\n", b"")
    assert (await office.take(bare)).tickets == 1
    assert (await office.take(bare)).known == 1
    await office.check()


async def test_an_answer_joins_by_our_token(stores: Stores) -> None:
    """Also one by a stranger to whom our reply was forwarded: the agent is told."""
    office = await Office.open(stores)
    await office.take(mail())
    await office.reply(1)
    ours = (await office.ticket(1)).messages[-1].record.mail.message_id
    await office.take(
        mail("Re: Printer", message_id="<a1@example.org>", headers=f"In-Reply-To: {ours}\r\n"),
        mail("x", sender="bob@example.net", message_id="<b1@example.net>", headers=f"References: {ours}\r\n"),
    )
    view = await office.ticket(1)
    assert [one.row.direction for one in view.messages] == ["in", "out", "in", "in"]
    assert "token verified" in view.messages[2].record.evidence
    assert "stranger" in view.messages[3].record.evidence
    await office.check()


async def test_a_question_and_its_answer_in_one_batch(stores: Stores) -> None:
    office = await Office.open(stores)
    follow = mail(message_id="<q2@example.org>", headers="In-Reply-To: <q1@example.org>\r\n", text="Still not.")
    committed = await office.take(mail(), follow)
    assert committed.tickets == 1
    assert len((await office.ticket(1)).messages) == 2
    await office.check()


async def test_a_strangers_reference_is_only_a_suspicion(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    forged = mail(
        "Re: Printer",
        sender="eve@example.net",
        message_id="<e1@example.net>",
        headers="In-Reply-To: <q1@example.org>\r\n",
    )
    await office.take(forged)
    first, second = await office.ticket(1), await office.ticket(2)
    assert len(first.messages) == 1
    assert second.ticket.suspected_ticket_id == first.ticket.ticket_id
    await office.check()


@pytest.mark.parametrize(("automatic", "status"), [(False, "open"), (True, "closed")])
async def test_only_a_person_reopens(stores: Stores, automatic: bool, status: str) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    ticket = (await office.ticket(1)).ticket
    await stores.content.transaction(ticket.account_id, tickets.touch_ticket, ticket.ticket_id, status="closed")
    extra = "Auto-Submitted: auto-replied\r\n" if automatic else ""
    await office.take(mail(message_id="<q2@example.org>", headers=f"{extra}In-Reply-To: <q1@example.org>\r\n"))
    view = await office.ticket(1)
    assert (view.ticket.status, len(view.messages)) == (status, 2)
    assert ("ticket.reopened" in await office.event_types()) is (not automatic)
    await office.check()


async def test_a_contact_form_writes_for_its_reply_to(stores: Stores) -> None:
    office = await Office.open(stores, contact_forms=["form@example.com"])
    await office.take(mail(sender="form@example.com", headers="Reply-To: Kenji <kenji@example.net>\r\n"))
    await office.take(
        mail(sender="support@example.com", message_id="<own@x.example>", headers="Reply-To: mia@example.net\r\n")
    )
    await office.take(mail(message_id="<other@x.example>", headers="Reply-To: elsewhere@example.net\r\n"))
    requesters = [(await office.ticket(number)).record.requester.addr for number in (1, 2, 3)]
    assert requesters == ["kenji@example.net", "mia@example.net", "anna@example.org"]
    await office.check()


async def test_a_reply_goes_out_from_the_address_that_was_written_to(stores: Stores) -> None:
    office = await Office.open(stores, aliases=["sales@example.com"])
    await office.take(mail().replace(b"To: support@example.com", b"To: Sales <SALES@example.com>"))
    await office.reply(1)
    sent = (await office.ticket(1)).messages[-1].record.mail
    assert sent.from_[0].addr == "sales@example.com"
    assert sent.message_id.endswith("@example.com>")
    await office.check()


async def test_our_own_reply_that_comes_back_is_known(stores: Stores) -> None:
    """Byte for byte it is the message that we have; changed on its way it is recognised by its token."""
    office = await Office.open(stores)
    await office.take(mail())
    created = await office.reply(1)
    raw = await office.desk.raw(office.held.account_id, created.message_id)
    assert (await office.take(raw)).known == 1
    changed = await office.take(raw + b"-- \r\na list's footer\r\n")
    assert (changed.tickets, list(changed.kinds)) == (0, [Kind.OWN])
    await office.check()


async def test_what_cannot_be_understood_is_quarantined_with_its_bytes(stores: Stores) -> None:
    office = await Office.open(stores)
    committed = await office.take(mail("poison"), mail(message_id="<q2@example.org>"))
    assert (list(committed.quarantined), committed.tickets) == (["timeout"], 1)
    assert (await office.take(mail("poison"))).known == 1
    await office.check()


async def test_a_large_mail_goes_to_the_blobs_and_comes_back_whole(stores: Stores) -> None:
    office = await Office.open(stores)
    noise = base64.encodebytes(random.Random(1).randbytes(2_500_000)).decode()  # does not compress
    large = mail(text=noise.replace("\n", "\r\n"))
    await office.take(large)
    row = (await office.ticket(1)).messages[0].row
    assert row.raw_place == "blob"
    assert await office.desk.raw(office.held.account_id, row.message_id) == large
    await office.check()


async def test_who_lost_the_mailbox_cannot_write(stores: Stores) -> None:
    office = await Office.open(stores)
    with pytest.raises(FenceLost):
        await office.take(mail(), fence=office.held.fence - 1)
    await stores.content.transaction(office.held.account_id, mailboxes.start_disconnect, office.held.mailbox_id)
    with pytest.raises(FenceLost):
        await office.take(mail())
    assert await office.event_types() == []


async def test_two_commits_from_the_same_cursor_are_one(stores: Stores) -> None:
    office = await Office.open(stores)
    results = await asyncio.gather(
        office.take(mail()), office.take(mail(message_id="<q2@example.org>")), return_exceptions=True
    )
    failed = [one for one in results if isinstance(one, BaseException)]
    assert [type(one) for one in failed] in ([CursorMoved], [])
    await office.check()
