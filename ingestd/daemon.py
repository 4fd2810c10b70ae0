"""The daemon: everything that is built in `ingestd.build`, run in one loop until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Final

import structlog

from config import ConfigError, Settings, plan_reload
from connectors.egress import install_audit_hook
from ingestd.api.backend import Backend
from ingestd.api.edge import Edge, Limits
from ingestd.build.backend import new_backend
from ingestd.build.looking import looks_of
from ingestd.build.outside import Outside, new_linking, new_metrics
from ingestd.build.parsing import new_parser
from ingestd.build.store import Store, open_store
from ingestd.build.webhooks import new_courier, new_webhook_desk
from ingestd.build.worker import new_worker
from ingestd.garbage import keep_what_was_loaded, return_large_blocks
from ingestd.inbound.notified import Notified
from ingestd.linking.browser import BrowserLinking
from ingestd.linking.link import Linking
from ingestd.lock import StoreLock
from ingestd.privacy.positions import reconcile
from ingestd.privacy.residency import Misplaced, check_stores
from ingestd.pulse import keep_looking
from ingestd.telemetry import hooks, logs
from ingestd.telemetry.health import Health
from ingestd.telemetry.metrics import Metrics
from ingestd.telemetry.notify import Notifier
from ingestd.wakes import Bell, watch
from storage import leases
from storage.database import Database
from storage.errors import StorageUnavailable

log = structlog.get_logger()

EXIT_KILLED = 1
"""Exit status after a second SIGTERM."""
_CHECKS: Final = ("database", "keystore")
_LEASE: Final = "lease"


class Role(enum.StrEnum):
    """What a process does."""

    ALL = "all"
    API = "api"
    """It serves the HTTP API and the linking of mailboxes, and holds no mailbox."""
    WORKER = "worker"
    """It works on mailboxes; over HTTP it has health, metrics and the linking of mailboxes."""


class Daemon:
    """All of it, in one TaskGroup: what fails in one mailbox ends there, what fails here ends the daemon."""

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        role: Role = Role.ALL,
        notifier: Notifier | None = None,
    ) -> None:
        """`read` reads the configuration again, at SIGHUP; it raises ConfigError where that is wrong.

        Without a `notifier` it is systemd that is told, where the environment names it.
        """
        self._settings = settings
        self._read = read
        self._role = role
        self._serving = asyncio.Event()
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._notifier = notifier or Notifier.from_environment()

    def stop(self) -> None:
        """Begin to drain, as SIGTERM does; asked a second time, end at once."""
        if self._stop.is_set():
            log.warning("daemon.killed")
            # As after a crash: the next start finds what was under way. No clean-up could be trusted to be quick.
            os._exit(EXIT_KILLED)
        self._stop.set()

    async def run(self) -> None:
        """Run until SIGTERM, SIGINT or `stop`. Raises StorageError, ListenFailed where it cannot begin."""
        logs.configure(self._settings.logging.format, self._settings.logging.level)
        hooks.install()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        async with contextlib.AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(self._settings))
            await check_stores(store.content, self._settings.locations)
            if self._role is not Role.API:
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
        bell, health = Bell(), Health(_CHECKS if self._role is Role.API else (*_CHECKS, _LEASE))
        metrics.watch_health(health.checks)
        metrics.watch_disks(store.folders())
        # The API parses what is replayed from the quarantine, and that seldom.
        processes = 1 if self._role is Role.API else settings.parser.processes
        parser = new_parser(settings, processes=processes, replaced=metrics.parser_replaced)
        await stack.enter_async_context(parser)
        metrics.watch_parser_queue(new=lambda: parser.waiting(live=True), old=lambda: parser.waiting(live=False))
        courier = new_courier(outside, lambda: self._settings)
        stack.push_async_callback(courier.close)
        worker = backend = None
        if self._role is not Role.API:
            worker = await new_worker(store, outside, courier, metrics, bell, health, parser, lambda: self._settings)
        linking = new_linking(store, outside, lambda: self._settings)
        if self._role is not Role.WORKER:
            webhooks = new_webhook_desk(store, outside, courier, lambda: self._settings)
            looks = looks_of(store, outside, parser, metrics, lambda: self._settings)
            backend = new_backend(store, linking, webhooks, bell, parser, looks, lambda: self._settings)

        async def apply(changed: Settings) -> None:
            await outside.reload(changed)
            if worker is not None:
                worker.rebuild(changed)

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(watch(store.content, bell, poll_seconds=settings.storage.data_version_poll_seconds)),
                group.create_task(outside.keep_permitting()),
                group.create_task(health.run()),
                group.create_task(keep_looking(store.content, store.keystore, health, metrics)),
                group.create_task(self._notifier.keep_alive(lambda: health.livez()[0])),
                group.create_task(self._serve(linking, Notified(store.content, store.keys), metrics, health, backend)),
                group.create_task(self._reloading(store.content, apply)),
            ]
            if worker is not None:
                tasks += [group.create_task(part) for part in worker.parts()]
            try:
                await self._serving.wait()
                keep_what_was_loaded()
                return_large_blocks()
                log.info("daemon.started", version=version("ingestd"), role=self._role.value)
                self._notifier.ready("running")
                await self._stop.wait()
                log.info("daemon.stopping")
                self._notifier.stopping("finishing what is under way")
                health.stopping()
            finally:
                # Also where a task of the group failed: the mailboxes go to whoever comes next.
                if worker is not None:
                    await worker.drain(settings.shutdown_seconds)
            for task in tasks:
                task.cancel()

    async def _reloading(self, content: Database, apply: Callable[[Settings], Awaitable[None]]) -> None:
        """At each SIGHUP, take over what a running process can, and say what it cannot."""
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            try:
                wanted = await asyncio.to_thread(self._read)
                await check_stores(content, wanted.locations)
                plan = plan_reload(self._settings, wanted)
                if plan.applied:
                    await apply(plan.settings)
            except (ConfigError, Misplaced, StorageUnavailable) as error:
                log.error("config.refused", exc_info=error)  # noqa: TRY400  (its text may hold what the file holds)
                self._notifier.ready("running; the changed configuration was refused")
                continue
            self._settings = plan.settings
            logs.configure(plan.settings.logging.format, plan.settings.logging.level)
            log.info("config.reloaded", settings=plan.applied)
            if plan.kept:
                log.warning("config.kept", settings=plan.kept)
            self._notifier.ready("running")

    async def _serve(
        self, linking: Linking, notified: Notified, metrics: Metrics, health: Health, backend: Backend | None
    ) -> None:
        # Here, as they cost a quarter of the time that a command of the command line takes to start.
        from ingestd.api.app import create_app  # noqa: PLC0415
        from ingestd.api.server import ServerLimits, serve  # noqa: PLC0415

        api = self._settings.api
        edge = Edge(
            health=health,
            metrics=metrics.render if self._settings.metrics.enabled else None,
            linking=BrowserLinking(linking),
            public_url=api.public_url,
            link_seconds=int(self._settings.linking.flow_seconds),
            limits=Limits(
                body_bytes_max=api.request_bytes_max,
                request_seconds_max=api.request_seconds_max,
                requests_max=api.requests_max,
            ),
            notifications=notified,
            notifications_per_second_max=api.notifications_per_second_max,
            cors_origins=api.cors_origins,
            backend=backend,
        )
        limits = ServerLimits(connections_max=api.requests_max, stays_max=self._settings.events.streams_max)
        try:
            await serve(
                create_app(edge),
                api.listen_host,
                api.listen_port,
                started=lambda _port: self._serving.set(),
                limits=limits,
            )
        finally:
            if backend is not None:
                await backend.feed.close()
