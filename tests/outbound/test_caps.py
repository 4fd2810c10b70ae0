"""Loops end: an automatic message answers people only, and seldom; what people write is capped far higher."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, insert, select, update

from config import Outbound
from ingestd.inbound.identity import address_key
from ingestd.outbound.reply import CreatedReply, ReplyDraft, ReplyRefused, create_reply
from storage import outbox
from storage.outbox import ReplyStatus
from storage.tables import messages as messages_table
from storage.tables import outbox as outbox_table
from storage.tables import reply_recipients
from tests.office import Office, mail
from tests.stores import Stores

FEW = Outbound(
    automatic_per_ticket_per_hour_max=2,
    automatic_per_ticket_per_day_max=3,
    automatic_per_recipient_per_day_max=5,
    replies_per_ticket_per_hour_max=5,
)


async def answer(
    office: Office, *, number: int = 1, automatic: bool = True, settings: Outbound = FEW, key: str | None = None
) -> CreatedReply:
    draft = ReplyDraft("We have it.", automatic=automatic)
    return await create_reply(office.desk, settings, office.held.account_id, number, draft, idempotency_key=key)


async def refused(office: Office, *, number: int = 1, automatic: bool = True, settings: Outbound = FEW) -> str:
    before = await written(office)
    with pytest.raises(ReplyRefused) as raised:
        await answer(office, number=number, automatic=automatic, settings=settings)
    assert await written(office) == before, "a refused reply leaves nothing"
    await office.check()
    return raised.value.code


async def written(office: Office) -> tuple[int, ...]:
    def count(conn: Connection) -> tuple[int, ...]:
        tables = (messages_table, outbox_table)
        return tuple(conn.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)

    return await office.stores.content.read(None, count)


async def age(office: Office, by: timedelta) -> None:
    def back(conn: Connection) -> None:
        for row in conn.execute(select(messages_table.c.message_id, messages_table.c.created_at)).all():
            where = messages_table.c.message_id == row[0]
            conn.execute(update(messages_table).where(where).values(created_at=row[1] - by))

    await office.stores.content.transaction(None, back)


async def test_automatic_messages_to_a_ticket_are_few(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    for _ in range(2):
        created = await answer(office)
    reply = await stores.content.read(office.held.account_id, _is_automatic, created.message_id)
    assert reply is True
    assert await refused(office) == "capped_automatic_ticket_hour"
    await answer(office, automatic=False)  # a person may
    await age(office, timedelta(hours=1))
    await answer(office)
    assert await refused(office) == "capped_automatic_ticket_day"
    await age(office, timedelta(days=1))
    await answer(office)


def _is_automatic(conn: Connection, account_id: UUID, message_id: UUID) -> bool:
    where = (outbox_table.c.account_id == account_id, outbox_table.c.message_id == message_id)
    return bool(conn.execute(select(outbox_table.c.automatic).where(*where)).scalar_one())


async def test_a_persons_replies_have_a_limit_too(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    for _ in range(5):
        last = await answer(office, automatic=False)
    assert await refused(office, automatic=False) == "capped_ticket_hour"
    held = office.held
    reply = await stores.content.read(held.account_id, outbox.get_reply, last.message_id)
    await stores.content.transaction(
        held.account_id,
        outbox.change_reply,
        last.message_id,
        was=reply.status,
        status=ReplyStatus.CANCELLED,
        due_at=None,
    )
    await answer(office, automatic=False)  # one that was cancelled is none


async def test_automatic_messages_to_a_recipient_are_few_over_all_tickets(stores: Stores) -> None:
    """Where every round of a loop opens a ticket of its own."""
    office = await Office.open(stores)
    await office.take(*(mail(f"Out {n}", message_id=f"<q{n}@example.org>") for n in range(6)))
    for number in range(1, 6):
        created = await answer(office, number=number)
        await stores.content.transaction(office.held.account_id, _with_recipient, office, created.message_id)
    assert await refused(office, number=6) == "capped_automatic_recipient_day"
    await answer(office, number=6, automatic=False)


def _with_recipient(conn: Connection, account_id: UUID, office: Office, message_id: UUID) -> None:
    """Write the recipient's row, unless the reply came with one."""
    of_reply = reply_recipients.c.message_id == message_id
    if conn.execute(select(func.count()).select_from(reply_recipients).where(of_reply)).scalar_one():
        return
    conn.execute(
        insert(reply_recipients).values(
            account_id=account_id,
            message_id=message_id,
            position=0,
            mailbox_id=office.held.mailbox_id,
            address_key=address_key(office.context.key, "anna@example.org"),
            status="queued",
            status_since=datetime.now(UTC),
        )
    )


AUTO = "Auto-Submitted: auto-replied\r\n"
BULK = "List-Unsubscribe: <mailto:u@example.org>\r\nPrecedence: bulk\r\nX-Campaign-Id: 1\r\n"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (mail("Automatic reply", headers=AUTO), "automatic_to_machine"),
        (mail("Sale", headers=BULK), "automatic_to_machine"),
        (b"Return-Path: <>\r\n" + mail("Question"), "automatic_to_machine"),
        (mail(sender="no-reply@example.org"), "automatic_no_reply"),
        (mail(sender="MAILER-DAEMON@example.org"), "automatic_no_reply"),
    ],
    ids=["auto-reply", "bulk", "null return path", "no-reply", "mailer-daemon"],
)
async def test_a_machine_is_never_answered_automatically(stores: Stores, raw: bytes, code: str) -> None:
    office = await Office.open(stores)
    await office.take(raw)
    assert await refused(office) == code
    await answer(office, automatic=False)


async def test_the_newest_message_decides(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    await answer(office)
    ours = (await office.ticket(1)).messages[-1].record.mail.message_id
    away = mail("Away", message_id="<q2@example.org>", headers=f"In-Reply-To: {ours}\r\n{AUTO}")
    await office.take(away)
    assert len((await office.ticket(1)).messages) == 3
    assert await refused(office) == "automatic_to_machine"


async def test_none_of_our_own_mailboxes_is_answered_automatically(stores: Stores) -> None:
    """Two linked mailboxes that write to each other would never end."""
    office = await Office.open(stores)
    other = await Office.open(stores, beside=office, aliases=["Sales@example.com"])
    await other.take(mail(sender="x@example.org"))
    await office.take(mail(sender="sales@example.com"))
    number = (await office.desk.tickets(office.held.account_id, mailbox_id=office.held.mailbox_id))[0].ticket.number
    assert await refused(office, number=number) == "automatic_own_address"


async def test_mail_from_before_the_linking_is_never_answered_automatically(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail(), at=datetime.now(UTC) - timedelta(days=400))
    assert await refused(office) == "automatic_imported"
    await answer(office, automatic=False)


async def test_a_request_that_is_repeated_is_no_reply_more(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    first = await answer(office, key="one")
    await answer(office)
    again = await answer(office, key="one")
    assert (again.message_id, again.repeated) == (first.message_id, True)
