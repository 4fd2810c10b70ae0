"""Microsoft's sign-in through msal, against the demo's server at Microsoft's own addresses, over TLS."""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
import pytest

from connectors.base import PermanentError, Trouble
from connectors.egress import EgressGuard
from connectors.tls import client_context
from ingestd.demo.authserver import Failure
from ingestd.demo.certificates import make_certificates
from ingestd.demo.dialects import PERSONAL_TENANT, WORK_TENANT
from ingestd.linking.client import Pending, Revocation
from ingestd.linking.egress import GuardedTransport
from ingestd.linking.entra import Authority, MsalClient, find_authority
from ingestd.linking.errors import (
    AdminBlocked,
    CallbackRejected,
    ClientRejected,
    CodeRefused,
    ConsentNeeded,
    EndpointsInvalid,
    GrantRevoked,
    IdentityUnproved,
    LinkingError,
    NoDeviceCode,
    PartialConsent,
    ProviderDown,
    RequestNotSent,
    TokenEndpointBusy,
    TokenEndpointDown,
)
from ingestd.linking.flow import Flow, new_flow
from ingestd.linking.http import HttpLimits, new_http
from ingestd.linking.keeper import MailboxTokens
from ingestd.linking.link import LinkRefused, LinkRequest
from ingestd.linking.retry import Waits
from ingestd.linking.tokens import TokenSet
from ingestd.records import FlowRecord
from storage import flows, grants
from tests.linking.bench import ADDRESS, GRAPH, OTHER, OUTLOOK, PUBLIC, Bench, Played, playing, running_bench
from tests.linking.conftest import grant
from tests.stores import Stores

CALLBACK = f"{PUBLIC}/oauth/callback"


