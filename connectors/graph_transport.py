"""HTTP to Graph's hosts through the egress guard, over kept connections that all mailboxes of a process share.

A name is resolved before each call, and the connection goes to the very address that the guard looked at. Kept
connections belong to one host by name: two hosts that share an address do not share them, as each has a certificate
of its own to show.
"""

from __future__ import annotations

from ssl import SSLContext
from typing import Final

import httpx2

from connectors.base import ConnectorError
from connectors.egress import EgressGuard

CONNECTIONS_MAX: Final = 200
KEPT_MAX: Final = 100
KEPT_SECONDS: Final = 20.0
"""Shorter than servers keep them: on one that the server closes, an answer is lost."""
_PORTS: Final = {"https": 443, "http": 80}


class GraphTransport(httpx2.AsyncBaseTransport):
    """A transport with a pool of its own for each host. Redirects are not followed; no proxy, no environment."""

    def __init__(
        self, guard: EgressGuard, ssl_context: SSLContext | None = None, *, connections_max: int = CONNECTIONS_MAX
    ) -> None:
        self._guard = guard
        self._verify = True if ssl_context is None else ssl_context
        self._limits = httpx2.Limits(
            max_connections=connections_max, max_keepalive_connections=KEPT_MAX, keepalive_expiry=KEPT_SECONDS
        )
        self._pools: dict[tuple[str, str, int], httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        scheme, host = request.url.scheme, request.url.host
        port = request.url.port or _PORTS[scheme]
        try:
            addresses = await self._guard.resolve(host, port)
        except ConnectorError as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        pool = self._pools.get((scheme, host, port))
        if pool is None:
            pool = httpx2.AsyncHTTPTransport(verify=self._verify, trust_env=False, limits=self._limits)
            self._pools[scheme, host, port] = pool
        # The Host header was made of the name already.
        request.url = request.url.copy_with(host=addresses[0].ip)
        request.extensions = {**request.extensions, "sni_hostname": host}
        return await pool.handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()
        self._pools.clear()
