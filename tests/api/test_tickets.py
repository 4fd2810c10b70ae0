"""Tickets over HTTP: lists, what one shows, what agents do with it."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from ingestd.access import Scope
from storage import mailboxes
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem
from tests.office import Office, mail
from tests.stores import Stores

ANNA, BOB = "anna@example.org", "Bob@Example.NET"
MIRROR = {"solved": "keyword:Solved", "spam": "junk", "read": "seen"}


def letter(name: str, *, sender: str = ANNA, headers: str = "") -> bytes:
    return mail(name, sender=sender, message_id=f"<{name}@example.org>", headers=headers, text=f"This is {name}.")


@pytest.fixture
async def desk(stores: Stores) -> AsyncIterator[ApiDesk]:
    async with api_desk(await Office.open(stores, mirror=MIRROR)) as opened:
        yield opened


def numbers(page: Any) -> list[int]:
    return [one["number"] for one in page["items"]]


async def pages(desk: ApiDesk, query: str) -> list[int]:
    found, after = [], ""
    while True:
        page = await desk.get(f"/tickets?{query}{after}")
        found += numbers(page)
        if page["next"] is None:
            return found
        assert page["items"]
        after = f"&after={page['next']}"


async def test_a_list_is_filtered_sorted_and_paged(desk: ApiDesk) -> None:
    await desk.office.take(*[letter(f"q{n}", sender=BOB if n % 3 == 0 else ANNA) for n in range(1, 8)])
    for number, status in ((2, "spam"), (3, "closed"), (4, "deleted")):
        await desk.office.act(number, status)
    assert numbers(await desk.get("/tickets")) == [1, 3, 5, 6, 7]
    assert await pages(desk, "limit=2") == [1, 3, 5, 6, 7]
    assert await pages(desk, "limit=2&sort=-number") == [7, 6, 5, 3, 1]
    assert (await pages(desk, "limit=2&sort=-updated_at"))[0] == 3
    assert (await pages(desk, "limit=3&sort=updated_at&status=spam&status=deleted&status=closed")) == [2, 3, 4]
    assert await pages(desk, "number_from=3&number_to=6") == [3, 5, 6]
    assert await pages(desk, "requester=bob@example.net") == [3, 6]
    assert await pages(desk, "requester=%3CBOB@example.net%3E&status=open&sort=-updated_at") == [6]
    assert await pages(desk, "requester=nobody@example.net") == []
    assert await pages(desk, f"mailbox_id={desk.office.held.mailbox_id}&limit=1") == [1, 3, 5, 6, 7]
    shown = (await desk.get("/tickets?limit=1&number_from=6"))["items"][0]
    assert (shown["subject"], shown["requester"], shown["status"]) == ("q6", {"address": BOB, "name": ""}, "open")


async def test_a_list_is_filtered_by_times(desk: ApiDesk) -> None:
    await desk.office.take(letter("q1"), letter("q2"))
    await desk.office.act(1, "closed")
    first, second = (await desk.get("/tickets"))["items"]
    made, changed = first["created_at"], first["updated_at"]
    later = (datetime.fromisoformat(made) + timedelta(microseconds=1)).isoformat().replace("+", "%2B")
    for query, expected in (
        (f"created_since={made}", [1, 2]),
        (f"created_since={later}", []),
        (f"created_before={later}", [1, 2]),
        (f"created_before={made}&sort=-updated_at", []),
        (f"updated_since={changed}", [1]),
        (f"updated_before={changed}", [2]),
        (f"updated_since={second['updated_at']}&updated_before={changed}&sort=updated_at", [2]),
    ):
        assert await pages(desk, query) == expected, query


async def test_a_requester_is_found_in_each_mailbox_of_the_account(stores: Stores) -> None:
    office = await Office.open(stores)
    beside = await Office.open(stores, beside=office, address="sales@example.com")
    async with api_desk(office) as desk:
        await office.take(letter("q1"), letter("q2", sender=BOB))
        await beside.take(letter("q3"))
        await office.take(letter("q4"))
        assert await pages(desk, f"requester={ANNA}&limit=1") == [1, 3, 4]
        assert await pages(desk, f"requester={ANNA}&sort=-updated_at&limit=2") == [4, 3, 1]
        assert await pages(desk, f"requester={ANNA}&mailbox_id={beside.held.mailbox_id}") == [3]
        # One of them is being forgotten: it and its tickets are not there any more.
        await stores.content.transaction(desk.account_id, mailboxes.start_disconnect, beside.held.mailbox_id)
        assert await pages(desk, f"requester={ANNA}") == [1, 4]
        assert await pages(desk, "sort=-number") == [4, 2, 1]
        gone = await desk.ask("GET", f"/tickets?mailbox_id={beside.held.mailbox_id}")
        assert_problem(gone, 404, "not_found")
        for method, path, body in (
            ("GET", "/tickets/3", None),
            ("GET", "/tickets/3/messages", None),
            ("PATCH", "/tickets/3", {"status": "closed"}),
            ("POST", "/tickets/3/read", None),
        ):
            assert_problem(await desk.ask(method, path, json=body), 404, "not_found")


async def test_paging_while_mail_comes_and_tickets_change(desk: ApiDesk) -> None:
    await desk.office.take(*[letter(f"q{n}") for n in range(1, 16)])
    seen, after = [], ""
    for round_ in range(20):
        page = await desk.get(f"/tickets?limit=4{after}")
        seen += numbers(page)
        if page["next"] is None:
            break
        await desk.office.act(seen[0], "open" if round_ % 2 else "closed")
        await desk.office.act(seen[-1] + 1, "closed")
        if round_ < 2:
            await desk.office.take(letter(f"new{round_}"))
        after = f"&after={page['next']}"
    assert seen == list(range(1, 18))


async def test_wrong_questions(desk: ApiDesk) -> None:
    await desk.office.take(letter("q1"), letter("q2"))
    cursor = (await desk.get("/tickets?limit=1"))["next"]
    forged = base64.urlsafe_b64encode(struct.pack(">BBqq", 1, 0, -1, 2**63 - 1)).decode()
    for query in (
        f"after={cursor}&sort=-number",
        f"after={cursor}&sort=updated_at",
        f"after={cursor[:-1]}",
        f"after={cursor}A",
        f"after={forged}",
        "after=%C3%A9%00",
        "sort=subject",
        "status=lost",
        "limit=0",
        "limit=99999999999999999999",
        "number_from=99999999999999999999999",
        "requester=",
        "created_since=2027-01-01T00:00:00",
        "updated_before=9999-12-31T23:59:59Z",
        "mailbox=x",
        "mailbox_id=x",
    ):
        assert_problem(await desk.ask("GET", f"/tickets?{query}"), 422, "invalid")
    assert_problem(await desk.ask("GET", "/tickets/99999999999999999999"), 422, "invalid")
    assert_problem(await desk.ask("GET", "/tickets/3"), 404, "not_found")
    assert_problem(await desk.ask("GET", f"/tickets?mailbox_id={new_id()}"), 404, "not_found")
    assert_problem(await desk.ask("PATCH", "/tickets/1", json={"status": "merged"}), 422, "invalid")


async def test_a_ticket_says_what_it_has_to_do_with_others(stores: Stores) -> None:
    office = await Office.open(stores)
    beside = await Office.open(stores, beside=office, address="sales@example.com")
    async with api_desk(office) as desk:
        both = letter("both")
        await office.take(letter("q1"), both)
        await beside.take(both)
        # It names a mail of Anna's without any proof that it is hers.
        await office.take(letter("q2", sender="eve@evil.example", headers="In-Reply-To: <q1@example.org>\r\n"))
        assert (await desk.get("/tickets/2"))["related"] == [
            {"relation": "twin", "number": 3, "mailbox_id": str(beside.held.mailbox_id)}
        ]
        shown = await desk.get("/tickets/4")
        assert [(one["relation"], one["number"]) for one in shown["related"]] == [("suspected", 1)]
        assert shown["offered_requester"] is None


async def test_a_status_is_changed_mirrored_and_undone(desk: ApiDesk) -> None:
    await desk.office.take(letter("q1"))
    done = await desk.ask("PATCH", "/tickets/1", json={"status": "closed"})
    changed = done.json()
    assert (changed["changed"], changed["mirrored"]) == (True, {"edits": 1, "messages_lost": 0})
    assert changed["ticket"]["status"] == "closed"
    assert changed["ticket"]["closed_at"] is not None
    assert done.headers["etag"] == (await desk.ask("GET", "/tickets/1")).headers["etag"]
    (message,) = (await desk.get("/tickets/1/messages"))["items"]
    assert message["edits"] == [{"cause": "solved", "edit": "keyword", "status": "due", "reason": None}]
    again = (await desk.ask("PATCH", "/tickets/1", json={"status": "closed"})).json()
    assert (again["changed"], again["mirrored"]["edits"]) == (False, 0)
    assert (await desk.ask("PATCH", "/tickets/1", json={"status": "spam"})).json()["mirrored"]["edits"] >= 1
    assert (await desk.ask("PATCH", "/tickets/1", json={"status": "open"})).json()["ticket"]["closed_at"] is None
    events = await desk.office.event_types()
    assert events == ["ticket.created", "message.received", "ticket.closed", "ticket.spam", "ticket.reopened"]
    await desk.verified()


async def test_two_agents_at_the_same_ticket(desk: ApiDesk) -> None:
    await desk.office.take(letter("q1"))
    tag = (await desk.ask("GET", "/tickets/1")).headers["etag"]

    async def set_status(status: str, match: str) -> Any:
        return await desk.ask("PATCH", "/tickets/1", json={"status": status}, headers={"If-Match": match})

    both = await asyncio.gather(set_status("closed", tag), set_status("spam", tag))
    assert sorted(one.status_code for one in both) == [200, 412]
    assert_problem(next(one for one in both if one.status_code == 412), 412, "changed_meanwhile")
    newer = (await desk.ask("GET", "/tickets/1")).headers["etag"]
    for match in (tag, f"W/{newer}", '"other"', "nonsense", ""):
        assert_problem(await set_status("open", match), 412, "changed_meanwhile")
    assert (await set_status("open", f'"other", {newer}')).status_code == 200
    assert (await set_status("closed", "*")).status_code == 200
    # A mail that came meanwhile is a change as well: it may be what the agent did not know.
    seen = (await desk.ask("GET", "/tickets/1")).headers["etag"]
    await desk.office.take(letter("q2", headers="In-Reply-To: <q1@example.org>\r\n"))
    assert_problem(await set_status("deleted", seen), 412, "changed_meanwhile")
    await desk.verified()


async def test_a_repeated_request_is_done_once(desk: ApiDesk) -> None:
    await desk.office.take(letter("q1"))
    tag = {"If-Match": (await desk.ask("GET", "/tickets/1")).headers["etag"]}
    first = await desk.ask("PATCH", "/tickets/1", json={"status": "closed"}, key="k1", headers=tag)
    assert first.json()["changed"]
    await desk.office.act(1, "open")
    again = await desk.ask("PATCH", "/tickets/1", json={"status": "closed"}, key="k1", headers=tag)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert (again.json()["ticket"]["status"], again.json()["mirrored"]) == ("open", None)
    other = await desk.ask("PATCH", "/tickets/1", json={"status": "spam"}, key="k1")
    assert_problem(other, 409, "idempotency_key_reused")
    # What was refused was not done, and may be tried again under its key.
    stale = await desk.ask("PATCH", "/tickets/1", json={"status": "spam"}, key="k2", headers=tag)
    assert_problem(stale, 412, "changed_meanwhile")
    assert (await desk.ask("PATCH", "/tickets/1", json={"status": "spam"}, key="k2")).json()["changed"]
    read = await desk.post("/tickets/1/read", key="k3")
    assert (await desk.post("/tickets/1/read", key="k3"))["mirrored"] is None
    assert read["mirrored"] is not None
    await desk.verified()


async def test_reading_is_told_to_the_mailbox_alone(desk: ApiDesk) -> None:
    await desk.office.take(letter("q1"))
    before = await desk.ask("GET", "/tickets/1")
    assert await desk.post("/tickets/1/read") == {"number": 1, "mirrored": {"edits": 1, "messages_lost": 0}}
    assert (await desk.ask("GET", "/tickets/1")).headers["etag"] == before.headers["etag"]
    (message,) = (await desk.get("/tickets/1/messages"))["items"]
    assert [one["cause"] for one in message["edits"]] == ["read"]


async def test_who_may_what(desk: ApiDesk) -> None:
    await desk.office.take(letter("q1"))
    reader = await desk.new_token([Scope.READ])
    writer = await desk.new_token([Scope.REPLY])
    foreign = await desk.new_token(account_id=(await Office.open(desk.office.stores)).held.account_id)
    assert_problem(await desk.ask("GET", "/tickets", token=writer), 403, "forbidden")
    for method, path in (("PATCH", "/tickets/1"), ("POST", "/tickets/1/read")):
        assert_problem(await desk.ask(method, path, json={"status": "closed"}, token=reader), 403, "forbidden")
        assert_problem(await desk.ask(method, path, json={"status": "closed"}, token=foreign), 404, "not_found")
    for path in ("/tickets", "/tickets/1", "/tickets/1/messages"):
        assert_problem(await desk.ask("GET", path, token=foreign), 404, "not_found")
        assert (await desk.ask("GET", path, token=reader)).status_code == 200