@pytest.fixture
async def bench(stores: Stores, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(stores, make_certificates(tmp_path)) as made:
        yield made


@pytest.fixture
async def played(tmp_path: Path) -> AsyncIterator[Played]:
    async with playing(make_certificates(tmp_path)) as made:
        yield made


async def entra(played: Played) -> MsalClient:
    client = await played.clients.get("microsoft")
    assert isinstance(client, MsalClient)
    return client


async def linked(played: Played, client: MsalClient, address: str = ADDRESS) -> tuple[Flow, TokenSet]:
    played.server.consent_as = address
    url, flow = await client.authorize(new_flow(CALLBACK))
    answer = parse_qs(urlsplit(await played.visit(url)).query)
    assert answer["state"] == [flow.state]
    return flow, await client.exchange(flow, answer["code"][0], None)


async def test_the_whole_way(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider="microsoft")
    record, kept = await bench.record(mailbox_id), await bench.grant(mailbox_id)
    assert (record.address, record.login) == (ADDRESS, ADDRESS)
    assert record.issuer == f"{bench.server.issuer}/{WORK_TENANT}/v2.0"
    assert record.subject.startswith(f"{WORK_TENANT}.")
    assert set(kept.scopes) == set(OUTLOOK)
    source = bench.keeper.source(bench.account_id, mailbox_id, "microsoft")
    fresh = {one.value for one in await asyncio.gather(*(source(rejected=kept.access_token) for _ in range(10)))}
    renewed = await bench.grant(mailbox_id)
    assert fresh == {renewed.access_token}
    assert renewed.refresh_token not in {None, kept.refresh_token}  # Microsoft replaces it; kept, or it dies in 90 days
    assert bench.server.requests["token.refresh_token"] == 1
    assert await (await entra(bench)).revoke(renewed) is Revocation.UNSUPPORTED


async def test_it_is_linked_again_by_its_own_owner_only(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider="microsoft")
    with pytest.raises(LinkRefused, match="wrong_mailbox"):
        await bench.consent(OTHER, provider="microsoft", mailbox_id=mailbox_id)
    assert await bench.consent(ADDRESS, provider="microsoft", mailbox_id=mailbox_id) == mailbox_id
    with pytest.raises(LinkRefused, match="already_linked"):
        await bench.consent(ADDRESS, provider="microsoft")


async def test_the_address_that_the_owner_opens(played: Played) -> None:
    client = await entra(played)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        url, flow = await client.authorize(new_flow(CALLBACK), login_hint=ADDRESS)
    params = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert url.startswith(f"{played.server.issuer}/common/oauth2/v2.0/authorize?")
    assert params["code_challenge_method"] == "S256"
    assert params["response_mode"] == "query"  # a posted form would come without our cookie
    assert params["prompt"] == "select_account"
    assert params["state"] == flow.state
    assert set(params["scope"].split()) == {"openid", "profile", "offline_access", *OUTLOOK}
    remembered = json.loads(flow.memory)
    assert remembered["code_verifier"] not in url
    assert remembered["nonce"] not in url


async def test_what_msal_remembers_is_kept_sealed_between_the_requests(bench: Bench) -> None:
    bench.server.consent_as = ADDRESS
    started = await bench.linking.start(bench.account_id, LinkRequest(provider="microsoft"))
    state = parse_qs(urlsplit(started.address).query)["state"][0]
    await bench.linking.open(state, "b")
    row = await bench.stores.content.read(bench.account_id, flows.get_flow, started.flow_id)
    key = await bench.keys.account(bench.account_id)
    record = key.open_record(FlowRecord.place(started.flow_id), row.sealed, FlowRecord)
    assert json.loads(record.memory)["code_verifier"].encode() not in row.sealed


async def test_a_code_is_bound_to_its_linking(played: Played) -> None:
    client = await entra(played)
    played.server.consent_as = ADDRESS
    url, flow = await client.authorize(new_flow(CALLBACK))
    code = parse_qs(urlsplit(await played.visit(url)).query)["code"][0]
    other = json.dumps(json.loads(flow.memory) | {"code_verifier": "v" * 43})
    with pytest.raises(CodeRefused):
        await client.exchange(replace(flow, memory=other), code, None)
    with pytest.raises(CallbackRejected):
        await client.exchange(flow, code, "https://login.example.net/v2.0")


async def test_an_id_token_of_another_linking(played: Played) -> None:
    client = await entra(played)
    played.server.consent_as = ADDRESS
    url, flow = await client.authorize(new_flow(CALLBACK))
    code = parse_qs(urlsplit(await played.visit(url)).query)["code"][0]
    replayed = json.dumps(json.loads(flow.memory) | {"nonce": "another"})
    with pytest.raises(IdentityUnproved):
        await client.exchange(replace(flow, memory=replayed), code, None)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure.SERVER_ERROR, TokenEndpointDown),
        (Failure.LOST_ANSWER, TokenEndpointDown),
        (Failure.GARBAGE, TokenEndpointDown),
        (Failure.OVERSIZED, TokenEndpointDown),
        (Failure.REDIRECT, TokenEndpointDown),
        (Failure.INVALID_GRANT, GrantRevoked),
        (Failure.INVALID_CLIENT, ClientRejected),
        (Failure.INTERACTION_REQUIRED, ConsentNeeded),
    ],
)
async def test_a_failure_is_told_once_and_forgotten(
    played: Played, failure: Failure, error: type[LinkingError]
) -> None:
    """msal by itself repeats a 5xx for 5 seconds and a 400 for a minute after the server has recovered."""
    client = await entra(played)
    _, tokens = await linked(played, client)
    played.server.fail_next("token", failure)
    asked = played.server.requests["token"]
    with pytest.raises(error):
        await client.refresh(grant(tokens.refresh_token))
    assert played.server.requests["token"] == asked + 1
    if failure is Failure.LOST_ANSWER:
        return  # the server has used the refresh token up
    assert (await client.refresh(grant(tokens.refresh_token))).access_token


