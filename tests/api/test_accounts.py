"""Accounts over HTTP: the operator's alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ingestd.access import Scope
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem
from tests.office import Office, mail
from tests.stores import Stores


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
