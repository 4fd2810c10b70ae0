"""A provider whose mailboxes are opened by Microsoft Graph alone: authorization server and API, on loopback.

The sign-in is a standard one, with a revocation that Microsoft's has not: Microsoft's library takes no server without
TLS, and the story is the same for all ways to a mailbox.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, Self

from ingestd.demo.apiprovider import ApiProvider
from ingestd.demo.authserver import Client
from ingestd.demo.graph_store import NotFound
from ingestd.demo.graphserver import GraphServer
from ingestd.demo.local import AUTHSERV_ID, HOST, oauth_settings, server_of

SCOPES: Final = ("https://graph.microsoft.com/Mail.ReadWrite", "https://graph.microsoft.com/Mail.Send")
_FOLDERS: Final = {"INBOX": "Inbox", "Sent": "Sent Items", "Junk": "Junk Email"}


class GraphProvider(ApiProvider):
    """A `LocalProvider` with one mailbox for each address."""

    scopes = SCOPES

    def _make_api(self) -> None:
        self.graph = GraphServer(self.addresses, self._owner)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        async with self.auth.running(), self.graph.running():
            yield self

    @property
    def described(self) -> str:
        return f"Microsoft Graph on {HOST}"

    @property
    def servers(self) -> frozenset[str]:
        return frozenset({server_of(self.auth.issuer), server_of(self.graph.url)})

    def settings(self, client: Client) -> dict[str, Any]:
        oauth = {
            "client": "standard",
            "issuer": self.auth.issuer,
            "address_claim": "email",
            "scopes": ["openid", "email", "offline_access", *SCOPES],
        }
        return {
            "kind": "microsoft",
            "graph_url": self.graph.url,
            "upload_urls": [self.graph.url.removesuffix("/v1.0")],
            "read_by": ["graph"],
            "send_by": ["graph"],
            "authserv_ids": [AUTHSERV_ID],
            "oauth": oauth_settings(client) | oauth,
        }

    async def deliver(self, address: str, raw: bytes, *, received_at: datetime | None = None) -> None:
        self.graph.deliver(address, raw, received=received_at)

    async def mails(self, address: str, folder: str = "INBOX") -> list[bytes]:
        mailbox = self.graph.mailboxes[address]
        try:
            found = mailbox.in_folder(mailbox.at_path(_FOLDERS.get(folder, folder)).id)
        except NotFound:
            return []  # it is made by who first moves something there
        return [one.content for one in found]

    def _owner(self, access_token: str) -> str | None:
        found = self.auth.check(access_token)
        return found.address if found is not None else None
