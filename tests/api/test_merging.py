"""Merging tickets over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ingestd.access import Scope
from tests.api.desk import ApiDesk, api_desk, assert_problem, settings
from tests.office import Office, mail
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long  # what the database has to do with it is shown in tests/storage


@pytest.fixture
async def desk(stores: Stores) -> AsyncIterator[ApiDesk]:
    office = await Office.open(stores)
    await office.take(*(mail(message_id=f"<q{number}@example.org>", text=f"{number}") for number in range(1, 4)))
    async with api_desk(office, settings(tickets={"merge_messages_max": 1})) as opened:
        yield opened


async def test_a_ticket_is_merged_once(desk: ApiDesk) -> None:
    merged = await desk.post("/tickets/2/merge", {"into": 1}, key="k1")
    source = (await desk.office.ticket(2)).ticket
    assert merged == {
        "ticket_id": str(source.ticket_id),
        "mailbox_id": str(source.mailbox_id),
        "number": 2,
        "status": "merged",
        "merged_into": 1,
    }
    again = await desk.ask("POST", "/tickets/2/merge", json={"into": 1}, key="k1")
    assert (again.json(), again.headers["idempotency-replayed"]) == (merged, "true")
    assert_problem(
        await desk.ask("POST", "/tickets/2/merge", json={"into": 3}, key="k1"), 409, "idempotency_key_reused"
    )
    # Without a key it is the same merge all the same.
    assert await desk.post("/tickets/2/merge", {"into": 1}) == merged
    assert len((await desk.office.ticket(1)).messages) == 2
    assert (await desk.office.event_types()).count("ticket.merged") == 1
    await desk.verified()


async def test_what_is_refused_names_the_target(desk: ApiDesk) -> None:
    await desk.post("/tickets/2/merge", {"into": 1})
    cases = (
        ("/tickets/2/merge", 3, "ticket 2 was merged into ticket 1"),
        ("/tickets/3/merge", 2, "ticket 2 was merged into ticket 1"),
        ("/tickets/3/merge", 3, "a ticket cannot be merged into itself"),
        ("/tickets/1/merge", 3, "ticket 1 has more than 1 messages: it cannot be merged"),
    )
    for path, into, said in cases:
        # A refused request was not done: its key is free.
        refused = await desk.ask("POST", path, json={"into": into}, key="k1")
        assert assert_problem(refused, 409, "conflict")["detail"] == said
    await desk.post("/tickets/3/merge", {"into": 1}, key="k1")
    await desk.verified()


async def test_tickets_of_other_mailboxes_and_accounts(desk: ApiDesk, stores: Stores) -> None:
    beside = await Office.open(stores, beside=desk.office)
    await beside.take(mail())
    refused = await desk.ask("POST", "/tickets/4/merge", json={"into": 1})
    assert assert_problem(refused, 409, "conflict")["detail"] == "tickets 4 and 1 are of different mailboxes"
    stranger = await Office.open(stores)
    foreign = await desk.new_token(account_id=stranger.held.account_id)
    assert_problem(await desk.ask("POST", "/tickets/2/merge", json={"into": 1}, token=foreign), 404, "not_found")
    for path, into in (("/tickets/9/merge", 1), ("/tickets/1/merge", 9), ("/tickets/1/merge", 2**63 - 1)):
        assert_problem(await desk.ask("POST", path, json={"into": into}), 404, "not_found")
    assert_problem(await desk.ask("POST", "/tickets/1/merge", json={"into": 2**63}), 422, "invalid")
    narrow = await desk.new_token([Scope.READ, Scope.MANAGE])
    assert_problem(await desk.ask("POST", "/tickets/2/merge", json={"into": 1}, token=narrow), 403, "forbidden")
    await desk.verified()