async def test_a_refresh_that_was_turned_away_is_repeated(played: Played) -> None:
    client = await entra(played)
    _, tokens = await linked(played, client)
    played.server.fail_next("token", Failure.TOO_MANY_REQUESTS)
    assert (await client.refresh(grant(tokens.refresh_token))).refresh_token
    played.server.retry_after_seconds = 120
    played.server.fail_next("token", Failure.TOO_MANY_REQUESTS)
    with pytest.raises(TokenEndpointBusy) as busy:
        await client.refresh(grant(tokens.refresh_token))
    assert busy.value.retry_after == 120


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (700082, GrantRevoked),
        (70008, GrantRevoked),
        (50173, GrantRevoked),
        (50076, ConsentNeeded),
        (50079, ConsentNeeded),
        (65001, ConsentNeeded),
        (90094, AdminBlocked),
        (53003, AdminBlocked),
        (7000222, ClientRejected),
    ],
)
async def test_microsofts_numbers(played: Played, number: int, error: type[LinkingError]) -> None:
    client = await entra(played)
    played.server.entra_error = number
    with pytest.raises(error, match=str(number)):
        await client.refresh(grant("some-token"))


async def test_the_keeper_says_what_the_owner_or_the_administrator_must_do(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider="microsoft")
    source = bench.keeper.source(bench.account_id, mailbox_id, "microsoft")
    for number, trouble in ((90094, Trouble.ADMIN_BLOCKED), (50076, Trouble.CONSENT_OR_MFA)):
        bench.server.entra_error = number
        bench.keeper.forget(mailbox_id)
        with pytest.raises(PermanentError) as caught:
            await source(rejected=(await bench.grant(mailbox_id)).access_token)
        assert caught.value.trouble is trouble


async def test_a_personal_account(bench: Bench) -> None:
    record = await bench.record(await bench.consent(ADDRESS, provider="personal"))
    assert record.subject.startswith(f"{PERSONAL_TENANT}.")
    assert record.issuer == f"{bench.server.issuer}/{PERSONAL_TENANT}/v2.0"


async def test_the_kinds_of_tenants(played: Played) -> None:
    client = await entra(played)
    _, tokens = await linked(played, client, OTHER)
    for tenant in ("organizations", "common"):
        limited = _with(client, authority=replace(client.authority, tenant=tenant))
        assert (await limited.identity(tokens, None)).address == OTHER
    with pytest.raises(IdentityUnproved, match="kind"):
        await _with(client, authority=replace(client.authority, tenant="consumers")).identity(tokens, None)


async def test_whose_id_token_it_is(played: Played) -> None:
    client = await entra(played)
    _, tokens = await linked(played, client)
    elsewhere = _with(client, authority=replace(client.authority, issuer="https://login.example.net/{tenantid}/v2.0"))
    with pytest.raises(IdentityUnproved, match="issuer"):
        await elsewhere.identity(tokens, None)
    with pytest.raises(IdentityUnproved, match="another client"):
        await _with(client, config=replace(client.config, client_id="other")).identity(tokens, None)
    with pytest.raises(IdentityUnproved):
        await client.identity(replace(tokens, id_token=None), None)


async def test_partial_consent(played: Played) -> None:
    client = await entra(played)
    _, tokens = await linked(played, client)
    client.require_all(tokens)
    client.require_all(replace(tokens, scopes=("https://outlook.office365.com/smtp.send", OUTLOOK[0])))
    with pytest.raises(PartialConsent) as missing:
        client.require_all(replace(tokens, scopes=OUTLOOK[:1], refresh_token=None))
    assert missing.value.missing == (OUTLOOK[1], "offline_access")


async def test_a_device_code_and_its_refresh_without_our_secret(played: Played) -> None:
    client = await entra(played)
    code = await client.start_device()
    assert code.address == f"{played.server.issuer}/device"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await client.ask_device(code) is Pending.WAIT
        assert await client.ask_device(code) is Pending.WAIT
    played.server.approve_device(code.user_code, ADDRESS)
    tokens = await client.ask_device(code)
    assert isinstance(tokens, TokenSet)
    client.require_all(tokens)
    assert (await client.identity(tokens, None)).address == ADDRESS
    public = replace(client.config, client_secret=None)
    fresh = await client.refresh(msgspec.structs.replace(grant(tokens.refresh_token), by_device_code=True))
    assert fresh.refresh_token != tokens.refresh_token
    # What a code in the browser brought is a confidential client's: without the secret it is refused.
    _, other = await linked(played, client)
    with pytest.raises(ClientRejected):
        await _with(client, config=public).refresh(grant(other.refresh_token))


