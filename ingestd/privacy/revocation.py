"""Revoking the grants of mailboxes that are being forgotten, for at most 24 hours.

The grant's tokens lie wrapped in the key store, only for this. They are deleted once the
provider has answered, or when their time is over; the ledger says what came of it.

A provider's word is not the proof: afterwards a refresh is tried, which must be refused. A
provider without a revocation is not asked for one, as it would only lengthen the grant: its
owner can end it at the provider's own page, which the ledger names. Where our application's own
permissions opened the mailbox, there is no grant: an administrator can take the mailbox from it.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import msgspec
import structlog

from connectors.base import AccessToken, AuthError, TokenSource
from ingestd.keys import KeyRing
from ingestd.linking.client import ProviderClient
from ingestd.linking.client import Revocation as Outcome
from ingestd.linking.clients import OAuthClients
from ingestd.linking.errors import GrantRevoked, LinkingError
from ingestd.linking.tokens import TokenSet
from ingestd.linking.ways import Way
from ingestd.records import GrantRecord, RevocableRecord
from storage import keystore
from storage.database import Database, now
from storage.keystore import Revocation

log = structlog.get_logger()

_FIRST_PAUSE_SECONDS = 10.0
_PAUSE_SECONDS_MAX = 1800.0
_END_PUSH_SECONDS = 10.0
"""The wipe waits for no provider longer than it must."""
_END_PUSH_ATTEMPTS_MAX = 3


class RefreshAfter(enum.StrEnum):
    """What came of a refresh that was tried after the revocation."""

    REFUSED = "refused"
    """The proof: the provider's token endpoint says that the grant is gone."""
    ACCEPTED = "accepted"
    """The provider gave tokens all the same. They were revoked, too."""
    UNKNOWN = "unknown"
    """It gave no answer that says anything about the grant."""
    NOT_TRIED = "not_tried"
    """Nothing was revoked, or there was no refresh token."""
    NO_REFRESH_TOKEN = "no_refresh_token"  # noqa: S105  # a word
    """There was no grant to refresh: our application's own permissions opened the mailbox."""


@dataclass(frozen=True, slots=True)
class _Tried:
    """One attempt."""

    outcome: Outcome
    refresh_after: RefreshAfter = RefreshAfter.NOT_TRIED
    grant: RevocableRecord | None = None
    """What is to be revoked next time, where that is not what it was."""

    @property
    def is_final(self) -> bool:
        if self.outcome is Outcome.REVOKED:
            return self.refresh_after in {RefreshAfter.REFUSED, RefreshAfter.NOT_TRIED}
        return self.outcome in {Outcome.UNSUPPORTED, Outcome.NOTHING}


def _nowhere(_provider: str) -> str | None:
    return None


EndPush = Callable[[str, RevocableRecord, TokenSource], Awaitable[None]]
"""Has a provider (by its name) tell of news no more, with tokens of the grant. May raise whatever it meets."""


async def _nobody_told(_provider: str, _record: RevocableRecord, _tokens: TokenSource) -> None:
    return


