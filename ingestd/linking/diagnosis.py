"""Why a mail server refuses a token that is fresh: the provider's own answers tell.

A mail server says the same to a dead token and to a mailbox whose IMAP is switched off
(Yandex in so many words: "invalid credentials or IMAP is disabled"). Whose token it is,
and whether it lives, is asked where tokens are made:

| the provider says | it means |
|---|---|
| the token is dead, the token endpoint gives another | `token_expired`: try again with that one |
| the token is dead, the token endpoint refuses | its verdict, e.g. `grant_revoked` |
| the token is alive, and this mailbox's | `protocol_disabled`: switched off, or the grant lacks the permission |
| the token is alive, and another mailbox's | `wrong_mailbox` |
| nothing | `transient` |

Only the token endpoint's own words make a grant revoked.
"""

from __future__ import annotations

from uuid import UUID

from connectors.base import AuthError, ConnectorError, PermanentError, TemporaryError, Trouble
from ingestd.keys import KeyRing
from ingestd.linking.client import ProviderClient
from ingestd.linking.clients import OAuthClients
from ingestd.linking.errors import IdentityUnproved, LinkingError, TokenDead
from ingestd.linking.keeper import MailboxTokens, TokenKeeper, as_connector_error
from ingestd.records import GrantRecord, MailboxRecord
from storage import grants, mailboxes
from storage.database import Database
from storage.errors import KeyDestroyed, NotFound, StorageUnavailable

_DISABLED = "the token is good: IMAP or SMTP is switched off for the mailbox, or the grant lacks the permission"
_ANOTHER = "the token is good, and another mailbox's"
_RENAMED = "the token is good, but its owner signs in by another address now"
_FRESH = "the access token was dead; there is a fresh one"
_SILENT = "the provider does not tell whose the token is"


class Diagnostician:
    """Asks providers about grants that mail servers refuse. `keeper` is the one that the readers' tokens come from."""

    def __init__(self, content: Database, keys: KeyRing, clients: OAuthClients, keeper: TokenKeeper) -> None:
        self._content = content
        self._keys = keys
        self._clients = clients
        self._keeper = keeper

    async def why_refused(self, account_id: UUID, mailbox_id: UUID, provider: str) -> ConnectorError:
        """Return what a refusal of a mailbox's stored token means; it costs at most one refresh. Never raises."""
        try:
            owner, grant = await self._stored(account_id, mailbox_id)
            client = await self._clients.get(provider)
            return await self._ask(client, self._keeper.source(account_id, mailbox_id, provider), owner, grant)
        except ConnectorError as error:  # the keeper's: the token endpoint's verdict
            return error
        except LinkingError as error:
            return as_connector_error(error)
        except StorageUnavailable:
            return TemporaryError("the grant cannot be read: no database")
        except (NotFound, KeyDestroyed):
            return AuthError("the mailbox has no grant any more")
        except KeyError:
            return PermanentError("the provider is configured no more", trouble=Trouble.ADMIN_BLOCKED)

    async def _stored(self, account_id: UUID, mailbox_id: UUID) -> tuple[MailboxRecord, GrantRecord]:
        mailbox = await self._content.read(account_id, mailboxes.get_mailbox, mailbox_id)
        grant = await self._content.read(account_id, grants.get_grant, mailbox_id)
        key = await self._keys.mailbox(account_id, mailbox_id)
        return (
            key.open_record(MailboxRecord.place(mailbox_id), mailbox.sealed, MailboxRecord),
            key.open_record(GrantRecord.place(mailbox_id), grant.sealed, GrantRecord),
        )

    async def _ask(
        self, client: ProviderClient, mailbox: MailboxTokens, owner: MailboxRecord, grant: GrantRecord
    ) -> ConnectorError:
        if owner.graph_user:
            # The token is a user's, or our application's: it never is the mailbox's own.
            await self._keeper.renew(mailbox)
            return AuthError(_FRESH)
        try:
            holder = await client.holder(grant.access_token)
        except TokenDead:
            await self._keeper.renew(mailbox)
            return AuthError(_FRESH)
        except IdentityUnproved:
            return TemporaryError(_SILENT)
        if holder is None:
            return await self._ask_token_endpoint(client, mailbox, owner)
        if holder != owner.subject:
            return PermanentError(_ANOTHER, trouble=Trouble.WRONG_MAILBOX)
        return PermanentError(_DISABLED, trouble=Trouble.PROTOCOL_DISABLED)

    async def _ask_token_endpoint(
        self, client: ProviderClient, mailbox: MailboxTokens, owner: MailboxRecord
    ) -> ConnectorError:
        """Where nobody tells of access tokens (Microsoft), the ID token that comes with a refresh does."""
        tokens = await self._keeper.renew(mailbox)
        if tokens.id_token is None:
            return AuthError(_FRESH)
        try:
            identity = await client.identity(tokens, None)
        except IdentityUnproved:
            return TemporaryError(_SILENT)
        if identity.subject != owner.subject:
            return PermanentError(_ANOTHER, trouble=Trouble.WRONG_MAILBOX)
        if identity.address.casefold() != owner.address.casefold():
            return PermanentError(_RENAMED, trouble=Trouble.WRONG_MAILBOX)
        return PermanentError(_DISABLED, trouble=Trouble.PROTOCOL_DISABLED)