async def test_a_device_code_that_is_refused(played: Played) -> None:
    client = await entra(played)
    code = await client.start_device()
    played.server.refuse_device(code.user_code)
    with pytest.raises(ConsentNeeded):
        await client.ask_device(code)
    with pytest.raises(NoDeviceCode):
        await _with(client, authority=replace(client.authority, device_authorization_endpoint=None)).start_device()


async def test_metadata_is_checked_before_msal_gets_it(played: Played) -> None:
    assert played.ca_file is not None
    async with new_http(ssl_context=client_context(played.ca_file)) as http:
        found = await find_authority(http, played.server.issuer, "common", allowed_hosts={"127.0.0.1"})
        assert found.token_endpoint == f"{played.server.issuer}/common/oauth2/v2.0/token"
        with pytest.raises(EndpointsInvalid):
            await find_authority(http, played.server.issuer, "common", allowed_hosts={"login.example.com"})
        played.server.fail_next("discovery", Failure.INVALID_CLIENT)
        with pytest.raises(EndpointsInvalid, match="tenant"):
            await find_authority(http, played.server.issuer, "nobody", allowed_hosts={"127.0.0.1"})
        played.server.fail_next("discovery", Failure.SERVER_ERROR, times=3)
        with pytest.raises(ProviderDown):
            await find_authority(http, played.server.issuer, "common", allowed_hosts={"127.0.0.1"})


async def test_a_token_endpoint_elsewhere_is_refused() -> None:
    document = {
        "issuer": "https://login.example.com/{tenantid}/v2.0",
        "authorization_endpoint": "https://login.example.com/a",
        "token_endpoint": "https://evil.example.net/t",
    }
    answer = httpx2.MockTransport(
        lambda _: httpx2.Response(200, stream=httpx2.ByteStream(json.dumps(document).encode()))
    )
    async with new_http(transport=answer) as http:
        with pytest.raises(EndpointsInvalid, match="token_endpoint"):
            await find_authority(http, "https://login.example.com", "common", allowed_hosts={"login.example.com"})


