"""Where a reply stands for each recipient, and what bounces do to it: proved ones, and all others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, delete

from config import Outbound
from connectors.base import Refusal, SendOutcome, SendStatus
from ingestd.inbound.rules import Rules
from ingestd.mail.types import Address
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.outbound.statuses import ReplyEvent
from ingestd.relations import Relation
from storage import reply_recipients
from storage.outbox import ReplyStatus
from storage.tables import reply_recipients as recipients_table
from tests.office import Office, mail
from tests.outbound.test_sender import ACCEPTED, AUTO, QUICK, Provider, Sending
from tests.stores import Stores
from tests.story.mails import bounce_of

ANNA, BOB, EVE = "anna@example.org", "Bob@Example.net", "eve@evil.example"
PARTLY = SendOutcome(SendStatus.ACCEPTED, "dot", 250, refused_recipients={BOB: Refusal(550, "5.1.1")})
UNKNOWN = SendOutcome(SendStatus.UNKNOWN, "dot")

pytestmark = pytest.mark.postgresql_is_long


async def begin(stores: Stores, *outcomes: SendOutcome, rules: Rules | None = None) -> Sending:
    """Return a reply to Anna, with a copy to Bob."""
    office = await Office.open(stores, rules=rules)
    await office.take(mail())
    draft = ReplyDraft("We look into it.", cc=[Address(BOB)])
    created = await create_reply(office.desk, Outbound(), office.held.account_id, 1, draft)
    work = Sending(office, Provider(*outcomes), QUICK, AUTO, created.message_id)
    assert await standing(work) == [("pending", None), ("pending", None)]
    return work


async def standing(work: Sending) -> list[tuple[str, int | None]]:
    account_id = work.office.held.account_id
    rows = await work.office.stores.content.read(account_id, reply_recipients.list_recipients, work.reply_id)
    return [(one.status.value, one.code) for one in rows]


async def come_back(work: Sending, recipient: str, *, forged: bool = False, at: datetime | None = None) -> None:
    """Let a bounce come in that names a recipient."""
    raw = bounce_of(await work.office.desk.raw(work.office.held.account_id, work.reply_id), recipient, "x@example.com")
    token = (await work.office.desk.reply(work.office.held.account_id, work.reply_id))[1].record.token
    other = ("a" if token[0] != "a" else "b") + token[1:]
    await work.office.take(raw.raw.replace(token.encode(), other.encode()) if forged else raw.raw, at=at)


async def related(office: Office, number: int) -> Sequence[tuple[Relation, int]]:
    return [(one.relation, one.ticket.number) for one in (await office.ticket(number)).related]


async def test_some_are_refused(stores: Stores) -> None:
    work = await begin(stores, PARTLY)
    reply = await work.step()
    assert (reply.status, reply.reason) == (ReplyStatus.SENT, "partly_refused")
    assert await standing(work) == [("accepted", None), ("refused", 550)]
    _, view = await work.office.desk.reply(work.office.held.account_id, work.reply_id)
    assert [(one.address, one.row and one.row.enhanced_code) for one in view.recipients] == [
        (ANNA, None),
        (BOB, "5.1.1"),
    ]
    await work.office.check()


@pytest.mark.parametrize("again", [ReplyEvent.PERSON_RETRY, ReplyEvent.PERSON_RESEND])
async def test_all_are_refused_and_asked_again(stores: Stores, again: ReplyEvent) -> None:
    both = {ANNA: Refusal(550, "5.1.1"), BOB: Refusal(552, "5.2.2")}
    work = await begin(stores, SendOutcome(SendStatus.REFUSED, "rcpt", 552, refused_recipients=both), ACCEPTED)
    await work.step()
    assert await standing(work) == [("refused", 550), ("refused", 552)]
    await work.decide(again)
    assert await standing(work) == [("pending", None), ("pending", None)]
    await work.step()
    assert await standing(work) == [("accepted", None), ("accepted", None)]
    await work.office.check()


async def test_the_whole_is_refused(stores: Stores) -> None:
    work = await begin(stores, SendOutcome(SendStatus.REFUSED, "dot", 554, "5.7.1"))
    await work.step()
    assert await standing(work) == [("refused", 554), ("refused", 554)]


async def test_what_was_refused_before_a_loss_stays_refused_when_it_is_found(stores: Stores) -> None:
    lost = SendOutcome(SendStatus.UNKNOWN, "dot", refused_recipients={ANNA: Refusal(550)})
    work = await begin(stores, lost)
    work.provider.files = True
    await work.step()
    assert await standing(work) == [("refused", 550), ("pending", None)]
    await work.step()
    assert await standing(work) == [("refused", 550), ("accepted", None)]
    await work.office.check()


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        (ANNA, [("bounced", 550), ("accepted", None)]),
        ("bob@example.net", [("accepted", None), ("bounced", 550)]),  # as servers spell it
        ("list-member@elsewhere.example", [("bounced", 550), ("bounced", 550)]),  # whose alias that is nobody knows
    ],
)
async def test_a_proved_bounce_names_who_did_not_get_it(
    stores: Stores, recipient: str, expected: list[tuple[str, int | None]]
) -> None:
    work = await begin(stores, ACCEPTED)
    await work.step()
    await come_back(work, recipient)
    assert await standing(work) == expected
    assert (await work.reply()).status is ReplyStatus.BOUNCED
    await work.office.check()


async def test_a_second_bounce_is_news_of_its_own_recipient_only(stores: Stores) -> None:
    work = await begin(stores, ACCEPTED)
    await work.step()
    for recipient in (ANNA, BOB, BOB):
        await come_back(work, recipient)
    assert await standing(work) == [("bounced", 550), ("bounced", 550)]
    assert (await work.office.event_types()).count("reply.bounced") == 2
    await work.office.check()


async def test_a_bounce_of_an_unknown_reply_proves_that_it_was_sent(stores: Stores) -> None:
    work = await begin(stores, UNKNOWN)
    await work.step()
    await come_back(work, BOB)
    assert await standing(work) == [("accepted", None), ("bounced", 550)]
    await work.office.check()


async def test_a_bounce_of_an_earlier_attempt_does_not_stop_a_new_one(stores: Stores) -> None:
    work = await begin(stores, UNKNOWN, ACCEPTED)
    await work.step()
    await work.decide(ReplyEvent.PERSON_RESEND)
    await come_back(work, ANNA)
    assert (await work.reply()).status is ReplyStatus.QUEUED
    assert await standing(work) == [("pending", None), ("pending", None)]
    await work.office.check()


async def test_a_forged_bounce_changes_nothing_and_is_shown_beside_the_only_reply_it_can_be_of(stores: Stores) -> None:
    work = await begin(stores, ACCEPTED)
    await work.step()
    before = await work.reply()
    await come_back(work, ANNA, forged=True)
    assert await work.reply() == before
    assert await standing(work) == [("accepted", None), ("accepted", None)]
    assert "reply.bounced" not in await work.office.event_types()
    assert await related(work.office, 2) == [(Relation.SUSPECTED, 1)]
    view = await work.office.ticket(2)
    assert view.messages[0].record.evidence == ("recipient and time", "suspected only")
    assert [one.row.kind for one in (await work.office.ticket(1)).messages] == ["customer", "reply"]
    await work.office.check()


async def test_weak_evidence_is_none_where_it_fits_two_replies_or_none(stores: Stores) -> None:
    work = await begin(stores, ACCEPTED, ACCEPTED)
    await work.step()
    await come_back(work, EVE, forged=True)  # nobody wrote there
    assert await related(work.office, 2) == []
    await come_back(work, ANNA, forged=True, at=datetime.now(UTC) + timedelta(days=6))  # too long ago
    assert await related(work.office, 3) == []
    await work.office.reply(1, "And another thing.")
    await work.step()
    await come_back(work, ANNA, forged=True)
    assert await related(work.office, 4) == []
    await come_back(work, BOB, forged=True)
    assert await related(work.office, 5) == [(Relation.SUSPECTED, 1)]
    await work.office.check()


async def test_weak_evidence_can_be_switched_off(stores: Stores) -> None:
    work = await begin(stores, ACCEPTED, rules=Rules(bounces_within=timedelta()))
    await work.step()
    await come_back(work, ANNA, forged=True)
    assert await related(work.office, 2) == []


async def test_the_envelope_id_proves_a_bounce_that_returns_nothing(stores: Stores) -> None:
    work = await begin(stores, ACCEPTED)
    await work.step()
    _, view = await work.office.desk.reply(work.office.held.account_id, work.reply_id)
    await work.office.take(_report(view.record.token.upper()))  # some gateways change it
    assert await standing(work) == [("bounced", 550), ("accepted", None)]
    await work.office.check()


async def test_a_notice_of_a_delay_changes_nothing_and_is_in_the_ticket(stores: Stores) -> None:
    work = await begin(stores, ACCEPTED)
    await work.step()
    _, view = await work.office.desk.reply(work.office.held.account_id, work.reply_id)
    await work.office.take(_report(view.record.token, action="delayed", status="4.4.1", code=451))
    assert await standing(work) == [("accepted", None), ("accepted", None)]
    assert (await work.reply()).status is ReplyStatus.SENT
    kinds = [one.row.kind for one in (await work.office.ticket(1)).messages]
    assert kinds == ["customer", "reply", "delay_notice"]


async def test_a_reply_from_before_recipients_were_kept_copes_with_everything(stores: Stores) -> None:
    work = await begin(stores, PARTLY)

    def forget(conn: Connection) -> None:
        conn.execute(delete(recipients_table))

    await stores.content.transaction(None, forget)
    await work.step()
    _, view = await work.office.desk.reply(work.office.held.account_id, work.reply_id)
    assert [(one.address, one.row, one.refused) for one in view.recipients] == [(ANNA, None, None), (BOB, None, 550)]
    await come_back(work, ANNA)
    assert (await work.reply()).status is ReplyStatus.BOUNCED
    await work.office.check()


def _report(envelope_id: str, *, action: str = "failed", status: str = "5.1.1", code: int = 550) -> bytes:
    """Return a delivery status report that returns nothing of the message."""
    return (
        "From: MAILER-DAEMON@mx.example.org\r\nTo: support@example.com\r\nSubject: Delivery report\r\n"
        "Message-ID: <dsn-1@mx.example.org>\r\nMIME-Version: 1.0\r\nReturn-Path: <>\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nThis is the mail system.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n"
        f"Original-Envelope-Id: {envelope_id}\r\n\r\n"
        f"Final-Recipient: rfc822; {ANNA}\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Diagnostic-Code: smtp; {code} {status} no\r\n\r\n--b--\r\n"
    ).encode()
