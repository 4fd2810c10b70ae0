"""The composition root: the only place that builds objects, and the daemon that runs them.

Everything else gets what it needs as arguments. The command line builds a `Store`, which
is enough to read, to reply and to disconnect; the daemon builds all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import signal
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
import structlog

from config import Provider, Settings, hosts
from connectors.base import ReadPlan, StartFrom, TemporaryError
from connectors.egress import EgressGuard, install_audit_hook
from connectors.imap_mailbox import ImapAccess, ImapEndpoint, SmtpEndpoint, imap_reader, smtp_sender
from connectors.tls import client_context
from ingestd.api.edge import Edge, Limits
from ingestd.desk import Desk
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.lease import Lease
from ingestd.inbound.parser import ParserPool
from ingestd.inbound.reader import MailboxReader, ReaderTools
from ingestd.inbound.supervisor import Supervisor
from ingestd.inbound.work import HeldMailbox
from ingestd.keys import KeyRing
from ingestd.linking.browser import BrowserLinking
from ingestd.linking.clients import OAuthClients
from ingestd.linking.egress import GuardedTransport
from ingestd.linking.http import HttpLimits, new_http
from ingestd.linking.keeper import MailboxTokens, TokenKeeper
from ingestd.linking.link import Linking
from ingestd.linking.retry import Waits
from ingestd.lock import StoreLock
from ingestd.mail.addresses import normalize
from ingestd.maintenance import Maintenance
from ingestd.outbound.sender import MailboxOutbox, SenderTools, SentPolicy
from ingestd.privacy.disconnect import Eraser, EraserTools
from ingestd.privacy.positions import reconcile
from ingestd.privacy.revocation import Revoker
from ingestd.records import MailboxRecord
from ingestd.telemetry import hooks, logs
from ingestd.telemetry.health import Health
from ingestd.telemetry.metrics import Metrics
from ingestd.wakes import Bell, watch
from storage import leases, mailboxes, schema
from storage.blobs import FolderBlobs
from storage.database import Database, DatabaseLimits, open_database
from storage.leases import Held
from storage.sealing import MasterKey
from storage.types import new_id

log = structlog.get_logger()

_HTTPS = 443
_POSTGRES = 5432
_PERMIT_SECONDS = 30.0
_CHECKS = ("database", "keystore", "lease")


@dataclass(frozen=True, slots=True)
class Store:
    """The databases, blobs and keys: all that reading, replying and disconnecting need."""

    settings: Settings
    content: Database
    keystore: Database
    blobs: FolderBlobs
    keys: KeyRing
    desk: Desk

    async def check_schema(self) -> None:
        """Raises SchemaMismatch, StorageUnavailable."""
        await self.content.read(None, schema.check, schema.CONTENT)
        await self.keystore.read(None, schema.check, schema.KEYSTORE)


@contextlib.asynccontextmanager
async def open_store(settings: Settings, *, check: bool = True) -> AsyncIterator[Store]:
    """Open the store; close it at the end. With `check`, raises SchemaMismatch for another schema than ours."""
    storage = settings.storage
    limits = DatabaseLimits(
        busy_timeout_seconds=storage.busy_timeout_seconds,
        pool_size=storage.pool_size,
        attempts_max=storage.transaction_attempts_max,
        backoff_initial_seconds=storage.transaction_backoff.initial_seconds,
        backoff_max_seconds=storage.transaction_backoff.max_seconds,
        statement_seconds_max=storage.statement_seconds_max,
    )
    content = open_database(storage.database, schema.METADATA[schema.CONTENT], limits=limits)
    keystore = open_database(storage.keystore, schema.METADATA[schema.KEYSTORE], limits=limits)
    keys = KeyRing(keystore, MasterKey(settings.keys.master_key_bytes()))
    blobs = FolderBlobs(storage.blobs_dir)
    desk = Desk(content, blobs, keys, blob_bytes_min=storage.blob_bytes_min)
    store = Store(settings, content, keystore, blobs, keys, desk)
    try:
        if check:
            await store.check_schema()
        yield store
    finally:
        await content.close()
        await keystore.close()


def new_metrics() -> Metrics:
    return Metrics(version=version("ingestd"), python_version=platform.python_version())


class Outside:
    """The tools that reach other hosts: TLS, the egress guard, OAuth clients, IMAP threads."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = hosts(settings)
        self.guard = EgressGuard(
            [(one.host, one.port or _HTTPS) for one in self._hosts],
            resolve_seconds=settings.egress.resolve_timeout_seconds,
        )
        linking = settings.linking
        self.clients = OAuthClients(
            settings.provider,
            self._http,
            self._discovery_hosts,
            waits=Waits(linking.attempts_max, linking.backoff.initial_seconds, linking.backoff.max_seconds),
            limits=HttpLimits(linking.http_timeout_seconds, linking.response_bytes_max),
            discovery_seconds=linking.discovery_seconds,
        )
        self.executor = ThreadPoolExecutor(settings.inbound.imap_threads, thread_name_prefix="imap")
        # One context a certificate file: a context for each connection costs 25 times the memory.
        self._contexts: dict[str, ssl.SSLContext] = {}

    def ssl_context(self, provider: Provider) -> ssl.SSLContext:
        name = str(provider.tls_ca_file or "")
        if name not in self._contexts:
            self._contexts[name] = client_context(provider.tls_ca_file)
        return self._contexts[name]

    async def permit_databases(self) -> None:
        """Let connections to the databases pass the audit hook, at the addresses that they have now.

        Their drivers connect by themselves, so nothing else resolves them. Raises TemporaryError.
        """
        for one in self._hosts:
            if one.why.startswith("storage."):
                await asyncio.to_thread(self.guard.permit, one.host, one.port or _POSTGRES)

    async def keep_permitting(self) -> None:
        """Follow databases that move to another address, until cancelled."""
        while True:
            await asyncio.sleep(_PERMIT_SECONDS)
            with contextlib.suppress(TemporaryError):  # the addresses known so far go on to count
                await self.permit_databases()

    async def close(self) -> None:
        await self.clients.close()
        self.executor.shutdown(wait=False, cancel_futures=True)

    def _http(self, provider: Provider) -> httpx2.AsyncClient:
        return new_http(transport=GuardedTransport(self.guard, self.ssl_context(provider)))

    def _discovery_hosts(self, provider: Provider) -> frozenset[str]:
        """Return the hosts that the operator named for a provider, and those allowed beside them."""
        prefix = f"providers.{provider.name}."
        named = {one.host for one in self._hosts if prefix in one.why or "egress.allow" in one.why}
        authorize = provider.oauth.authorize_url  # opened by browsers only, so not among the hosts
        return frozenset(named | ({urlsplit(authorize).hostname or ""} if authorize else set()))


