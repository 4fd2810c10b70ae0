"""Linking a mailbox: from the address that its owner opens to the stored grant.

The owner's browser first opens an address of ours, which binds the request to that
browser, then the provider's, then comes back to our callback. The state is used once,
the code is bound by PKCE, and whose mailbox it is, is the provider's own word alone.

Where our application's own permissions open a mailbox (`flow: application`) nobody is asked
at all; what proves the access is that Microsoft Graph lets us in (`unowned`).

Where no browser can come to us there are two other ways, both of one process that asks
and waits: a device code (`start_device`, `finish_device`), and the address that the
browser came to, pasted (`start_pasting`, `finish_pasting`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID, uuid4

import msgspec
import structlog

from config import Locations, Provider
from ingestd.keys import KeyRing
from ingestd.linking.client import ProviderClient
from ingestd.linking.clients import OAuthClients
from ingestd.linking.device import await_consent
from ingestd.linking.errors import LinkingError, NotLinkable, reason_of
from ingestd.linking.flow import Flow as FlowSecrets
from ingestd.linking.flow import new_flow
from ingestd.linking.identity import Identity
from ingestd.linking.paste import read_pasted
from ingestd.linking.started import LinkRefused, LinkRequest, StartedDevice, StartedLink, StartedPasting
from ingestd.linking.tokens import TokenSet
from ingestd.linking.unowned import identity_by_address, is_same, shared_scopes, unowned
from ingestd.linking.ways import granted_of
from ingestd.linking.writes import begin_link, store_link
from ingestd.records import FlowRecord, GrantRecord, MailboxRecord
from storage import accounts, flows, grants, mailboxes
from storage.database import Database
from storage.errors import Conflict, KeyDestroyed, NotFound
from storage.flows import Flow
from storage.mailboxes import MailboxState
from storage.requests import Claim, once
from storage.sealing import DataKey
from storage.types import new_id

__all__ = ["LinkRefused", "LinkRequest", "Linking", "StartedDevice", "StartedLink", "StartedPasting"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Begun:
    flow_id: UUID
    repeated: bool
    by_application: bool = False
    """Nobody is to be asked."""


LookInto = Callable[[Provider, str, str], Awaitable[None]]
"""Asks a provider whether an access token opens the mailbox with an address; raises LinkingError where it does not."""


class Linking:
    """The linking of mailboxes, from both ends: the command line or API, and the browser."""

    def __init__(
        self,
        content: Database,
        keys: KeyRing,
        clients: OAuthClients,
        provider: Callable[[str], Provider],
        *,
        public_url: str,
        flow_seconds: float,
        flows_max: int = 1000,
        newest_first: bool = True,
        look_into: LookInto | None = None,
        locations: Callable[[], Locations] = Locations,
    ) -> None:
        """`locations` returns those in force: of an account that is pinned elsewhere nothing is linked."""
        self._content = content
        self._keys = keys
        self._clients = clients
        self._provider = provider
        self._public_url = public_url.rstrip("/")
        self._callback = f"{self._public_url}/oauth/callback"
        self._flow_seconds = flow_seconds
        self._flows_max = flows_max
        self._newest_first = newest_first
        self._look_into = look_into
        self._locations = locations

    async def start(self, account_id: UUID, request: LinkRequest, *, claim: Claim | None = None) -> StartedLink:
        """Prepare a request and return the address to open. A claim's resource is the id of the request.

        Where application permissions open the mailbox there is nobody to ask, and it is linked at once.

        Raises NotFound for an unknown mailbox to re-link, LimitReached where the account has too many open,
        LinkRefused where its provider is configured no more, or does not allow this, KeyReused, Conflict where a
        repeated claim's request is forgotten by now.
        """
        begun = await self._begin(account_id, request, claim)
        try:
            flow, at = await self._content.read(account_id, flows.get_flow_now, begun.flow_id)
        except NotFound as error:
            raise Conflict("the linking of this request is over and forgotten: begin again with another key") from error
        usable = flow.status in flows.UNUSED and flow.expires_at > at
        record = await self._record(flow) if usable else None
        if record is not None and record.application:
            # Who goes away must not cut it off between the mailbox's key and its row.
            await asyncio.shield(self._by_application(record.state))
            record = None
        state = record.state if record is not None else ""
        address = f"{self._public_url}/oauth/start?{urlencode({'state': state})}" if state else ""
        return StartedLink(flow.flow_id, flow.mailbox_id, address, flow.expires_at, begun.repeated)

    async def _begin(self, account_id: UUID, request: LinkRequest, claim: Claim | None = None) -> _Begun:
        await self._check_location(account_id)
        name = await self._provider_of(account_id, request)
        try:
            oauth = self._provider(name).oauth
            wanted = unowned(
                oauth,
                str(account_id),
                shared=request.shared,
                mailbox=request.mailbox,
                known=await self._known(account_id, request.mailbox_id),
            )
        except KeyError as error:
            raise LinkRefused("provider_unavailable") from error
        except NotLinkable as error:
            raise LinkRefused(error.reason) from error
        flow_id = new_id() if claim is None else UUID(claim.resource)
        mailbox_id = request.mailbox_id or new_id()
        made = new_flow(
            oauth.redirect_uri or self._callback,
            await self._device_id(account_id, request.mailbox_id) if oauth.device_id else "",
        )
        record = FlowRecord(
            state=made.state,
            verifier=made.verifier,
            nonce=made.nonce,
            redirect_uri=made.redirect_uri,
            start_from=request.start_from,
            start_days=request.start_days,
            name=request.name,
            addresses=request.addresses,
            device_id=made.device_id,
            shared=wanted.shared,
            application=wanted.application,
        )
        key = await self._keys.account(account_id)
        done = await self._content.transaction(
            account_id,
            once,
            claim,
            begin_link,
            flow_id,
            mailbox_id=mailbox_id,
            provider=name,
            relink=request.mailbox_id is not None,
            state_hash=_digest(made.state),
            lifetime_seconds=self._flow_seconds,
            open_max=self._flows_max,
            sealed=key.seal_record(FlowRecord.place(flow_id), record),
        )
        if done.repeated:
            return _Begun(UUID(done.resource), repeated=True)
        log.info("link.started", flow_id=flow_id, mailbox_id=mailbox_id, provider=name)
        return _Begun(flow_id, repeated=False, by_application=bool(wanted.application))

    async def _check_location(self, account_id: UUID) -> None:
        """Raises LinkRefused where what is linked would lie elsewhere than the account is pinned to."""
        pinned = await self._content.read(account_id, accounts.location_of)
        if pinned is not None and self._locations().elsewhere(pinned):
            raise LinkRefused("location_differs")

    async def _begun(self, account_id: UUID, request: LinkRequest) -> tuple[Flow, str]:
        """Prepare a request; return it, and its state."""
        begun = await self._begin(account_id, request)
        if begun.by_application:
            raise LinkRefused("nobody_to_ask")
        flow = await self._content.read(account_id, flows.get_flow, begun.flow_id)
        return flow, (await self._record(flow)).state

    async def _provider_of(self, account_id: UUID, request: LinkRequest) -> str:
        if request.mailbox_id is None:
            return request.provider
        mailbox = await self._content.read(account_id, mailboxes.get_mailbox, request.mailbox_id)
        return mailbox.provider

    async def _known(self, account_id: UUID, mailbox_id: UUID | None) -> MailboxRecord | None:
        """Return what is known of a mailbox that is to be linked again; None of a new one, or one that is going."""
        if mailbox_id is None:
            return None
        mailbox = await self._content.read(account_id, mailboxes.get_mailbox, mailbox_id)
        with contextlib.suppress(KeyDestroyed):
            key = await self._keys.mailbox(account_id, mailbox_id)
            return key.open_record(MailboxRecord.place(mailbox_id), mailbox.sealed, MailboxRecord)
        return None

    async def _device_id(self, account_id: UUID, mailbox_id: UUID | None) -> str:
        """Return the device id that a mailbox has already, so that its new grant replaces the old one, or a new one."""
        if mailbox_id is not None:
            with contextlib.suppress(NotFound, KeyDestroyed):
                record = await self._grant_of(account_id, mailbox_id)
                if record.device_id:
                    return record.device_id
        return str(uuid4())

    async def _grant_of(self, account_id: UUID, mailbox_id: UUID) -> GrantRecord:
        grant = await self._content.read(account_id, grants.get_grant, mailbox_id)
        key = await self._keys.mailbox(account_id, mailbox_id)
        return key.open_record(GrantRecord.place(mailbox_id), grant.sealed, GrantRecord)

    async def open(self, state: str, browser: str) -> str:
        """Bind the request to the browser; return the provider's address to go on with. Raises LinkRefused."""
        try:
            flow = await self._content.transaction(None, flows.open_flow, _digest(state), _digest(browser))
        except NotFound as error:
            raise LinkRefused("unknown_or_used") from error
        await self._check_location(flow.account_id)
        record = await self._record(flow)
        if record.application:
            raise LinkRefused("nobody_to_ask")
        if record.address:
            return record.address
        try:
            client = await self._clients.get(flow.provider)
            address, asked = await client.authorize(_secrets(record))
        except (LinkingError, KeyError) as error:
            await self._fail(flow, "provider_unavailable", error)
            raise LinkRefused("provider_unavailable") from error
        return await self._remember(flow, msgspec.structs.replace(record, address=address, memory=asked.memory))

    async def _remember(self, flow: Flow, record: FlowRecord) -> str:
        """Keep what the callback will need; return the address of whoever was first: its secrets count."""
        key = await self._keys.account(flow.account_id)
        place = FlowRecord.place(flow.flow_id)
        kept = await self._content.transaction(
            flow.account_id,
            flows.keep_once,
            flow.flow_id,
            before=flow.sealed,
            after=key.seal_record(place, record),
        )
        return key.open_record(place, kept, FlowRecord).address

    async def complete(self, *, state: str, browser: str, code: str | None, error: str | None, iss: str | None) -> UUID:
        """Handle the callback; return the mailbox that is linked now. Raises LinkRefused."""
        flow = await self._take(state, browser)
        async with self._ending(flow):
            if code is None:
                raise LinkRefused("consent_refused" if error == "access_denied" else "provider_refused")
            record = await self._record(flow)
            client = await self._client(flow)
            secrets_ = _secrets(record)
            await self._settle(flow, record, client, await client.exchange(secrets_, code, iss), secrets_)
        return flow.mailbox_id

    async def start_pasting(self, account_id: UUID, request: LinkRequest) -> StartedPasting:
        """Prepare a request whose answer is pasted into this process.

        Raises LinkRefused, NotFound and LimitReached as `start`.
        """
        flow, state = await self._begun(account_id, request)
        secret = secrets.token_urlsafe(32)
        address = await self.open(state, secret)
        redirect_uri = self._provider(flow.provider).oauth.redirect_uri
        return StartedPasting(flow.mailbox_id, address, redirect_uri or self._callback, state, secret)

    async def finish_pasting(self, started: StartedPasting, text: str) -> UUID:
        """Finish with what was pasted; return the mailbox that is linked now.

        Raises CallbackRejected where it is not the address that was waited for: ask again. Raises LinkRefused.
        """
        answer = read_pasted(text, redirect_uri=started.redirect_uri, state=started.state)
        return await self.complete(
            state=answer.state, browser=started.secret, code=answer.code, error=answer.error, iss=answer.iss
        )

    async def start_device(self, account_id: UUID, request: LinkRequest) -> StartedDevice:
        """Ask the provider for a code that the owner types in elsewhere.

        Raises LinkRefused, NotFound and LimitReached as `start`.
        """
        _, state = await self._begun(account_id, request)
        flow = await self._use_up(state)
        async with self._ending(flow, done=False):
            return StartedDevice(flow, await (await self._client(flow)).start_device())

    async def finish_device(self, started: StartedDevice) -> UUID:
        """Wait for the owner's consent; return the mailbox that is linked now. Raises LinkRefused."""
        flow = started.flow
        async with self._ending(flow):
            client = await self._client(flow)
            tokens = await await_consent(client, started.code)
            await self._settle(flow, await self._record(flow), client, tokens, None)
        return flow.mailbox_id

    async def _by_application(self, state: str) -> None:
        """Finish a linking that needs nobody's consent. Raises LinkRefused."""
        flow = await self._use_up(state)
        async with self._ending(flow):
            client = await self._client(flow)
            record = await self._record(flow)
            address, account = record.application, str(flow.account_id)
            grant = GrantRecord("", None, (), application_mailbox=address, application_account=account)
            tokens = await client.refresh(grant)
            grant = msgspec.structs.replace(grant, access_token=tokens.access_token, scopes=tokens.scopes or ())
            await self._look(flow, address, tokens)
            await self._store(flow, record, tokens, grant, identity_by_address(address, client.home()))

    async def _look(self, flow: Flow, address: str, tokens: TokenSet) -> None:
        if self._look_into is None:
            raise LinkRefused("provider_unavailable")
        await self._look_into(self._provider(flow.provider), address, tokens.access_token)

    async def _use_up(self, state: str) -> Flow:
        """Take a request at once: no browser is to come back with it."""
        ours = secrets.token_urlsafe(32)
        await self._content.transaction(None, flows.open_flow, _digest(state), _digest(ours))
        return await self._take(state, ours)

    async def _take(self, state: str, browser: str) -> Flow:
        try:
            return await self._content.transaction(None, flows.take_flow, _digest(state), _digest(browser))
        except NotFound as unknown:
            raise LinkRefused("unknown_or_used") from unknown

    async def _client(self, flow: Flow) -> ProviderClient:
        try:
            return await self._clients.get(flow.provider)
        except KeyError as error:
            raise LinkRefused("provider_unavailable") from error

    @contextlib.asynccontextmanager
    async def _ending(self, flow: Flow, *, done: bool = True) -> AsyncIterator[None]:
        """Write down how a linking that was taken ends. Raises LinkRefused."""
        try:
            yield
        except LinkRefused as refused:
            await self._fail(flow, refused.reason)
            raise
        except LinkingError as trouble:
            await self._fail(flow, reason_of(trouble), trouble)
            raise LinkRefused(reason_of(trouble)) from trouble
        if done:
            log.info("link.completed", flow_id=flow.flow_id, mailbox_id=flow.mailbox_id, provider=flow.provider)

    async def _settle(
        self, flow: Flow, record: FlowRecord, client: ProviderClient, tokens: TokenSet, asked: FlowSecrets | None
    ) -> None:
        """Keep a grant that is whole and of the right mailbox. `asked` is None where a device code brought it."""
        grant = GrantRecord(
            tokens.access_token, tokens.refresh_token, tokens.scopes or (), record.device_id, asked is None
        )
        try:
            await self._check_location(flow.account_id)
            client.require_all(tokens)
            identity = await client.identity(tokens, asked)
            if record.shared:
                shared_scopes(granted_of(self._provider(flow.provider).oauth, tokens))
                await self._look(flow, record.shared, tokens)
                identity = identity_by_address(record.shared, identity.issuer)
            await self._store(flow, record, tokens, grant, identity)
        except (LinkingError, LinkRefused, NotFound):
            # What we cannot use we do not keep: the grant goes back. But not with a linked mailbox's grant.
            ends_all = self._provider(flow.provider).oauth.revoke_ends_all
            if not (ends_all and await self._is_linked(flow, client, tokens, asked)):
                await client.revoke(grant)
            raise

    async def _is_linked(self, flow: Flow, client: ProviderClient, tokens: TokenSet, asked: FlowSecrets | None) -> bool:
        try:
            identity = await client.identity(tokens, asked)
        except LinkingError:
            return True  # not known: a grant too many is the lesser evil
        return await self._mailbox_of(flow.account_id, identity) is not None

    async def _store(
        self, flow: Flow, record: FlowRecord, tokens: TokenSet, grant: GrantRecord, identity: Identity
    ) -> None:
        if flow.relink:
            # The grant that this one replaces is not revoked: some servers (Keycloak) end the owner's consent, and
            # the new grant, with it. Its tokens are overwritten here, so nobody holds them any more.
            key, mailbox = await self._relinked(flow, identity)
        else:
            # One mailbox linked twice in an account would make every mail two tickets.
            if await self._mailbox_of(flow.account_id, identity) is not None:
                raise LinkRefused("already_linked")
            key = await self._keys.create_mailbox_key(flow.account_id, flow.mailbox_id)
            mailbox = MailboxRecord(
                address=identity.address,
                subject=identity.subject,
                issuer=identity.issuer,
                login=identity.address,
                name=record.name,
                addresses=record.addresses,
                graph_user=record.shared or record.application,
            )
        granted = granted_of(self._provider(flow.provider).oauth, tokens)
        await self._content.transaction(
            flow.account_id,
            store_link,
            flow,
            start_from=record.start_from,
            start_days=record.start_days,
            newest_first=self._newest_first,
            mailbox_sealed=key.seal_record(MailboxRecord.place(flow.mailbox_id), mailbox),
            grant_sealed=key.seal_record(GrantRecord.place(flow.mailbox_id), grant),
            tokens=tokens,
            # A user's other scopes open nothing of a shared mailbox.
            granted=shared_scopes(granted) if record.shared else granted,
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
        if known.address.casefold() == identity.address.casefold():
            return key, known
        # Its owner was renamed (a new name, a new domain): the old address stays one that mail comes to.
        others = tuple(one for one in known.addresses if one.casefold() != identity.address.casefold())
        return key, msgspec.structs.replace(
            known, address=identity.address, login=identity.address, addresses=(*others, known.address)
        )

    async def _mailbox_of(self, account_id: UUID, identity: Identity) -> UUID | None:
        """Return the mailbox of an account that is linked as this identity."""
        for mailbox in await self._content.read(account_id, mailboxes.list_mailboxes):
            if mailbox.state is MailboxState.DISCONNECTING:
                continue
            key = await self._keys.mailbox(account_id, mailbox.mailbox_id)
            known = key.open_record(MailboxRecord.place(mailbox.mailbox_id), mailbox.sealed, MailboxRecord)
            if is_same(known, identity):
                return mailbox.mailbox_id
        return None

    async def _record(self, flow: Flow) -> FlowRecord:
        key = await self._keys.account(flow.account_id)
        return key.open_record(FlowRecord.place(flow.flow_id), flow.sealed, FlowRecord)

    async def _fail(self, flow: Flow, reason: str, error: BaseException | None = None) -> None:
        log.warning("link.failed", flow_id=flow.flow_id, provider=flow.provider, reason=reason, exc_info=error)
        await self._content.transaction(flow.account_id, flows.end_flow, flow.flow_id, status="failed", reason=reason)


def _secrets(record: FlowRecord) -> FlowSecrets:
    return FlowSecrets(
        record.state, record.verifier, record.nonce, record.redirect_uri, record.device_id, record.memory
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
