"""The HTTP client's hook into the egress guard."""

from __future__ import annotations

from ssl import SSLContext

import httpx2

from connectors.base import ConnectorError
from connectors.egress import EgressGuard

_PORTS = {"https": 443, "http": 80}


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Connects only to hosts that the guard knows, and to the very address that it looked at.

    The name is resolved once; the connection goes to that address, while the Host
    header, SNI and the certificate's check keep the name.
    """

    def __init__(self, guard: EgressGuard, ssl_context: SSLContext | None = None) -> None:
        self._guard = guard
        self._inner = httpx2.AsyncHTTPTransport(
            verify=True if ssl_context is None else ssl_context,
            trust_env=False,
            limits=httpx2.Limits(max_connections=50, max_keepalive_connections=0),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        port = request.url.port or _PORTS[request.url.scheme]
        try:
            addresses = await self._guard.resolve(host, port)
        except ConnectorError as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        request.url = request.url.copy_with(host=addresses[0].ip)
        request.extensions = {**request.extensions, "sni_hostname": host}
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
