"""What the demo, and tests that kill daemons, need of a provider on this machine, whatever way leads to its mail."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final, Protocol

from ingestd.demo.authserver import AuthServer, Client

HOST: Final = "127.0.0.1"
AUTHSERV_ID: Final = "mx.example.com"
"""The name under which the provider writes Authentication-Results (RFC 8601)."""


class LocalProvider(Protocol):
    """A provider with mailboxes in memory. What tells of servers is there while it runs."""

    auth: AuthServer
    addresses: tuple[str, ...]

    @property
    def described(self) -> str:
        """The servers beside the authorization server, in words."""

    @property
    def servers(self) -> frozenset[str]:
        """Every server that a daemon has to contact, as host:port."""

    def settings(self, client: Client) -> dict[str, Any]:
        """Return the provider as a configuration names it, for a daemon that is known as `client`."""

    def running(self) -> AbstractAsyncContextManager[LocalProvider]:
        """Serve in this event loop until the block ends. The mailboxes are empty at the start."""

    async def deliver(self, address: str, raw: bytes, *, received_at: datetime | None = None) -> None:
        """Put a message into an inbox, as if it had come in at `received_at` (None: just now).

        Raises KeyError for an unknown address.
        """

    async def mails(self, address: str, folder: str = "INBOX") -> list[bytes]:
        """Return a folder's messages, oldest first: INBOX, Sent, Junk or another, by whatever names the provider has.

        Raises KeyError for an unknown address.
        """


def server_of(url: str) -> str:
    """Return the host:port of an address.

    >>> server_of("http://127.0.0.1:40123/v1.0")
    '127.0.0.1:40123'
    """
    return url.partition("://")[2].partition("/")[0]


def oauth_settings(client: Client) -> dict[str, Any]:
    """Return what every provider's configuration says of the daemon as a client."""
    return {"client_id": client.client_id, "client_secret": client.client_secret}
