"""What arrives, and which ticket it belongs to; each test has a mailbox of its own in one running daemon."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import pytest
import pytest_asyncio

from storage.outbox import ReplyStatus
from tests.servers.postfix import DEFERRED
from tests.stores import sqlite_urls
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import Mail, bounce_of, header_of, mail
from tests.story.test_states import metric

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTACT_FORM = "form@shop.example.net"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("mail")
    async with open_house(
        folder, sqlite_urls(folder), servers, mailbox_defaults={"contact_forms": [CONTACT_FORM]}
    ) as house:
        await house.daemon.start()
        yield house
        assert await house.daemon.stop() == 0


@pytest_asyncio.fixture(loop_scope="module")
async def house(shared: House) -> AsyncIterator[House]:
    yield shared
    await shared.verify()


@pytest.fixture
def user(new_user: Callable[[], str]) -> str:
    return new_user()


async def marker(house: House, user: str, mailbox_id: UUID, count: int) -> list[str]:
    """Deliver one more mail and wait for it: what came before it has been read by then. Returns all subjects."""
    house.deliver(user, mail("last@customer.example.net", user, "The marker", "Nothing comes behind this one."))
    return [one.record.subject for one in await house.tickets(mailbox_id, count)]


def question(user: str, sender: str = "dora@customer.example.net", **more: object) -> Mail:
    return mail(sender, user, "A first question", "How does this work, please?", **more)  # type: ignore[arg-type]


# -- where reading starts ------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "days", "wanted"), [("now", 0, []), ("days", 3, [1]), ("everything", 0, [10, 1])])
async def test_the_first_reading_takes_what_was_asked_for(
    house: House, user: str, start: str, days: int, wanted: list[int]
) -> None:
    dovecot = house.servers.dovecot
    for age in (10, 1):
        house.deliver(user, mail("eve@customer.example.net", user, f"Mail of day {age}", "It is an old one."))
        backdate(house, user, age)
    mailbox_id = await house.linked(user, start_from=start, start_days=days)
    # Old mail comes in beside new mail, in an order of its own.
    subjects = await marker(house, user, mailbox_id, len(wanted) + 1)
    assert sorted(subjects) == sorted([*(f"Mail of day {age}" for age in wanted), "The marker"])
    assert len(dovecot.mails(user)) == 3


def backdate(house: House, user: str, days: int) -> None:
    """Give the newest mail an older arrival: Maildir keeps it as the file's time."""
    folder = house.servers.dovecot.home / "mail" / user
    newest = max(
        (path for part in ("new", "cur") for path in (folder / part).iterdir()), key=lambda p: p.stat().st_mtime
    )
    at = time.time() - days * 86_400
    os.utime(newest, (at, at))
    # The cache may know the arrival already.
    for path in folder.glob("dovecot.index*"):
        path.unlink()


# -- what is one message -------------------------------------------------------------------------


async def test_an_answer_joins_its_question_in_the_same_batch(house: House, user: str) -> None:
    asked = question(user)
    answer = mail("dora@customer.example.net", user, "Re: other", "One thing more.", in_reply_to=asked.message_id)
    for one in (asked, answer, mail("fred@customer.example.net", user, "A first question", "By somebody else.")):
        house.deliver(user, one)
        backdate(house, user, 1)  # what comes in the second of the linking may come as new mail, before the others
    mailbox_id = await house.linked(user, start_from="everything")
    first, second = await house.tickets(mailbox_id, 2)
    assert [len(one.messages) for one in (first, second)] == [2, 1]
    assert first.messages[1].record.evidence[:2] == ("known id", "sender requester")


async def test_a_mail_moved_out_and_back_is_the_same_mail(house: House, user: str) -> None:
    mailbox_id = await house.linked(user)
    house.deliver(user, question(user))
    await house.tickets(mailbox_id, 1)
    dovecot = house.servers.dovecot
    dovecot.doveadm("move", "-u", user, "Trash", "mailbox", "INBOX", "all")
    dovecot.doveadm("move", "-u", user, "INBOX", "mailbox", "Trash", "all")
    assert len(await marker(house, user, mailbox_id, 2)) == 2


async def test_two_mails_that_share_a_message_id_are_two(house: House, user: str) -> None:
    mailbox_id = await house.linked(user)
    for body in ("The first of the two.", "The other one, quite different."):
        house.deliver(
            user, mail("gina@customer.example.net", user, "Same id", body, message_id="<same@customer.example.net>")
        )
    tickets = await house.tickets(mailbox_id, 2)
    texts = {message.record.mail.text.strip() for one in tickets for message in one.messages}
    assert texts == {"The first of the two.", "The other one, quite different."}


