"""Linking, keeping and diagnosing on real databases, with providers configured as in a file.

The demo's authorization server plays all of them: each preset has its own addresses there.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx2
import msgspec

from config import Provider
from config.presets import PRESETS
from config.providers import GenericProvider, resolve
from connectors.tls import client_context
from ingestd.demo.authserver import AuthServer, Client
from ingestd.demo.certificates import Certificates
from ingestd.keys import KeyRing
from ingestd.linking.clients import OAuthClients
from ingestd.linking.errors import LinkingError
from ingestd.linking.http import new_http
from ingestd.linking.keeper import TokenKeeper
from ingestd.linking.link import Linking, LinkRequest
from ingestd.linking.retry import Waits
from ingestd.records import AccountRecord, GrantRecord, MailboxRecord
from ingestd.telemetry.metrics import Metrics
from storage import accounts, grants, mailboxes
from storage.sealing import MasterKey
from storage.types import new_id
from tests.stores import Stores

ADDRESS, OTHER = "support@example.com", "sales@example.com"
PUBLIC = "http://127.0.0.1:8025"
LOCALHOST = "http://localhost/done"
"""A redirect address where nobody listens: what comes there is pasted."""
OUTLOOK = ("https://outlook.office.com/IMAP.AccessAsUser.All", "https://outlook.office.com/SMTP.Send")
GRAPH = ("https://graph.microsoft.com/Mail.ReadWrite", "https://graph.microsoft.com/Mail.Send")
GRAPH_SHARED = ("https://graph.microsoft.com/Mail.ReadWrite.Shared", "https://graph.microsoft.com/Mail.Send.Shared")
SCOPES = ("openid", "email", "profile", "offline_access", "mail", *OUTLOOK, *GRAPH, *GRAPH_SHARED)
_YANDEX_SCOPES = ("mail:imap_full", "mail:smtp", "login:email", "mail.imap")


@dataclass
class Played:
    """The server that plays the providers, and our clients of them."""

    server: AuthServer
    clients: OAuthClients
    providers: dict[str, Provider]
    ca_file: Path | None

    async def visit(self, url: str) -> str:
        """Open the provider's address as the owner's browser does; return where it sends the browser."""
        async with new_http(ssl_context=client_context(self.ca_file) if self.ca_file else None) as owner:
            answer = await owner.get(url)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])


@dataclass
class Bench(Played):
    stores: Stores
    keys: KeyRing
    linking: Linking
    keeper: TokenKeeper
    account_id: UUID
    doors: dict[str, LinkingError | None]
    """What Microsoft Graph says of mailboxes; those that are not in it are open."""

    async def consent(self, address: str, *, browser: str = "b", provider: str = "local", **request: Any) -> UUID:
        """Link as the owner of `address` would, all the way; return the mailbox."""
        code, state, iss = await self.code(address, browser=browser, provider=provider, **request)
        return await self.linking.complete(state=state, browser=browser, code=code, error=None, iss=iss)

    async def code(
        self, address: str, *, browser: str = "b", provider: str = "local", **request: Any
    ) -> tuple[str, str, str | None]:
        self.server.consent_as = address
        started = await self.linking.start(self.account_id, LinkRequest(provider=provider, **request))
        state = parse_qs(urlsplit(started.address).query)["state"][0]
        url = await self.linking.open(state, browser)
        back = parse_qs(urlsplit(await self.visit(url)).query)
        assert back["state"] == [state]
        return back["code"][0], state, back.get("iss", [None])[0]

    async def grant(self, mailbox_id: UUID) -> GrantRecord:
        row = await self.stores.content.read(self.account_id, grants.get_grant, mailbox_id)
        key = await self.keys.mailbox(self.account_id, mailbox_id)
        return key.open_record(GrantRecord.place(mailbox_id), row.sealed, GrantRecord)

    async def put_grant(self, mailbox_id: UUID, **changes: Any) -> None:
        """Change the stored grant behind everybody's back."""
        row = await self.stores.content.read(self.account_id, grants.get_grant, mailbox_id)
        key = await self.keys.mailbox(self.account_id, mailbox_id)
        record = msgspec.structs.replace(await self.grant(mailbox_id), **changes)
        await self.stores.content.transaction(
            self.account_id,
            grants.replace_grant,
            mailbox_id,
            version=row.version,
            expires_at=row.expires_at,
            sealed=key.seal_record(GrantRecord.place(mailbox_id), record),
        )

    async def state(self, mailbox_id: UUID) -> mailboxes.Mailbox:
        return await self.stores.content.read(self.account_id, mailboxes.get_mailbox, mailbox_id)

    async def record(self, mailbox_id: UUID) -> MailboxRecord:
        key = await self.keys.mailbox(self.account_id, mailbox_id)
        return key.open_record(MailboxRecord.place(mailbox_id), (await self.state(mailbox_id)).sealed, MailboxRecord)


