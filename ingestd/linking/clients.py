"""The OAuth clients of the configured providers, made at first use and again when what they know has aged.

Which of the two clients speaks to a provider is its setting `oauth.client`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2

from config import Provider
from ingestd.linking.client import ClientConfig, ProviderClient
from ingestd.linking.discovery import Endpoints, discover, explicit_endpoints
from ingestd.linking.errors import ProviderDown
from ingestd.linking.http import DEFAULT_LIMITS, HttpLimits
from ingestd.linking.oauth import OAuthClient
from ingestd.linking.retry import Waits

RETRY_DISCOVERY_SECONDS = 60.0
"""An issuer that did not answer is not asked again for so long, where its old document still serves."""


@dataclass(slots=True)
class _Known:
    client: ProviderClient
    fresh_until: float


class OAuthClients:
    """Gives the OAuth client of a provider; its discovery document is read again after `discovery_seconds`.

    `provider` raises KeyError for a name that is not configured; `http` builds the
    HTTP client of a provider (its certificates differ); `hosts` are those that a
    discovery document may name; `threads` is how many requests may be under way in
    libraries that block; `now` is a monotonic clock.
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
        threads: int = 8,
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
        self._retired: list[httpx2.AsyncClient] = []
        self._lock = asyncio.Lock()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="oauth")

    async def get(self, name: str) -> ProviderClient:
        """Raises KeyError, EndpointsInvalid, ProviderDown."""
        if (known := self._fresh(name)) is None:
            async with self._lock:
                known = self._fresh(name) or await self._renewed(name)
        return known.client

    def forget(self) -> None:
        """Build every client anew at its next use: the configuration has changed."""
        self._known.clear()
        # Requests may still be under way in them, so they are closed with us.
        self._retired += self._https.values()
        self._https.clear()

    async def close(self) -> None:
        await asyncio.gather(*(http.aclose() for http in (*self._https.values(), *self._retired)))
        self._executor.shutdown(wait=False, cancel_futures=True)

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

    async def _make(self, provider: Provider) -> ProviderClient:
        # One for as long as we live: requests of an older OAuth client may still be under way in it.
        if provider.name not in self._https:
            self._https[provider.name] = self._new_http(provider)
        http = self._https[provider.name]
        oauth = provider.oauth
        config = ClientConfig(
            client_id=oauth.client_id,
            client_secret=oauth.client_secret.get_secret_value() if oauth.client_secret else None,
            client_certificate=oauth.client_certificate.get_secret_value() if oauth.client_certificate else None,
            token_auth_method=oauth.token_auth_method or "none",
            scopes=oauth.scopes,
            scopes_needed=oauth.scopes_needed,
            extra_authorize_params=oauth.extra_authorize_params,
            address_claim=oauth.address_claim,
            subject_claim=oauth.subject_claim,
            userinfo_auth=oauth.userinfo_auth,
            revoke_form=oauth.revoke_form,
            opens=oauth.opens,
        )
        if oauth.client == "msal":
            return await self._msal(provider, config, http)
        endpoints = await self._endpoints(provider, http)
        return OAuthClient(config, endpoints, http, waits=self._waits, limits=self._limits)

    async def _msal(self, provider: Provider, config: ClientConfig, http: httpx2.AsyncClient) -> ProviderClient:
        # Imported where it is used: msal and what it brings cost everybody else memory and a slower start.
        from ingestd.linking.entra import MsalClient, find_authority  # noqa: PLC0415

        authority = await find_authority(
            http,
            provider.oauth.authority or "",
            provider.oauth.tenant or "",
            allowed_hosts=self._hosts(provider),
            waits=self._waits,
            limits=self._limits,
        )
        return MsalClient(config, authority, http, self._executor, waits=self._waits, limits=self._limits)

    async def _endpoints(self, provider: Provider, http: httpx2.AsyncClient) -> Endpoints:
        oauth = provider.oauth
        told = {
            "authorize": oauth.authorize_url,
            "token": oauth.token_url,
            "userinfo": oauth.userinfo_url,
            "revoke": oauth.revoke_url,
            "introspect": oauth.introspect_url,
            "device": oauth.device_authorization_url,
        }
        addresses = {name: url for name, url in told.items() if url is not None}
        hosts = self._hosts(provider)
        if oauth.issuer is None or (oauth.authorize_url and oauth.token_url):
            return explicit_endpoints(addresses, issuer=oauth.issuer, allowed_hosts=hosts)
        return await discover(
            http, oauth.issuer, allowed_hosts=hosts, overrides=addresses, waits=self._waits, limits=self._limits
        )
