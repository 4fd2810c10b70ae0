"""Nothing shared, over every route of the document: with another account's token, without one, without the scope."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from ingestd.access import Scope
from ingestd.api.reference import FILE
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem, settings
from tests.office import Office, mail
from tests.stores import Stores

IN_ACCOUNT: Final = "/v1/accounts/{account_id}"
BODIES: Final[Mapping[str, Any]] = {
    f"PATCH {IN_ACCOUNT}": {"solved_days": 365},
    f"POST {IN_ACCOUNT}/tokens": {"label": "x", "scopes": ["admin"]},
    f"POST {IN_ACCOUNT}/mailboxes": {"provider": "local"},
    f"PATCH {IN_ACCOUNT}/mailboxes/{{mailbox_id}}": {"name": "x"},
    f"PATCH {IN_ACCOUNT}/webhooks/{{webhook_id}}": {"enabled": True},
    f"PATCH {IN_ACCOUNT}/tickets/{{number}}": {"status": "closed"},
    f"POST {IN_ACCOUNT}/tickets/{{number}}/merge": {"into": 2},
    f"POST {IN_ACCOUNT}/tickets/{{number}}/replies": {"text": "Hello"},
    f"POST {IN_ACCOUNT}/replies/{{message_id}}/resolve": {"decision": "sent"},
    f"POST {IN_ACCOUNT}/webhooks": {"url": "https://desk.example.com/hook"},
    f"POST {IN_ACCOUNT}/webhooks/{{webhook_id}}/replay": {"after": 0},
    f"POST {IN_ACCOUNT}/explain": {"message_id_header": "<q1@example.org>"},
    f"POST {IN_ACCOUNT}/erasures": {"address": "nobody@example.org", "dry_run": True},
    "POST /v1/accounts": {"name": "x"},
    "POST /v1/tokens": {"label": "x", "scopes": ["admin"]},
}
"""What must be sent so that a request is not refused for its form."""
OPERATORS: Final = {f"DELETE {IN_ACCOUNT}", f"PATCH {IN_ACCOUNT}"} | {
    f"POST {IN_ACCOUNT}/{verb}" for verb in ("suspend", "resume", "hold", "release")
}
"""What an account's own tokens cannot do with it."""


@dataclass(frozen=True)
class Operation:
    method: str
    path: str

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def names_an_object(self) -> bool:
        return "{" in self.path.removeprefix(IN_ACCOUNT)


def operations() -> list[Operation]:
    document = json.loads(FILE.read_text(encoding="utf-8"))
    return [Operation(method.upper(), path) for path, methods in document["paths"].items() for method in methods]


@dataclass
class Scene:
    desk: ApiDesk
    known: dict[str, object]
    """The ids of the office's own objects."""
    other: Office

    async def ask(self, one: Operation, token: str, **known: object) -> Any:
        path = one.path.format(**(self.known | known))
        body = {"json": BODIES.get(one.name, {})} if one.method in {"POST", "PATCH"} else {}
        if path.endswith("/uploads"):
            body = {"content": b"x", "params": {"name": "x.txt"}}
        return await self.desk.ask(one.method, path, token=token, **body)


@pytest.fixture
async def scene(stores: Stores) -> AsyncIterator[Scene]:
    office = await Office.open(stores)
    other = await Office.open(stores, address="other@example.net")
    part = "Content-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment\r\n"
    await office.take(mail(headers=part), mail("poison", message_id="<q2@example.org>"))
    await office.take(mail("Second", message_id="<q3@example.org>"))
    async with api_desk(office, settings(api={"failures_per_minute_max": 1000})) as desk:
        reply = await desk.post("/tickets/1/replies", {"text": "Hello"})
        hook = await desk.post("/webhooks", {"url": "https://desk.example.com/hook"})
        token = await desk.post("/tokens", {"label": "x", "scopes": ["read"]})
        erasure = await desk.post("/erasures", {"address": "anna@example.org", "dry_run": True})
        held = (await desk.get("/quarantine"))["items"][0]
        known: dict[str, object] = {
            "account_id": desk.account_id,
            "mailbox_id": office.held.mailbox_id,
            "number": 1,
            "message_id": reply["message_id"],
            "position": 0,
            "quarantine_id": held["quarantine_id"],
            "webhook_id": hook["webhook_id"],
            "token_id": token["token_id"],
            "flow_id": new_id(),
            "erasure_id": erasure["erasure_id"],
        }
        yield Scene(desk, known, other)


def _streams(one: Operation) -> bool:
    return one.path.endswith("/stream")


async def test_another_accounts_token_finds_nothing(scene: Scene) -> None:
    foreign = await scene.desk.new_token(account_id=scene.other.held.account_id)
    for one in operations():
        if one.path.startswith(IN_ACCOUNT):
            answer = await scene.ask(one, foreign)
            assert_problem(answer, 404, "not_found")
            if one.names_an_object:
                # In its own account, by the ids of the other one's objects.
                own = await scene.ask(one, foreign, account_id=scene.other.held.account_id)
                assert_problem(own, 404, "not_found")
    # The positive control: what was asked for is there, and its owner finds it as it was.
    for one in operations():
        if one.method == "GET" and one.path.startswith(IN_ACCOUNT) and "{flow_id}" not in one.path:
            if _streams(one) or one.path.endswith(("/backfill", "/receipts/{mailbox_id}", "/{position}")):
                continue
            answer = await scene.ask(one, scene.desk.token)
            assert answer.status_code == 200, (one.name, answer.text)
    assert (await scene.desk.get("/tickets/1"))["status"] == "open"
    await scene.desk.verified()


@pytest.mark.postgresql_is_long
async def test_nothing_opens_without_a_token_or_its_scope(scene: Scene) -> None:
    only = {scope: await scene.desk.new_token([scope]) for scope in Scope}
    for one in operations():
        assert_problem(await scene.ask(one, "wrong"), 401, "unauthorized")
        if one.path == "/v1/token":
            continue
        refused = set()
        for scope, token in only.items():
            if _streams(one) and scope is Scope.READ:
                continue
            answer = await scene.ask(one, token, **_nothing())
            if answer.status_code == 403:
                assert_problem(answer, 403, "forbidden")
                refused.add(scope)
        # An account's token is never the operator's; else exactly one scope opens a route.
        is_accounts = one.path.startswith(IN_ACCOUNT) and one.name not in OPERATORS
        assert len(refused) == (len(Scope) - 1 if is_accounts else len(Scope)), one.name


def _nothing() -> dict[str, object]:
    """Ids of what is not there: where a scope opens the door, nothing is done behind it."""
    names = ("mailbox_id", "message_id", "quarantine_id", "webhook_id", "token_id", "flow_id", "erasure_id")
    return {**dict.fromkeys(names, new_id()), "number": 999}
