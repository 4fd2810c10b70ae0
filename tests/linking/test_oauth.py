"""The OAuth client against the demo's authorization server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from ingestd.demo.authserver import Failure
from ingestd.linking.client import Revocation
from ingestd.linking.errors import (
    ClientRejected,
    CodeRefused,
    ConsentNeeded,
    GrantRevoked,
    IdentityUnproved,
    LinkingError,
    PartialConsent,
    ProviderDown,
    RequestNotSent,
    TokenEndpointBusy,
    TokenEndpointDown,
)
from ingestd.linking.flow import Flow
from ingestd.linking.http import HttpLimits, ask, new_http
from ingestd.linking.tokens import TokenSet
from tests.linking.conftest import ALICE, REDIRECT, SECRET, Setting, grant, streamed


def bare(access_token: str) -> TokenSet:
    return TokenSet(access_token, None, None, None)


async def test_link_refresh_identify_revoke(setting: Setting) -> None:
    flow, tokens = await setting.link()
    assert tokens.refresh_token is not None
    assert tokens.expires_at is not None
    assert timedelta(minutes=59) < tokens.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    setting.client.require_all(tokens)
    identity = await setting.client.identity(tokens, flow)
    assert (identity.subject, identity.address, identity.issuer) == ("sub-alice", ALICE, setting.server.issuer)
    fresh = await setting.client.refresh(grant(tokens.refresh_token))
    assert fresh.refresh_token not in {None, tokens.refresh_token}
    assert await setting.client.identity(fresh, None) == identity
    assert fresh.refresh_token is not None
    assert await setting.client.revoke(grant(fresh.refresh_token)) is Revocation.REVOKED
    assert setting.server.grants.living_grants(ALICE) == 0
    with pytest.raises(GrantRevoked):
        await setting.client.refresh(grant(fresh.refresh_token))


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
async def test_every_way_to_authenticate(setting: Setting, method: str) -> None:
    name, secret = ("app", None) if method == "none" else ("desk", SECRET)
    client = setting.client_with(client_id=name, client_secret=secret, token_auth_method=method)
    _, tokens = await setting.link(client)
    assert tokens.refresh_token is not None
    assert (await client.refresh(grant(tokens.refresh_token))).access_token != tokens.access_token
    assert await client.revoke(grant(tokens.refresh_token)) is Revocation.REVOKED


async def test_a_refused_code(setting: Setting) -> None:
    flow, answer = await setting.consent()
    with pytest.raises(CodeRefused):
        await setting.client.exchange(replace(flow, verifier="another" * 8), answer["code"], answer["iss"])
    with pytest.raises(CodeRefused):
        await setting.client.exchange(flow, answer["code"], answer["iss"])


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure.INVALID_GRANT, GrantRevoked),
        (Failure.INVALID_CLIENT, ClientRejected),
        (Failure.INTERACTION_REQUIRED, ConsentNeeded),
        (Failure.SERVER_ERROR, TokenEndpointDown),
        (Failure.GARBAGE, TokenEndpointDown),
        (Failure.OVERSIZED, TokenEndpointDown),
        (Failure.REDIRECT, TokenEndpointDown),
        (Failure.LOST_ANSWER, TokenEndpointDown),
    ],
)
async def test_refresh_failures_are_not_repeated(setting: Setting, failure: Failure, error: type[LinkingError]) -> None:
    token = setting.server.issue(ALICE).refresh_token
    assert token is not None
    setting.server.fail_next("token", failure)
    with pytest.raises(LinkingError) as raised:
        await setting.client.refresh(grant(token))
    assert type(raised.value) is error
    assert setting.server.requests["token"] == 1
    assert setting.waited == []


@pytest.mark.parametrize("failure", [Failure.UNAVAILABLE, Failure.TOO_MANY_REQUESTS])
async def test_a_refresh_that_was_turned_away_is_repeated(setting: Setting, failure: Failure) -> None:
    token = setting.server.issue(ALICE).refresh_token
    assert token is not None
    setting.server.fail_next("token", failure, times=2)
    assert (await setting.client.refresh(grant(token))).access_token
    assert setting.server.requests["token"] == 3
    assert all(1.0 <= seconds <= 3.0 for seconds in setting.waited)
    assert len(setting.waited) == 2
    setting.server.fail_next("token", failure, times=5)
    with pytest.raises(TokenEndpointBusy):
        await setting.client.refresh(grant(token))
    assert setting.server.requests["token"] == 6


async def test_long_waits_are_the_callers(setting: Setting) -> None:
    setting.server.retry_after_seconds = 120
    setting.server.fail_next("token", Failure.TOO_MANY_REQUESTS)
    with pytest.raises(TokenEndpointBusy) as raised:
        await setting.client.refresh(grant("some-token"))
    assert raised.value.retry_after == 120
    assert setting.server.requests["token"] == 1


async def test_no_connection_is_repeated_and_then_reported(setting: Setting) -> None:
    client = setting.client_with(token="http://127.0.0.1:9/token", revoke="http://127.0.0.1:9/revoke")
    with pytest.raises(RequestNotSent):
        await client.refresh(grant("some-token"))
    assert len(setting.waited) == 2
    assert await client.revoke(grant("some-token")) is Revocation.FAILED


async def test_a_hanging_endpoint_is_given_up(setting: Setting) -> None:
    setting.server.fail_next("token", Failure.HANG)
    hasty = HttpLimits(seconds_max=0.2)
    with pytest.raises(TokenEndpointDown, match="TimeoutError"):
        await ask(setting.http, "POST", setting.client.endpoints.token, endpoint="token", form={}, limits=hasty)


async def test_a_compressed_answer_is_not_unpacked() -> None:
    packed = httpx2.MockTransport(lambda _: streamed(b"\x1f", headers={"Content-Encoding": "gzip"}))
    async with new_http(transport=packed) as http:
        with pytest.raises(TokenEndpointDown, match="compressed"):
            await ask(http, "GET", "https://id.example.com/", endpoint="discovery")


async def test_the_largest_answer_that_is_read() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        size = 1000 + (1 if request.url.path == "/more" else 0)
        return streamed(b"{" + b" " * (size - 2) + b"}")

    limits = HttpLimits(body_bytes_max=1000)
    async with new_http(transport=httpx2.MockTransport(answer)) as http:
        assert (await ask(http, "GET", "https://id.example.com/", endpoint="x", limits=limits)).document == {}
        with pytest.raises(TokenEndpointDown, match="too large"):
            await ask(http, "GET", "https://id.example.com/more", endpoint="x", limits=limits)


async def test_partial_consent(setting: Setting) -> None:
    setting.server.fail_next("token", Failure.PARTIAL_SCOPES)
    _, tokens = await setting.link()
    with pytest.raises(PartialConsent) as raised:
        setting.client.require_all(tokens)
    assert raised.value.missing == ("mail",)
    narrow = setting.client_with(scopes=("openid", "mail"))
    _, tokens = await setting.link(narrow)
    with pytest.raises(PartialConsent) as raised:
        narrow.require_all(tokens)
    assert raised.value.missing == ("offline_access",)


async def test_identity_by_introspection_and_by_the_id_token(setting: Setting) -> None:
    flow, tokens = await setting.link()
    told = setting.client_with(userinfo=None, address_claim="username")
    assert (await told.identity(replace(tokens, id_token=None), None)).address == ALICE
    alone = setting.client_with(userinfo=None, introspect=None)
    assert (await alone.identity(tokens, flow)).subject == "sub-alice"
    with pytest.raises(IdentityUnproved):
        await alone.identity(replace(tokens, id_token=None), None)
    setting.server.expire_access_tokens(ALICE)
    for client in (setting.client, told):
        with pytest.raises(IdentityUnproved):
            await client.identity(replace(tokens, id_token=None), None)


async def test_an_id_token_of_another_linking(setting: Setting) -> None:
    flow, tokens = await setting.link()
    with pytest.raises(IdentityUnproved):
        await setting.client.identity(tokens, replace(flow, nonce="another"))
    other = setting.server.issue("bob@example.com")
    with pytest.raises(IdentityUnproved, match="different subjects"):
        await setting.client.identity(replace(tokens, access_token=other.access_token), None)


async def test_userinfo_is_asked_again(setting: Setting) -> None:
    token = bare(setting.server.issue(ALICE).access_token)
    setting.server.fail_next("userinfo", Failure.SERVER_ERROR, times=2)
    assert (await setting.client.identity(token, None)).address == ALICE
    setting.server.fail_next("userinfo", Failure.LOST_ANSWER, times=3)
    with pytest.raises(ProviderDown):
        await setting.client.identity(token, None)


@pytest.mark.parametrize("failure", [Failure.SERVER_ERROR, Failure.INVALID_CLIENT, Failure.HANG])
async def test_revocation_that_is_not_known(setting: Setting, failure: Failure) -> None:
    setting.server.fail_next("revoke", failure, times=3)
    asked = asyncio.create_task(setting.client.revoke(grant("some-token")))
    if failure is Failure.HANG:
        setting.server.release()
        assert await asked is Revocation.REVOKED
    else:
        assert await asked is Revocation.FAILED


async def test_revocation_that_there_is_not(setting: Setting) -> None:
    assert await setting.client_with(revoke=None).revoke(grant("some-token")) is Revocation.UNSUPPORTED
    gone = setting.client_with(revoke=f"{setting.server.issuer}/gone")
    assert await gone.revoke(grant("some-token")) is Revocation.UNSUPPORTED


@pytest.mark.parametrize("failure", [f for f in Failure if f not in {Failure.HANG, Failure.PARTIAL_SCOPES}])
async def test_no_secret_in_any_error(setting: Setting, failure: Failure) -> None:
    secrets = ["refresh-secret", "code-secret", "verifier-secret", "access-secret", SECRET, "s3cret"]
    client = setting.client
    flow = Flow("state-secret", "verifier-secret", "nonce-secret", REDIRECT)
    raised: list[BaseException] = []
    for endpoint, call in (
        ("token", lambda: client.refresh(grant("refresh-secret"))),
        ("token", lambda: client.exchange(flow, "code-secret", setting.server.issuer)),
        ("userinfo", lambda: client.identity(bare("access-secret"), None)),
    ):
        setting.server.fail_next(endpoint, failure, times=3)
        try:
            await call()
        except LinkingError as error:
            raised.append(error)
        setting.server._failures.clear()
    assert len(raised) == 3
    for seen in [link for failed in raised for link in _chain(failed)]:
        texts = [str(seen), repr(seen), repr(seen.args), repr(vars(seen))]
        assert not [secret for secret in secrets if secret in "".join(texts)]


def _chain(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *_chain(error.__context__)]


async def test_no_secret_in_any_repr(setting: Setting) -> None:
    flow, tokens = await setting.link()
    identity = await setting.client.identity(tokens, flow)
    text = repr([flow, tokens, identity, setting.client, setting.client.config, setting.client.endpoints])
    hidden = [flow.state, flow.verifier, flow.nonce, tokens.access_token, tokens.refresh_token, tokens.id_token]
    for secret in [*hidden, SECRET, ALICE, "sub-alice"]:
        assert secret is not None
        assert secret not in text