def providers(issuer: str, ca_file: Path | None) -> dict[str, Provider]:
    """Return the providers that the server plays, as the settings would."""
    app = {"client_id": "c", "client_secret": "s"}
    told: dict[str, dict[str, Any]] = {
        "local": {"kind": "generic", "oauth": {"issuer": issuer, "scopes": SCOPES[:5], **app}},
        "paste": {
            "kind": "generic",
            "oauth": {"issuer": issuer, "redirect_uri": LOCALHOST, "scopes": SCOPES[:5], **app},
        },
        "sweeping": {
            "kind": "generic",
            "oauth": {"issuer": issuer, "revoke_ends_all": True, "scopes": SCOPES[:5], **app},
        },
        "blind": {"kind": "generic", "oauth": {**_addresses(issuer), "userinfo_url": f"{issuer}/nowhere", **app}},
        "yandex": {
            "kind": "yandex",
            "oauth": {
                **_addresses(issuer),
                "userinfo_url": f"{issuer}/yandex/info",
                "revoke_url": f"{issuer}/yandex/revoke_token",
                # Yandex gives a refresh token unasked; the demo's server wants to be asked.
                "extra_authorize_params": {"access_type": "offline"},
                **app,
            },
        },
        "mailru": {
            "kind": "mailru",
            "oauth": {**_addresses(issuer), "userinfo_url": f"{issuer}/mailru/userinfo", **app},
        },
        "both": {"kind": "microsoft", "oauth": {"authority": issuer, "scopes": (*OUTLOOK, *GRAPH), **app}},
        "microsoft": {"kind": "microsoft", "oauth": {"authority": issuer, **app}},
        "organisation": {
            "kind": "microsoft",
            "oauth": {
                "authority": issuer,
                "tenant": "example.com",
                "flow": "application",
                "mailboxes": {ADDRESS: "*", OTHER: "01890a5d-ac96-774b-bcce-b302099a8057"},
                **app,
            },
        },
        "shared": {"kind": "microsoft", "shared_mailboxes": True, "oauth": {"authority": issuer, **app}},
        "personal": {"kind": "microsoft", "oauth": {"authority": issuer, "tenant": "consumers", **app}},
    }
    server = {"host": "mail.example.com"}
    made = {}
    for name, values in told.items():
        kind: type[GenericProvider] = PRESETS.get(values["kind"], GenericProvider)
        both = {"imap": server, "smtp": server} if kind is GenericProvider else {}
        made[name] = resolve(name, kind.model_validate({**both, **values, "tls_ca_file": ca_file}), sent_wait_seconds=1)
    return made


def _addresses(issuer: str) -> dict[str, str]:
    return {"authorize_url": f"{issuer}/authorize", "token_url": f"{issuer}/token"}


@contextlib.asynccontextmanager
async def playing(certificates: Certificates | None = None) -> AsyncIterator[Played]:
    app = Client("c", "s", (f"{PUBLIC}/oauth/callback", LOCALHOST))
    server = AuthServer([ADDRESS, OTHER], [app], scopes=(*SCOPES, *_YANDEX_SCOPES), certificates=certificates)
    async with server.running() as issuer:
        ca_file = certificates.ca_file if certificates else None
        known = providers(issuer, ca_file)
        clients = clients_of(known)
        try:
            yield Played(server, clients, known, ca_file)
        finally:
            await clients.close()


def clients_of(known: dict[str, Provider]) -> OAuthClients:
    return OAuthClients(known.__getitem__, _http, lambda _: frozenset({"127.0.0.1"}), waits=Waits(first_seconds=0.01))


@contextlib.asynccontextmanager
async def running_bench(stores: Stores, certificates: Certificates | None = None) -> AsyncIterator[Bench]:
    async with playing(certificates) as played:
        yield await bench_of(stores, played)


async def bench_of(stores: Stores, played: Played) -> Bench:
    """Return a bench on providers that run."""
    keys = KeyRing(stores.keystore, MasterKey(bytes(32)))
    account_id = new_id()
    key = await keys.create_account_key(account_id)
    sealed = key.seal_record(AccountRecord.place(account_id), AccountRecord("Example"))
    await stores.content.transaction(account_id, accounts.insert_account, sealed)
    known, clients = played.providers.__getitem__, played.clients
    doors: dict[str, LinkingError | None] = {}

    async def look_into(_: Provider, address: str, access_token: str) -> None:
        assert played.server.check(access_token) is not None
        if (refused := doors.get(address)) is not None:
            raise refused

    linking = Linking(
        stores.content,
        keys,
        clients,
        known,
        public_url=PUBLIC,
        flow_seconds=600,
        flows_max=100,
        look_into=look_into,
    )
    metrics = Metrics(version="0", python_version="3")
    keeper = TokenKeeper(stores.content, keys, clients, metrics, refresh_ahead_seconds=60)
    mine = (stores, keys, linking, keeper, account_id, doors)
    return Bench(played.server, clients, played.providers, played.ca_file, *mine)


def _http(provider: Provider) -> httpx2.AsyncClient:
    return new_http(ssl_context=client_context(provider.tls_ca_file) if provider.tls_ca_file else None)
