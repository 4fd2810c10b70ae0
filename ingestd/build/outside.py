"""What reaches other hosts, behind one guard; and the parts that are built on it and on a store."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import structlog

from config import Provider, Settings, allowed_hosts, hosts
from connectors.base import TemporaryError, TokenSource
from connectors.egress import EgressGuard
from connectors.graph_limiter import MailboxLimiter
from connectors.graph_mailbox import GraphAccess, graph_subscriptions
from connectors.graph_transport import GraphTransport
from connectors.imap_mailbox import HostPlaces
from connectors.room import Room
from connectors.tls import client_context
from ingestd.build.parsing import new_rewriter
from ingestd.build.store import Store
from ingestd.linking.clients import OAuthClients
from ingestd.linking.egress import GuardedTransport
from ingestd.linking.errors import MailboxUnknown
from ingestd.linking.http import HttpLimits, new_http
from ingestd.linking.link import Linking
from ingestd.linking.retry import Waits
from ingestd.linking.unowned import look_into
from ingestd.linking.ways import Way
from ingestd.privacy.closing import Closer
from ingestd.privacy.disconnect import Eraser, EraserTools
from ingestd.privacy.persons import PersonEraser, PersonTools
from ingestd.privacy.revocation import Revoker
from ingestd.records import RevocableRecord
from ingestd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from connectors.gmail_session import GmailTools

log = structlog.get_logger()

_HTTPS = 443
_POSTGRES = 5432
_PERMIT_SECONDS = 30.0


class Outside:
    """The tools that reach other hosts: TLS, the egress guard, OAuth clients, IMAP threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hosts = hosts(settings)
        self.guard = EgressGuard(
            self._allowed(),
            open_to_accounts=self._open_to_accounts(),
            resolve_seconds=settings.egress.resolve_timeout_seconds,
            refused=lambda why: log.error("egress.refused", reason=why),
        )
        linking = settings.linking
        self.clients = OAuthClients(
            self.provider,
            self.new_http,
            self._discovery_hosts,
            waits=Waits(linking.attempts_max, linking.backoff.initial_seconds, linking.backoff.max_seconds),
            limits=HttpLimits(linking.http_timeout_seconds, linking.response_bytes_max),
            discovery_seconds=linking.discovery_seconds,
            threads=linking.threads,
        )
        inbound = settings.inbound
        self.executor = ThreadPoolExecutor(inbound.imap_threads, thread_name_prefix="imap")
        self.imap_places = HostPlaces(
            inbound.imap_threads_per_host_max, inbound.logins_per_host_max, threads=inbound.imap_threads
        )
        self.room = Room(inbound.bytes_max)
        self.room_of_old = Room(settings.backfill.bytes_max)
        # One context a certificate file: a context for each connection costs 25 times the memory.
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._graphs: dict[str, GraphTransport] = {}
        """By certificate file, too: kept connections are shared by all mailboxes."""
        self._gmails: dict[str, GmailTools] = {}
        """By provider: its quota is the project's."""
        self._gmail_executor = ThreadPoolExecutor(settings.inbound.gmail_threads, thread_name_prefix="gmail")
        self._retired: list[GraphTransport] = []

    def provider(self, name: str) -> Provider:
        """Return a provider as it is configured now, also after a reload. Raises KeyError."""
        return self._settings.provider(name)

    def removal_page(self, name: str) -> str | None:
        """Return where a provider's owners take our access away; None where that is not known."""
        return self.provider(name).removal_page if name in self._settings.providers else None

    async def reload(self, settings: Settings) -> None:
        """Go on with changed providers and hosts."""
        self._settings = settings
        self._hosts = hosts(settings)
        self.guard.replace(self._allowed(), self._open_to_accounts())
        self._contexts.clear()
        # Calls may still be under way in them, so they are closed with us.
        self._retired += self._graphs.values()
        self._graphs.clear()
        self._gmails.clear()
        self.clients.forget()
        with contextlib.suppress(TemporaryError):  # `keep_permitting` tries again
            await self.permit_databases()

    def _allowed(self) -> list[tuple[str, int]]:
        return [(one.host, one.port or _HTTPS) for one in self._hosts]

    def _open_to_accounts(self) -> list[tuple[str, int]]:
        return [(one.host, one.port or _HTTPS) for one in allowed_hosts(self._settings)]

    def ssl_context(self, provider: Provider) -> ssl.SSLContext:
        name = str(provider.tls_ca_file or "")
        if name not in self._contexts:
            self._contexts[name] = client_context(provider.tls_ca_file)
        return self._contexts[name]

    def graph(self, provider: Provider) -> GraphTransport:
        """Return what reaches Microsoft Graph's hosts."""
        name = str(provider.tls_ca_file or "")
        if name not in self._graphs:
            self._graphs[name] = GraphTransport(self.guard, self.ssl_context(provider))
        return self._graphs[name]

    async def look_into(self, provider: Provider, address: str, access_token: str) -> None:
        """Ask Microsoft Graph whether a token opens a mailbox. Raises LinkingError where it does not."""
        if provider.graph_url is None:
            raise MailboxUnknown("the provider has no Microsoft Graph")
        wait = self._settings.linking.http_timeout_seconds
        access = GraphAccess(
            provider.graph_url.rstrip("/"), address, connect_seconds=wait, read_seconds=wait, call_seconds=wait
        )
        await look_into(access, self.graph(provider), access_token)

    def gmail(self, provider: Provider) -> GmailTools:
        """Return what the mailboxes that are reached by the Gmail API share."""
        # Imported where it is used: Google's library costs everybody else memory and a slower start.
        from connectors.gmail_mailbox import gmail_tools  # noqa: PLC0415

        if provider.name not in self._gmails:
            self._gmails[provider.name] = gmail_tools(
                ssl_context=self.ssl_context(provider),
                guard=self.guard,
                executor=self._gmail_executor,
                root_url=provider.gmail_url or "",
                units_per_user_minute=provider.gmail_units_per_user_max,
                units_per_project_minute=provider.gmail_units_per_project_max,
            )
        return self._gmails[provider.name]

    async def end_push(self, name: str, record: RevocableRecord, tokens: TokenSource) -> None:
        """Have a provider tell of news in a mailbox no more. Raises KeyError, ConnectorError."""
        provider = self.provider(name)
        if record.subscription_id and provider.graph_url is not None:
            access = GraphAccess(base_url=provider.graph_url.rstrip("/"))
            transport = self.graph(provider)
            subscriptions = graph_subscriptions(access, tokens, transport=transport, limiter=MailboxLimiter())
            await subscriptions.delete(record.subscription_id)
        elif record.read_way == Way.GMAIL and provider.gmail_push is not None:
            from connectors.gmail_mailbox import GmailAccess, gmail_stop_watch  # noqa: PLC0415  # as in `gmail`

            # Its name is that of a budget, of which it needs next to nothing.
            await gmail_stop_watch(GmailAccess(login="forgotten"), tokens, tools=self.gmail(provider))

    async def permit_databases(self) -> None:
        """Let connections to the databases pass the audit hook, at the addresses that they have now.

        Their drivers connect by themselves, so nothing else resolves them. Raises TemporaryError.
        """
        for one in self._hosts:
            if one.why.startswith(("storage.database", "storage.keystore")):
                await asyncio.to_thread(self.guard.permit, one.host, one.port or _POSTGRES)

    async def keep_permitting(self) -> None:
        """Follow databases that move to another address, until cancelled."""
        while True:
            await asyncio.sleep(_PERMIT_SECONDS)
            with contextlib.suppress(TemporaryError):  # the addresses known so far go on to count
                await self.permit_databases()

    async def close(self) -> None:
        await self.clients.close()
        for transport in (*self._graphs.values(), *self._retired):
            await transport.aclose()
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._gmail_executor.shutdown(wait=False, cancel_futures=True)

    def new_http(self, provider: Provider) -> httpx2.AsyncClient:
        """Return a client for a provider's OAuth endpoints, which the caller closes."""
        return new_http(transport=GuardedTransport(self.guard, self.ssl_context(provider)))

    def _discovery_hosts(self, provider: Provider) -> frozenset[str]:
        """Return the hosts that the operator named for a provider, and those allowed beside them."""
        prefix = f"providers.{provider.name}."
        named = {one.host for one in self._hosts if prefix in one.why or "egress.allow" in one.why}
        authorize = provider.oauth.authorize_url  # opened by browsers only, so not among the hosts
        return frozenset(named | ({urlsplit(authorize).hostname or ""} if authorize else set()))


