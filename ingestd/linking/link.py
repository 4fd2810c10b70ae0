"""Linking a mailbox: from the address that its owner opens to the stored grant.

The owner's browser first opens an address of ours, which binds the request to that
browser, then the provider's, then comes back to our callback. The state is used once,
the code is bound by PKCE, and whose mailbox it is, is the provider's own word alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

import structlog
from sqlalchemy import Connection

from ingestd.keys import KeyRing
from ingestd.linking.clients import OAuthClients
from ingestd.linking.errors import IdentityUnproved, LinkingError, PartialConsent, reason_of
from ingestd.linking.flow import Flow as FlowSecrets
from ingestd.linking.flow import check_callback_issuer, new_flow
from ingestd.linking.identity import Identity
from ingestd.linking.oauth import OAuthClient
from ingestd.linking.tokens import TokenSet
from ingestd.records import FlowRecord, GrantRecord, MailboxRecord
from storage import accounts, events, flows, grants, mailboxes
from storage.database import Database
from storage.errors import KeyDestroyed, NotFound
from storage.flows import Flow
from storage.mailboxes import MailboxState
from storage.sealing import DataKey
from storage.types import new_id

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """What a person asks for when linking a mailbox."""

    provider: str
    mailbox_id: UUID | None = None
    """The mailbox to link again; None for a new one."""
    start_from: str = "now"
    start_days: int = 0
    name: str = ""
    """The name that replies come from."""
    addresses: tuple[str, ...] = ()
    """Aliases of the mailbox."""


@dataclass(frozen=True, slots=True)
class StartedLink:
    flow_id: UUID
    mailbox_id: UUID
    address: str
    """Where the mailbox's owner goes with a browser; good once, and for a limited time."""


