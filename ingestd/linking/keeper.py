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
from collections.abc import AsyncIterator, Callable, Sequence
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
    MailboxNotNamed,
    TokenEndpointBusy,
    reason_of,
)
from ingestd.linking.tokens import TokenSet
from ingestd.linking.ways import is_of, still_granted
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
    scopes: tuple[str, ...] | None = None
    """What the token must open; None: whatever the grant is for. At Microsoft a token opens one resource alone."""

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
        self._rejected_at: dict[UUID, dict[tuple[str, ...] | None, datetime]] = {}
        """By what the token is for: one server may refuse what another takes."""
        self._beside: dict[UUID, dict[tuple[str, ...], AccessToken]] = {}
        """Tokens for other scopes than the stored one's. They are not stored: a refresh brings another."""

    def source(
        self, account_id: UUID, mailbox_id: UUID, provider: str, scopes: tuple[str, ...] | None = None
    ) -> MailboxTokens:
        return MailboxTokens(self, account_id, mailbox_id, provider, scopes)

    def forget(self, mailbox_id: UUID) -> None:
        self._locks.pop(mailbox_id, None)
        self._rejected_at.pop(mailbox_id, None)
        self._beside.pop(mailbox_id, None)

    async def token(self, mailbox: MailboxTokens, rejected: str | None) -> AccessToken:
        """Return a token that should work; see connectors.base.TokenSource for what it raises."""
        async with self._alone(mailbox):
            grant, record = await self._stored(mailbox)
            if _is_beside(mailbox, record):
                return await self._token_beside(mailbox, grant, record, rejected)
            if self._is_good(grant, record, rejected):
                return AccessToken(record.access_token, grant.expires_at)
            if record.access_token == rejected:
                self._limit_rejections(mailbox)
            tokens = await self._renew(mailbox, grant, record)
            return AccessToken(tokens.access_token, tokens.expires_at)

    async def _token_beside(
        self, mailbox: MailboxTokens, grant: Grant, record: GrantRecord, rejected: str | None
    ) -> AccessToken:
        """Return a token for other scopes than those that the stored one is for."""
        kept = self._beside.setdefault(mailbox.mailbox_id, {})
        key = mailbox.scopes or ()
        known = kept.get(key)
        if known is not None and known.value != rejected and not self._ends(known.expires_at):
            return known
        if known is not None and known.value == rejected:
            self._limit_rejections(mailbox)
        tokens = await self._renew(mailbox, grant, record)
        kept[key] = AccessToken(tokens.access_token, tokens.expires_at)
        return kept[key]

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
        return not self._ends(grant.expires_at)

    def _ends(self, expires_at: datetime | None) -> bool:
        return expires_at is not None and expires_at - self._ahead <= self._now()

    def _limit_rejections(self, mailbox: MailboxTokens) -> None:
        """A server that refuses even fresh tokens must not cost a new one each time it is asked."""
        rejected_at = self._rejected_at.setdefault(mailbox.mailbox_id, {})
        last = rejected_at.get(mailbox.scopes)
        if last is not None and self._now() - last < self._rejection_pause:
            raise AuthError("the server refuses the token, and refused a fresh one shortly before")
        rejected_at[mailbox.scopes] = self._now()

    async def _renew(self, mailbox: MailboxTokens, grant: Grant, record: GrantRecord) -> TokenSet:
        """Refresh, or wait for the process that is at it and return what it got."""
        if record.refresh_token is None and not record.application_mailbox:
            # Not the provider's verdict: it never gave what it could have been asked with.
            raise PermanentError("the grant has no refresh token", trouble=Trouble.CONSENT_OR_MFA)
        if (theirs := await self._claim(mailbox, grant)) is not None:
            # Theirs may be for other scopes: of such a refresh nothing is stored that opens anything.
            if _is_beside(mailbox, record) or theirs.access_token == record.access_token:
                raise TemporaryError("the grant was renewed meanwhile")
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
            tokens = await client.refresh(record, mailbox.scopes)
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
        # The refresh token is the grant's, whatever it was used for.
        renewed = msgspec.structs.replace(record, refresh_token=tokens.refresh_token or record.refresh_token)
        expires_at = grant.expires_at
        if not _is_beside(mailbox, record):
            scopes = tokens.scopes or record.scopes
            renewed = msgspec.structs.replace(renewed, access_token=tokens.access_token, scopes=scopes)
            expires_at = tokens.expires_at
        key = await self._keys.mailbox(mailbox.account_id, mailbox.mailbox_id)
        try:
            await self._content.transaction(
                mailbox.account_id,
                grants.replace_grant,
                mailbox.mailbox_id,
                version=grant.version,
                expires_at=expires_at,
                scopes=_scopes_after(tokens, grant, record),
                refresh_ends_at=_end_of(tokens, grant),
                sealed=key.seal_record(GrantRecord.place(mailbox.mailbox_id), renewed),
            )
        except CursorMoved as error:
            # It was linked again while we asked: the newer grant counts.
            raise TemporaryError("the grant was renewed meanwhile") from error


def _is_beside(mailbox: MailboxTokens, record: GrantRecord) -> bool:
    """Whether the stored token is for other scopes than those that are wanted."""
    return mailbox.scopes is not None and bool(record.scopes) and not is_of(record.scopes, mailbox.scopes)


def _scopes_after(tokens: TokenSet, grant: Grant, record: GrantRecord) -> Sequence[str] | None:
    """Return what is granted now: as before, where the provider says nothing of it (RFC 6749 §5.1, §6)."""
    before = grant.scopes or record.scopes
    return still_granted(before, tokens.scopes) if tokens.scopes else before or None


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
    if isinstance(error, ClientRejected | EndpointsInvalid | MailboxNotNamed):
        return PermanentError(f"the provider refuses our application: {error}", trouble=Trouble.ADMIN_BLOCKED)
    if isinstance(error, TokenEndpointBusy):
        return RateLimited(str(error), retry_after=error.retry_after)
    return TemporaryError(str(error))
