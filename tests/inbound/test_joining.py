"""Which ticket a message joins: evidence by evidence, on real databases."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Hashable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import Connection, Engine, event, func, select, update

from config import Outbound
from connectors.base import RawMessage
from ingestd.inbound.identity import thread_key
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.rules import Rules
from ingestd.inbound.senders import authentication, offered_requester
from ingestd.mail.parse import parse
from ingestd.mail.thread import Authentication
from ingestd.mail.transform import Transformed
from ingestd.mail.types import Address, Kind
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.privacy.requests import request_disconnect
from ingestd.records import MailboxRecord
from ingestd.relations import Relation
from ingestd.ticketing import set_status
from storage import backfills, messages, outbox, threads, tickets
from storage.database import now
from storage.outbox import ReplyStatus
from storage.sealing import DataKey
from storage.tables import thread_keys
from storage.tables import tickets as tickets_table
from storage.types import new_id
from tests.office import HereParser, Office, mail
from tests.plans import plans
from tests.stores import Stores, sqlite_urls
from tests.story.mails import bounce_of

ANNA, BOB, EVE = "anna@example.org", "bob@example.net", "eve@evil.example"
PROVED = "Authentication-Results: mx.example.com; dmarc=pass header.from=example.org\r\n"
TO_FIRST = "In-Reply-To: <q1@example.org>\r\n"


@pytest.fixture
async def light(tmp_path: Path) -> AsyncIterator[Stores]:
    """SQLite alone, where what is tested is not the database's."""
    stores = await Stores.open(sqlite_urls(tmp_path))
    yield stores
    await stores.close()


def letter(name: str, headers: str = "", *, sender: str = ANNA) -> bytes:
    """Return the mail <name@example.org>."""
    return mail(name, sender=sender, message_id=f"<{name}@example.org>", headers=headers, text=f"This is {name}.")


async def threads_of(office: Office) -> list[list[str]]:
    """Return the subjects in each ticket of the office's mailbox, in the order of their numbers."""
    found = await office.desk.tickets(office.held.account_id, mailbox_id=office.held.mailbox_id)
    views = [await office.ticket(one.ticket.number) for one in found]
    return [[one.record.mail.subject for one in view.messages if one.row.direction == "in"] for view in views]


async def related(office: Office, number: int) -> list[tuple[Relation, int]]:
    return [(one.relation, one.ticket.number) for one in (await office.ticket(number)).related]


# -- the sender's standing, and who proves him -----------------------------------------------------


async def test_only_whom_the_provider_proves_joins_by_an_id_that_anybody_could_write(stores: Stores) -> None:
    office = await Office.open(stores, authserv_ids=["mx.example.com"])
    unproved = (
        "",
        "Authentication-Results: mx.example.com; dmarc=none; spf=pass smtp.mailfrom=evil.example\r\n",
        "Authentication-Results: mx.example.com; dmarc=fail header.from=example.org\r\n",
        "Authentication-Results: mx.evil.example; dmarc=pass header.from=example.org\r\n",
        # What the sender wrote lies below what the provider did.
        "Authentication-Results: mx.example.com; dmarc=none\r\n" + PROVED,
        PROVED + "From: Anna <anna@example.org>\r\n",
    )
    forged = [letter(f"f{number}", one + TO_FIRST) for number, one in enumerate(unproved)]
    await office.take(letter("q1", PROVED), *forged, letter("q2", PROVED + TO_FIRST))
    await office.take(letter("e1", PROVED.replace("example.org", "evil.example") + TO_FIRST, sender=EVE))
    assert await threads_of(office) == [["q1", "q2"], *([f"f{number}"] for number in range(len(unproved))), ["e1"]]
    assert [await related(office, number) for number in range(2, 9)] == [[(Relation.SUSPECTED, 1)]] * 7
    await office.check()


async def test_a_mail_without_a_sender_is_not_that_of_the_last_nobody(light: Stores) -> None:
    office = await Office.open(light)
    nobody = [one.replace(b"From: anna@example.org\r\n", b"") for one in (letter("q1"), letter("q2", TO_FIRST))]
    await office.take(*nobody)
    assert await threads_of(office) == [["q1"], ["q2"]]
    assert await related(office, 2) == [(Relation.SUSPECTED, 1)]


