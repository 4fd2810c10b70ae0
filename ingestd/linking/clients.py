"""The OAuth clients of the configured providers, made at first use and again when what they know has aged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

from config import Provider
from ingestd.linking.discovery import Endpoints, discover, explicit_endpoints
from ingestd.linking.errors import ProviderDown
from ingestd.linking.http import DEFAULT_LIMITS, HttpLimits
from ingestd.linking.oauth import ClientConfig, OAuthClient
from ingestd.linking.retry import Waits

RETRY_DISCOVERY_SECONDS = 60.0
"""An issuer that did not answer is not asked again for so long, where its old document still serves."""


@dataclass(slots=True)
class _Known:
    client: OAuthClient
    fresh_until: float


class OAuthClients:
    """Gives the OAuth client of a provider; its discovery document is read again after `discovery_seconds`.

    `provider` raises KeyError for a name that is not configured; `http` builds the
    HTTP client of a provider (its certificates differ); `hosts` are those that a
    discovery document may name; `now` is a monotonic clock.
    """

    def __init__(
        self,
        provider: Callable[[str], Provider],
        http: Callable[[Provider], httpx2.AsyncClient],
        hosts: Callable[[Provider], frozenset[str]],
        *,
        waits: Waits | None = None,
        limits: HttpLimits = DEFAULT_LIMITS,
        discovery_seconds: float = 86_400.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._new_http = http
        self._hosts = hosts
        self._waits = waits
        self._limits = limits
        self._discovery_seconds = discovery_seconds
        self._now = now
        self._known: dict[str, _Known] = {}
        self._https: dict[str, httpx2.AsyncClient] = {}
        self._lock = asyncio.Lock()

    async def get(self, name: str) -> OAuthClient:
        """Raises KeyError, EndpointsInvalid, ProviderDown."""
        if (known := self._fresh(name)) is None:
            async with self._lock:
                known = self._fresh(name) or await self._renewed(name)
        return known.client

    async def close(self) -> None:
        await asyncio.gather(*(http.aclose() for http in self._https.values()))

    def _fresh(self, name: str) -> _Known | None:
        known = self._known.get(name)
        return known if known is not None and self._now() < known.fresh_until else None

    async def _renewed(self, name: str) -> _Known:
        try:
            client = await self._make(self._provider(name))
        except ProviderDown:
            if (known := self._known.get(name)) is None:
                raise
            # Addresses change once in years: the old ones are far better than none.
            known.fresh_until = self._now() + RETRY_DISCOVERY_SECONDS
            return known
        known = self._known[name] = _Known(client, self._now() + self._discovery_seconds)
        return known

    async def _make(self, provider: Provider) -> OAuthClient:
        # One for as long as we live: requests of an older OAuth client may still be under way in it.
        if provider.name not in self._https:
            self._https[provider.name] = self._new_http(provider)
        http = self._https[provider.name]
        endpoints = await self._endpoints(provider, http)
        oauth = provider.oauth
        config = ClientConfig(
            client_id=oauth.client_id,
            client_secret=oauth.client_secret.get_secret_value() if oauth.client_secret else None,
            token_auth_method=oauth.token_auth_method or "none",
            scopes=oauth.scopes,
            scopes_needed=oauth.scopes_needed,
            extra_authorize_params=oauth.extra_authorize_params,
            address_claim=oauth.address_claim,
        )
        return OAuthClient(config, endpoints, http, waits=self._waits, limits=self._limits)

    async def _endpoints(self, provider: Provider, http: httpx2.AsyncClient) -> Endpoints:
        oauth = provider.oauth
        told = {
            "authorize": oauth.authorize_url,
            "token": oauth.token_url,
            "userinfo": oauth.userinfo_url,
            "revoke": oauth.revoke_url,
            "introspect": oauth.introspect_url,
        }
        addresses = {name: url for name, url in told.items() if url is not None}
        hosts = self._hosts(provider)
        if oauth.issuer is None or (oauth.authorize_url and oauth.token_url):
            return explicit_endpoints(addresses, issuer=oauth.issuer, allowed_hosts=hosts)
        return await discover(
            http, oauth.issuer, allowed_hosts=hosts, overrides=addresses, waits=self._waits, limits=self._limits
        )
