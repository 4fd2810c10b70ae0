"""The OAuth client against an authorization server that others wrote: oidc-provider-mock.

Its refresh grant refuses credentials in the body, so the secret goes into the header.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from ingestd.linking.client import ClientConfig, Revocation
from ingestd.linking.discovery import discover
from ingestd.linking.errors import CodeRefused, GrantRevoked
from ingestd.linking.flow import new_flow
from ingestd.linking.http import new_http
from ingestd.linking.oauth import OAuthClient
from tests.linking.conftest import grant

REDIRECT = "https://desk.example.com/callback"


@pytest.fixture
def issuer() -> Iterator[str]:
    # A process of its own: the package warns at import and at work, and that is not our business.
    claims = {"sub": "alice", "email": "alice@example.com", "email_verified": True}
    port = _free_port()
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--user-claims", json.dumps(claims)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _await_port(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await_port(port: int) -> None:
    limit = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            assert time.monotonic() < limit, "oidc-provider-mock did not start"
            time.sleep(0.05)
        else:
            return


async def test_the_whole_way(issuer: str) -> None:
    async with new_http() as http:
        endpoints = await discover(http, issuer, allowed_hosts={"127.0.0.1"})
        config = ClientConfig("desk", "secret", scopes=("openid", "email"))
        client = OAuthClient(config, endpoints, http)
        url, flow = await client.authorize(new_flow(REDIRECT))
        consent = await http.post(url, data={"sub": "alice"})
        answer = {name: values[0] for name, values in parse_qs(urlsplit(consent.headers["location"]).query).items()}
        assert answer["state"] == flow.state
        tokens = await client.exchange(flow, answer["code"], answer.get("iss"))
        client.require_all(tokens)
        identity = await client.identity(tokens, flow)
        assert (identity.subject, identity.address) == ("alice", "alice@example.com")
        with pytest.raises(CodeRefused):
            await client.exchange(flow, answer["code"], answer.get("iss"))
        assert tokens.refresh_token is not None
        fresh = await client.refresh(grant(tokens.refresh_token))
        assert fresh.access_token != tokens.access_token
        with pytest.raises(GrantRevoked):
            await client.refresh(grant("invented"))
        assert await client.revoke(grant(tokens.refresh_token)) is Revocation.UNSUPPORTED