def new_metrics() -> Metrics:
    return Metrics(version=version("ingestd"), python_version=platform.python_version())


@dataclass(frozen=True, slots=True)
class Forgetters:
    """What brings the forgetting of mailboxes, accounts and persons to its end."""

    eraser: Eraser
    closer: Closer
    revoker: Revoker
    persons: PersonEraser


def new_forgetters(store: Store, outside: Outside, metrics: Metrics) -> Forgetters:
    revoker = Revoker(store.keystore, store.keys, outside.clients, outside.removal_page, outside.end_push)
    tools = EraserTools(store.content, store.keystore, store.blobs, store.keys, metrics, revoker.revoke)
    return Forgetters(Eraser(tools), Closer(tools), revoker, new_person_eraser(store))


def new_person_eraser(store: Store) -> PersonEraser:
    tools = PersonTools(store.content, store.keystore, store.blobs, store.keys, lambda: new_rewriter(store.settings))
    return PersonEraser(tools)


def new_linking(store: Store, outside: Outside, current: Callable[[], Settings] | None = None) -> Linking:
    """`current` returns the settings in force; without it they stay those of the store."""
    return Linking(
        store.content,
        store.keys,
        outside.clients,
        outside.provider,
        public_url=store.settings.api.public_url,
        flow_seconds=store.settings.linking.flow_seconds,
        flows_max=store.settings.linking.flows_max,
        newest_first=store.settings.backfill.order == "newest",
        look_into=outside.look_into,
        locations=lambda: (current() if current else store.settings).locations,
    )