def new_eraser(store: Store, outside: Outside, metrics: Metrics) -> tuple[Eraser, Revoker]:
    revoker = Revoker(store.keystore, store.keys, outside.clients)
    tools = EraserTools(store.content, store.keystore, store.blobs, store.keys, metrics, revoker.revoke)
    return Eraser(tools), revoker


def new_linking(store: Store, outside: Outside) -> Linking:
    return Linking(
        store.content,
        store.keys,
        outside.clients,
        public_url=store.settings.api.public_url,
        flow_seconds=store.settings.linking.flow_seconds,
        flows_max=store.settings.linking.flows_max,
    )


class Mailboxes:
    """Builds the work on a mailbox that this process has just taken."""

    def __init__(self, store: Store, outside: Outside, parser: ParserPool, metrics: Metrics, lease: Lease) -> None:
        settings = store.settings
        self._store = store
        self._outside = outside
        self._keeper = TokenKeeper(
            store.content,
            store.keys,
            outside.clients,
            metrics,
            refresh_ahead_seconds=settings.linking.refresh_ahead_seconds,
        )
        self._reader_tools = ReaderTools(
            content=store.content,
            blobs=store.blobs,
            parser=parser,
            metrics=metrics,
            settings=settings.inbound,
            blob_bytes_min=settings.storage.blob_bytes_min,
            batches=asyncio.Semaphore(settings.inbound.batches_max),
        )
        self._sender_tools = SenderTools(
            content=store.content,
            blobs=store.blobs,
            metrics=metrics,
            settings=settings.outbound,
            lease=lease,
            sends=asyncio.Semaphore(settings.outbound.sends_max),
        )

    async def begin(self, held: Held) -> HeldMailbox:
        """Raises KeyError for a provider that is not configured, StorageError."""
        mailbox = await self._store.content.read(held.account_id, mailboxes.get_mailbox, held.mailbox_id)
        key = await self._store.keys.mailbox(held.account_id, held.mailbox_id)
        record = key.open_record(MailboxRecord.place(held.mailbox_id), mailbox.sealed, MailboxRecord)
        provider = self._store.settings.provider(mailbox.provider)
        defaults = self._store.settings.mailbox_defaults
        context = MailboxContext(
            account_id=held.account_id,
            mailbox_id=held.mailbox_id,
            key=key,
            record=record,
            contact_forms=frozenset(map(normalize, defaults.contact_forms)),
            authserv_ids=frozenset(name.lower() for name in provider.authserv_ids),
        )
        tokens = self._keeper.source(held.account_id, held.mailbox_id, mailbox.provider)
        access = self._access(record.login, provider)
        reader = imap_reader(
            access,
            tokens,
            ssl_context=self._outside.ssl_context(provider),
            guard=self._outside.guard,
            executor=self._outside.executor,
            plan=self._plan(mailbox),
        )
        return HeldMailbox(
            MailboxReader(held, context, reader, self._reader_tools),
            self._outbox(held, context, access, tokens, provider),
            lambda: self._forget(held.mailbox_id),
        )

    def _forget(self, mailbox_id: UUID) -> None:
        self._store.keys.forget(mailbox_id)
        self._keeper.forget(mailbox_id)

    def _outbox(
        self, held: Held, context: MailboxContext, access: ImapAccess, tokens: MailboxTokens, provider: Provider
    ) -> MailboxOutbox:
        sender = smtp_sender(
            access,
            tokens,
            ssl_context=self._outside.ssl_context(provider),
            guard=self._outside.guard,
            executor=self._outside.executor,
        )
        policy = SentPolicy(provider.sent_copy, provider.sent_wait_seconds)
        return MailboxOutbox(held, context.key, sender, policy, self._sender_tools)

    def _plan(self, mailbox: mailboxes.Mailbox) -> ReadPlan:
        inbound = self._store.settings.inbound
        return ReadPlan(
            folders=self._store.settings.mailbox_defaults.folders,
            start_from=StartFrom(mailbox.start_from),
            start_days=mailbox.start_days,
            start_at=mailbox.created_at,
            batch_messages_max=inbound.batch_messages_max,
            batch_bytes_max=inbound.batch_bytes_max,
            message_bytes_max=inbound.message_bytes_max,
        )

    def _access(self, login: str, provider: Provider) -> ImapAccess:
        inbound, outbound = self._store.settings.inbound, self._store.settings.outbound
        roles = {"sent": provider.folders.sent, "trash": provider.folders.trash, "junk": provider.folders.spam}
        return ImapAccess(
            login=login,
            imap=ImapEndpoint(provider.imap.host, provider.imap.port, provider.imap.tls),
            smtp=SmtpEndpoint(provider.smtp.host, provider.smtp.port, provider.smtp.tls),
            role_folders={role: folder for role, folder in roles.items() if folder},
            mechanisms=provider.mechanisms,
            connect_seconds=inbound.connect_timeout_seconds,
            read_seconds=inbound.read_timeout_seconds,
            smtp_connect_seconds=outbound.connect_timeout_seconds,
            smtp_command_seconds=outbound.command_timeout_seconds,
            dot_seconds=outbound.dot_timeout_seconds,
            idle_renew_seconds=inbound.idle_renew_seconds,
            idle_renew_jitter=inbound.idle_renew_jitter,
            poll_seconds=inbound.poll_seconds,
            connection_idle_seconds=outbound.connection_idle_seconds,
        )