class Revoker:
    """Revokes what waits in the key store. `removal_page` returns where the owner can do it, by a provider's name."""

    def __init__(
        self,
        store: Database,
        keys: KeyRing,
        clients: OAuthClients,
        removal_page: Callable[[str], str | None] = _nowhere,
        end_push: EndPush = _nobody_told,
    ) -> None:
        self._store = store
        self._keys = keys
        self._clients = clients
        self._removal_page = removal_page
        self._end_push = end_push

    async def revoke(self, account_id: UUID, mailbox_id: UUID) -> None:
        """Try one mailbox's grant now. Never raises for what the provider does."""
        for waiting in await self._store.read(None, keystore.list_revocations):
            if (waiting.account_id, waiting.mailbox_id) == (account_id, mailbox_id):
                await self._try(waiting)

    async def revoke_due(self) -> None:
        """Try those whose time has come."""
        at = await self._store.read(None, now)
        for waiting in await self._store.read(None, keystore.list_revocations):
            if waiting.due_at <= at:
                await self._try(waiting)

    async def _try(self, waiting: Revocation) -> None:
        account_id, mailbox_id = waiting.account_id, waiting.mailbox_id
        tried = await self._ask(waiting)
        over = await self._store.read(None, now) >= waiting.expires_at
        if not tried.is_final and not over:
            pause = min(_FIRST_PAUSE_SECONDS * 2**waiting.attempts, _PAUSE_SECONDS_MAX)
            wrapped = waiting.wrapped
            if tried.grant is not None:
                wrapped = self._keys.wrap_token(account_id, mailbox_id, revocable_text(tried.grant))
            await self._store.transaction(account_id, keystore.postpone_revocation, mailbox_id, pause, wrapped)
            return
        # Whatever the provider said: a grant that still gives tokens is not revoked.
        outcome = Outcome.FAILED if tried.refresh_after is RefreshAfter.ACCEPTED else tried.outcome
        detail: dict[str, object] = {
            "outcome": outcome.value,
            "attempts": waiting.attempts + 1,
            "refresh_after": tried.refresh_after.value,
        }
        if outcome is not Outcome.REVOKED and (page := self._removal_page(waiting.provider)):
            detail["removal_page"] = page
        await self._store.transaction(account_id, keystore.end_revocation, mailbox_id, detail)
        log.info("revocation.settled", mailbox_id=mailbox_id, outcome=outcome.value, reason=tried.refresh_after.value)

    async def _ask(self, waiting: Revocation) -> _Tried:
        grant = read_revocable(self._keys.unwrap_token(waiting.account_id, waiting.mailbox_id, waiting.wrapped))
        nothing = _Tried(Outcome.NOTHING, RefreshAfter.NO_REFRESH_TOKEN) if grant.application_mailbox else None
        try:
            client = await self._clients.get(waiting.provider)
        except KeyError:
            return nothing or _Tried(Outcome.UNSUPPORTED)  # the provider is configured no more
        except LinkingError:
            return nothing or _Tried(Outcome.FAILED)
        grant = await self._tell_no_more(waiting, client, grant)
        if nothing is not None:
            return nothing
        outcome = await client.revoke(grant)
        return await _prove(client, grant) if outcome is Outcome.REVOKED else _Tried(outcome, grant=grant)

    async def _tell_no_more(
        self, waiting: Revocation, client: ProviderClient, grant: RevocableRecord
    ) -> RevocableRecord:
        """Have the provider tell of news no more, while the grant lives yet; return the grant as it is then.

        What fails is left: without the grant nothing is told, or it ends by itself within days.
        """
        if not grant.read_way or waiting.attempts >= _END_PUSH_ATTEMPTS_MAX:
            return grant
        tokens = _GrantTokens(client, grant)
        try:
            async with asyncio.timeout(_END_PUSH_SECONDS):
                await self._end_push(waiting.provider, grant, tokens)
        except Exception as error:
            log.warning("push.failed", mailbox_id=waiting.mailbox_id, kind=grant.read_way, exc_info=error)
        return tokens.grant


class _GrantTokens:
    """The TokenSource of a grant that is to be revoked: its last access token.

    Where that is refused, Google gives another, and an application takes one. Microsoft is not asked for one of a
    person: those grants cannot be revoked afterwards, and a refresh lengthens them.
    """

    def __init__(self, client: ProviderClient, grant: RevocableRecord) -> None:
        self._client = client
        self.grant = grant

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        """Raises AuthError where there is none."""
        if rejected == self.grant.access_token or not self.grant.access_token:
            if self.grant.read_way != Way.GMAIL and not self.grant.application_mailbox:
                raise AuthError("the grant's last token is dead")
            try:
                tokens = await self._client.refresh(self.grant)
            except LinkingError:
                raise AuthError("the grant gives no token any more") from None
            self.grant = _with(self.grant, tokens)
        return AccessToken(self.grant.access_token)


async def _prove(client: ProviderClient, grant: RevocableRecord) -> _Tried:
    """Try to refresh a grant that the provider says to have revoked."""
    if grant.refresh_token is None:
        return _Tried(Outcome.REVOKED)
    try:
        tokens = await client.refresh(grant)
    except GrantRevoked:
        return _Tried(Outcome.REVOKED, RefreshAfter.REFUSED)
    except LinkingError:
        return _Tried(Outcome.REVOKED, RefreshAfter.UNKNOWN)
    # Some need a moment until a revocation is known everywhere. What they gave meanwhile must not be left.
    given = _with(grant, tokens)
    return _Tried(await client.revoke(given), RefreshAfter.ACCEPTED, given)


def _with(grant: RevocableRecord, tokens: TokenSet) -> RevocableRecord:
    return msgspec.structs.replace(
        grant, access_token=tokens.access_token, refresh_token=tokens.refresh_token or grant.refresh_token
    )


def revocable_text(grant: GrantRecord) -> str:
    """Return what is kept of a grant until it is revoked: which of its tokens a provider takes differs."""
    return msgspec.json.encode(grant).decode()


def read_revocable(text: str) -> RevocableRecord:
    """Read what `revocable_text` wrote; before version 0.2 it was the refresh token alone."""
    try:
        return msgspec.json.decode(text, type=RevocableRecord)
    except msgspec.DecodeError:
        return RevocableRecord(access_token="", refresh_token=text, scopes=())
