"""Tokens: what they open, what they do not, and what happens to those who guess."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from ingestd.access import Access, Scope, TooManyFailures, TooManyRequests, draw_token
from ingestd.telemetry import logs
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem, settings
from tests.office import Office
from tests.stores import Stores
from tests.telemetry.conftest import Lines, logging_restored

__all__ = ["logging_restored"]


@pytest.fixture
async def desk(stores: Stores) -> AsyncIterator[ApiDesk]:
    async with api_desk(await Office.open(stores)) as opened:
        yield opened


async def test_a_token_says_whose_it_is(desk: ApiDesk) -> None:
    assert (await desk.get("/v1/token"))["account_id"] == str(desk.account_id)
    operator = await desk.new_token([Scope.ADMIN], operator=True)
    shown = await desk.get("/v1/token", token=operator)
    assert (shown["account_id"], shown["scopes"]) == (None, ["admin"])


async def test_what_opens_nothing(desk: ApiDesk) -> None:
    unknown, _ = draw_token()
    other_secret = desk.token[:-1] + ("A" if desk.token[-1] != "A" else "B")
    for wrong in ("x", unknown.text, other_secret, desk.token.upper(), desk.token + "A"):
        answer = await desk.ask("GET", "/v1/token", token=wrong)
        assert_problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert_problem(await desk.client.get("/v1/token"), 401, "unauthorized")
    basic = await desk.client.get("/v1/token", headers={"Authorization": "Basic YTpi"})
    assert_problem(basic, 401, "unauthorized")


async def test_a_token_ends(desk: ApiDesk) -> None:
    soon = await desk.new_token(expires_at=datetime.now(UTC) + timedelta(seconds=60))
    assert (await desk.ask("GET", "/v1/token", token=soon)).status_code == 200
    past = await desk.new_token(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert_problem(await desk.ask("GET", "/v1/token", token=past), 401, "unauthorized")


async def test_made_shown_once_used_and_revoked(desk: ApiDesk) -> None:
    made = await desk.post("/tokens", {"label": "reports", "scopes": ["read"]})
    assert_problem(await desk.ask("GET", "/tokens", token=made["token"]), 403, "forbidden")
    listed = {one["token_id"]: one for one in (await desk.get("/tokens"))["items"]}[made["token_id"]]
    assert "token" not in listed
    assert listed["used_at"] is not None
    assert (await desk.ask("DELETE", f"/tokens/{made['token_id']}")).status_code == 204
    assert_problem(await desk.ask("GET", "/v1/token", token=made["token"]), 401, "unauthorized")
    assert (await desk.ask("DELETE", f"/tokens/{made['token_id']}")).status_code == 204
    assert_problem(await desk.ask("DELETE", f"/tokens/{new_id()}"), 404, "not_found")


async def test_a_token_gives_no_more_than_it_has(desk: ApiDesk) -> None:
    narrow = await desk.new_token([Scope.ADMIN, Scope.READ])
    wanted = {"label": "more", "scopes": ["read", "reply"]}
    refused = await desk.ask("POST", "/tokens", json=wanted, token=narrow)
    assert "reply" in assert_problem(refused, 403, "forbidden")["detail"]


async def test_a_repeated_request_makes_one_token(desk: ApiDesk) -> None:
    wanted = {"label": "reports", "scopes": ["read", "reply"]}
    first = await desk.post("/tokens", wanted, key="k1")
    again = await desk.ask("POST", "/tokens", json=wanted, key="k1")
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json()["token_id"], again.json()["token"]) == (first["token_id"], None)
    other = await desk.ask("POST", "/tokens", json={**wanted, "label": "other"}, key="k1")
    assert_problem(other, 409, "idempotency_key_reused")
    assert (await desk.post("/tokens", wanted, key="k2"))["token_id"] != first["token_id"]


async def test_the_operator_makes_its_tokens(desk: ApiDesk) -> None:
    operator = await desk.new_token([Scope.ADMIN, Scope.READ], operator=True)
    wanted = {"label": "console", "scopes": ["read"]}
    made = await desk.post("/v1/tokens", wanted, token=operator, key="k1")
    shown = await desk.get("/v1/token", token=made["token"])
    assert (shown["token_id"], shown["account_id"], shown["scopes"]) == (made["token_id"], None, ["read"])
    assert (await desk.get("/tickets", token=made["token"]))["items"] == []

    again = await desk.ask("POST", "/v1/tokens", json=wanted, token=operator, key="k1")
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json()["token_id"], again.json()["token"]) == (made["token_id"], None)
    other = await desk.ask("POST", "/v1/tokens", json={**wanted, "label": "other"}, token=operator, key="k1")
    assert_problem(other, 409, "idempotency_key_reused")

    more = await desk.ask("POST", "/v1/tokens", json={**wanted, "scopes": ["reply"]}, token=operator)
    assert_problem(more, 403, "forbidden")
    assert_problem(await desk.ask("POST", "/v1/tokens", json=wanted), 403, "forbidden")  # an account's, of all scopes
    listed = {one["token_id"] for one in (await desk.get("/v1/tokens", token=operator))["items"]}
    assert made["token_id"] in listed
    await desk.verified()


async def test_accounts_are_the_operators(desk: ApiDesk) -> None:
    assert_problem(await desk.ask("GET", "/v1/accounts"), 403, "forbidden")
    assert_problem(await desk.ask("POST", "/v1/accounts", json={"name": "Other"}), 403, "forbidden")
    operator = await desk.new_token(operator=True)
    first = await desk.post("/v1/accounts", {"name": "Other"}, token=operator, key="k1")
    again = await desk.ask("POST", "/v1/accounts", json={"name": "Other"}, token=operator, key="k1")
    assert (again.json(), again.headers["idempotency-replayed"]) == (first, "true")
    clash = await desk.ask("POST", "/v1/accounts", json={"name": "Third"}, token=operator, key="k1")
    assert_problem(clash, 409, "idempotency_key_reused")
    page = await desk.get("/v1/accounts?limit=1", token=operator)
    assert [one["account_id"] for one in page["items"]] == [page["next"]] == [str(desk.account_id)]
    rest = await desk.get(f"/v1/accounts?after={page['next']}", token=operator)
    assert [one["name"] for one in rest["items"]] == ["Other"]
    assert rest["next"] is None
    # The operator acts for every account, by its own scopes.
    assert (await desk.get(f"/v1/accounts/{first['account_id']}", token=operator))["name"] == "Other"
    assert_problem(await desk.ask("GET", f"/v1/accounts/{new_id()}", token=operator), 404, "not_found")


async def test_another_account_is_not_there(desk: ApiDesk) -> None:
    operator = await desk.new_token(operator=True)
    other = UUID((await desk.post("/v1/accounts", {"name": "Other"}, token=operator))["account_id"])
    foreign = await desk.new_token(account_id=other)
    assert_problem(await desk.ask("GET", f"/v1/accounts/{desk.account_id}", token=foreign), 404, "not_found")
    # Neither with nor without the scope is there a difference that would tell whether it exists.
    narrow = await desk.new_token([Scope.READ], account_id=other)
    assert_problem(await desk.ask("GET", f"/v1/accounts/{desk.account_id}/tokens", token=narrow), 404, "not_found")


async def test_nothing_of_a_token_is_kept_but_its_hash(desk: ApiDesk) -> None:
    rows = await desk.backend.content.read(None, lambda conn: conn.execute(text("SELECT * FROM tokens")).all())
    _, _, secret = desk.token.encode().split(b"_", 2)
    assert len(rows) == 1
    assert all(secret not in bytes(value) for value in rows[0] if isinstance(value, bytes | memoryview))
    assert desk.token not in str(rows)


async def test_who_guesses_is_slowed_down_and_others_are_not(stores: Stores) -> None:
    async with api_desk(await Office.open(stores), settings(api={"failures_per_minute_max": 3})) as desk:
        await desk.get("/v1/token")
        for _ in range(3):
            assert_problem(await desk.ask("GET", "/v1/token", token="x"), 401, "unauthorized")
        refused = await desk.ask("GET", "/v1/token", token="x")
        assert_problem(refused, 429, "too_many_failures")
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        await desk.get("/v1/token")


async def test_limits_by_the_clock(stores: Stores) -> None:
    clock = [0.0]
    async with api_desk(await Office.open(stores)) as desk:
        access = Access(
            stores.content,
            failures_per_minute_max=60,
            requests_per_second_max=2,
            burst_max=2,
            clock=lambda: clock[0],
        )
        assert await access.check(desk.token, "192.0.2.1")
        assert await access.check(desk.token, "192.0.2.1")
        with pytest.raises(TooManyRequests) as waits:
            await access.check(desk.token, "192.0.2.1")
        assert waits.value.retry_seconds == 0.5
        clock[0] = 0.5
        assert await access.check(desk.token, "192.0.2.1")
        for _ in range(60):
            assert await access.check("wrong", "192.0.2.2") is None
        with pytest.raises(TooManyFailures):
            await access.check("wrong", "192.0.2.2")
        assert await access.check("wrong", "192.0.2.3") is None


async def test_mistakes_are_said_and_not_repeated(desk: ApiDesk) -> None:
    wrong = {"label": "Anna Example", "scopes": ["everything"], "expires_at": "2027-01-01T00:00:00", "more": 1}
    problem = assert_problem(await desk.ask("POST", "/tokens", json=wrong), 422, "invalid")
    assert {one["where"] for one in problem["errors"]} >= {"body/label", "body/expires_at", "body/more"}
    assert "Anna" not in str(problem)
    assert "everything" not in str(problem)
    nonsense = await desk.ask("POST", "/tokens", content=b"{", headers={"Content-Type": "application/json"})
    assert_problem(nonsense, 422, "invalid")
    unknown = await desk.ask("GET", "/v1/accounts/nonsense")
    assert_problem(unknown, 422, "invalid")


async def test_the_log_names_a_route_as_the_document_does(desk: ApiDesk) -> None:
    lines = Lines()
    logs.configure("json", "info", lines, strict=True)
    await desk.get("/tokens")
    routes = [entry["route"] for entry in lines.events() if entry["event"] == "http.request"]
    assert routes == ["/v1/accounts/{account_id}/tokens"]