@pytest.mark.parametrize(
    ("authors", "verdict"), [("anna@example.org", "pass"), ("anna@example.org, eve@evil.example", "none")]
)
def test_a_verdict_about_several_authors_proves_none(authors: str, verdict: str) -> None:
    context = context_of(Rules())
    found = parse(f"{PROVED}From: {authors}\r\n\r\nx".encode())
    assert authentication(context, found) is Authentication(verdict)


async def test_an_id_that_the_provider_gave_to_our_reply_is_known_to_whom_it_reached(stores: Stores) -> None:
    office = await Office.open(stores, authserv_ids=["mx.example.com"])
    await office.take(letter("q1", PROVED))
    created = await office.reply(1)
    account_id, mailbox_id = office.held.account_id, office.held.mailbox_id
    key = thread_key(office.context.key, "<given@provider.example>")
    await stores.content.transaction(account_id, threads.add_thread_key, mailbox_id, created.message_id, key)
    sent = await office.desk.raw(account_id, created.message_id)
    renamed = _renamed(sent)
    named = "References: <q1@example.org> <given@provider.example> <q2@example.org>\r\n"
    committed = await office.take(
        letter("q2", "In-Reply-To: <given@provider.example>\r\n"),
        letter("q3", named),  # an answer to her own mail, unproved as that was
        letter("e1", "In-Reply-To: <given@provider.example>\r\n", sender=EVE),
        renamed,
        bounce_of(_bare(renamed), ANNA, "support@example.com").raw,
    )
    assert list(committed.kinds) == [Kind.CUSTOMER, Kind.CUSTOMER, Kind.CUSTOMER, Kind.OWN, Kind.BOUNCE]
    first, second = await threads_of(office)
    assert (len(first), second) == (5, ["e1"])
    assert await related(office, 2) == [(Relation.SUSPECTED, 1)]
    reply = await stores.content.read(account_id, outbox.get_reply, created.message_id)
    assert reply.status is ReplyStatus.QUEUED  # an id alone proves no bounce


async def test_a_bounce_is_matched_by_our_own_header_where_the_provider_changed_the_message_id(light: Stores) -> None:
    office = await Office.open(light)
    await office.take(letter("q1"))
    created = await office.reply(1)
    await light.content.transaction(office.held.account_id, _sent, created.message_id)
    sent = await office.desk.raw(office.held.account_id, created.message_id)
    committed = await office.take(bounce_of(_renamed(sent), ANNA, "support@example.com").raw)
    assert (list(committed.bounced), committed.tickets) == ([created.message_id], 0)
    reply = await light.content.read(office.held.account_id, outbox.get_reply, created.message_id)
    assert reply.status is ReplyStatus.BOUNCED


async def test_a_reply_that_a_server_gave_up_after_days_has_bounced(light: Stores) -> None:
    office = await Office.open(light)
    await office.take(letter("q1"))
    created = await office.reply(1)
    await light.content.transaction(office.held.account_id, _sent, created.message_id)
    sent = await office.desk.raw(office.held.account_id, created.message_id)
    refused = bounce_of(sent, ANNA, "support@example.com").raw
    expired = refused.replace(b"Status: 5.1.1", b"Status: 4.4.7").replace(
        b"550 5.1.1 no such user", b"451 4.4.7 expired"
    )
    committed = await office.take(expired)
    assert list(committed.bounced) == [created.message_id]


async def test_our_own_mail_is_proved_and_not_believed(stores: Stores) -> None:
    """A contact form writes under our address, too; a list may change what a provider did not."""
    office = await Office.open(stores)
    await office.take(letter("q1"))
    created = await office.reply(1)
    sent = await office.desk.raw(office.held.account_id, created.message_id)
    listed = (
        sent.replace(b"From: support@example.com", b"List-Id: <l.example.net>\r\nFrom: l@example.net") + b"-- \r\nl"
    )
    committed = await office.take(
        _renamed(sent),
        listed,
        sent + b"a footer",
        sent.replace(b"From: support@example.com", b"From: eve@evil.example") + b"mine",
        letter("form", "Reply-To: mia@example.net\r\n" + TO_FIRST, sender="support@example.com"),
    )
    assert list(committed.kinds) == [Kind.OWN, Kind.OWN, Kind.OWN, Kind.CUSTOMER, Kind.CUSTOMER]
    form = await office.ticket(3)
    assert (form.record.requester.addr, form.ticket.suspected_ticket_id) == (
        "mia@example.net",
        (await office.ticket(1)).ticket.ticket_id,
    )


