"""Accounts over HTTP: the operator's alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ingestd.access import Scope
from ingestd.privacy.statement import read_statement, signer_of
from storage import accounts, closures
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem
from tests.office import Office, mail
from tests.stores import Stores
from tests.test_maintenance import maintenance


@pytest.fixture
async def desk(stores: Stores) -> AsyncIterator[ApiDesk]:
    office = await Office.open(stores)
    await office.take(mail())
    async with api_desk(office) as served:
        yield served


async def test_suspend_and_resume(desk: ApiDesk) -> None:
    operator = await desk.new_token(operator=True)
    path = f"/v1/accounts/{desk.account_id}"
    reply = await desk.office.reply(1)
    assert_problem(await desk.ask("POST", f"{path}/suspend"), 403, "forbidden")
    reader = await desk.new_token([Scope.READ], operator=True)
    assert_problem(await desk.ask("POST", f"{path}/suspend", token=reader), 403, "forbidden")

    suspended = await desk.post(f"{path}/suspend", token=operator, key="once")
    assert suspended["status"] == "suspended"
    assert suspended["since"] > suspended["created_at"]
    (mailbox,) = (await desk.get("/mailboxes"))["items"]
    assert mailbox["state"] == "suspended"
    assert "suspended" in mailbox["meaning"]
    assert str(desk.account_id) in mailbox["cure"]
    assert (await desk.get(f"/replies/{reply.message_id}"))["waits_for"] == "account"

    assert (await desk.post(f"{path}/resume", token=operator))["status"] == "active"
    assert (await desk.get(f"/replies/{reply.message_id}"))["waits_for"] is None
    # Repeated behind that, it is the first request once more.
    again = await desk.ask("POST", f"{path}/suspend", token=operator, key="once")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["status"] == "active"
    assert_problem(await desk.ask("POST", f"/v1/accounts/{new_id()}/suspend", token=operator), 404, "not_found")
    told = [one["type"] for one in (await desk.get("/events"))["items"]]
    assert [one for one in told if one.startswith("account.")] == ["account.suspended", "account.resumed"]
    await desk.verified()


async def test_close(desk: ApiDesk) -> None:
    operator = await desk.new_token(operator=True)
    path = f"/v1/accounts/{desk.account_id}"
    assert_problem(await desk.ask("DELETE", path), 403, "forbidden")
    assert (await desk.get(path))["closing"] is None

    closing = await desk.ask("DELETE", path, token=operator, key="once")
    assert closing.status_code == 202
    shown = closing.json()
    assert (shown["status"], shown["name"]) == ("closing", "Example")
    assert (shown["closing"]["step"], shown["closing"]["mailboxes_left"]) == ("requested", 1)
    assert_problem(await desk.ask("GET", "/tickets"), 401, "unauthorized")
    assert (await desk.get("/mailboxes", token=operator))["items"] == []
    for method, route, body in (
        ("POST", "/tokens", {"label": "x", "scopes": ["read"]}),
        ("POST", "/webhooks", {"url": "https://desk.example.com/hook"}),
    ):
        assert_problem(await desk.ask(method, route, token=operator, json=body), 404, "not_found")
    assert_problem(await desk.ask("POST", f"{path}/resume", token=operator), 409, "conflict")
    again = await desk.ask("DELETE", path, token=operator, key="once")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.status_code == 202
    told = [one["type"] for one in (await desk.get("/events", token=operator))["items"]]
    assert told[-2:] == ["mailbox.disconnected", "account.closing"]

    await maintenance(desk.office).erase()
    erasure, left = await desk.office.stores.content.read(desk.account_id, closures.find_progress)
    assert (erasure.step, left) == ("done", 0)
    shown = await desk.get(path, token=operator)
    assert (shown["status"], shown["name"]) == ("closed", None)
    assert shown["closing"]["receipt"]["mailboxes"] == [str(desk.office.held.mailbox_id)]
    assert shown["closing"]["receipt"]["left"] == {}
    assert shown["closing"]["receipt"]["blob_versions"] == "none"
    (receipt,) = (await desk.get("/receipts", token=operator))["items"]
    assert receipt["mailbox_id"] == str(desk.office.held.mailbox_id)
    (listed,) = (await desk.get("/v1/accounts", token=operator))["items"]
    # Each is signed anew, at its own time.
    signed = [one["closing"]["receipt"].pop("signed") for one in (shown, listed)]
    assert listed == shown
    for statement in signed:
        said = read_statement(statement, signer_of(desk.office.keys).public_key)
        assert (said["sub"], said["account_id"]) == (str(desk.account_id), str(desk.account_id))
        assert said["receipt"]["mailboxes"] == shown["closing"]["receipt"]["mailboxes"]
        assert said["ledger"]["sequence"] == 4
    await desk.verified()


async def test_how_long_solved_tickets_are_kept_and_a_hold(desk: ApiDesk) -> None:
    operator = await desk.new_token(operator=True)
    path = f"/v1/accounts/{desk.account_id}"
    assert_problem(await desk.ask("PATCH", path, json={"solved_days": 9}), 403, "forbidden")
    assert_problem(await desk.ask("PATCH", path, json={"solved_days": 0}, token=operator), 422, "invalid")
    changed = await desk.ask("PATCH", path, json={"solved_days": 365}, token=operator)
    assert changed.json()["solved_days"] == 365
    changed = await desk.ask("PATCH", path, json={"mask_cards": True}, token=operator)
    assert (changed.json()["solved_days"], changed.json()["mask_cards"]) == (365, True)
    changed = await desk.ask("PATCH", path, json={"solved_days": None}, token=operator)
    assert (changed.json()["solved_days"], changed.json()["mask_cards"]) == (None, True)

    assert (await desk.post(f"{path}/suspend", token=operator))["erased_at"] is not None
    held = await desk.post(f"{path}/hold", token=operator)
    assert (held["held_since"] is None, held["erased_at"]) == (False, None)
    assert_problem(await desk.ask("DELETE", path, token=operator), 409, "conflict")
    assert (await desk.post(f"{path}/release", token=operator))["held_since"] is None
    await desk.verified()


async def test_a_pin_is_the_operators_and_fits_the_stores(desk: ApiDesk) -> None:
    operator = await desk.new_token(operator=True)
    path = f"/v1/accounts/{desk.account_id}"
    assert_problem(await desk.ask("PATCH", path, json={"location": "eu"}), 403, "forbidden")
    assert_problem(await desk.ask("PATCH", path, json={"location": "E U"}, token=operator), 422, "invalid")
    assert_problem(await desk.ask("PATCH", path, json={}, token=operator), 422, "invalid")
    # Nobody has said where the stores are.
    refused = await desk.ask("PATCH", path, json={"location": "eu"}, token=operator)
    assert_problem(refused, 409, "conflict")
    assert "storage.database has no location" in refused.json()["detail"]
    made = await desk.ask("POST", "/v1/accounts", json={"name": "Other", "location": "eu"}, token=operator)
    assert_problem(made, 409, "conflict")
    assert (await desk.get(path))["location"] is None
    await desk.office.stores.content.transaction(desk.account_id, accounts.set_location, "eu")
    assert (await desk.get(path))["location"] == "eu"
    webhook = {"url": "https://hooks.example.com/"}
    assert_problem(await desk.ask("POST", f"{path}/webhooks", json=webhook), 422, "url_refused")
    unpinned = await desk.ask("PATCH", path, json={"location": None}, token=operator)
    assert (unpinned.json()["location"], unpinned.json()["solved_days"]) == (None, None)
