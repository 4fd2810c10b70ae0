"""Keeps the access tokens of mailboxes fresh: one refresh at a time each, ahead of need.

One at a time in this process by a lock, and among processes by a claim on the grant's
row: a command or another worker may want a token of the same mailbox, and a provider
that sees a refresh token twice may end the grant (RFC 9700 §4.14.2). A claim ends by
itself, so a process that dies in a refresh blocks the others for that long.

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
from typing import Final
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

_LOOK_SECONDS: Final = 0.2
"""How often a grant is looked at that another process refreshes."""


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
        renewal_seconds_max: float = 60.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._content = content
        self._keys = keys
        self._clients = clients
        self._metrics = metrics
        self._ahead = timedelta(seconds=refresh_ahead_seconds)
        self._rejection_pause = timedelta(seconds=rejection_pause_seconds)
        self._renewal_seconds_max = renewal_seconds_max
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
            tokens = await self._renew(mailbox, grant, record)
            return AccessToken(tokens.access_token, tokens.expires_at)

    async def renew(self, mailbox: MailboxTokens) -> TokenSet:
        """Refresh now, however good the token looks, to hear the token endpoint's verdict; raises as `token`."""
        async with self._alone(mailbox):
            return await self._renew(mailbox, *await self._stored(mailbox))

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

    async def _renew(self, mailbox: MailboxTokens, grant: Grant, record: GrantRecord) -> TokenSet:
        """Refresh, or wait for the process that is at it and return what it got."""
        if record.refresh_token is None:
            # Not the provider's verdict: it never gave what it could have been asked with.
            raise PermanentError("the grant has no refresh token", trouble=Trouble.CONSENT_OR_MFA)
        if (theirs := await self._claim(mailbox, grant)) is not None:
            return theirs
        try:
            return await self._refresh(mailbox, grant, record)
        except PermanentError as error:
            # Where our claim ran out, another's refresh may have used the token up: the verdict is of the old one.
            if (await self._stored(mailbox))[0].version != grant.version:
                raise TemporaryError("the grant was renewed meanwhile") from error
            await self._unclaim(mailbox, grant)
            raise
        except ConnectorError:
            await self._unclaim(mailbox, grant)
            raise

    async def _claim(self, mailbox: MailboxTokens, grant: Grant) -> TokenSet | None:
        """Return None once the refresh is ours to do, else what another process's refresh brought meanwhile."""
        try:
            async with asyncio.timeout(2 * self._renewal_seconds_max):
                while not await self._content.transaction(
                    mailbox.account_id,
                    grants.claim_renewal,
                    mailbox.mailbox_id,
                    version=grant.version,
                    seconds=self._renewal_seconds_max,
                ):
                    current, record = await self._stored(mailbox)
                    if current.version != grant.version:
                        return TokenSet(record.access_token, None, current.expires_at, None)
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError as error:
            raise TemporaryError("other processes refresh the token, and bring nothing") from error
        return None

    async def _unclaim(self, mailbox: MailboxTokens, grant: Grant) -> None:
        await self._content.transaction(
            mailbox.account_id, grants.end_renewal, mailbox.mailbox_id, version=grant.version
        )

    async def _refresh(self, mailbox: MailboxTokens, grant: Grant, record: GrantRecord) -> TokenSet:
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
                # As before, where the provider says nothing of it (RFC 6749 §5.1, §6).
                scopes=tokens.scopes or grant.scopes or record.scopes or None,
                refresh_ends_at=_end_of(tokens, grant),
                sealed=key.seal_record(GrantRecord.place(mailbox.mailbox_id), renewed),
            )
        except CursorMoved as error:
            # It was linked again while we asked: the newer grant counts.
            raise TemporaryError("the grant was renewed meanwhile") from error


def _end_of(tokens: TokenSet, grant: Grant) -> datetime | None:
    """Return when the refresh token ends that is kept now; a new one without an end has none."""
    if tokens.refresh_ends_at is None and tokens.refresh_token is None:
        return grant.refresh_ends_at
    return tokens.refresh_ends_at


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