class Daemon:
    """All of it, in one TaskGroup: what fails in one mailbox ends there, what fails here ends the daemon."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._serving = asyncio.Event()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Begin to drain, as SIGTERM does."""
        self._stop.set()

    async def run(self) -> None:
        """Run until SIGTERM, SIGINT or `stop`. Raises StorageError, ListenFailed where it cannot begin."""
        logs.configure(self._settings.logging.format, self._settings.logging.level)
        hooks.install()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        async with contextlib.AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(self._settings))
            if (path := store.content.sqlite_path) is not None:
                stack.enter_context(StoreLock(path))
                await store.content.transaction(None, leases.clear)
            await reconcile(store.content, store.keystore)
            await self._work(store, stack)
        log.info("daemon.stopped")

    async def _work(self, store: Store, stack: contextlib.AsyncExitStack) -> None:
        settings, metrics = self._settings, new_metrics()
        outside = Outside(settings)
        stack.push_async_callback(outside.close)
        await outside.permit_databases()
        install_audit_hook(outside.guard)
        parser = ParserPool(
            processes=settings.parser.processes,
            seconds_max=settings.parser.seconds_max,
            memory_bytes_max=settings.parser.memory_bytes_max,
            message_bytes_max=settings.inbound.message_bytes_max,
            messages_max=settings.parser.messages_max,
        )
        await stack.enter_async_context(parser)
        lease = Lease(new_id(), settings.inbound.lease_seconds)
        bell, health = Bell(), Health(_CHECKS)
        supervisor = Supervisor(
            content=store.content,
            lease=lease,
            settings=settings.inbound,
            bell=bell,
            health=health,
            begin=Mailboxes(store, outside, parser, metrics, lease).begin,
        )
        eraser, revoker = new_eraser(store, outside, metrics)
        maintenance = Maintenance(
            content=store.content,
            keystore=store.keystore,
            blobs=store.blobs,
            keys=store.keys,
            eraser=eraser,
            revoker=revoker,
            bell=bell,
            health=health,
            metrics=metrics,
        )
        await supervisor.register()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(watch(store.content, bell, poll_seconds=settings.storage.data_version_poll_seconds)),
                group.create_task(outside.keep_permitting()),
                group.create_task(health.run()),
                group.create_task(supervisor.run()),
                group.create_task(maintenance.run()),
                group.create_task(self._serve(store, outside, metrics, health)),
            ]
            try:
                await self._serving.wait()
                log.info("daemon.started", version=version("ingestd"), worker_id=lease.worker_id)
                await self._stop.wait()
                log.info("daemon.stopping")
                health.stopping()
            finally:
                # Also where a task of the group failed: the mailboxes go to whoever comes next.
                await supervisor.drain(settings.shutdown_seconds)
            for task in tasks:
                task.cancel()

    async def _serve(self, store: Store, outside: Outside, metrics: Metrics, health: Health) -> None:
        # Here, as they cost a quarter of the time that a command of the command line takes to start.
        from ingestd.api.app import create_app  # noqa: PLC0415
        from ingestd.api.server import ServerLimits, serve  # noqa: PLC0415

        api = self._settings.api
        edge = Edge(
            health=health,
            metrics=metrics.render if self._settings.metrics.enabled else None,
            linking=BrowserLinking(new_linking(store, outside)),
            public_url=api.public_url,
            link_seconds=int(self._settings.linking.flow_seconds),
            limits=Limits(body_bytes_max=api.request_bytes_max, request_seconds_max=api.request_seconds_max),
        )
        limits = ServerLimits(connections_max=api.requests_max)
        await serve(
            create_app(edge), api.listen_host, api.listen_port, started=lambda _port: self._serving.set(), limits=limits
        )
