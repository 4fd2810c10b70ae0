"""The OAuth clients of a process: what discovery told is believed for a time, and longer while nobody answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx2
import pytest

from config import OAuth, Provider
from config.providers import GenericProvider, resolve
from ingestd.demo.authserver import Failure
from ingestd.linking.clients import RETRY_DISCOVERY_SECONDS, OAuthClients
from ingestd.linking.errors import ProviderDown
from ingestd.linking.http import new_http
from ingestd.linking.oauth import OAuthClient
from tests.linking.conftest import Setting


@dataclass
class Clock:
    seconds: float = 0.0
    made: list[httpx2.AsyncClient] = field(default_factory=list)

    def __call__(self) -> float:
        return self.seconds


def _provider(issuer: str) -> Provider:
    server = {"host": "mail.example.com"}
    settings = {"kind": "generic", "imap": server, "smtp": server, "oauth": {"issuer": issuer, "client_id": "desk"}}
    return resolve("work", GenericProvider.model_validate(settings), sent_wait_seconds=1)


def _clients(setting: Setting, clock: Clock) -> OAuthClients:
    provider = _provider(setting.server.issuer)
    assert isinstance(provider.oauth, OAuth)

    def http(_provider: Provider) -> httpx2.AsyncClient:
        clock.made.append(new_http())
        return clock.made[-1]

    return OAuthClients(
        lambda name: {"work": provider}[name],
        http,
        lambda _provider: frozenset({"127.0.0.1"}),
        waits=setting.waits,
        discovery_seconds=100,
        now=clock,
    )


async def test_discovery_is_repeated_when_its_document_has_aged(setting: Setting) -> None:
    clock = Clock()
    clients = _clients(setting, clock)
    first = await clients.get("work")
    clock.seconds = 99
    assert await clients.get("work") is first
    clock.seconds = 100
    second = await clients.get("work")
    assert second is not first
    assert isinstance(first, OAuthClient)
    assert isinstance(second, OAuthClient)
    assert second.endpoints == first.endpoints
    assert len(clock.made) == 1
    await clients.close()
    assert clock.made[0].is_closed


async def test_an_old_document_serves_while_the_issuer_is_down(setting: Setting) -> None:
    clock = Clock()
    clients = _clients(setting, clock)
    first = await clients.get("work")
    clock.seconds = 100
    setting.server.fail_next("discovery", Failure.SERVER_ERROR, times=3)
    assert await clients.get("work") is first
    clock.seconds += RETRY_DISCOVERY_SECONDS
    assert await clients.get("work") is not first
    await clients.close()


async def test_without_a_document_an_issuer_that_is_down_is_told(setting: Setting) -> None:
    clients = _clients(setting, Clock())
    setting.server.fail_next("discovery", Failure.SERVER_ERROR, times=3)
    with pytest.raises(ProviderDown):
        await clients.get("work")
    made = await clients.get("work")
    assert isinstance(made, OAuthClient)
    assert made.endpoints == setting.client.endpoints
    with pytest.raises(KeyError):
        await clients.get("nobody")
    await clients.close()
