"""Linking and keeping tokens, on real databases with the authorization server of the demo."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx2
import pytest

from connectors.base import AuthError, PermanentError, TemporaryError, Trouble
from ingestd.demo.authserver import AuthServer, Client, Failure
from ingestd.keys import KeyRing
from ingestd.linking.clients import OAuthClients
from ingestd.linking.discovery import discover
from ingestd.linking.http import new_http
from ingestd.linking.keeper import TokenKeeper
from ingestd.linking.link import Linking, LinkRefused, LinkRequest
from ingestd.linking.oauth import ClientConfig, OAuthClient
from ingestd.records import AccountRecord, GrantRecord, MailboxRecord
from ingestd.telemetry.metrics import Metrics
from storage import accounts, events, flows, grants, keystore, mailboxes
from storage.errors import NotFound
from storage.sealing import MasterKey
from storage.types import new_id
from tests.stores import Stores

ADDRESS, OTHER = "support@example.com", "sales@example.com"
PUBLIC = "http://127.0.0.1:8025"


class OneClient(OAuthClients):
    """The clients of a configuration with one provider, `local`."""

    def __init__(self, client: OAuthClient) -> None:
        self._client = client

    async def get(self, name: str) -> OAuthClient:
        if name != "local":
            raise KeyError(name)
        return self._client


@dataclass
class Bench:
    stores: Stores
    server: AuthServer
    keys: KeyRing
    linking: Linking
    keeper: TokenKeeper
    account_id: UUID

    async def consent(self, address: str, *, browser: str = "b", **request: object) -> UUID:
        """Link as the owner of `address` would, all the way; return the mailbox."""
        code, state, iss = await self.code(address, browser=browser, **request)
        return await self.linking.complete(state=state, browser=browser, code=code, error=None, iss=iss)

    async def code(self, address: str, *, browser: str = "b", **request: object) -> tuple[str, str, str]:
        self.server.consent_as = address
        wanted = LinkRequest(provider="local", **request)  # type: ignore[arg-type]
        started = await self.linking.start(self.account_id, wanted)
        state = parse_qs(urlsplit(started.address).query)["state"][0]
        url = await self.linking.open(state, browser)
        async with httpx2.AsyncClient(trust_env=False) as owner:
            answer = await owner.get(url)
        back = parse_qs(urlsplit(answer.headers["location"]).query)
        return back["code"][0], state, back["iss"][0]

    async def grant(self, mailbox_id: UUID) -> GrantRecord:
        row = await self.stores.content.read(self.account_id, grants.get_grant, mailbox_id)
        key = await self.keys.mailbox(self.account_id, mailbox_id)
        return key.open_record(GrantRecord.place(mailbox_id), row.sealed, GrantRecord)

    async def state(self, mailbox_id: UUID) -> mailboxes.Mailbox:
        return await self.stores.content.read(self.account_id, mailboxes.get_mailbox, mailbox_id)


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    server = AuthServer([ADDRESS, OTHER], [Client("c", "s", (f"{PUBLIC}/oauth/callback",))])
    keys = KeyRing(stores.keystore, MasterKey(bytes(32)))
    account_id = new_id()
    key = await keys.create_account_key(account_id)
    sealed = key.seal_record(AccountRecord.place(account_id), AccountRecord("Example"))
    await stores.content.transaction(account_id, accounts.insert_account, sealed)
    async with server.running() as issuer, new_http() as http:
        config = ClientConfig("c", "s", scopes=("openid", "email", "offline_access", "mail"))
        client = OAuthClient(config, await discover(http, issuer, allowed_hosts={"127.0.0.1"}), http)
        clients = OneClient(client)
        yield Bench(
            stores,
            server,
            keys,
            Linking(stores.content, keys, clients, public_url=PUBLIC, flow_seconds=600, flows_max=100),
            TokenKeeper(
                stores.content, keys, clients, Metrics(version="0", python_version="3"), refresh_ahead_seconds=60
            ),
            account_id,
        )


async def test_the_provider_says_whose_mailbox_it_is(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    row = await bench.state(mailbox_id)
    key = await bench.keys.mailbox(bench.account_id, mailbox_id)
    record = key.open_record(MailboxRecord.place(mailbox_id), row.sealed, MailboxRecord)
    assert (record.address, record.login) == (ADDRESS, ADDRESS)
    assert (await bench.grant(mailbox_id)).refresh_token
    found = await bench.stores.content.read(bench.account_id, events.list_events, 0, 10)
    assert [one.type for one in found] == ["mailbox.linked"]


async def test_a_state_is_good_once_and_in_one_browser(bench: Bench) -> None:
    code, state, iss = await bench.code(ADDRESS)
    with pytest.raises(LinkRefused, match="unknown_or_used"):
        await bench.linking.complete(state=state, browser="another", code=code, error=None, iss=iss)
    await bench.linking.complete(state=state, browser="b", code=code, error=None, iss=iss)
    with pytest.raises(LinkRefused, match="unknown_or_used"):
        await bench.linking.complete(state=state, browser="b", code=code, error=None, iss=iss)


async def test_a_callback_of_another_issuer_is_refused(bench: Bench) -> None:
    code, state, _ = await bench.code(ADDRESS)
    with pytest.raises(LinkRefused, match="callback_rejected"):
        await bench.linking.complete(state=state, browser="b", code=code, error=None, iss="https://evil.example.net")


async def test_a_mailbox_is_linked_once_in_an_account(bench: Bench) -> None:
    await bench.consent(ADDRESS)
    with pytest.raises(LinkRefused, match="already_linked"):
        await bench.consent(ADDRESS)
    assert len(await bench.stores.content.read(bench.account_id, mailboxes.list_mailboxes)) == 1


async def test_linking_again_keeps_the_mailbox_and_refuses_another_identity(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    before = await bench.grant(mailbox_id)
    with pytest.raises(LinkRefused, match="wrong_mailbox"):
        await bench.consent(OTHER, mailbox_id=mailbox_id)
    assert await bench.grant(mailbox_id) == before
    assert not bench.server.grants.living_grants(OTHER)  # what could not be used was given back
    fence = (await bench.state(mailbox_id)).fence
    assert await bench.consent(ADDRESS, mailbox_id=mailbox_id) == mailbox_id
    assert (await bench.state(mailbox_id)).fence == fence + 1


async def test_partial_consent_is_refused_and_given_back(bench: Bench) -> None:
    bench.server.fail_next("authorize", Failure.PARTIAL_SCOPES)
    with pytest.raises(LinkRefused, match="partial_consent"):
        await bench.consent(ADDRESS)
    assert not bench.server.grants.living_grants(ADDRESS)
    assert await bench.stores.content.read(bench.account_id, mailboxes.list_mailboxes) == []


async def test_consent_that_was_refused(bench: Bench) -> None:
    _, state, iss = await bench.code(ADDRESS)
    with pytest.raises(LinkRefused, match="consent_refused"):
        await bench.linking.complete(state=state, browser="b", code=None, error="access_denied", iss=iss)


async def test_a_flow_that_failed_says_why(bench: Bench) -> None:
    bench.server.consent_as = ADDRESS
    started = await bench.linking.start(bench.account_id, LinkRequest(provider="local"))
    state = parse_qs(urlsplit(started.address).query)["state"][0]
    await bench.linking.open(state, "b")
    with pytest.raises(LinkRefused):
        await bench.linking.complete(state=state, browser="b", code="wrong", error=None, iss=None)
    flow = await bench.stores.content.read(bench.account_id, flows.get_flow, started.flow_id)
    assert flow.status == "failed"
    assert flow.reason in {"code_refused", "callback_rejected"}


async def test_linking_an_unknown_mailbox_again(bench: Bench) -> None:
    with pytest.raises(NotFound):
        await bench.linking.start(bench.account_id, LinkRequest(provider="local", mailbox_id=new_id()))


async def test_many_ask_and_one_refresh_is_made(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    source = bench.keeper.source(bench.account_id, mailbox_id, "local")
    old = await bench.grant(mailbox_id)
    assert await source() == old.access_token
    fresh = set(await asyncio.gather(*(source(rejected=old.access_token) for _ in range(20))))
    stored = await bench.grant(mailbox_id)
    assert fresh == {stored.access_token}
    assert stored.refresh_token != old.refresh_token  # rotated, and kept
    assert bench.server.requests["token.refresh_token"] == 1


async def test_a_token_is_refreshed_ahead_of_its_end(bench: Bench) -> None:
    bench.server.grants.access_token_seconds = 30  # less than refresh_ahead_seconds
    mailbox_id = await bench.consent(ADDRESS)
    old = await bench.grant(mailbox_id)
    bench.server.grants.access_token_seconds = 3600
    assert await bench.keeper.source(bench.account_id, mailbox_id, "local")() != old.access_token


async def test_a_server_that_refuses_fresh_tokens_costs_one(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    source = bench.keeper.source(bench.account_id, mailbox_id, "local")
    fresh = await source(rejected=(await bench.grant(mailbox_id)).access_token)
    with pytest.raises(AuthError):
        await source(rejected=fresh)
    assert bench.server.requests["token.refresh_token"] == 1


async def test_only_invalid_grant_means_that_the_grant_is_gone(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS)
    source = bench.keeper.source(bench.account_id, mailbox_id, "local")
    old = (await bench.grant(mailbox_id)).access_token
    bench.server.fail_next("token", Failure.SERVER_ERROR, times=1)
    with pytest.raises(TemporaryError):
        await source(rejected=old)
    bench.server.revoke(ADDRESS)
    bench.keeper.forget(mailbox_id)
    with pytest.raises(PermanentError) as caught:
        await source(rejected=old)
    assert caught.value.trouble is Trouble.GRANT_REVOKED


async def test_a_refused_linking_leaves_no_key_behind_for_long(bench: Bench) -> None:
    """A key whose mailbox never came to be is only ever one that nothing was sealed with."""
    bench.server.fail_next("authorize", Failure.PARTIAL_SCOPES)
    with pytest.raises(LinkRefused):
        await bench.consent(ADDRESS)
    keys = await bench.stores.keystore.read(None, keystore.list_keys)
    assert {one.owner_id for one in keys} == {bench.account_id}
