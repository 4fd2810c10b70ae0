"""Keeps the access tokens of mailboxes fresh: one refresh at a time each, ahead of need.

A rotated refresh token is stored before the new access token is used: were it used
first, a crash in between would lose the grant. Between the provider's answer and our
commit lies a moment in which a crash costs the grant all the same; nobody can close it
from this side, and the owner is then asked to link again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from connectors.base import AccessToken, AuthError, ConnectorError, PermanentError, RateLimited, TemporaryError, Trouble
from ingestd.keys import KeyRing
from ingestd.linking.clients import OAuthClients
from ingestd.linking.errors import (
    AdminBlocked,
    ClientRejected,
    ConsentNeeded,
    EndpointsInvalid,
    GrantRevoked,
    LinkingError,
    TokenEndpointBusy,
    reason_of,
)
from ingestd.linking.tokens import TokenSet
from ingestd.records import GrantRecord
from ingestd.telemetry.metrics import Metrics
from storage import grants
from storage.database import Database
from storage.errors import CursorMoved, KeyDestroyed, NotFound, StorageUnavailable
from storage.grants import Grant

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MailboxTokens:
    """The TokenSource (connectors.base) of one mailbox."""

    keeper: TokenKeeper
    account_id: UUID
    mailbox_id: UUID
    provider: str

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        return await self.keeper.token(self, rejected)


class TokenKeeper:
    """Gives access tokens for all mailboxes of a process."""

    def __init__(
        self,
        content: Database,
        keys: KeyRing,
        clients: OAuthClients,
        metrics: Metrics,
        *,
        refresh_ahead_seconds: float,
        rejection_pause_seconds: float = 300.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._content = content
        self._keys = keys
        self._clients = clients
        self._metrics = metrics
        self._ahead = timedelta(seconds=refresh_ahead_seconds)
        self._rejection_pause = timedelta(seconds=rejection_pause_seconds)
        self._now = now
        self._locks: dict[UUID, asyncio.Lock] = {}
        self._rejected_at: dict[UUID, datetime] = {}

    def source(self, account_id: UUID, mailbox_id: UUID, provider: str) -> MailboxTokens:
        return MailboxTokens(self, account_id, mailbox_id, provider)

    def forget(self, mailbox_id: UUID) -> None:
        self._locks.pop(mailbox_id, None)
        self._rejected_at.pop(mailbox_id, None)

    async def token(self, mailbox: MailboxTokens, rejected: str | None) -> AccessToken:
        """Return a token that should work; see connectors.base.TokenSource for what it raises."""
        async with self._alone(mailbox):
            grant, record = await self._stored(mailbox)
            if self._is_good(grant, record, rejected):
                return AccessToken(record.access_token, grant.expires_at)
            if record.access_token == rejected:
                self._limit_rejections(mailbox.mailbox_id)
            tokens = await self._refresh(mailbox, grant, record)
            return AccessToken(tokens.access_token, tokens.expires_at)

    async def renew(self, mailbox: MailboxTokens) -> TokenSet:
        """Refresh now, however good the token looks, to hear the token endpoint's verdict; raises as `token`."""
        async with self._alone(mailbox):
            return await self._refresh(mailbox, *await self._stored(mailbox))

    @contextlib.asynccontextmanager
    async def _alone(self, mailbox: MailboxTokens) -> AsyncIterator[None]:
        async with self._locks.setdefault(mailbox.mailbox_id, asyncio.Lock()):
            try:
                yield
            except StorageUnavailable as error:
                raise TemporaryError("the token cannot be read or stored: no database") from error
            except (NotFound, KeyDestroyed) as error:
                raise AuthError("the mailbox has no grant any more") from error

    async def _stored(self, mailbox: MailboxTokens) -> tuple[Grant, GrantRecord]:
        grant = await self._content.read(mailbox.account_id, grants.get_grant, mailbox.mailbox_id)
        key = await self._keys.mailbox(mailbox.account_id, mailbox.mailbox_id)
        return grant, key.open_record(GrantRecord.place(mailbox.mailbox_id), grant.sealed, GrantRecord)

    def _is_good(self, grant: Grant, record: GrantRecord, rejected: str | None) -> bool:
        if record.access_token == rejected:
            return False
        return grant.expires_at is None or grant.expires_at - self._ahead > self._now()

    def _limit_rejections(self, mailbox_id: UUID) -> None:
        """A server that refuses even fresh tokens must not cost a new one each time it is asked."""
        last = self._rejected_at.get(mailbox_id)
        if last is not None and self._now() - last < self._rejection_pause:
            raise AuthError("the server refuses the token, and refused a fresh one shortly before")
        self._rejected_at[mailbox_id] = self._now()

    async def _refresh(self, mailbox: MailboxTokens, grant: Grant, record: GrantRecord) -> TokenSet:
        if record.refresh_token is None:
            raise PermanentError("the grant has no refresh token", trouble=Trouble.GRANT_REVOKED)
        try:
            client = await self._clients.get(mailbox.provider)
            tokens = await client.refresh(record)
        except LinkingError as error:
            self._metrics.token_refreshed(reason_of(error))
            log.warning("token.refresh_failed", mailbox_id=mailbox.mailbox_id, exc_info=error)
            raise as_connector_error(error) from error
        await self._store(mailbox, grant, record, tokens)
        self._metrics.token_refreshed("ok")
        log.info(
            "token.refreshed",
            mailbox_id=mailbox.mailbox_id,
            outcome="kept" if tokens.refresh_token is None else "rotated",
        )
        return tokens

    async def _store(self, mailbox: MailboxTokens, grant: Grant, record: GrantRecord, tokens: TokenSet) -> None:
        renewed = msgspec.structs.replace(
            record,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token or record.refresh_token,
            scopes=tokens.scopes or record.scopes,
        )
        key = await self._keys.mailbox(mailbox.account_id, mailbox.mailbox_id)
        try:
            await self._content.transaction(
                mailbox.account_id,
                grants.replace_grant,
                mailbox.mailbox_id,
                version=grant.version,
                expires_at=tokens.expires_at,
                sealed=key.seal_record(GrantRecord.place(mailbox.mailbox_id), renewed),
            )
        except CursorMoved as error:
            # It was linked again while we asked: the newer grant counts.
            raise TemporaryError("the grant was renewed meanwhile") from error


def as_connector_error(error: LinkingError) -> ConnectorError:
    """Say what the mailbox's worker does next."""
    if isinstance(error, GrantRevoked):
        return PermanentError("the provider says that the grant is gone", trouble=Trouble.GRANT_REVOKED)
    if isinstance(error, ConsentNeeded):
        return PermanentError("the provider wants the owner's consent again", trouble=Trouble.CONSENT_OR_MFA)
    if isinstance(error, AdminBlocked):
        return PermanentError("the owner's administrator must allow us", trouble=Trouble.ADMIN_BLOCKED)
    if isinstance(error, ClientRejected | EndpointsInvalid):
        return PermanentError(f"the provider refuses our application: {error}", trouble=Trouble.ADMIN_BLOCKED)
    if isinstance(error, TokenEndpointBusy):
        return RateLimited(str(error), retry_after=error.retry_after)
    return TemporaryError(str(error))
