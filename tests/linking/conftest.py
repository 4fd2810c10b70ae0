"""The demo's authorization server and an OAuth client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from ingestd.demo.authserver import AuthServer, Client, User
from ingestd.linking.client import ClientConfig, ProviderClient
from ingestd.linking.discovery import discover
from ingestd.linking.flow import Flow, new_flow
from ingestd.linking.http import new_http
from ingestd.linking.oauth import OAuthClient
from ingestd.linking.retry import Waits
from ingestd.linking.tokens import TokenSet
from ingestd.records import GrantRecord

ALICE = "alice@example.com"
REDIRECT = "https://desk.example.com/callback"
SECRET = "s3cret: 100% of it"
SCOPES = ("openid", "email", "offline_access", "mail")


def streamed(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> httpx2.Response:
    """Return an answer for a MockTransport that can be read as it comes from a socket."""
    return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(content))


def grant(refresh_token: str | None = "some-token", access_token: str = "access") -> GrantRecord:
    """Return a grant as it is stored."""
    return GrantRecord(access_token, refresh_token, ())


@dataclass
class Setting:
    server: AuthServer
    client: OAuthClient
    http: httpx2.AsyncClient
    waited: list[float] = field(default_factory=list)

    def client_with(self, **changes: object) -> OAuthClient:
        endpoints = self.client.endpoints
        config = self.client.config
        names = {"userinfo", "revoke", "introspect", "token", "device", "issuer"}
        endpoints = replace(endpoints, **{k: v for k, v in changes.items() if k in names})  # type: ignore[arg-type]
        config = replace(config, **{k: v for k, v in changes.items() if k not in names})  # type: ignore[arg-type]
        return OAuthClient(config, endpoints, self.http, waits=self.waits)

    @property
    def waits(self) -> Waits:
        async def sleep(seconds: float) -> None:
            self.waited.append(seconds)

        return Waits(sleep=sleep)

    async def consent(self, client: ProviderClient | None = None) -> tuple[Flow, dict[str, str]]:
        """Go to the provider as the browser does; return the flow and the callback's parameters."""
        url, flow = await (client or self.client).authorize(new_flow(REDIRECT), login_hint=ALICE)
        response = await self.http.get(url)
        target = urlsplit(response.headers["location"])
        answer = {name: values[0] for name, values in parse_qs(target.query).items()}
        assert answer["state"] == flow.state
        return flow, answer

    async def link(self, client: ProviderClient | None = None) -> tuple[Flow, TokenSet]:
        flow, answer = await self.consent(client)
        return flow, await (client or self.client).exchange(flow, answer["code"], answer.get("iss"))


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    clients = [Client("desk", SECRET, (REDIRECT,)), Client("app", None, (REDIRECT,))]
    server = AuthServer([User(ALICE, "sub-alice"), "bob@example.com"], clients)
    async with server.running() as issuer, new_http() as http:
        endpoints = await discover(http, issuer, allowed_hosts={"127.0.0.1"})
        made = Setting(server, OAuthClient(ClientConfig("desk", SECRET, scopes=SCOPES), endpoints, http), http)
        made.client = made.client_with()
        yield made