# -- other mailboxes -------------------------------------------------------------------------------


async def test_twins_are_found_by_their_keys(stores: Stores) -> None:
    """However many messages an account has: each ticket that is shown looks for twins in every mailbox."""
    office = await Office.open(stores)
    await office.take(mail())
    held = office.held

    def look(conn: Connection) -> list[str]:
        return plans(
            conn,
            "thread_keys",
            lambda: threads.find_received(conn, held.account_id, held.mailbox_id, [b"a"], 10),
        )

    found = await stores.content.transaction(None, look)
    # On SQLite all messages of the account were gone through, by an index of which only the account was used.
    wrong = [one for one in found if "SEARCH messages" in one and "message_id=?" not in one]
    assert found
    assert [one for one in found if one in wrong or "Seq Scan" in one or "SCAN messages" in one] == []


async def test_what_another_mailbox_knows_joins_nothing_but_makes_twins(stores: Stores) -> None:
    office = await Office.open(stores)
    beside = await Office.open(stores, beside=office)
    await office.take(letter("q1"))
    await office.reply(1)
    ours = (await office.ticket(1)).messages[-1].record.mail.message_id
    both = letter("both", TO_FIRST)
    await office.take(both)
    await beside.take(
        letter("b1", TO_FIRST),
        letter("b2", f"In-Reply-To: {ours}\r\n"),
        both,
        mail("another", message_id="<q1@example.org>", text="Under the same Message-ID."),
    )
    assert await threads_of(office) == [["q1", "both"]]
    assert await threads_of(beside) == [["b1"], ["b2"], ["both"], ["another"]]
    assert [await related(beside, number) for number in (2, 3, 4, 5)] == [[], [], [(Relation.TWIN, 1)], []]
    assert await related(office, 1) == [(Relation.TWIN, 4)]
    await office.check()
    await stores.content.transaction(beside.held.account_id, request_disconnect, beside.held.mailbox_id)
    assert await related(office, 1) == []


# -- follow-ups ------------------------------------------------------------------------------------


async def test_an_answer_to_a_ticket_that_was_closed_long_ago_follows_it_up(stores: Stores) -> None:
    office = await Office.open(stores, rules=Rules(follow_up_after=timedelta(days=10)))
    await office.take(letter("q1"))
    await create_reply(office.desk, Outbound(), office.held.account_id, 1, ReplyDraft("We look.", cc=[Address(BOB)]))
    to_us = f"In-Reply-To: {(await office.ticket(1)).messages[-1].record.mail.message_id}\r\n"
    await _close(office, 1)
    closed_at = (await office.ticket(1)).ticket.closed_at
    assert closed_at is not None
    soon, late = closed_at + timedelta(days=9), closed_at + timedelta(days=10, hours=1)
    await office.take(letter("q2", to_us), at=soon)
    assert ((await office.ticket(1)).ticket.status, (await office.ticket(1)).ticket.closed_at) == ("open", None)
    await _close(office, 1, at=closed_at)
    await office.take(
        letter("auto", to_us + "Auto-Submitted: auto-replied\r\n"),
        letter("q3", to_us),
        letter("q4", to_us),  # in the same thread, and the same batch
        at=late,
    )
    await office.take(letter("b1", to_us, sender=BOB), letter("q5", TO_FIRST), at=late)
    await office.take(letter("b2", to_us, sender=BOB), at=late)
    assert await threads_of(office) == [["q1", "q2", "auto"], ["q3", "q4", "q5"], ["b1", "b2"]]
    first, second = await office.ticket(1), await office.ticket(2)
    assert (first.ticket.status, second.ticket.follows_ticket_id) == ("closed", first.ticket.ticket_id)
    assert second.messages[0].record.evidence[-1] == "the ticket has ended"
    assert await related(office, 1) == [(Relation.FOLLOWED_BY, 2), (Relation.FOLLOWED_BY, 3)]
    assert await related(office, 2) == [(Relation.FOLLOWS, 1)]
    await _close(office, 2, at=closed_at)
    await office.take(letter("q6", to_us), at=late)
    assert await related(office, 4) == [(Relation.FOLLOWS, 2)]  # a follow-up ends as any other
    types = await office.event_types()
    assert (types.count("ticket.created"), types.count("ticket.reopened")) == (4, 1)
    await office.check()


