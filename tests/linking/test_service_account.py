"""The service account that pulls: its tokens are kept, replaced in time, and asked for with a signed assertion."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from connectors.base import PermanentError, TemporaryError, Trouble
from ingestd.demo.gmailserver import GmailServer
from ingestd.linking.http import DEFAULT_LIMITS, new_http
from ingestd.linking.service_account import PUBSUB_SCOPE, ServiceAccountTokens


@pytest.fixture
async def google() -> AsyncIterator[GmailServer]:
    server = GmailServer(lambda _token: None)
    async with server.running():
        yield server


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with new_http() as client:
        yield client


def tokens(google: GmailServer, http: httpx2.AsyncClient, key_file: str = "", **more: Any) -> ServiceAccountTokens:
    key_file = key_file or google.service_account.key_file()
    return ServiceAccountTokens(key_file, f"{google.root}token", PUBSUB_SCOPE, http, limits=DEFAULT_LIMITS, **more)


async def test_a_token_is_kept_until_it_ends_or_is_refused(google: GmailServer, http: httpx2.AsyncClient) -> None:
    at = time.time()
    source = tokens(google, http, now=lambda: at)
    first = await source()
    assert (first.value, await source()) == ("pubsub-token", first)
    assert google.service_account.given == 1
    await source(rejected="another")
    assert google.service_account.given == 1
    await source(rejected=first.value)
    assert google.service_account.given == 2
    at += 3599 - 59
    with pytest.raises(PermanentError):
        await source()  # another is asked for, of a server whose clock is not ours


@pytest.mark.parametrize("key", ["none", "another's", "no RSA"])
async def test_a_key_that_opens_nothing_is_the_operators_to_change(
    google: GmailServer, http: httpx2.AsyncClient, key: str
) -> None:
    document = json.loads(google.service_account.key_file())
    if key == "none":
        document["private_key"] = "-----BEGIN PRIVATE KEY-----"
    if key == "no RSA":
        document["private_key"] = _EC
    if key == "another's":
        document = json.loads(GmailServer(lambda _token: None).service_account.key_file())
    with pytest.raises(PermanentError) as refused:
        await tokens(google, http, json.dumps(document))()
    assert refused.value.trouble is Trouble.ADMIN_BLOCKED
    assert "PRIVATE" not in str(refused.value)


async def test_a_server_that_is_away_is_asked_again(google: GmailServer, http: httpx2.AsyncClient) -> None:
    source = ServiceAccountTokens(
        google.service_account.key_file(), "http://127.0.0.1:1/token", PUBSUB_SCOPE, http, limits=DEFAULT_LIMITS
    )
    with pytest.raises(TemporaryError):
        await source()


_EC = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2
OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r
1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G
-----END PRIVATE KEY-----
"""
