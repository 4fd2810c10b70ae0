"""The demo's authorization server, asked as a client asks it."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from ingestd.demo.authserver import AuthServer, Client, Failure, User
from ingestd.demo.grants import CODE_SECONDS, s256

ALICE = "alice@example.com"
BOB = "bob@example.com"
REDIRECT = "https://desk.example.com/callback"
VERIFIER = "v" * 43
SECRET = ("desk", "a:b %c")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Setting:
    server: AuthServer
    http: httpx2.AsyncClient
    clock: Clock

    async def authorize(self, **changes: str) -> httpx2.Response:
        params = {
            "response_type": "code",
            "client_id": "desk",
            "redirect_uri": REDIRECT,
            "scope": "openid email offline_access mail",
            "state": "st&ate",
            "nonce": "n-1",
            "code_challenge": s256(VERIFIER),
            "code_challenge_method": "S256",
            "login_hint": ALICE,
        }
        return await self.http.get("/authorize", params=params | changes)

    async def code(self, **changes: str) -> str:
        return _answer(await self.authorize(**changes))["code"]

    async def token(self, **form: str) -> httpx2.Response:
        return await self.http.post("/token", data=form, auth=_basic(*SECRET))

    async def exchange(self, code: str, **changes: str) -> httpx2.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
        return await self.token(**(form | changes))

    async def refresh(self, token: str) -> httpx2.Response:
        return await self.token(grant_type="refresh_token", refresh_token=token)


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    clock = Clock()
    clients = [Client("desk", SECRET[1], (REDIRECT,)), Client("app", None, (REDIRECT,))]
    server = AuthServer([User(ALICE, "sub-alice"), BOB], clients, clock=clock)
    async with server.running() as issuer, httpx2.AsyncClient(base_url=issuer, trust_env=False) as http:
        yield Setting(server, http, clock)


def _basic(client_id: str, secret: str) -> httpx2.BasicAuth:
    # Form-encoded first, as RFC 6749 §2.3.1 wants it.
    return httpx2.BasicAuth(client_id, secret.replace("%", "%25").replace(":", "%3A").replace(" ", "%20"))


def _answer(response: httpx2.Response) -> dict[str, str]:
    assert response.status_code == 303
    target = urlsplit(response.headers["location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == REDIRECT
    return {name: values[0] for name, values in parse_qs(target.query).items()}


async def test_the_whole_way_from_consent_to_revocation(setting: Setting) -> None:
    answer = _answer(await setting.authorize())
    assert answer["state"] == "st&ate"
    assert answer["iss"] == setting.server.issuer
    tokens = (await setting.exchange(answer["code"])).json()
    assert tokens["scope"] == "openid email offline_access mail"
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await setting.http.get("/userinfo", headers=bearer)).json()["sub"] == "sub-alice"
    form = {"token": tokens["access_token"]}
    seen = (await setting.http.post("/introspect", data=form, auth=_basic(*SECRET))).json()
    assert (seen["active"], seen["username"]) == (True, ALICE)
    await setting.http.post("/revoke", data={"token": tokens["refresh_token"]}, auth=_basic(*SECRET))
    seen = (await setting.http.post("/introspect", data=form, auth=_basic(*SECRET))).json()
    assert seen == {"active": False}
    assert setting.server.grants.living_grants(ALICE) == 0
    assert (await setting.http.get("/userinfo", headers=bearer)).status_code == 401
    assert setting.server.requests["introspect"] == 2


async def test_a_replaced_refresh_token_that_comes_back_ends_the_grant(setting: Setting) -> None:
    first = setting.server.issue(ALICE)
    assert first.refresh_token is not None
    second = (await setting.refresh(first.refresh_token)).json()
    assert second["refresh_token"] != first.refresh_token
    assert setting.server.check(second["access_token"]) is not None
    assert (await setting.refresh(first.refresh_token)).json() == {"error": "invalid_grant"}
    assert (await setting.refresh(second["refresh_token"])).json() == {"error": "invalid_grant"}
    assert setting.server.check(second["access_token"]) is None
    assert setting.server.requests["token.refresh_token"] == 3


async def test_without_rotation_the_refresh_token_stays(setting: Setting) -> None:
    setting.server.grants.rotate = False
    tokens = setting.server.issue(ALICE)
    assert tokens.refresh_token is not None
    for _ in range(2):
        answer = (await setting.refresh(tokens.refresh_token)).json()
        assert "refresh_token" not in answer
        assert setting.server.check(answer["access_token"]) is not None


async def test_a_code_works_once_and_its_second_use_ends_the_grant(setting: Setting) -> None:
    code = await setting.code()
    tokens = (await setting.exchange(code)).json()
    assert (await setting.exchange(code)).json() == {"error": "invalid_grant"}
    assert setting.server.check(tokens["access_token"]) is None


@pytest.mark.parametrize(
    "changes", [{"code_verifier": "w" * 43}, {"code_verifier": ""}, {"redirect_uri": "https://desk.example.com/other"}]
)
async def test_a_code_is_bound(setting: Setting, changes: dict[str, str]) -> None:
    code = await setting.code()
    assert (await setting.exchange(code, **changes)).json() == {"error": "invalid_grant"}


async def test_a_code_gets_old(setting: Setting) -> None:
    code = await setting.code()
    setting.clock.now += CODE_SECONDS
    assert (await setting.exchange(code)).json() == {"error": "invalid_grant"}


async def test_pkce_is_required(setting: Setting) -> None:
    assert _answer(await setting.authorize(code_challenge=""))["error"] == "invalid_request"
    assert _answer(await setting.authorize(code_challenge_method="plain"))["error"] == "invalid_request"


@pytest.mark.parametrize("changes", [{"client_id": "nobody"}, {"redirect_uri": REDIRECT + "/"}])
async def test_no_redirect_to_an_unregistered_address(setting: Setting, changes: dict[str, str]) -> None:
    response = await setting.authorize(**changes)
    assert response.status_code == 400
    assert "location" not in response.headers


async def test_credentials_in_the_body_and_wrong_ones(setting: Setting) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "unknown", "client_id": "desk"}
    right = await setting.http.post("/token", data=form | {"client_secret": SECRET[1]})
    assert right.json() == {"error": "invalid_grant"}
    wrong = await setting.http.post("/token", data=form | {"client_secret": "guess"})
    assert (wrong.status_code, wrong.json()) == (401, {"error": "invalid_client"})
    missing = await setting.http.post("/token", data=form)
    assert missing.status_code == 401
    public = await setting.http.post("/introspect", data={"token": "x", "client_id": "app"})
    assert public.status_code == 401


async def test_the_page_asks_when_nobody_is_named(setting: Setting) -> None:
    setting.server.auto_consent = False
    page = await setting.authorize(state='"><script>alert(1)</script>')
    assert page.status_code == 200
    assert "<script>" not in page.text
    form = dict(_hidden(page.text))
    allowed = await setting.http.post("/authorize", data=form | {"user": BOB, "decision": "allow"})
    answer = _answer(allowed)
    tokens = (await setting.exchange(answer["code"])).json()
    info = setting.server.check(tokens["access_token"])
    assert info is not None
    assert info.address == BOB
    denied = await setting.http.post("/authorize", data=form | {"user": BOB, "decision": "deny"})
    assert _answer(denied)["error"] == "access_denied"


def _hidden(page: str) -> list[tuple[str, str]]:
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
    assert found
    return [(html.unescape(name), html.unescape(value)) for name, value in found]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Failure.SERVER_ERROR, 500),
        (Failure.UNAVAILABLE, 503),
        (Failure.TOO_MANY_REQUESTS, 429),
        (Failure.INVALID_GRANT, 400),
        (Failure.INVALID_CLIENT, 401),
        (Failure.INTERACTION_REQUIRED, 400),
        (Failure.GARBAGE, 200),
        (Failure.REDIRECT, 307),
    ],
)
async def test_failures_happen_once(setting: Setting, kind: Failure, status: int) -> None:
    tokens = setting.server.issue(ALICE)
    assert tokens.refresh_token is not None
    setting.server.fail_next("token", kind)
    failed = await setting.refresh(tokens.refresh_token)
    assert failed.status_code == status
    assert ("retry-after" in failed.headers) == (status in {429, 503})
    assert (await setting.refresh(tokens.refresh_token)).status_code == 200


async def test_a_lost_answer_has_been_handled(setting: Setting) -> None:
    tokens = setting.server.issue(ALICE)
    assert tokens.refresh_token is not None
    setting.server.fail_next("token", "lost_answer")
    with pytest.raises(httpx2.RemoteProtocolError):
        await setting.refresh(tokens.refresh_token)
    assert (await setting.refresh(tokens.refresh_token)).json() == {"error": "invalid_grant"}


async def test_a_request_hangs_until_it_is_released(setting: Setting) -> None:
    tokens = setting.server.issue(ALICE)
    assert tokens.refresh_token is not None
    setting.server.fail_next("token", "hang")
    asked = asyncio.create_task(setting.refresh(tokens.refresh_token))
    async with asyncio.timeout(5):
        while not setting.server.requests["token"]:
            await asyncio.sleep(0.005)
    assert not asked.done()
    setting.server.release()
    assert (await asked).status_code == 200


async def test_partial_consent(setting: Setting) -> None:
    setting.server.fail_next("authorize", "partial_scopes")
    tokens = (await setting.exchange(await setting.code())).json()
    assert tokens["scope"] == "openid email offline_access"


async def test_no_refresh_token_without_offline_access(setting: Setting) -> None:
    tokens = (await setting.exchange(await setting.code(scope="openid mail"))).json()
    assert "refresh_token" not in tokens
    tokens = (await setting.exchange(await setting.code(scope="openid mail", access_type="offline"))).json()
    assert "refresh_token" in tokens


async def test_expired_and_revoked(setting: Setting) -> None:
    tokens = setting.server.issue(ALICE)
    other = setting.server.issue(BOB)
    setting.server.expire_access_tokens(ALICE)
    assert setting.server.check(tokens.access_token) is None
    assert tokens.refresh_token is not None
    fresh = (await setting.refresh(tokens.refresh_token)).json()
    assert setting.server.check(fresh["access_token"]) is not None
    setting.server.revoke(ALICE)
    assert setting.server.check(fresh["access_token"]) is None
    assert (await setting.refresh(fresh["refresh_token"])).json() == {"error": "invalid_grant"}
    assert setting.server.check(other.access_token) is not None


def test_it_runs_in_a_thread_and_twice() -> None:
    server = AuthServer([ALICE], [Client("desk", "s", (REDIRECT,))])
    for _ in range(2):
        issuer = server.start()
        try:
            found = httpx2.get(f"{issuer}/.well-known/oauth-authorization-server", trust_env=False).json()
        finally:
            server.stop()
        assert found["issuer"] == issuer
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{issuer}/jwks", trust_env=False)


def test_secrets_are_not_shown() -> None:
    server = AuthServer([ALICE], [Client("desk", "s3cret", (REDIRECT,))])
    tokens = server.issue(ALICE)
    assert tokens.access_token not in repr(tokens)
    assert str(tokens.refresh_token) not in repr(tokens)
    assert "s3cret" not in repr(server.clients)