async def test_where_nothing_follows_up_an_old_ticket_is_opened_again(light: Stores) -> None:
    office = await Office.open(light, rules=Rules(follow_up_after=None))
    await office.take(letter("q1"))
    await _close(office, 1)
    await office.take(letter("q2", TO_FIRST), at=datetime.now(UTC) + timedelta(days=4000))
    assert ((await office.ticket(1)).ticket.status, await threads_of(office)) == ("open", [["q1", "q2"]])


# -- forwarded mail --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "verdict", "offered"),
    [
        ("support@example.com", "none", True),
        ("Kim@Agency.example", "pass", True),
        ("lee@agents.example", "none", True),
        ("kim@agency.example", "fail", False),  # somebody who writes under an agent's name
        ("eve@evil.example", "pass", False),
    ],
)
def test_the_first_sender_is_offered_where_an_agent_forwarded(sender: str, verdict: str, offered: bool) -> None:
    context = context_of(Rules(agents=frozenset({"kim@agency.example", "agents.example"})))
    raw = f"Authentication-Results: mx.example.com; dmarc={verdict}\r\nFrom: {sender}\r\n\r\nx".encode()
    mail = parse(raw)
    first = Address("mia@example.net", "Mia")
    assert offered_requester(context, msgspec.structs.replace(mail, forwarded_from=first)) == (
        first if offered else None
    )
    assert offered_requester(context, msgspec.structs.replace(mail, forwarded_from=None)) is None
    ourselves = msgspec.structs.replace(mail, forwarded_from=Address("Support@example.com"))
    assert offered_requester(context, ourselves) is None


async def test_who_is_offered_stays_with_the_ticket(light: Stores) -> None:
    class Forwarded(HereParser):
        async def transform(
            self, raw: bytes, *, live: bool = True, masked: bool = False, owner: Hashable = None
        ) -> Transformed:
            found = await super().transform(raw, live=live)
            first = Address("mia@example.net", "Mia")
            return msgspec.structs.replace(found, mail=msgspec.structs.replace(found.mail, forwarded_from=first))

    office = await Office.open(light, rules=Rules(agents=frozenset({"example.org"})))
    raw = letter("q1")
    fetched = RawMessage("1:1:INBOX", "INBOX", len(raw), datetime.now(UTC), raw, raw)
    await office.take_fetched([fetched], parser=Forwarded())  # type: ignore[arg-type]
    record = (await office.ticket(1)).record
    assert record.requester.addr == ANNA
    assert record.offered_requester == Address("mia@example.net", "Mia")


# -- bounds ----------------------------------------------------------------------------------------


async def test_a_message_id_is_known_by_the_first_messages_that_have_it(light: Stores) -> None:
    """Or each mail of somebody who writes thousands under one id would make the next look-up slower."""
    office = await Office.open(light, rules=Rules(sender_tickets_max=0))
    same = [mail("same", sender=EVE, text=f"number {number}") for number in range(24)]
    await office.take(letter("q1"))
    await office.take(*same[:12])
    await office.take(*same[12:])
    key = thread_key(office.context.key, "<q1@example.org>")
    known = await light.content.read(office.held.account_id, threads.known_ids, office.held.mailbox_id, [key])
    assert known[key].ticket_id == (await office.ticket(1)).ticket.ticket_id
    assert await light.content.read(None, _count_keys, key) == threads.MESSAGES_PER_ID_MAX
    assert len(await threads_of(office)) == 25


async def test_every_look_up_goes_by_an_index(light: Stores) -> None:
    plans = await light.content.read(None, _plans)
    assert len(plans) == 9
    assert [one for one in plans if "SCAN" in one] == []


