"""Mailboxes that nobody signs in as, by Microsoft Graph: those that application permissions open, and shared ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from ingestd.build.outside import Outside, new_linking
from ingestd.demo.graphserver import GraphServer
from ingestd.linking.link import LinkRefused, LinkRequest
from ingestd.linking.standing import link_words
from storage import flows
from tests.servers.postgres import PostgresServer
from tests.stores import StoreUrls, postgres_urls, sqlite_urls
from tests.story.house import PROVIDER, House, Servers, open_house, until
from tests.story.mails import header_of, mail
from tests.story.test_graph import inbox

GRAPH = "https://graph.microsoft.com"
DEFAULT = f"{GRAPH}/.default"
SHARED = (f"{GRAPH}/Mail.ReadWrite.Shared", f"{GRAPH}/Mail.Send.Shared")
OWN = (f"{GRAPH}/Mail.ReadWrite", f"{GRAPH}/Mail.Send")


def by_application(graph: GraphServer, mailboxes: Mapping[str, str]) -> dict[str, Any]:
    """Return Microsoft with the servers of the test. The library for its sign-in wants https, which those have not."""
    oauth = {"client": "standard", "flow": "application", "mailboxes": dict(mailboxes), "scopes": [DEFAULT]}
    return {"kind": "microsoft", "graph_url": graph.url, "oauth": {**oauth, "scopes_needed": []}}


def by_users(graph: GraphServer, *scopes: str) -> dict[str, Any]:
    oauth = {"client": "standard", "address_claim": "email", "scopes_needed": []}
    oauth["scopes"] = ["openid", "email", "offline_access", *scopes]
    return {"kind": "microsoft", "graph_url": graph.url, "oauth": oauth}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> StoreUrls:
    if request.param == "sqlite":
        return sqlite_urls(tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return postgres_urls(server.create_database, tmp_path)


@pytest.fixture(autouse=True)
def _scopes(servers: Servers, graph: GraphServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(servers.auth, "scopes", (*servers.auth.scopes, *SHARED, *OWN))
    yield
    graph.in_scope.clear()
    graph.shared.clear()


async def test_the_story_by_application_permissions(
    urls: StoreUrls, servers: Servers, graph: GraphServer, new_user: Callable[[], str], tmp_path: Path
) -> None:
    support, other, anna = new_user(), new_user(), new_user()
    graph.in_scope.update({support, other})
    provider = by_application(graph, {support: "*", other: "01890a5d-ac96-774b-bcce-b302099a8057"})
    async with open_house(tmp_path, urls, servers, provider=provider) as house:
        house.words.update({support, other})
        refreshed = servers.auth.requests["token.refresh_token"]
        await running(house)
        mailbox_id = UUID((await house.daemon.cli("mailbox", "link", PROVIDER, "--mailbox", support))["mailbox"])
        await house.settled(mailbox_id)
        shown = await house.daemon.cli("mailbox", "show", mailbox_id)
        assert (shown["address"], shown["read_by"], shown["send_by"]) == (support, "graph", "graph")
        assert shown["access_warnings"] == [], "there is no refresh token that could lie idle"
        assert servers.auth.requests["token.refresh_token"] == refreshed

        assert await why_refused(house, mailbox=support.upper()) == "already_linked"
        assert await why_refused(house, mailbox=other) == "mailbox_not_named", "it is another account's"
        told = await house.daemon.run_cli("mailbox", "link", PROVIDER, "--shared", other)
        assert (told.status, link_words("mailbox_wanted") in told.err) == (1, True)
        told = await house.daemon.run_cli("mailbox", "link", PROVIDER, "--mailbox", anna)
        assert (told.status, link_words("mailbox_not_named") in told.err) == (1, True)

        asked = servers.auth.requests["token.client_credentials"]
        servers.auth.expire_access_tokens("")
        await answered(house, graph, mailbox_id, support, anna)
        assert servers.auth.requests["token.client_credentials"] == asked + 1, "the daemon got one new token"
        graph.in_scope.discard(support)
        await denied(house, mailbox_id, "RBAC for Applications")
        graph.in_scope.add(support)
        again = await house.daemon.cli("mailbox", "link", PROVIDER, "--again", mailbox_id)
        assert again == {"mailbox": str(mailbox_id)}
        await house.state(mailbox_id, "active")

        receipt = await house.daemon.cli("mailbox", "disconnect", mailbox_id)
        settled = [receipt[name] for name in ("revocation", "refresh_after", "removal_page", "left")]
        assert settled == ["nothing_to_revoke", "no_refresh_token", "https://entra.microsoft.com", {}]


async def test_the_story_of_a_shared_mailbox(
    urls: StoreUrls, servers: Servers, graph: GraphServer, new_user: Callable[[], str], tmp_path: Path
) -> None:
    support, agent, stranger, anna = new_user(), new_user(), new_user(), new_user()
    graph.shared[support].add(agent)
    async with open_house(tmp_path, urls, servers, provider=by_users(graph, *SHARED)) as house:
        house.words.add(support)
        await running(house)
        assert await why_failed(house, stranger, shared=support) == "mailbox_denied"
        assert await why_failed(house, agent, shared="nobody@example.com") == "mailbox_denied"
        mailbox_id = await house.link(agent, shared=support)
        await house.settled(mailbox_id)
        shown = await house.daemon.cli("mailbox", "show", mailbox_id)
        assert (shown["address"], shown["read_by"], shown["send_by"]) == (support, "graph", "graph")
        graph.shared[support].add(stranger)
        assert await why_failed(house, stranger, shared=support) == "already_linked"
        assert await why_failed(house, support) == "already_linked", "as its own user it is the same mailbox"

        await answered(house, graph, mailbox_id, support, anna)
        assert await house.link(agent) != mailbox_id, "the user's own mailbox is another one"
        graph.shared[support].discard(agent)
        await denied(house, mailbox_id, "Full Access")
        assert await house.link(stranger, again=mailbox_id) == mailbox_id, "another user of it can link it again"
        await house.state(mailbox_id, "active")

        receipt = await house.daemon.cli("mailbox", "disconnect", mailbox_id)
        assert (receipt["revocation"], receipt["refresh_after"], receipt["left"]) == ("revoked", "refused", {})


async def test_the_api_links_by_application_permissions(
    urls: StoreUrls, servers: Servers, graph: GraphServer, new_user: Callable[[], str], tmp_path: Path
) -> None:
    support, other = new_user(), new_user()
    graph.in_scope.add(support)
    async with open_house(tmp_path, urls, servers, provider=by_application(graph, {support: "*", other: "*"})) as house:
        house.words.update({support, other})
        await running(house)
        token = (await house.daemon.cli("token", "create", "helpdesk", "--scope", "manage", "--scope", "read"))["token"]
        url = f"http://127.0.0.1:{house.port}/v1/accounts/{house.account_id}"
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(trust_env=False, headers=headers, timeout=20.0) as http:
            refused_ = await http.post(f"{url}/mailboxes", json={"provider": PROVIDER, "mailbox": other})
            assert (refused_.status_code, refused_.json()["detail"]) == (409, link_words("mailbox_denied"))
            refused_ = await http.post(f"{url}/mailboxes", json={"provider": PROVIDER, "shared": support})
            assert (refused_.status_code, refused_.json()["detail"]) == (409, link_words("mailbox_wanted"))
            body = {"provider": PROVIDER, "mailbox": support}
            key = {"Idempotency-Key": "one"}
            made = await http.post(f"{url}/mailboxes", json=body, headers=key)
            assert (made.status_code, made.json()["consent_url"]) == (201, None)
            repeated = await http.post(f"{url}/mailboxes", json=body, headers=key)
            assert repeated.json() == made.json()
            standing = await http.get(f"{url}/links/{made.json()['flow_id']}")
            assert standing.json()["status"] == "completed"
            shown = await http.get(f"{url}/mailboxes/{made.json()['mailbox_id']}")
            assert (shown.json()["read_by"], shown.json()["send_by"]) == ("graph", "graph")


async def running(house: House) -> None:
    await house.daemon.start()
    await house.daemon.wait_ready(house.port)


async def answered(house: House, graph: GraphServer, mailbox_id: UUID, support: str, anna: str) -> None:
    """A mail becomes a ticket, and is answered from the mailbox's own address."""
    written = mail(anna, support, "Printer on fire", "It burns since Monday.")
    house.words.update(written.words)
    await asyncio.to_thread(graph.deliver, support, written.raw)
    (ticket,) = await house.tickets(mailbox_id)
    number = ticket.ticket.number
    await house.reply_at(number, await house.reply(number, "Use the extinguisher."), "copy:filed")
    (arrived,) = await inbox(graph, anna, 1)
    assert b"Use the extinguisher." in arrived
    assert support in header_of(arrived, "From")


async def denied(house: House, mailbox_id: UUID, cure: str) -> None:
    """Wait until the provider lets us in no more; see that it is said, and what to do."""
    await house.state(mailbox_id, "blocked")
    shown = await house.daemon.cli("mailbox", "show", mailbox_id)
    assert shown["trouble"] == "admin_blocked"
    assert cure in shown["cure"]


async def why_refused(house: House, **request: Any) -> str:
    """Return why a linking that needs nobody's consent came to nothing."""
    outside = Outside(house.settings)
    try:
        linking = new_linking(house.store, outside)
        with pytest.raises(LinkRefused) as caught:
            await linking.start(house.account_id, LinkRequest(provider=PROVIDER, **request))
    finally:
        await outside.close()
    return caught.value.reason


async def why_failed(house: House, user: str, **request: Any) -> str | None:
    flow_id, _ = await house.try_link(user, **request)
    flow = await until(lambda: _ended(house, flow_id), "the end of the linking")
    return flow.reason


async def _ended(house: House, flow_id: UUID) -> flows.Flow | None:
    flow = await house.read(flows.get_flow, flow_id)
    return flow if flow.status in {"completed", "failed"} else None
