"""Merging two tickets of a mailbox: what moves, what still finds its way, what is refused, and who reads what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from config import MailboxDefaults
from connectors.base import SendOutcome, SendStatus
from ingestd.inbound.rules import Rules
from ingestd.mail.types import Address
from ingestd.merging import Merged, merge_tickets
from ingestd.outbound.sent_copies import SentPolicy
from ingestd.privacy.requests import request_disconnect
from ingestd.relations import Relation
from ingestd.ticketing import Mirroring
from storage import events, merges, tickets
from storage.errors import Conflict, NotFound, TicketMerged
from storage.tables import tickets as tickets_table
from tests.inbound.test_edits import mails
from tests.inbound.test_mirror import planned
from tests.office import Office, mail
from tests.outbound.test_sender import ACCEPTED, QUICK, Provider
from tests.plans import plans
from tests.stores import Stores, sqlite_urls

ANNA, BOB, EVE = "anna@example.org", "bob@example.net", "eve@evil.example"


@pytest.fixture
async def light(tmp_path: Path) -> AsyncIterator[Stores]:
    """SQLite alone, where what is tested is not the database's."""
    stores = await Stores.open(sqlite_urls(tmp_path))
    yield stores
    await stores.close()


async def merge(office: Office, number: int, into: int, *, messages_max: int = 1000) -> Merged:
    mirroring = Mirroring(office.context.key, MailboxDefaults(), 500)
    return await office.stores.content.transaction(
        office.held.account_id, merge_tickets, number, into, messages_max=messages_max, mirroring=mirroring
    )


def letter(name: str, *, sender: str = ANNA, to: str = "", headers: str = "") -> bytes:
    """Return the mail <name@x>; with `to` it is an answer to the message with this id."""
    more = f"In-Reply-To: {to}\r\n" if to else ""
    return mail(name, sender=sender, message_id=f"<{name}@x>", headers=headers + more, text=f"This is {name}.")


async def threads(office: Office, *numbers: int) -> list[list[str]]:
    """Return, for each ticket, the subjects of its messages in their order; `>` marks what we wrote."""
    views = [await office.ticket(number) for number in numbers]
    marks = {"in": "", "out": "> "}
    return [[marks[one.row.direction] + one.record.mail.subject for one in view.messages] for view in views]


async def related(office: Office, number: int) -> list[tuple[Relation, int]]:
    return [(one.relation, one.ticket.number) for one in (await office.ticket(number)).related]


async def sent_bytes(office: Office, number: int, **draft: Any) -> Any:
    created = await office.reply(number, **draft)
    raw = await office.desk.raw(office.held.account_id, created.message_id)
    return message_from_bytes(raw, policy=policy.default)


# -- what moves ------------------------------------------------------------------------------------