async def test_msal_connects_where_the_guard_lets_it_and_nowhere_else(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    # msal would otherwise take the region's host, and ask a metadata service for it.
    monkeypatch.setenv("MSAL_FORCE_REGION", "westus")
    assert played.ca_file is not None
    context = client_context(played.ca_file)
    client = await entra(played)
    _, tokens = await linked(played, client)
    port = urlsplit(played.server.issuer).port or 0
    connected: list[object] = []
    sys.addaudithook(lambda event, args: connected.append(args[1]) if event == "socket.connect" else None)
    async with new_http(transport=GuardedTransport(EgressGuard([("127.0.0.1", port)]), context)) as http:
        guarded = MsalClient(client.config, client.authority, http, client._executor)
        fresh = await guarded.refresh(grant(tokens.refresh_token))
    assert connected == [("127.0.0.1", port)]
    async with new_http(transport=GuardedTransport(EgressGuard([("login.example.com", 443)]), context)) as http:
        guarded = MsalClient(client.config, client.authority, http, client._executor, waits=Waits(attempts_max=1))
        with pytest.raises(RequestNotSent):
            await guarded.refresh(grant(fresh.refresh_token))
    assert len(connected) == 1


async def test_a_hanging_endpoint_is_given_up_and_its_thread_comes_back(played: Played) -> None:
    client = await entra(played)
    _, tokens = await linked(played, client)
    with ThreadPoolExecutor(1) as one:
        hasty = MsalClient(client.config, client.authority, client._http, one, limits=HttpLimits(seconds_max=0.3))
        played.server.fail_next("token", Failure.HANG)
        with pytest.raises(TokenEndpointDown):
            await hasty.refresh(grant("another"))
        played.server.release()
        patient = MsalClient(client.config, client.authority, client._http, one)
        assert (await patient.refresh(grant(tokens.refresh_token))).access_token


async def test_no_secret_in_any_error_or_repr(played: Played) -> None:
    client = await entra(played)
    flow, tokens = await linked(played, client)
    hidden = [flow.memory, flow.state, tokens.access_token, str(tokens.refresh_token), str(tokens.id_token)]
    shown = repr([flow, tokens, client, client.config, client.authority])
    for failure in (Failure.GARBAGE, Failure.LOST_ANSWER, Failure.INVALID_GRANT, Failure.SERVER_ERROR):
        played.server.fail_next("token", failure)
        with pytest.raises(LinkingError) as caught:
            await client.refresh(grant(tokens.refresh_token))
        error: BaseException | None = caught.value
        while error is not None:
            shown += str(error) + repr(error.args) + repr(vars(error))
            error = error.__context__
    assert not [secret for secret in hidden if secret in shown]


async def test_a_token_lives_as_long_as_microsoft_says(played: Played) -> None:
    client = await entra(played)
    _, tokens = await linked(played, client)
    assert tokens.expires_at is not None
    assert timedelta(minutes=59) < tokens.expires_at - client._now() <= timedelta(hours=1)


def _with(client: MsalClient, **changes: Any) -> MsalClient:
    config, authority = changes.get("config", client.config), changes.get("authority", client.authority)
    assert isinstance(authority, Authority)
    return MsalClient(config, authority, client._http, client._executor)


# -- two resources -----------------------------------------------------------------------------------


async def test_a_grant_for_outlook_and_graph_gives_a_token_for_each(bench: Bench) -> None:
    """One consent and one refresh token; each access token opens one of the two."""
    mailbox_id = await bench.consent(ADDRESS, provider="both")
    row = await bench.stores.content.read(bench.account_id, grants.get_grant, mailbox_id)
    first = await bench.grant(mailbox_id)
    assert (set(row.scopes or ()), set(first.scopes)) == ({*OUTLOOK, *GRAPH}, set(OUTLOOK))

    def source(scopes: tuple[str, ...]) -> MailboxTokens:
        return bench.keeper.source(bench.account_id, mailbox_id, "both", scopes)

    assert (await source(OUTLOOK)()).value == first.access_token
    graph = await source(GRAPH)()
    info = bench.server.grants.check(graph.value)
    assert info is not None
    assert set(info.scopes) & {*OUTLOOK, *GRAPH} == set(GRAPH)
    kept = await bench.grant(mailbox_id)
    assert kept.access_token == first.access_token
    assert kept.refresh_token not in {None, first.refresh_token}, "the rotated one is kept"
    # It is remembered, and asked for anew where it is refused; the stored one is renewed for its own resource.
    assert (await source(GRAPH)()).value == graph.value
    assert (await source(GRAPH)(rejected=graph.value)).value != graph.value
    renewed = await source(OUTLOOK)(rejected=first.access_token)
    assert set((await bench.grant(mailbox_id)).scopes) == set(OUTLOOK)
    after = await bench.stores.content.read(bench.account_id, grants.get_grant, mailbox_id)
    assert set(after.scopes or ()) == {*OUTLOOK, *GRAPH}
    assert bench.server.grants.check(renewed.value) is not None


async def test_a_refresh_asks_for_what_was_granted_whatever_the_configuration_asks_for_now(bench: Bench) -> None:
    mailbox_id = await bench.consent(ADDRESS, provider="microsoft")
    old = (await bench.grant(mailbox_id)).access_token
    wider = bench.keeper.source(bench.account_id, mailbox_id, "both")
    await wider(rejected=old)
    assert set((await bench.grant(mailbox_id)).scopes) == set(OUTLOOK)
