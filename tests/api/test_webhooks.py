"""Webhooks by the API: made, shown, changed, rotated, tried, replayed, deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from ingestd.access import Scope
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem, settings
from tests.events.receiver import Received, Receiver, answer
from tests.office import Office, mail
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long  # on both, tests/events/test_crash and tests/storage show what differs

URL = "https://1.1.1.1/hooks"
"""A public address: nothing is sent there."""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().serving() as serving:
        yield serving


@pytest.fixture
async def desk(stores: Stores, receiver: Receiver) -> AsyncIterator[ApiDesk]:
    given = settings(egress={"allow": [receiver.allowed]}, webhooks={"webhooks_max": 3})
    async with api_desk(await Office.open(stores), given) as opened:
        yield opened


async def test_made_shown_once_listed_and_deleted(desk: ApiDesk) -> None:
    wanted = {"url": URL, "types": ["reply.sent", "message.received"], "content": True, "description": "the desk"}
    made = await desk.post("/webhooks", wanted, key="k1")
    assert made["secret"].startswith("whsec_")
    assert (made["types"], made["content"], made["status"]) == (["message.received", "reply.sent"], True, "enabled")
    again = await desk.ask("POST", "/webhooks", json=wanted, key="k1")
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json()["webhook_id"], again.json()["secret"]) == (made["webhook_id"], None)
    shown = await desk.get(f"/webhooks/{made['webhook_id']}")
    assert "secret" not in shown
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    await desk.post("/webhooks", {"url": URL})
    page = await desk.get("/webhooks?limit=1")
    assert [one["webhook_id"] for one in page["items"]] == [page["next"]] == [made["webhook_id"]]
    assert len((await desk.get(f"/webhooks?after={page['next']}"))["items"]) == 1
    for key in ("d1", "d1"):
        gone = await desk.ask("DELETE", f"/webhooks/{made['webhook_id']}", key=key)
        assert gone.status_code == 204
    assert_problem(await desk.ask("GET", f"/webhooks/{made['webhook_id']}"), 404, "not_found")
    assert_problem(await desk.ask("DELETE", f"/webhooks/{made['webhook_id']}"), 404, "not_found")
    await desk.verified()


async def test_no_more_than_the_limit(desk: ApiDesk) -> None:
    for _ in range(3):
        await desk.post("/webhooks", {"url": URL})
    assert_problem(await desk.ask("POST", "/webhooks", json={"url": URL}), 429, "limit_reached")


async def test_addresses_that_cannot_be_a_webhooks(desk: ApiDesk) -> None:
    path = f"/webhooks/{(await desk.post('/webhooks', {'url': URL}))['webhook_id']}"
    for url in ("http://private.example.com/", "https://10.0.0.1:8443/", "https://127.0.0.1/"):
        for method, where in (("POST", "/webhooks"), ("PATCH", path)):
            problem = assert_problem(await desk.ask(method, where, json={"url": url}), 422, "url_refused")
            assert problem["detail"]
            assert "private" not in problem["detail"]
            assert "10.0" not in problem["detail"]


async def test_changes(desk: ApiDesk) -> None:
    path = f"/webhooks/{(await desk.post('/webhooks', {'url': URL}))['webhook_id']}"
    changed = (await desk.ask("PATCH", path, json={"types": ["reply.sent"], "enabled": False}, key="k")).json()
    assert (changed["types"], changed["status"], changed["reason"]) == (["reply.sent"], "disabled", "by_hand")
    await desk.ask("PATCH", path, json={"enabled": True, "url": "https://8.8.8.8:8443/", "description": "other"})
    again = await desk.ask("PATCH", path, json={"types": ["reply.sent"], "enabled": False}, key="k")
    assert again.headers["idempotency-replayed"] == "true"
    shown = await desk.get(path)
    assert (shown["status"], shown["url"], shown["description"]) == ("enabled", "https://8.8.8.8:8443/", "other")
    mistakes: list[dict[str, Any]] = [{"types": []}, {"types": ["nonsense"]}, {"secret": "x"}, {"url": ""}]
    for wrong in mistakes:
        assert_problem(await desk.ask("PATCH", path, json=wrong), 422, "invalid")


async def test_a_rotated_secret_is_shown_once(desk: ApiDesk) -> None:
    made = await desk.post("/webhooks", {"url": URL})
    path = f"/webhooks/{made['webhook_id']}/rotate-secret"
    rotated = await desk.post(path, key="r1")
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"] is not None
    assert (await desk.post(path, key="r1"))["secret"] is None


async def test_the_test_button(desk: ApiDesk, receiver: Receiver) -> None:
    made = await desk.post("/webhooks", {"url": receiver.url})
    receiver.secret, path = made["secret"], f"/webhooks/{made['webhook_id']}/test"
    told = await desk.post(path)
    assert (told["delivered"], told["code"], told["reason"]) == (True, 204, None)
    assert receiver.types() == ["webhook.test"]
    assert receiver.got[0].event["data"]["webhook_id"] == made["webhook_id"]

    async def redirect(_one: Received) -> bytes:
        return answer(307, f"Location: {receiver.url}")

    receiver.respond = redirect
    told = await desk.post(path)
    assert (told["delivered"], told["code"], told["reason"]) == (False, 307, "redirect")
    for _ in range(3):
        await desk.post(path)
    refused = await desk.ask("POST", path)
    assert_problem(refused, 429, "too_many_requests")
    assert len(receiver.got) == 5


async def test_replay_begins_where_it_can(desk: ApiDesk) -> None:
    await desk.office.take(mail())
    made = await desk.post("/webhooks", {"url": URL, "after": 0})
    assert (made["cursor"], made["lag"]["events"] > 0) == (0, True)
    path = f"/webhooks/{made['webhook_id']}"
    newest = (await desk.post("/webhooks", {"url": URL}))["cursor"]
    assert newest > 0
    await desk.ask("PATCH", path, json={"enabled": False})
    replayed = await desk.post(f"{path}/replay", {"after": 1}, key="p")
    assert (replayed["cursor"], replayed["status"]) == (1, "enabled")
    assert (await desk.ask("POST", f"{path}/replay", json={"after": 1}, key="p")).is_success
    assert_problem(await desk.ask("POST", f"{path}/replay", json={"after": newest + 1}), 409, "conflict")
    assert_problem(await desk.ask("POST", f"{path}/replay", json={"after": 2**70}), 422, "invalid")
    await desk.backend.content.transaction(
        None, lambda conn: conn.execute(text("UPDATE accounts SET events_gone_to = 1"))
    )
    gone = assert_problem(await desk.ask("POST", f"{path}/replay", json={"after": 0}), 410, "events_gone")
    assert gone["oldest"] == 1
    assert (await desk.get(f"{path}/deliveries")) == {"items": [], "next": None}
    assert (await desk.get(f"{path}/deliveries?status=given_up&after=5"))["items"] == []
    assert_problem(await desk.ask("GET", f"{path}/deliveries?status=lost"), 422, "invalid")


async def test_only_those_who_manage_and_only_their_own(desk: ApiDesk) -> None:
    made = await desk.post("/webhooks", {"url": URL})
    reader = await desk.new_token([Scope.READ, Scope.REPLY, Scope.ADMIN])
    assert_problem(await desk.ask("GET", "/webhooks", token=reader), 403, "forbidden")
    operator = await desk.new_token(operator=True)
    other = (await desk.post("/v1/accounts", {"name": "Other"}, token=operator))["account_id"]
    for method, tail in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/rotate-secret"),
        ("POST", "/test"),
        ("POST", "/replay"),
        ("GET", "/deliveries"),
    ):
        body: dict[str, Any] = {}
        if method in {"POST", "PATCH"}:
            body["json"] = {"after": 0} if tail == "/replay" else {}
        for account, webhook in ((other, made["webhook_id"]), (desk.account_id, new_id())):
            path = f"/v1/accounts/{account}/webhooks/{webhook}{tail}"
            assert_problem(await desk.ask(method, path, token=operator, **body), 404, "not_found")


async def test_address_and_secret_are_sealed(desk: ApiDesk) -> None:
    made = await desk.post("/webhooks", {"url": "https://1.1.1.1/a-secret-path", "description": "private words"})
    rows = await desk.backend.content.read(None, lambda conn: conn.execute(text("SELECT * FROM webhooks")).all())
    stored = b"".join(
        bytes(value) if not isinstance(value, str) else value.encode()
        for value in rows[0]
        if isinstance(value, bytes | memoryview | str)
    )
    assert rows
    for secret in (b"a-secret-path", b"private words", made["secret"].encode()):
        assert secret not in stored