async def test_all_of_the_source_comes_to_the_target_in_the_order_in_which_it_came(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(letter("a1"), letter("b1", sender=BOB))
    await office.reply(2)
    await office.take(letter("a2", to="<a1@x>"), letter("b2", sender=BOB, to="<b1@x>"))
    before = (await office.ticket(1)).ticket
    done = await merge(office, 2, 1)
    assert (done.changed, done.messages) == (True, 3)
    assert await threads(office, 1, 2) == [["a1", "b1", "> Re: b1", "a2", "b2"], []]
    target, source = await office.ticket(1), await office.ticket(2)
    assert target.ticket.updated_at > before.updated_at
    assert (target.ticket.status, source.ticket.status) == ("open", "merged")
    assert (target.merged_into, source.merged_into) == (None, 1)
    assert (source.record.subject, source.record.requester.addr) == ("b1", BOB), "the pointer says what it was"
    assert (await related(office, 1), await related(office, 2)) == (
        [(Relation.MERGED_FROM, 2)],
        [(Relation.MERGED_INTO, 1)],
    )
    found = await stores.content.read(office.held.account_id, events.list_events, 0, 100)
    (told,) = [one for one in found if one.type == "ticket.merged"]
    assert (told.ticket_id, told.detail, told.mailbox_id) == (source.ticket.ticket_id, "1", office.held.mailbox_id)
    assert [one.ticket_id for one in found if one.type == "reply.queued"] == [source.ticket.ticket_id], "history stays"
    await office.check()


async def test_merging_again_changes_nothing_and_a_closed_target_stays_closed(light: Stores) -> None:
    office = await Office.open(light)
    await office.take(letter("a1"), letter("a2"))
    await office.act(1, "closed")
    closed_at = (await office.ticket(1)).ticket.closed_at
    assert (await merge(office, 2, 1)).changed
    again = await merge(office, 2, 1)
    assert (again.changed, again.messages) == (False, 0)
    ticket = (await office.ticket(1)).ticket
    assert (ticket.status, ticket.closed_at) == ("closed", closed_at)
    assert (await office.event_types()).count("ticket.merged") == 1
    await office.check()


async def test_there_are_no_chains(stores: Stores) -> None:
    office = await Office.open(stores, mailbox={"reply_token": "plus"})
    await office.take(letter("a1"), letter("a2"), letter("a3"))
    address = (await sent_bytes(office, 1))["reply-to"].addresses[0].addr_spec
    await merge(office, 1, 2)
    await merge(office, 2, 3)
    assert [(await office.ticket(number)).merged_into for number in (1, 2, 3)] == [3, 3, None]
    assert await related(office, 3) == [(Relation.MERGED_FROM, 1), (Relation.MERGED_FROM, 2)]
    await office.take(letter("a4").replace(b"To: support@example.com", f"To: {address}".encode()))
    assert await threads(office, 1, 2, 3) == [[], [], ["a1", "a2", "a3", "> Re: a1", "a4"]]
    await office.check()


# -- what still finds its way ----------------------------------------------------------------------


async def test_whatever_names_the_source_joins_the_target(stores: Stores) -> None:
    proved = "Authentication-Results: mx.example.com; dmarc=pass header.from=example.net\r\n"
    office = await Office.open(stores, mailbox={"reply_token": "plus"}, authserv_ids=["mx.example.com"])
    await office.take(letter("a1"), letter("b1", sender=BOB))
    reply = await sent_bytes(office, 2)
    address = reply["reply-to"].addresses[0].addr_spec
    await merge(office, 2, 1)
    by_address = letter("b3", sender=BOB).replace(b"To: support@example.com", f"To: {address}".encode())
    came = (
        (letter("b2", sender=BOB, to="<b1@x>", headers=proved), ("known id", "sender participant")),
        (letter("e1", sender=EVE, to=reply["message-id"]), ("token verified", "sender stranger")),
        (by_address, ("reply address token", "sender participant")),
    )
    for raw, evidence in came:
        assert (await office.take(raw)).tickets == 0
        assert (await office.ticket(1)).messages[-1].record.evidence[:2] == evidence
    # Standing is what it was: who had none has none now, and is told as suspected of the target.
    assert (await office.take(letter("e2", sender=EVE, to="<b1@x>"))).tickets == 1
    assert await related(office, 3) == [(Relation.SUSPECTED, 1)]
    assert (await threads(office, 2)) == [[]]
    await office.check()


async def test_a_mail_to_the_source_opens_a_closed_target_again(light: Stores) -> None:
    office = await Office.open(light)
    await office.take(letter("a1"), letter("a2"))
    await office.act(1, "closed")
    await merge(office, 2, 1)
    await office.take(letter("a3", to="<a2@x>"))
    assert [(await office.ticket(number)).ticket.status for number in (1, 2)] == ["open", "merged"]
    await office.check()


async def test_what_was_linked_to_the_source_leads_to_the_target(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(letter("a1"), letter("a2"), letter("e1", sender=EVE, to="<a2@x>"))
    assert await related(office, 3) == [(Relation.SUSPECTED, 2)]
    await merge(office, 2, 1)
    assert await related(office, 3) == [(Relation.SUSPECTED, 1)]
    await merge(office, 3, 1)  # an agent believes that it belongs there
    assert await related(office, 3) == [(Relation.MERGED_INTO, 1), (Relation.SUSPECTED, 1)]
    assert await related(office, 1) == [(Relation.MERGED_FROM, 2), (Relation.MERGED_FROM, 3)]
    await office.check()


async def close_long_ago(office: Office, *numbers: int) -> None:
    def age(conn: Connection, account_id: object) -> None:
        long_ago = datetime.now(UTC) - timedelta(days=100)
        mine = tickets_table.c.account_id == account_id, tickets_table.c.number.in_(numbers)
        conn.execute(update(tickets_table).where(*mine).values(closed_at=long_ago))

    for number in numbers:
        await office.act(number, "closed")
    await office.stores.content.transaction(office.held.account_id, age)


FOLLOWED = Rules(follow_up_after=timedelta(days=30))


async def test_a_follow_up_of_the_source_is_found_from_the_target(stores: Stores) -> None:
    office = await Office.open(stores, rules=FOLLOWED)
    await office.take(letter("a1"), letter("b1"))
    await close_long_ago(office, 1, 2)
    await office.take(letter("a2", to="<a1@x>"))
    assert await related(office, 3) == [(Relation.FOLLOWS, 1)]
    await merge(office, 1, 2)
    assert await related(office, 3) == [(Relation.FOLLOWS, 2)]
    assert await related(office, 2) == [(Relation.FOLLOWED_BY, 3), (Relation.MERGED_FROM, 1)]
    await office.take(letter("a3", to="<a1@x>"), letter("b2", to="<b1@x>"))
    assert await threads(office, 2, 3) == [["a1", "b1"], ["a2", "a3", "b2"]]
    await office.check()


async def test_a_ticket_and_its_follow_up_are_merged_either_way(stores: Stores) -> None:
    for number, into in ((2, 1), (1, 2)):
        office = await Office.open(stores, rules=FOLLOWED)
        await office.take(letter("a1"))
        await close_long_ago(office, 1)
        await office.take(letter("a2", to="<a1@x>"))
        await merge(office, number, into)
        assert await related(office, into) == [(Relation.MERGED_FROM, number)]
        await office.act(into, "open")
        await office.take(letter("a3", to="<a1@x>"), letter("a4", to="<a2@x>"))
        assert await threads(office, into, number) == [["a1", "a2", "a3", "a4"], []]
        await close_long_ago(office, into)
        await office.take(letter("a5", to="<a1@x>"))
        assert await related(office, 3) == [(Relation.FOLLOWS, into)]
        await office.check()


async def test_follow_ups_that_go_round_in_a_circle_end(light: Stores) -> None:
    office = await Office.open(light, rules=FOLLOWED)
    await office.take(letter("a1"))
    for number in (1, 2):
        await close_long_ago(office, number)
        await office.take(letter(f"a{number + 1}", to=f"<a{number}@x>"))
    await close_long_ago(office, 3)
    await merge(office, 1, 3)
    assert await related(office, 3) == [(Relation.FOLLOWS, 2), (Relation.FOLLOWED_BY, 2), (Relation.MERGED_FROM, 1)]
    await office.take(letter("a4", to="<a1@x>"))
    assert (await threads(office, 4)) == [["a4"]]
    await office.check()


async def test_mail_that_comes_at_the_same_moment_is_not_lost(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(*(letter(f"a{number}") for number in range(1, 5)))

    async def answer() -> None:
        for number in range(1, 5):
            await office.take(letter(f"b{number}", to=f"<a{number}@x>"))

    async def say() -> None:
        for number in range(1, 5):
            try:
                await office.reply(number)
            except TicketMerged:
                await office.reply(4)

    async def unite() -> None:
        for number in range(1, 4):
            await merge(office, number, 4)

    await asyncio.gather(answer(), say(), unite())
    found = await threads(office, 1, 2, 3, 4)
    assert found[:3] == [[], [], []]
    assert sorted(one for one in found[3] if one[0] != ">") == sorted(f"{c}{n}" for c in "ab" for n in range(1, 5))
    assert sum(one[0] == ">" for one in found[3]) == 4
    await office.check()


# -- what is refused -------------------------------------------------------------------------------


async def test_what_cannot_be_merged(stores: Stores) -> None:
    office = await Office.open(stores)
    other = await Office.open(stores, beside=office)
    await office.take(letter("a1"), letter("a2"), letter("a3"), letter("b3", to="<a3@x>"), letter("a4"), letter("a5"))
    await other.take(letter("a1"))
    await office.act(4, "spam")
    await office.act(5, "deleted")
    await merge(office, 2, 1)
    cases: tuple[tuple[int, int, type[Exception], str], ...] = (
        (1, 1, Conflict, "into itself"),
        (1, 6, Conflict, "tickets 1 and 6 are of different mailboxes"),
        (2, 3, TicketMerged, "ticket 2 was merged into ticket 1"),
        (3, 2, TicketMerged, "ticket 2 was merged into ticket 1"),
        (1, 2, TicketMerged, "ticket 2 was merged into ticket 1"),
        (3, 4, Conflict, "ticket 4 is spam: reopen it first"),
        (3, 5, Conflict, "ticket 5 is deleted: reopen it first"),
        (3, 1, Conflict, "ticket 3 has more than 1 messages"),
        (3, 9, NotFound, "no ticket 9"),
        (9, 3, NotFound, "no ticket 9"),
    )
    before = await office.event_types()
    for number, into, kind, said in cases:
        with pytest.raises(kind, match=said):
            await merge(office, number, into, messages_max=1)
    assert await office.event_types() == before
    assert await threads(office, 1, 2, 3) == [["a1", "a2"], [], ["a3", "b3"]]
    await office.check()
    # What is spam or deleted itself may be a part of another one.
    await merge(office, 4, 3)
    await merge(office, 5, 3, messages_max=1)
    await office.check()


async def test_nothing_can_be_done_with_a_merged_ticket(light: Stores) -> None:
    office = await Office.open(light)
    await office.take(letter("a1"), letter("a2"))
    first = await office.reply(2, idempotency_key="k1")
    await merge(office, 2, 1)
    for act in (
        *(office.act(2, status) for status in ("open", "closed", "spam", "deleted")),
        office.read(2),
        office.reply(2),
    ):
        with pytest.raises(TicketMerged, match="ticket 2 was merged into ticket 1"):
            await act
    with pytest.raises(Conflict, match="by setting its status"):
        await office.act(1, "merged")
    again = await office.reply(2, idempotency_key="k1")
    assert (again.message_id, again.repeated) == (first.message_id, True), "it was asked for before"
    assert light.blobs.count(office.held.account_id, office.held.mailbox_id) == 0
    await office.check()


async def test_a_mailbox_that_is_being_forgotten_has_no_tickets(light: Stores) -> None:
    office = await Office.open(light)
    await office.take(letter("a1"), letter("a2"))
    await light.content.transaction(office.held.account_id, request_disconnect, office.held.mailbox_id)
    with pytest.raises(NotFound):
        await merge(office, 2, 1)


# -- who reads what --------------------------------------------------------------------------------


async def test_one_requester_is_told_nothing_of_the_others_mail(light: Stores) -> None:
    office = await Office.open(light, aliases=["sales@example.com"])
    secret = letter("b1", sender=BOB).replace(b"To: support@example.com", b"To: sales@example.com")
    await office.take(letter("a1"), secret)
    await office.reply(2)
    await merge(office, 2, 1)
    await office.take(letter("b2", sender=BOB, to="<b1@x>"))
    reply = await sent_bytes(office, 1, quote=True)
    assert [one.addr_spec for one in reply["to"].addresses] == [ANNA]
    assert reply["from"].addresses[0].addr_spec == "support@example.com", "where she wrote to, not he"
    assert (reply["in-reply-to"], reply["references"]) == ("<a1@x>", "<a1@x>")
    assert "> This is a1." in str(reply.get_content())
    assert b"This is b" not in bytes(reply)
    # What an agent shows him, he may be told of: it is an agent's decision.
    shared = await sent_bytes(office, 1, cc=[Address(BOB)])
    assert shared["in-reply-to"] == reply["message-id"]
    await office.take(letter("b3", sender=BOB, to=shared["message-id"], headers=f"Cc: {ANNA}\r\n"))
    assert (await sent_bytes(office, 1))["in-reply-to"] == "<b3@x>"
    await office.check()


async def test_where_nothing_was_merged_the_newest_mail_counts_whoever_wrote_it(light: Stores) -> None:
    office = await Office.open(light)
    await office.take(letter("a1"))
    first = await sent_bytes(office, 1, cc=[Address(BOB)])
    await office.take(letter("b1", sender=BOB, to=first["message-id"]))
    assert (await sent_bytes(office, 1))["in-reply-to"] == "<b1@x>"


# -- replies, floods, the mailbox ------------------------------------------------------------------


async def written_to_both(office: Office) -> list[UUID]:
    """Merge two tickets with replies that wait; return these in the order in which they were written."""
    await office.take(letter("a1"), letter("a2"))
    replies = [(await office.reply(number, f"This is {n}.")).message_id for n, number in enumerate((2, 1, 2, 1))]
    await merge(office, 2, 1)
    return replies


async def test_replies_of_both_leave_in_the_order_in_which_they_were_written(stores: Stores) -> None:
    office = await Office.open(stores)
    replies = await written_to_both(office)
    provider = Provider(*[ACCEPTED] * 4)
    await office.outbox(provider, QUICK, SentPolicy("never", 0.0)).run_due()
    assert [f"This is {n}." in one.decode() for n, one in enumerate(provider.accepted)] == [True] * 4
    assert [(await office.desk.reply(office.held.account_id, one))[0].ticket_number for one in replies] == [1] * 4
    await office.check()


async def test_a_reply_of_the_source_that_is_late_holds_up_those_of_the_target(light: Stores) -> None:
    office = await Office.open(light)
    replies = await written_to_both(office)
    deferred = SendOutcome(SendStatus.DEFERRED, "rcpt", 450)
    await office.outbox(Provider(deferred), QUICK, SentPolicy("never", 0.0)).run_due()
    found = [(await office.desk.reply(office.held.account_id, one))[0] for one in replies]
    assert [one.reply.status for one in found] == ["deferred", "queued", "queued", "queued"]
    assert [one.waits_for_earlier for one in found] == [False, True, True, True]
    await office.check()


async def test_a_flood_that_is_merged_as_it_comes_is_one_all_the_same(stores: Stores) -> None:
    office = await Office.open(stores, rules=Rules(sender_tickets_max=3))
    for number in range(1, 4):
        await office.take(letter(f"a{number}"))
        if number > 1:
            await merge(office, number, 1)
    assert (await office.take(letter("a4"))).muted == ["sender"]
    # The ticket that collects it is merged, too: what follows is not put into what may be a customer's.
    await merge(office, 4, 1)
    assert (await office.take(letter("a5"), letter("a6"))).muted == ["sender", "sender"]
    assert await threads(office, 1, 5) == [["a1", "a2", "a3", "a4"], ["a5", "a6"]]
    await office.check()


async def test_what_was_merged_into_a_ticket_makes_no_flood_of_it(light: Stores) -> None:
    office = await Office.open(light, rules=Rules(ticket_messages_max=2))
    await office.take(letter("a1"), letter("b1"), letter("b2", to="<b1@x>"))
    await merge(office, 2, 1)
    assert (await office.take(letter("a2", to="<a1@x>"))).muted == []
    assert (await office.take(letter("a3", to="<a1@x>"))).muted == ["ticket"]
    await office.check()


async def test_its_mail_is_treated_in_the_mailbox_as_the_targets_status_asks_for(stores: Stores) -> None:
    office = await Office.open(stores, mirror={"solved": "keyword:Solved", "spam": "junk"})
    await office.take(*mails(3))
    await office.act(1, "closed")
    before = len(await planned(office))
    assert (await merge(office, 2, 1)).mirrored.planned == 1
    assert (await planned(office))[before:] == [("solved", "keyword", "Solved")]
    await office.act(3, "spam")
    await merge(office, 3, 1)
    assert (await planned(office))[before + 1 :] == [("solved", "keyword", "Solved"), ("reopen", "move", "INBOX")]
    await office.act(1, "open")
    assert [(cause, kind) for cause, kind, _ in await planned(office)].count(("reopen", "remove_keyword")) == 3
    await office.check()


async def test_a_merge_and_what_follows_merges_go_by_indexes(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(letter("a1"), letter("a2"))
    account_id, mailbox_id = office.held.account_id, office.held.mailbox_id
    source, target = (await office.ticket(2)).ticket, (await office.ticket(1)).ticket

    def look(conn: Connection) -> list[str]:
        return plans(
            conn,
            "",
            lambda: merges.has_more_messages(conn, account_id, source.ticket_id, 1000),
            lambda: merges.move(conn, account_id, source.ticket_id, target.ticket_id),
            lambda: merges.merged_into(conn, account_id, target.ticket_id, 20),
            lambda: tickets.follow_ups(conn, account_id, target.ticket_id, 20),
            lambda: tickets.openings(conn, account_id, mailbox_id, target.requester_key, 20),
        )

    found = await stores.content.transaction(None, look)
    # Also by an index of which only the account is used: that goes through all of it.
    scans = ("Seq Scan", "SCAN", "(account_id=?)")
    assert found
    assert [line for line in found for one in scans if one in line] == []
