"""Lists of tickets: every filter in either order, page by page, and by which indexes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, insert, text, update

from storage import accounts, mailboxes
from storage.tables import mailboxes as mailboxes_table
from storage.tables import tickets as tickets_table
from storage.ticket_lists import TicketFilter, TicketOrder, TicketPlace, list_tickets
from storage.tickets import AT_WORK, Ticket, TicketStatus
from storage.types import new_id
from tests.plans import plans
from tests.stores import Stores

START = datetime(2026, 1, 1, tzinfo=UTC)
NUMBER, UPDATED_AT = TicketOrder.NUMBER, TicketOrder.UPDATED_AT
ORDERS = [(order, descending) for order in TicketOrder for descending in (False, True)]


@dataclass
class Desk:
    """An account of four mailboxes, the last of which is being forgotten."""

    stores: Stores
    account_id: UUID
    mailboxes: list[UUID]
    tickets: list[Ticket]

    async def read(self, wanted: TicketFilter, **more: Any) -> list[Ticket]:
        return await self.stores.content.read(self.account_id, list_tickets, wanted, **more)

    async def pages(self, wanted: TicketFilter, order: TicketOrder, descending: bool, limit: int) -> list[int]:
        numbers: list[int] = []
        after = None
        while page := await self.read(wanted, order=order, descending=descending, after=after, limit=limit):
            numbers += [one.number for one in page]
            after = TicketPlace(page[-1].number, page[-1].updated_at)
        return numbers

    def expected(self, wanted: TicketFilter, order: TicketOrder, descending: bool) -> list[int]:
        found = [one for one in self.tickets if one.mailbox_id != self.mailboxes[-1] and _is_wanted(wanted, one)]
        found.sort(key=lambda one: one.number if order is NUMBER else (one.updated_at, one.number), reverse=descending)
        return [one.number for one in found]


def _is_wanted(wanted: TicketFilter, one: Ticket) -> bool:
    keys = wanted.requester_keys
    return (
        one.status in wanted.statuses
        and wanted.mailbox_id in {None, one.mailbox_id}
        and (keys is None or keys.get(one.mailbox_id) == one.requester_key)
        and (wanted.created_since is None or one.created_at >= wanted.created_since)
        and (wanted.created_before is None or one.created_at < wanted.created_before)
        and (wanted.updated_since is None or one.updated_at >= wanted.updated_since)
        and (wanted.updated_before is None or one.updated_at < wanted.updated_before)
        and wanted.number_from <= one.number <= wanted.number_to
    )


def _ticket(chance: random.Random, account_id: UUID, mailbox_ids: list[UUID], number: int) -> Ticket:
    mailbox_id = chance.choice(mailbox_ids)
    # Numbers follow the creation but for a clock that was set back; several changes fall on the same time.
    created_at = START + timedelta(minutes=number - chance.choice([0, 0, 0, 90]))
    return Ticket(
        account_id=account_id,
        ticket_id=new_id(),
        mailbox_id=mailbox_id,
        number=number,
        status=chance.choice([*TicketStatus, TicketStatus.OPEN]),
        requester_key=_requester(mailbox_id, chance.choice("abc")),
        suspected_ticket_id=None,
        follows_ticket_id=None,
        merged_into_id=None,
        closed_at=None,
        created_at=created_at,
        updated_at=created_at + timedelta(minutes=15 * chance.randrange(12)),
        sealed=b"sealed",
    )


def _requester(mailbox_id: UUID, name: str) -> bytes:
    return mailbox_id.bytes + name.encode()


def _fill(conn: Connection, account_id: UUID, mailbox_ids: list[UUID], rows: list[Ticket]) -> None:
    for mailbox_id in mailbox_ids:
        mailboxes.insert_mailbox(
            conn, account_id, mailbox_id, provider="local", start_from="now", start_days=0, sealed=b""
        )
    names = Ticket.__dataclass_fields__
    conn.execute(insert(tickets_table), [{name: getattr(one, name) for name in names} for one in rows])
    gone = update(mailboxes_table).where(mailboxes_table.c.mailbox_id == mailbox_ids[-1])
    conn.execute(gone.values(state="disconnecting"))
    if conn.dialect.name == "postgresql":
        conn.execute(text("ANALYZE tickets"))


async def _open(stores: Stores, account: UUID, count: int) -> Desk:
    chance, mailbox_ids = random.Random(7), [new_id() for _ in range(4)]
    rows = [_ticket(chance, account, mailbox_ids, number) for number in range(1, count + 1)]
    await stores.content.transaction(account, _fill, mailbox_ids, rows)
    return Desk(stores, account, mailbox_ids, rows)


def _filters(chance: random.Random, desk: Desk, count: int) -> Iterator[TicketFilter]:
    def some(value: Any) -> Any:
        return value if chance.random() < 0.3 else None

    for _ in range(count):
        at = START + timedelta(minutes=chance.randrange(300))
        later = at + timedelta(minutes=chance.randrange(200))
        keys = {mailbox_id: _requester(mailbox_id, "a") for mailbox_id in desk.mailboxes}
        yield TicketFilter(
            statuses=chance.choice([AT_WORK, tuple(TicketStatus), (TicketStatus.SPAM,)]),
            mailbox_id=some(chance.choice(desk.mailboxes)),
            requester_keys=some(keys),
            created_since=some(at),
            created_before=some(later),
            updated_since=some(at),
            updated_before=some(later),
            number_from=some(chance.randrange(1, 300)) or 1,
            number_to=some(chance.randrange(1, 400)) or 2**63 - 1,
        )


async def test_every_filter_in_every_order_page_by_page(stores: Stores, account: UUID) -> None:
    desk, chance = await _open(stores, account, 300), random.Random(8)
    for wanted in _filters(chance, desk, 60):
        order, descending = chance.choice(ORDERS)
        expected = desk.expected(wanted, order, descending)
        found = await desk.pages(wanted, order, descending, chance.choice([1, 7, 50]) if len(expected) < 40 else 50)
        assert found == expected, (wanted, order, descending)


async def test_the_filters_do_find_something(stores: Stores, account: UUID) -> None:
    desk = await _open(stores, account, 300)
    sizes = [len(desk.expected(wanted, NUMBER, False)) for wanted in _filters(random.Random(8), desk, 60)]
    assert sum(size > 7 for size in sizes) > 15


async def test_a_requester_of_more_mailboxes_than_one_statement_asks_for(
    stores: Stores, account: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.ticket_lists._LEGS_MAX", 1)
    monkeypatch.setattr("storage.ticket_lists._PROBES_MAX", 2)
    desk = await _open(stores, account, 100)
    keys = {mailbox_id: _requester(mailbox_id, "b") for mailbox_id in [*desk.mailboxes, new_id()]}
    for order, descending in ORDERS:
        wanted = TicketFilter(requester_keys=keys)
        expected = desk.expected(wanted, order, descending)
        assert len(expected) > 15
        assert await desk.pages(wanted, order, descending, 5) == expected


async def test_a_list_by_number_has_no_gaps_and_none_twice_while_tickets_change(stores: Stores, account: UUID) -> None:
    desk = await _open(stores, account, 60)
    wanted, seen, after = TicketFilter(), [], None
    while page := await desk.read(wanted, after=after, limit=7):
        seen += [one.number for one in page]
        after = TicketPlace(page[-1].number, page[-1].updated_at)
        await _touch(desk, seen[0], page[-1].number, page[-1].number + 1)
    assert seen == desk.expected(wanted, NUMBER, False)


async def test_in_a_list_by_change_what_did_not_change_is_there_once(stores: Stores, account: UUID) -> None:
    for descending in (False, True):
        desk = await _open(stores, await _another(stores), 60)
        expected = desk.expected(TicketFilter(), UPDATED_AT, descending)
        changing, seen, after = {expected[0], expected[20], expected[45]}, [], None
        while page := await desk.read(TicketFilter(), order=UPDATED_AT, descending=descending, after=after, limit=7):
            after = TicketPlace(page[-1].number, page[-1].updated_at)
            seen += [one.number for one in page]
            if len(seen) == 14:
                await _touch(desk, *changing)
        assert [one for one in seen if one not in changing] == [one for one in expected if one not in changing]
        if not descending:
            assert set(seen[-3:]) == changing, "what changed comes at the end, with its new state"


async def _another(stores: Stores) -> UUID:
    account_id = new_id()
    await stores.content.transaction(account_id, accounts.insert_account, b"sealed")
    return account_id


async def _touch(desk: Desk, *numbers: int) -> None:
    def change(conn: Connection, account_id: UUID) -> None:
        same = tickets_table.c.account_id == account_id, tickets_table.c.number.in_(numbers)
        conn.execute(update(tickets_table).where(*same).values(updated_at=datetime.now(UTC)))

    await desk.stores.content.transaction(desk.account_id, change)


def _plan(conn: Connection, account_id: UUID, /, wanted: TicketFilter, **more: Any) -> list[str]:
    if conn.dialect.name == "postgresql":
        conn.execute(text("SET LOCAL enable_bitmapscan = off"))  # of so few tickets it would sort all of a requester's
    return plans(conn, "tickets", lambda: list_tickets(conn, account_id, wanted, limit=50, **more))


async def test_a_page_is_read_by_an_index_in_its_order(stores: Stores, account: UUID) -> None:
    desk = await _open(stores, account, 2_000)
    place, mailbox_id = TicketPlace(1_000, START + timedelta(minutes=1_000)), desk.mailboxes[0]
    keys = {one: _requester(one, "a") for one in desk.mailboxes[:2]}
    of_status = {NUMBER: "_account_id_status_number_mailbox_id", UPDATED_AT: "_status_updated_at_number_mailbox_id"}
    of_mailbox = {NUMBER: "_mailbox_id_status_number", UPDATED_AT: "_mailbox_id_status_updated_at_number"}
    of_requester = {NUMBER: "_mailbox_id_requester_key_number", UPDATED_AT: "_requester_updated_at"}
    for wanted, index, legs in (
        (TicketFilter(), of_status, 4),
        (TicketFilter(AT_WORK), of_status, 2),
        (TicketFilter((TicketStatus.SPAM,), number_from=5, number_to=1_500), of_status, 1),
        (TicketFilter(mailbox_id=mailbox_id), of_mailbox, 4),
        (TicketFilter(AT_WORK, mailbox_id), of_mailbox, 2),
        (TicketFilter(AT_WORK, requester_keys=keys), of_requester, 2),
    ):
        for (order, descending), after in itertools.product(ORDERS, (None, place)):
            plan = await stores.content.transaction(
                account, _plan, wanted, order=order, descending=descending, after=after
            )
            assert len([line for line in plan if f"{index[order]} " in line]) >= legs, plan
            sorts = [line for line in plan if "TEMP B-TREE" in line or line.strip(" ->").startswith("Sort  ")]
            assert len(sorts) <= 1, "but that of the page, which is put together of the legs"
            assert [line for line in plan if "Seq Scan on tickets" in line or "SCAN tickets" in line] == []


async def test_times_are_found_in_an_index_alone(stores: Stores, account: UUID) -> None:
    await _open(stores, account, 2_000)
    late = START + timedelta(minutes=1_900)
    for wanted, order, index in (
        (TicketFilter(created_since=late), NUMBER, "ix_tickets_account_id_created_at_number "),
        (TicketFilter(updated_since=late), NUMBER, "_updated_at_number_mailbox_id "),
        (TicketFilter(updated_since=START, updated_before=START), UPDATED_AT, "_updated_at_number_mailbox_id "),
    ):
        plan = await stores.content.transaction(account, _plan, wanted, order=order)
        assert [line for line in plan if index in line and ("COVERING" in line or "Index Only Scan" in line)], plan