async def test_another_uidvalidity_doubles_and_loses_nothing(house: House, user: str) -> None:
    mailbox_id = await house.linked(user)
    for number in range(3):
        house.deliver(user, mail("hugo@customer.example.net", user, f"Request number {number}", "Please do it."))
    await house.tickets(mailbox_id, 3)
    house.servers.dovecot.kick(user)
    house.servers.dovecot.reset_uidvalidity(user)
    subjects = await marker(house, user, mailbox_id, 4)
    assert sorted(subjects) == ["Request number 0", "Request number 1", "Request number 2", "The marker"]


# -- who asks, who answers -----------------------------------------------------------------------


async def test_a_reply_goes_out_from_the_alias_that_was_written_to(
    house: House, user: str, new_user: Callable[[], str]
) -> None:
    customer, alias = new_user(), f"sales.{user}"
    mailbox_id = await house.linked(user, addresses=(alias,), name="The shop")
    house.deliver(user, mail(customer, alias, "To the alias", "Do you sell this?"))
    (ticket,) = await house.tickets(mailbox_id)
    reply = await house.reply(ticket.ticket.number, "Yes, we do sell it.")
    await house.reply_at(ticket.ticket.number, reply, "copy:filed")
    (arrived,) = await house.received(customer)
    assert header_of(arrived, "From").endswith(f"<{alias}>")
    assert header_of(arrived, "Return-Path") in {"", f"<{alias}>"}


async def test_a_card_number_is_stored_nowhere_where_the_account_asks_for_it(house: House, user: str) -> None:
    number, masked = "4111 1111 1111 1111", "**** **** **** 1111"
    mailbox_id = await house.linked(user)
    asked = mail("rita@customer.example.net", user, f"Paid with {number}", f"Mine is {number}.")
    try:
        await set_masking(house, "--mask-cards")
        house.deliver(user, asked)
        (first,) = await house.tickets(mailbox_id)
    finally:
        await set_masking(house, "--no-mask-cards")
    house.deliver(user, mail("rita@customer.example.net", user, "Again", f"Mine is {number}."))
    second = (await house.tickets(mailbox_id, 2))[1]
    assert second.record.subject == "Again"
    assert (first.record.subject, first.messages[0].row.altered) == (f"Paid with {masked}", True)
    for ticket, found in ((first, False), (second, True)):
        (one,) = ticket.messages
        raw = await house.store.desk.raw(house.account_id, one.row.message_id)
        assert (number.encode() in raw, number in one.record.mail.text, one.row.altered) == (found, found, not found)
    assert await house.store.desk.raw(house.account_id, first.messages[0].row.message_id) != asked.raw


async def set_masking(house: House, option: str) -> None:
    async with house.daemon.command("account", "set", house.account_id, option) as command:
        assert (await command.communicate())[0] == b"set\n"


async def test_a_contact_form_writes_for_its_visitor(house: House, user: str) -> None:
    mailbox_id = await house.linked(user)
    visitor = "ines@customer.example.net"
    house.words.add(visitor)
    house.deliver(user, mail(CONTACT_FORM, user, "By the form", "I am a visitor.", extra=[f"Reply-To: {visitor}"]))
    house.deliver(user, mail("x@customer.example.net", user, "No form", "I am not.", extra=[f"Reply-To: {visitor}"]))
    first, second = await house.tickets(mailbox_id, 2)
    assert first.record.requester.addr == visitor
    assert second.record.requester.addr == "x@customer.example.net"


async def test_our_own_mail_that_comes_back_is_recognised(house: House, user: str, new_user: Callable[[], str]) -> None:
    mailbox_id = await house.linked(user)
    number, arrived = await answered(house, user, mailbox_id, new_user())
    # As a list sends it back: the same Message-ID, another body.
    house.servers.dovecot.deliver(user, arrived + b"-- \r\nthe list\r\n")
    view = await house.ticket(number, messages=3)
    assert view.messages[-1].row.kind == "own"
    # As an alias delivers it back: byte for byte the reply itself.
    house.servers.dovecot.deliver(user, arrived)
    assert len(await marker(house, user, mailbox_id, 2)) == 2
    await house.ticket(number, messages=3)


async def answered(house: House, user: str, mailbox_id: UUID, customer: str) -> tuple[int, bytes]:
    """A customer asks and gets a reply; return the ticket's number and the reply as it arrived."""
    house.deliver(user, question(user, customer))
    (ticket,) = await house.tickets(mailbox_id)
    number = ticket.ticket.number
    reply = await house.reply(number, "This is how it works.")
    await house.reply_at(number, reply, "copy:filed")
    (arrived,) = await house.received(customer)
    return number, arrived


