"""Revoking the grants of mailboxes that are being forgotten, for at most 24 hours.

The grant's tokens lie wrapped in the key store, only for this. It is deleted once the
provider has answered, or when its time is over; the ledger says what came of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import structlog

from ingestd.keys import KeyRing
from ingestd.linking.client import Revocation as Outcome
from ingestd.linking.clients import OAuthClients
from ingestd.linking.errors import LinkingError
from ingestd.records import GrantRecord
from storage import keystore
from storage.database import Database
from storage.keystore import Revocation

log = structlog.get_logger()

_FIRST_PAUSE_SECONDS = 10.0
_PAUSE_SECONDS_MAX = 1800.0


class Revoker:
    """Revokes what waits in the key store."""

    def __init__(self, store: Database, keys: KeyRing, clients: OAuthClients) -> None:
        self._store = store
        self._keys = keys
        self._clients = clients

    async def revoke(self, account_id: UUID, mailbox_id: UUID) -> None:
        """Try one mailbox's grant now. Never raises for what the provider does."""
        for waiting in await self._store.read(None, keystore.list_revocations):
            if (waiting.account_id, waiting.mailbox_id) == (account_id, mailbox_id):
                await self._try(waiting)

    async def revoke_due(self) -> None:
        """Try those whose time has come."""
        for waiting in await self._store.read(None, keystore.list_revocations):
            if waiting.due_at <= datetime.now(UTC):
                await self._try(waiting)

    async def _try(self, waiting: Revocation) -> None:
        outcome = await self._ask(waiting)
        over = datetime.now(UTC) >= waiting.expires_at
        if outcome is Outcome.FAILED and not over:
            pause = min(_FIRST_PAUSE_SECONDS * 2**waiting.attempts, _PAUSE_SECONDS_MAX)
            await self._store.transaction(waiting.account_id, keystore.postpone_revocation, waiting.mailbox_id, pause)
            return
        detail = {"outcome": outcome.value, "attempts": waiting.attempts + 1}
        await self._store.transaction(waiting.account_id, keystore.end_revocation, waiting.mailbox_id, detail)
        log.info("revocation.settled", mailbox_id=waiting.mailbox_id, outcome=outcome.value)

    async def _ask(self, waiting: Revocation) -> Outcome:
        try:
            client = await self._clients.get(waiting.provider)
        except KeyError:
            return Outcome.UNSUPPORTED  # the provider is configured no more
        except LinkingError:
            return Outcome.FAILED
        text = self._keys.unwrap_token(waiting.account_id, waiting.mailbox_id, waiting.wrapped)
        return await client.revoke(read_revocable(text))


def revocable_text(grant: GrantRecord) -> str:
    """Return what is kept of a grant until it is revoked: which of its tokens a provider takes differs."""
    return msgspec.json.encode(grant).decode()


def read_revocable(text: str) -> GrantRecord:
    """Read what `revocable_text` wrote; before version 0.2 it was the refresh token alone."""
    try:
        return msgspec.json.decode(text, type=GrantRecord)
    except msgspec.DecodeError:
        return GrantRecord(access_token="", refresh_token=text, scopes=())
