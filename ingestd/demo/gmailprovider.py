"""A provider whose mailboxes are opened by a Gmail API alone: authorization server and API, on loopback.

Its grants are for `gmail.modify`. As Gmail does, it gives a mail that is sent a Message-ID of its own, and files it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, Self

from ingestd.demo.apiprovider import ApiProvider
from ingestd.demo.authserver import Client
from ingestd.demo.gmailapi import MODIFY_SCOPE
from ingestd.demo.gmailserver import GmailServer
from ingestd.demo.local import AUTHSERV_ID, HOST, oauth_settings, server_of

_LABELS: Final = {"INBOX": "INBOX", "Sent": "SENT", "Junk": "SPAM"}
"""Ids of labels by the names of folders; others are labels of the user's, by their own names."""


class GmailProvider(ApiProvider):
    """A `LocalProvider` with one mailbox for each address."""

    scopes = (MODIFY_SCOPE,)

    def _make_api(self) -> None:
        self.gmail = GmailServer(self.auth.check)
        for address in self.addresses:
            self.gmail.box(address)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        async with self.auth.running(), self.gmail.running():
            yield self

    @property
    def described(self) -> str:
        return f"Gmail API on {HOST}"

    @property
    def servers(self) -> frozenset[str]:
        return frozenset({server_of(self.auth.issuer), server_of(self.gmail.root)})

    def settings(self, client: Client) -> dict[str, Any]:
        addresses = {
            f"{name}_url": f"{self.auth.issuer}/{name}" for name in ("authorize", "token", "userinfo", "revoke")
        }
        oauth = {**addresses, "scopes": ["openid", "email", MODIFY_SCOPE], "scopes_needed": [MODIFY_SCOPE]}
        return {
            "kind": "google",
            "gmail_url": self.gmail.root,
            "read_by": ["gmail"],
            "send_by": ["gmail"],
            "authserv_ids": [AUTHSERV_ID],
            "oauth": oauth_settings(client) | oauth,
        }

    async def deliver(self, address: str, raw: bytes, *, received_at: datetime | None = None) -> None:
        self._known(address)
        milliseconds = None if received_at is None else int(received_at.timestamp() * 1000)
        self.gmail.box(address).add(raw, internal_ms=milliseconds)

    async def mails(self, address: str, folder: str = "INBOX") -> list[bytes]:
        self._known(address)
        box = self.gmail.box(address)
        label = _LABELS.get(folder) or box.label(folder)
        return [one.raw for one in reversed(box.find(labels=[label], with_hidden=True))]

    def _known(self, address: str) -> None:
        if address not in self.addresses:
            raise KeyError("no such mailbox")
