"""Loops and mail bombs: all of it is kept, nothing is answered, and it is told once."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingestd.inbound.floods import is_over
from ingestd.inbound.rules import Rules
from ingestd.ticketing import set_status
from storage import events
from tests.inbound.attic import imported
from tests.office import Office, mail
from tests.stores import Stores, sqlite_urls

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
FEW = Rules(sender_tickets_max=3, ticket_messages_max=4)


def bomb(first: int, count: int, *, headers: str = "", sender: str = "anna@example.org") -> list[bytes]:
    numbers = range(first, first + count)
    return [mail(f"{n}", sender=sender, message_id=f"<{n}@{sender}>", headers=headers) for n in numbers]


async def shape(office: Office) -> list[str]:
    """Return the messages of each ticket, in the order of their numbers: m where muted, else a dot."""
    found = await office.desk.tickets(office.held.account_id)
    views = [await office.ticket(one.ticket.number) for one in found]
    return ["".join("m" if one.row.muted else "." for one in view.messages) for view in views]


async def told(office: Office) -> Counter[str]:
    found = await office.stores.content.read(office.held.account_id, events.list_events, 0, 1000)
    return Counter(one.type + (f" {one.detail}" if one.type == "ticket.flooded" else "") for one in found)


async def test_a_sender_who_opens_too_many_tickets_fills_one(stores: Stores) -> None:
    office = await Office.open(stores, rules=FEW)
    committed = await office.take(*bomb(0, 6), *bomb(0, 2, sender="bob@example.net"), at=NOON)
    assert list(committed.muted) == ["sender"] * 3
    await office.take(*bomb(6, 3), at=NOON + timedelta(minutes=30))
    assert await shape(office) == [".", ".", ".", "mmmmmm", ".", "."]
    assert "beyond the limit of the sender" in (await office.ticket(4)).messages[-1].record.evidence
    assert await told(office) == {
        "ticket.created": 6,
        "message.received": 5,
        "message.muted": 6,
        "ticket.flooded sender": 1,
    }
    # It goes on as long as it lasts, also where an agent has closed it, and is not told again.
    await stores.content.transaction(office.held.account_id, set_status, 4, "closed")
    await office.take(*bomb(9, 4), at=NOON + timedelta(minutes=80))
    assert ((await office.ticket(4)).ticket.status, (await shape(office))[3]) == ("closed", "m" * 10)
    # An hour below the limit, and mail is mail again; the next flood gets its own ticket.
    await office.take(*bomb(13, 5), at=NOON + timedelta(hours=3))
    assert (await shape(office))[6:] == [".", ".", ".", "mm"]
    assert (await told(office))["ticket.flooded sender"] == 2
    await office.check()


async def test_a_ticket_that_gets_too_many_messages_keeps_them_in_silence(stores: Stores) -> None:
    """Two machines that answer each other end here: nobody hears of a muted message, and nothing is reopened."""
    office = await Office.open(stores, rules=FEW)
    await office.take(mail(), at=NOON)
    loop = "In-Reply-To: <q1@example.org>\r\nReferences: <q1@example.org>\r\n"
    await office.take(*bomb(0, 5, headers=loop), at=NOON + timedelta(minutes=1))
    await stores.content.transaction(office.held.account_id, set_status, 1, "closed")
    committed = await office.take(*bomb(5, 2, headers=loop), at=NOON + timedelta(minutes=50))
    assert (list(committed.muted), committed.tickets) == (["ticket"] * 2, 0)
    view = await office.ticket(1)
    assert (view.ticket.status, await shape(office)) == ("closed", ["....mmmm"])
    later = NOON + timedelta(minutes=150)
    await office.take(*bomb(7, 1, headers=loop), at=later)
    assert ((await office.ticket(1)).ticket.status, await shape(office)) == ("open", ["....mmmm."])
    assert await told(office) == {
        "ticket.created": 1,
        "ticket.closed": 1,
        "ticket.reopened": 1,
        "message.received": 5,
        "message.muted": 4,
        "ticket.flooded ticket": 1,
    }
    await office.check()


async def test_mail_of_a_week_is_no_flood_when_it_is_read_at_once(tmp_path: Path) -> None:
    stores = await Stores.open(sqlite_urls(tmp_path))
    try:
        office = await Office.open(stores, rules=FEW)
        await imported(office, bomb(100, 5))  # what was there before the linking is none either
        for number in range(6):
            await office.take(*bomb(number, 1), at=NOON + number * timedelta(minutes=25))
        assert await shape(office) == ["."] * 11
    finally:
        await stores.close()


def test_zero_is_no_limit() -> None:
    assert not is_over([NOON] * 1000, NOON, 0, timedelta(hours=1))
