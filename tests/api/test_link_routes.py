"""Linking by the API alone: begun over HTTP, consented to at a real authorization server, completed by the callback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from ingestd.access import Scope
from ingestd.linking.http import new_http
from ingestd.linking.link import Linking
from storage.types import new_id
from tests.api.desk import PROVIDER, ApiDesk, api_desk, assert_problem, settings
from tests.linking.bench import ADDRESS, OTHER, PUBLIC, Played, playing
from tests.office import Office
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long  # what the database has to do with it is shown in tests/storage

NEW = {"provider": "local", "name": "Example Support", "addresses": ["help@example.com"]}


@dataclass
class Linked:
    desk: ApiDesk
    played: Played

    async def consent(self, consent_url: str, address: str | None) -> httpx2.Response:
        """Go the owner's way, as a browser does; without an address the owner refuses. Return the last page."""
        self.played.server.consent_as = address
        assert consent_url.startswith(PUBLIC)
        begun = await self.desk.client.get(_local(consent_url))
        if begun.status_code != 303:
            return begun
        async with new_http() as provider:
            asked = await provider.get(begun.headers["location"])
            if address is None:
                fields = dict(httpx2.URL(begun.headers["location"]).params)
                asked = await provider.post(
                    f"{self.played.server.issuer}/authorize", data={**fields, "decision": "deny"}
                )
        assert asked.status_code == 303, asked.text
        return await self.desk.client.get(_local(asked.headers["location"]))

    async def link(self, address: str, **wanted: Any) -> dict[str, Any]:
        started: dict[str, Any] = await self.desk.post("/mailboxes", {**NEW, **wanted})
        await self.consent(started["consent_url"], address)
        return started

    async def link_of(self, started: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = await self.desk.get(f"/links/{started['flow_id']}")
        return found


def _local(address: str) -> str:
    """Return an address of ours as the test's server has it."""
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


@asynccontextmanager
async def linking_desk(stores: Stores, *, flow_seconds: float = 600, flows_max: int = 10) -> AsyncIterator[Linked]:
    office = await Office.open(stores, address="first@example.com")
    async with playing() as played:
        linking = Linking(
            stores.content,
            office.keys,
            played.clients,
            played.providers.__getitem__,
            public_url=PUBLIC,
            flow_seconds=flow_seconds,
            flows_max=flows_max,
        )
        given = settings(providers={"local": PROVIDER, "google": _GOOGLE})
        async with api_desk(office, given, linking=linking) as desk:
            yield Linked(desk, played)


_GOOGLE = {"kind": "google", "oauth": {"client_id": "c", "client_secret": "hidden-secret"}}


@pytest.fixture
async def linked(stores: Stores) -> AsyncIterator[Linked]:
    async with linking_desk(stores) as opened:
        yield opened


async def test_linked_by_the_api_alone(linked: Linked) -> None:
    desk = linked.desk
    started = await desk.post("/mailboxes", {**NEW, "start_from": "days", "start_days": 7})
    assert (await linked.link_of(started))["status"] == "open"
    page = await linked.consent(started["consent_url"], ADDRESS)
    assert page.status_code == 200, page.text
    done = await linked.link_of(started)
    assert (done["status"], done["reason"], done["mailbox_id"]) == ("completed", None, started["mailbox_id"])
    shown = await desk.get(f"/mailboxes/{started['mailbox_id']}")
    assert (shown["address"], shown["state"], shown["aliases"]) == (ADDRESS, "active", ["help@example.com"])
    assert shown["options"]["name"] == "Example Support"
    assert (shown["backfill"]["status"], shown["start_from"]) == ("running", "days")
    await desk.verified()


async def test_a_repeated_request_is_one_linking(linked: Linked) -> None:
    desk = linked.desk
    first = await desk.post("/mailboxes", NEW, key="l")
    again = await desk.ask("POST", "/mailboxes", json=NEW, key="l")
    # The address can be shown again, as long as it was not used.
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first, "true")
    assert_problem(
        await desk.ask("POST", "/mailboxes", json={**NEW, "name": "B"}, key="l"), 409, "idempotency_key_reused"
    )
    await linked.consent(first["consent_url"], ADDRESS)
    used = (await desk.ask("POST", "/mailboxes", json=NEW, key="l")).json()
    assert used == {**first, "consent_url": None}
    assert len((await desk.get("/mailboxes"))["items"]) == 2


