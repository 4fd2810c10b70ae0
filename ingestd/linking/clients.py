"""The OAuth clients of the configured providers, made at first use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2

from config import Provider
from ingestd.linking.discovery import Endpoints, discover, explicit_endpoints
from ingestd.linking.oauth import ClientConfig, OAuthClient


class OAuthClients:
    """Gives the OAuth client of a provider; its discovery document is read once a process.

    `provider` raises KeyError for a name that is not configured; `http` builds the
    HTTP client of a provider (its certificates differ); `hosts` are those that a
    discovery document may name.
    """

    def __init__(
        self,
        provider: Callable[[str], Provider],
        http: Callable[[Provider], httpx2.AsyncClient],
        hosts: Callable[[Provider], frozenset[str]],
    ) -> None:
        self._provider = provider
        self._new_http = http
        self._hosts = hosts
        self._clients: dict[str, OAuthClient] = {}
        self._https: list[httpx2.AsyncClient] = []
        self._lock = asyncio.Lock()

    async def get(self, name: str) -> OAuthClient:
        """Raises KeyError, EndpointsInvalid, ProviderDown."""
        if (client := self._clients.get(name)) is not None:
            return client
        async with self._lock:
            if name not in self._clients:
                self._clients[name] = await self._make(self._provider(name))
            return self._clients[name]

    async def close(self) -> None:
        await asyncio.gather(*(http.aclose() for http in self._https))

    async def _make(self, provider: Provider) -> OAuthClient:
        http = self._new_http(provider)
        try:
            endpoints = await self._endpoints(provider, http)
        except BaseException:
            await http.aclose()
            raise
        self._https.append(http)
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
        return OAuthClient(config, endpoints, http)

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
        return await discover(http, oauth.issuer, allowed_hosts=hosts, overrides=addresses)