async def test_a_forged_reference_opens_a_ticket_of_its_own(
    house: House, user: str, new_user: Callable[[], str]
) -> None:
    mailbox_id = await house.linked(user)
    asked = question(user)
    house.deliver(user, asked)
    (ticket,) = await house.tickets(mailbox_id)
    stranger = mail("mallory@evil.example.net", user, "Re: A first question", "Show me!", in_reply_to=asked.message_id)
    house.deliver(user, stranger)
    first, second = await house.tickets(mailbox_id, 2)
    assert len(first.messages) == 1
    assert second.ticket.suspected_ticket_id == ticket.ticket.ticket_id


async def test_a_verified_token_joins_also_a_stranger(house: House, user: str, new_user: Callable[[], str]) -> None:
    mailbox_id = await house.linked(user)
    number, arrived = await answered(house, user, mailbox_id, new_user())
    token = header_of(arrived, "Message-ID")
    house.deliver(user, mail("colleague@customer.example.net", user, "Fwd", "I am the colleague.", in_reply_to=token))
    view = await house.ticket(number, messages=3)
    assert view.messages[-1].record.evidence[:2] == ("token verified", "sender stranger")
    forged = token.replace(token[1:9], "aaaaaaaa")
    house.deliver(user, mail("mallory@evil.example.net", user, "Re", "I guess it.", in_reply_to=forged))
    assert len(await house.tickets(mailbox_id, 2)) == 2
    await house.ticket(number, messages=3)


# -- what comes back -----------------------------------------------------------------------------


async def test_a_bounce_marks_the_reply_and_a_forged_one_does_not(
    house: House, user: str, new_user: Callable[[], str]
) -> None:
    # The daemon is that of the other tests, too.
    counted = {status: f'ingestd_replies_total{{status="{status}"}}' for status in ("bounced", "sending")}
    before = {status: await metric(house, name) for status, name in counted.items()}
    logged_before = len(house.daemon.log_text())
    customer = new_user()
    mailbox_id = await house.linked(user)
    number, arrived = await answered(house, user, mailbox_id, customer)
    reply = (await house.ticket(number, messages=2)).messages[1].row.message_id
    token = header_of(arrived, "Message-ID")[1:53]
    forged = arrived.replace(token.encode(), token[:40].encode() + b"a" * 12)
    house.deliver(user, bounce_of(forged, customer, user))
    await house.tickets(mailbox_id, 2)
    assert (await house.reply_at(number, reply, "copy:filed")).reply.reply.status is ReplyStatus.SENT  # type: ignore[union-attr]
    house.deliver(user, bounce_of(arrived, customer, user))
    await house.reply_at(number, reply, "bounced")
    view = await house.ticket(number, messages=3)
    assert view.messages[-1].row.kind == "bounce"
    assert [one.type for one in await house.events() if one.message_id == reply][-1] == "reply.bounced"
    (logged,) = await house.daemon.wait_log("reply.bounced", after=logged_before)
    assert (logged["mailbox_id"], logged["message_id"]) == (str(mailbox_id), str(reply))
    after = {status: await metric(house, name) for status, name in counted.items()}
    assert {status: after[status] - before[status] for status in counted} == {"bounced": 1, "sending": 1}


async def test_a_reply_that_is_refused_fails_and_one_that_is_deferred_waits(house: House, user: str) -> None:
    mailbox_id = await house.linked(user)
    nobody = "nobody.here@example.com"
    house.deliver(user, mail(nobody, user, "From nowhere", "You cannot answer me."))
    house.deliver(user, mail(DEFERRED, user, "Not now", "Answer me later."))
    refused, deferred = await house.tickets(mailbox_id, 2)
    first = await house.reply(refused.ticket.number, "We try it all the same.")
    second = await house.reply(deferred.ticket.number, "We are patient people.")
    view = await house.reply_at(refused.ticket.number, first, "failed")
    assert view.reply is not None
    assert (view.reply.reply.reason, view.reply.attempts[0].code) == ("refused_at_rcpt", 550)

    async def retried() -> bool:
        one = await house.reply_at(deferred.ticket.number, second, "deferred", "sending")
        return one.reply is not None and len(one.reply.attempts) >= 2

    await until(retried, "second attempt")
    while (done := await house.daemon.run_cli("reply", "cancel", second)).status != 0:
        assert "is being sent right now" in done.err  # caught in the middle of an attempt
    await house.reply_at(deferred.ticket.number, second, "cancelled")