async def test_a_refused_consent(linked: Linked) -> None:
    started = await linked.desk.post("/mailboxes", NEW)
    await linked.consent(started["consent_url"], None)
    failed = await linked.link_of(started)
    assert (failed["status"], failed["reason"]) == ("failed", "consent_refused")
    assert "said no" in failed["meaning"]
    assert_problem(await linked.desk.ask("GET", f"/mailboxes/{started['mailbox_id']}"), 404, "not_found")


async def test_nobody_consented_in_time(stores: Stores) -> None:
    async with linking_desk(stores, flow_seconds=0) as linked:
        started = await linked.desk.post("/mailboxes", NEW, key="l")
        assert started["consent_url"] is None
        late = await linked.link_of(started)
        assert (late["status"], late["reason"]) == ("failed", "expired")
        assert "in time" in late["meaning"]


async def test_a_mailbox_is_linked_once(linked: Linked) -> None:
    await linked.link(ADDRESS)
    again = await linked.link_of(await linked.link(ADDRESS))
    assert (again["status"], again["reason"]) == ("failed", "already_linked")


async def test_linked_again_by_its_owner_only(linked: Linked) -> None:
    desk = linked.desk
    mailbox_id = (await linked.link(ADDRESS))["mailbox_id"]
    other = await desk.post(f"/mailboxes/{mailbox_id}/relink", key="r")
    assert other["mailbox_id"] == mailbox_id
    assert (await desk.ask("POST", f"/mailboxes/{mailbox_id}/relink", key="r")).json() == other
    await linked.consent(other["consent_url"], OTHER)
    wrong = await linked.link_of(other)
    assert (wrong["status"], wrong["reason"], wrong["relink"]) == ("failed", "wrong_mailbox", True)
    right = await desk.post(f"/mailboxes/{mailbox_id}/relink")
    await linked.consent(right["consent_url"], ADDRESS)
    assert (await linked.link_of(right))["status"] == "completed"
    # One that is being forgotten is not linked again, and what was open about it is gone.
    last = await desk.post(f"/mailboxes/{mailbox_id}/relink")
    await desk.ask("DELETE", f"/mailboxes/{mailbox_id}")
    assert_problem(await desk.ask("POST", f"/mailboxes/{mailbox_id}/relink"), 404, "not_found")
    assert_problem(await desk.ask("GET", f"/links/{last['flow_id']}"), 404, "not_found")
    await desk.verified()


async def test_what_cannot_be_linked(linked: Linked) -> None:
    desk = linked.desk
    for wanted in (
        {"provider": "unknown"},
        {"start_from": "days"},
        {"start_days": 3},
        {"start_from": "days", "start_days": 2**70},
        {"name": "a\nBcc: x"},
        {"addresses": ["no address"]},
        {"addresses": ["a@example.com"] * 101},
        {"secret": "x"},
    ):
        assert_problem(await desk.ask("POST", "/mailboxes", json={**NEW, **wanted}), 422, "invalid")
    reader = await desk.new_token([Scope.READ])
    assert_problem(await desk.ask("POST", "/mailboxes", json=NEW, token=reader), 403, "forbidden")
    assert_problem(await desk.ask("POST", f"/mailboxes/{new_id()}/relink"), 404, "not_found")
    assert_problem(await desk.ask("GET", f"/links/{new_id()}"), 404, "not_found")
    for _ in range(10):
        await desk.post("/mailboxes", NEW)
    assert_problem(await desk.ask("POST", "/mailboxes", json=NEW), 429, "limit_reached")


async def test_another_accounts_linking_is_not_there(linked: Linked) -> None:
    started = await linked.desk.post("/mailboxes", NEW)
    other = await Office.open(linked.desk.office.stores, address="other@example.com")
    foreign = await linked.desk.new_token(account_id=other.held.account_id)
    theirs = f"/v1/accounts/{other.held.account_id}"
    for path in (f"/links/{started['flow_id']}", f"/mailboxes/{started['mailbox_id']}"):
        assert_problem(await linked.desk.ask("GET", theirs + path, token=foreign), 404, "not_found")
        assert_problem(await linked.desk.ask("GET", path, token=foreign), 404, "not_found")


async def test_the_providers(linked: Linked) -> None:
    answer = await linked.desk.ask("GET", "/providers")
    assert answer.json()["items"] == [
        {"name": "google", "kind": "google", "label": "Google"},
        {"name": "local", "kind": "generic", "label": "local"},
    ]
    assert "secret" not in answer.text