class LinkRefused(Exception):
    """The linking cannot go on. `reason` is a fixed word; the owner begins again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Linking:
    """The linking of mailboxes, from both ends: the command line or API, and the browser."""

    def __init__(
        self,
        content: Database,
        keys: KeyRing,
        clients: OAuthClients,
        *,
        public_url: str,
        flow_seconds: float,
        flows_max: int = 1000,
    ) -> None:
        self._content = content
        self._keys = keys
        self._clients = clients
        self._public_url = public_url.rstrip("/")
        self._flow_seconds = flow_seconds
        self._flows_max = flows_max

    async def start(self, account_id: UUID, request: LinkRequest) -> StartedLink:
        """Prepare a request and return the address to open.

        Raises NotFound for an unknown mailbox to re-link, LimitReached where the account has too many open.
        """
        provider = request.provider
        if request.mailbox_id is not None:
            mailbox = await self._content.read(account_id, mailboxes.get_mailbox, request.mailbox_id)
            provider = mailbox.provider
        flow_id, mailbox_id = new_id(), request.mailbox_id or new_id()
        secrets = new_flow()
        record = FlowRecord(
            state=secrets.state,
            verifier=secrets.verifier,
            nonce=secrets.nonce,
            redirect_uri=f"{self._public_url}/oauth/callback",
            start_from=request.start_from,
            start_days=request.start_days,
            name=request.name,
            addresses=request.addresses,
        )
        key = await self._keys.account(account_id)
        await self._content.transaction(
            account_id,
            flows.insert_flow,
            flow_id,
            mailbox_id=mailbox_id,
            provider=provider,
            relink=request.mailbox_id is not None,
            state_hash=_digest(secrets.state),
            lifetime_seconds=self._flow_seconds,
            open_max=self._flows_max,
            sealed=key.seal_record(FlowRecord.place(flow_id), record),
        )
        log.info("link.started", flow_id=flow_id, mailbox_id=mailbox_id, provider=provider)
        return StartedLink(flow_id, mailbox_id, f"{self._public_url}/oauth/start?{urlencode({'state': secrets.state})}")

    async def open(self, state: str, browser: str) -> str:
        """Bind the request to the browser; return the provider's address to go on with. Raises LinkRefused."""
        try:
            flow = await self._content.transaction(None, flows.open_flow, _digest(state), _digest(browser))
        except NotFound as error:
            raise LinkRefused("unknown_or_used") from error
        record = await self._record(flow)
        try:
            client = await self._clients.get(flow.provider)
        except (LinkingError, KeyError) as error:
            await self._fail(flow, "provider_unavailable", error)
            raise LinkRefused("provider_unavailable") from error
        return client.authorize_url(record.redirect_uri, FlowSecrets(record.state, record.verifier, record.nonce))

    async def complete(self, *, state: str, browser: str, code: str | None, error: str | None, iss: str | None) -> UUID:
        """Handle the callback; return the mailbox that is linked now. Raises LinkRefused."""
        try:
            flow = await self._content.transaction(None, flows.take_flow, _digest(state), _digest(browser))
        except NotFound as unknown:
            raise LinkRefused("unknown_or_used") from unknown
        if code is None:
            await self._fail(flow, "consent_refused" if error == "access_denied" else "provider_refused")
            raise LinkRefused("consent_refused" if error == "access_denied" else "provider_refused")
        try:
            await self._finish(flow, code, iss)
        except LinkRefused as refused:
            await self._fail(flow, refused.reason)
            raise
        except LinkingError as trouble:
            await self._fail(flow, reason_of(trouble), trouble)
            raise LinkRefused(reason_of(trouble)) from trouble
        log.info("link.completed", flow_id=flow.flow_id, mailbox_id=flow.mailbox_id, provider=flow.provider)
        return flow.mailbox_id

    async def _finish(self, flow: Flow, code: str, iss: str | None) -> None:
        record = await self._record(flow)
        client = await self._clients.get(flow.provider)
        check_callback_issuer(client.endpoints, iss)
        tokens = await client.exchange(code, record.verifier, record.redirect_uri)
        try:
            client.require_all(tokens)
            identity = await client.identity(tokens.access_token, tokens.id_token, nonce=record.nonce)
            await self._store(flow, record, tokens, identity)
        except (PartialConsent, IdentityUnproved, LinkRefused, NotFound):
            # What we cannot use we do not keep: the grant goes back.
            await _give_back(client, tokens)
            raise

    async def _store(self, flow: Flow, record: FlowRecord, tokens: TokenSet, identity: Identity) -> None:
        if flow.relink:
            key, mailbox = await self._relinked(flow, identity)
        else:
            await self._refuse_twice(flow, identity)
            key = await self._keys.create_mailbox_key(flow.account_id, flow.mailbox_id)
            mailbox = MailboxRecord(
                address=identity.address,
                subject=identity.subject,
                issuer=identity.issuer,
                login=identity.address,
                name=record.name,
                addresses=record.addresses,
            )
        grant = GrantRecord(tokens.access_token, tokens.refresh_token, tokens.scopes or ())
        await self._content.transaction(
            flow.account_id,
            store_link,
            flow,
            start_from=record.start_from,
            start_days=record.start_days,
            mailbox_sealed=key.seal_record(MailboxRecord.place(flow.mailbox_id), mailbox),
            grant_sealed=key.seal_record(GrantRecord.place(flow.mailbox_id), grant),
            tokens=tokens,
        )

    async def _relinked(self, flow: Flow, identity: Identity) -> tuple[DataKey, MailboxRecord]:
        """A mailbox is linked again by its own owner only; another identity's mail would mix with its tickets."""
        try:
            mailbox = await self._content.read(flow.account_id, mailboxes.get_mailbox, flow.mailbox_id)
            key = await self._keys.mailbox(flow.account_id, flow.mailbox_id)
        except (NotFound, KeyDestroyed) as error:
            raise LinkRefused("mailbox_gone") from error
        known = key.open_record(MailboxRecord.place(flow.mailbox_id), mailbox.sealed, MailboxRecord)
        if (known.issuer, known.subject) != (identity.issuer, identity.subject):
            raise LinkRefused("wrong_mailbox")
        return key, known

    async def _refuse_twice(self, flow: Flow, identity: Identity) -> None:
        """One mailbox linked twice in an account would make every mail two tickets."""
        for mailbox in await self._content.read(flow.account_id, mailboxes.list_mailboxes):
            if mailbox.state is MailboxState.DISCONNECTING:
                continue
            key = await self._keys.mailbox(flow.account_id, mailbox.mailbox_id)
            known = key.open_record(MailboxRecord.place(mailbox.mailbox_id), mailbox.sealed, MailboxRecord)
            if (known.issuer, known.subject) == (identity.issuer, identity.subject):
                raise LinkRefused("already_linked")

    async def _record(self, flow: Flow) -> FlowRecord:
        key = await self._keys.account(flow.account_id)
        return key.open_record(FlowRecord.place(flow.flow_id), flow.sealed, FlowRecord)

    async def _fail(self, flow: Flow, reason: str, error: BaseException | None = None) -> None:
        log.warning("link.failed", flow_id=flow.flow_id, provider=flow.provider, reason=reason, exc_info=error)
        await self._content.transaction(flow.account_id, flows.end_flow, flow.flow_id, status="failed", reason=reason)


def store_link(
    conn: Connection,
    account_id: UUID,
    flow: Flow,
    *,
    start_from: str,
    start_days: int,
    mailbox_sealed: bytes,
    grant_sealed: bytes,
    tokens: TokenSet,
) -> None:
    """Write the mailbox, its grant and the event in one transaction."""
    if flow.relink:
        mailboxes.relink(conn, account_id, flow.mailbox_id, mailbox_sealed)
    else:
        mailboxes.insert_mailbox(
            conn,
            account_id,
            flow.mailbox_id,
            provider=flow.provider,
            start_from=start_from,
            start_days=start_days,
            sealed=mailbox_sealed,
        )
    grants.put_grant(conn, account_id, flow.mailbox_id, tokens.expires_at, grant_sealed)
    flows.end_flow(conn, account_id, flow.flow_id, status="completed")
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    kind = "mailbox.relinked" if flow.relink else "mailbox.linked"
    events.insert_events(conn, account_id, sequence, [events.NewEvent(kind, flow.mailbox_id)])


async def _give_back(client: OAuthClient, tokens: TokenSet) -> None:
    await client.revoke(tokens.refresh_token or tokens.access_token)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