def _plans(conn: Connection) -> list[str]:
    """Return how SQLite would go about each look-up."""
    account_id, one, key = new_id(), new_id(), bytes(16)
    seen: list[tuple[str, Any]] = []

    def note(_conn: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        seen.append((statement, parameters))

    event.listen(conn, "before_cursor_execute", note)
    threads.known_ids(conn, account_id, one, [key, bytes(15)])
    threads.find_received(conn, account_id, one, [key], 20)
    threads.tickets_by_message(conn, account_id, one, [one])
    messages.recently_received(conn, account_id, one, 100)
    tickets.list_by_id(conn, account_id, [one])
    tickets.openings(conn, account_id, one, key, 30)
    tickets.follow_ups(conn, account_id, one, 20)
    tickets.is_participant(conn, account_id, one, key)
    backfills.tickets_by_reference(conn, account_id, one, [key], 20)
    event.remove(conn, "before_cursor_execute", note)
    plans = [conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all() for statement, values in seen]
    return [" | ".join(row[3] for row in plan) for plan in plans]


# -- helpers ---------------------------------------------------------------------------------------


def context_of(rules: Rules) -> MailboxContext:
    """Return what is known of support@example.com, at a provider that proves senders."""
    account_id, mailbox_id = new_id(), new_id()
    record = MailboxRecord("support@example.com", "1", "https://login.example.com", "support@example.com")
    key = DataKey(account_id, mailbox_id, bytes(32))
    names = frozenset({"mx.example.com"})
    return MailboxContext(account_id, mailbox_id, key, record, frozenset(), names, rules=rules)


def _renamed(sent: bytes) -> bytes:
    """Return a reply of ours as a provider files it that gives it another Message-ID."""
    return re.sub(rb"(?m)^Message-ID: .*?\r\n", b"Message-ID: <given@provider.example>\r\n", sent, count=1)


def _bare(sent: bytes) -> bytes:
    """Return it without our own header, as a server that returns a few fields only."""
    return re.sub(rb"(?m)^X-Ingestd-Id: .*?\r\n", b"", sent, count=1)


async def test_two_answers_of_one_batch_open_a_ticket_again_once(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    await _close(office, 1)
    answers = [
        mail("Re: Printer", message_id=f"<a{one}@example.org>", headers="In-Reply-To: <q1@example.org>\r\n")
        for one in range(2)
    ]
    await office.take(*answers)
    assert [one.record.mail.message_id for one in (await office.ticket(1)).messages][1:] == [
        "<a0@example.org>",
        "<a1@example.org>",
    ]
    assert (await office.event_types()).count("ticket.reopened") == 1
    await office.check()


async def test_a_batch_asks_for_its_messages_together(stores: Stores) -> None:
    """Each ticket's newest messages alone are asked for one by one: a flood is of a ticket."""
    office = await Office.open(stores)
    asked: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    counts = {}
    event.listen(Engine, "before_cursor_execute", note)
    try:
        for size in (4, 12):
            senders = [f"{size}-{one}@example.org" for one in range(size)]
            await office.take(*(mail(sender=one, message_id=f"<{one}>", text=one) for one in senders))
            answers = [
                mail(sender=one, message_id=f"<a{one}>", text=f"again {one}", headers=f"In-Reply-To: <{one}>\r\n")
                for one in senders
            ]
            asked.clear()
            await office.take(*answers)
            counts[size] = len(asked)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert counts[12] - counts[4] <= 8, counts
    await office.check()


async def _close(office: Office, number: int, *, at: datetime | None = None) -> None:
    """Close a ticket, as if `at` a time."""
    account_id = office.held.account_id
    await office.stores.content.transaction(account_id, set_status, number, "closed")
    if at is not None:
        await office.stores.content.transaction(account_id, _set_closing, number, at)


def _set_closing(conn: Connection, account_id: UUID, number: int, at: datetime) -> None:
    where = (tickets_table.c.account_id == account_id, tickets_table.c.number == number)
    conn.execute(update(tickets_table).where(*where).values(closed_at=at))


def _sent(conn: Connection, account_id: UUID, message_id: UUID) -> None:
    outbox.change_reply(
        conn, account_id, message_id, was=ReplyStatus.QUEUED, status=ReplyStatus.SENT, due_at=None, sent_at=now(conn)
    )


def _count_keys(conn: Connection, key: bytes) -> int:
    query = select(func.count()).select_from(thread_keys).where(thread_keys.c.thread_key == key)
    return conn.execute(query).scalar_one()
