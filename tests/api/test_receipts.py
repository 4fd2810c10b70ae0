"""Receipts: how far a mailbox's forgetting has come, and what it leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from storage import erasures, keystore, persons
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem
from tests.office import Office, mail
from tests.privacy.test_persons import eraser
from tests.stores import Stores
from tests.test_maintenance import maintenance

pytestmark = pytest.mark.postgresql_is_long  # what the database has to do with it is shown in tests/storage


@pytest.fixture
async def desk(stores: Stores) -> AsyncIterator[ApiDesk]:
    async with api_desk(await Office.open(stores)) as opened:
        yield opened


async def test_from_the_request_to_the_receipt(desk: ApiDesk) -> None:
    office, stores = desk.office, desk.office.stores
    await office.take(mail())
    await desk.post("/tickets/1/uploads?name=a.txt", content=b"secret")
    kept = await Office.open(stores, address="kept@example.com", beside=office)
    path = f"/receipts/{office.held.mailbox_id}"
    assert_problem(await desk.ask("GET", path), 404, "not_found")
    requested = (await desk.ask("DELETE", f"/mailboxes/{office.held.mailbox_id}")).json()
    assert (requested["step"], requested["receipt"]) == ("requested", None)
    (erasure,) = await stores.content.read(None, erasures.list_erasures)
    await maintenance(office).eraser.run(erasure)
    done = await desk.get(path)
    receipt = done["receipt"]
    assert done["step"] == "done"
    assert done["requested_at"] <= receipt["unreadable_at"] <= receipt["deleted_at"]
    assert (receipt["deleted"]["messages"], receipt["deleted"]["uploads"], receipt["left"]) == (1, 1, {})
    assert receipt["revocation"] == "nothing_to_revoke"
    again = await desk.ask("DELETE", f"/mailboxes/{office.held.mailbox_id}", key="again")
    assert (again.status_code, again.json()) == (202, done)
    assert [one["mailbox_id"] for one in (await desk.get("/mailboxes"))["items"]] == [str(kept.held.mailbox_id)]
    await desk.verified()


async def test_what_came_of_a_revocation_later_is_told(desk: ApiDesk) -> None:
    held, store = desk.office.held, desk.backend.keystore
    detail = {
        "mailbox_id": str(held.mailbox_id),
        "provider": "local",
        "requested_at": "2026-03-01T09:00:00Z",
        "unreadable_at": "2026-03-01T09:00:01Z",
        "deleted_at": "2026-03-01T09:00:02Z",
        "key_fingerprint": "00",
        "deleted": {},
        "revocation": "pending",
        "left": {},
    }
    await desk.ask("DELETE", f"/mailboxes/{held.mailbox_id}")
    await store.transaction(held.account_id, keystore.append_ledger, held.mailbox_id, "receipt", detail)
    path = f"/receipts/{held.mailbox_id}"
    # As version 0.2 wrote it, without what came of a refresh.
    receipt = (await desk.get(path))["receipt"]
    assert (receipt["revocation"], receipt["refresh_after"]) == ("pending", "not_tried")
    assert receipt["blob_versions"] == "unknown"
    await store.transaction(
        held.account_id,
        keystore.append_ledger,
        held.mailbox_id,
        "revocation",
        {"outcome": "revoked", "refresh_after": "refused"},
    )
    receipt = (await desk.get(path))["receipt"]
    assert (receipt["revocation"], receipt["refresh_after"]) == ("revoked", "refused")


async def test_lists_are_paged_and_of_one_account(desk: ApiDesk) -> None:
    second = await Office.open(desk.office.stores, address="b@example.com", beside=desk.office)
    other = await Office.open(desk.office.stores, address="c@example.com")
    ids = [desk.office.held.mailbox_id, second.held.mailbox_id]
    for mailbox_id in ids:
        await desk.ask("DELETE", f"/mailboxes/{mailbox_id}")
    foreign = await desk.new_token(account_id=other.held.account_id)
    theirs = f"/v1/accounts/{other.held.account_id}"
    await desk.ask("DELETE", f"{theirs}/mailboxes/{other.held.mailbox_id}", token=foreign)
    first = await desk.get("/receipts?limit=1")
    rest = await desk.get(f"/receipts?limit=1&after={first['next']}")
    assert [one["mailbox_id"] for one in first["items"] + rest["items"]] == list(map(str, ids))
    assert rest["next"] is None
    assert_problem(await desk.ask("GET", f"/receipts/{other.held.mailbox_id}"), 404, "not_found")
    assert_problem(await desk.ask("GET", f"/receipts/{new_id()}"), 404, "not_found")


async def test_a_person_is_erased(desk: ApiDesk) -> None:
    office, content = desk.office, desk.office.stores.content
    await office.take(mail(sender="Anna <anna@example.org>"))
    assert_problem(await desk.ask("POST", "/erasures", json={"address": "anna"}), 422, "invalid")
    asked = {"address": "anna@example.org"}
    first = await desk.ask("POST", "/erasures", json=asked, key="once")
    assert (first.status_code, first.json()["step"], first.json()["receipt"]) == (202, "requested", None)
    (erasure,) = await content.read(None, persons.list_unfinished)
    assert await eraser(office, here=True).run(erasure)
    again = await desk.ask("POST", "/erasures", json=asked, key="once")
    assert again.headers["Idempotency-Replayed"] == "true"
    done = await desk.get(f"/erasures/{erasure.erasure_id}")
    assert again.json()["erasure_id"] == done["erasure_id"]
    assert (done["step"], done["counts"]) == ("done", {"messages_deleted": 1, "tickets_deleted": 1})
    assert done["receipt"]["signed"].count(".") == 2
    assert_problem(await desk.ask("GET", f"/erasures/{office.held.mailbox_id}"), 404, "not_found")
    await desk.verified()
