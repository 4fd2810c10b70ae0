"""Where the endpoints are: real metadata, and hostile metadata."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from ingestd.demo.authserver import Failure
from ingestd.linking.discovery import Endpoints, discover, explicit_endpoints, metadata_urls
from ingestd.linking.errors import EndpointsInvalid, ProviderDown
from ingestd.linking.http import new_http
from tests.linking.conftest import Setting, streamed

ISSUER = "https://id.example.com"
GOOD: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
}


async def test_the_demo_server(setting: Setting) -> None:
    issuer = setting.server.issuer
    assert setting.client.endpoints == Endpoints(
        authorize=f"{issuer}/authorize",
        token=f"{issuer}/token",
        userinfo=f"{issuer}/userinfo",
        revoke=f"{issuer}/revoke",
        introspect=f"{issuer}/introspect",
        device=f"{issuer}/device_authorization",
        issuer=issuer,
        callback_names_issuer=True,
    )


async def test_a_server_that_is_down(setting: Setting) -> None:
    setting.server.fail_next("discovery", Failure.SERVER_ERROR, times=2)
    endpoints = await discover(setting.http, setting.server.issuer, allowed_hosts={"127.0.0.1"}, waits=setting.waits)
    assert endpoints == setting.client.endpoints
    setting.server.fail_next("discovery", Failure.SERVER_ERROR, times=3)
    with pytest.raises(ProviderDown):
        await discover(setting.http, setting.server.issuer, allowed_hosts={"127.0.0.1"}, waits=setting.waits)


async def _discover(documents: dict[str, Any], issuer: str = ISSUER, **options: Any) -> Endpoints:
    def answer(request: httpx2.Request) -> httpx2.Response:
        document = documents.get(str(request.url))
        return streamed(b"", 404) if document is None else streamed(json.dumps(document).encode())

    async with new_http(transport=httpx2.MockTransport(answer)) as http:
        return await discover(http, issuer, allowed_hosts={"id.example.com"}, **options)


async def _discover_one(document: Any, **options: Any) -> Endpoints:
    return await _discover({metadata_urls(ISSUER)[0]: document}, **options)


async def test_rfc_8414_where_there_is_no_openid() -> None:
    issuer = f"{ISSUER}/tenant"
    endpoints = await _discover({metadata_urls(issuer)[1]: GOOD | {"issuer": issuer}}, issuer)
    assert endpoints.token == f"{ISSUER}/token"
    assert endpoints.revoke is None
    assert not endpoints.callback_names_issuer


async def test_what_the_operator_told_goes_before() -> None:
    endpoints = await _discover_one(GOOD, overrides={"revoke": f"{ISSUER}/other", "token": f"{ISSUER}/t"})
    assert (endpoints.revoke, endpoints.token) == (f"{ISSUER}/other", f"{ISSUER}/t")


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": ISSUER + "/"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": "https://evil.example.net/token"},
        {"token_endpoint": "http://id.example.com/token"},
        {"token_endpoint": "https://id.example.com@evil.example.net/token"},
        {"token_endpoint": "https://id.example.com:x/token"},
        {"token_endpoint": "file:///etc/passwd"},
        {"token_endpoint": "https://id.example.com/#x"},
        {"token_endpoint": ["https://id.example.com/token"]},
        {"token_endpoint": "https://id.example.com/" + "a" * 5000},
        {"userinfo_endpoint": "http://127.0.0.1/userinfo"},
        {"revocation_endpoint": "https://169.254.169.254/"},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
async def test_metadata_that_cannot_be_used(changes: dict[str, Any]) -> None:
    with pytest.raises(EndpointsInvalid):
        await _discover_one(GOOD | changes)


@pytest.mark.parametrize("document", [None, [], "x", {}])
async def test_no_metadata(document: Any) -> None:
    with pytest.raises(EndpointsInvalid):
        await _discover_one(document)


async def test_an_issuer_that_is_not_allowed_is_not_asked() -> None:
    with pytest.raises(EndpointsInvalid):
        await _discover({}, "https://evil.example.net")


def test_explicit_endpoints() -> None:
    told = {"authorize": "https://ID.example.com/a", "token": "http://localhost:1/t"}
    endpoints = explicit_endpoints(told, issuer=None, allowed_hosts=["id.example.com", "localhost"])
    assert (endpoints.authorize, endpoints.issuer) == (told["authorize"], None)
    with pytest.raises(EndpointsInvalid):
        explicit_endpoints(told, issuer=None, allowed_hosts=["id.example.com"])
