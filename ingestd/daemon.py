"""The daemon: everything that is built in `ingestd.build`, run in one loop until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib.metadata import version

import structlog

from config import ConfigError, Settings, plan_reload
from connectors.egress import install_audit_hook
from ingestd.api.edge import Edge, Limits
from ingestd.build.mailboxes import Mailboxes
from ingestd.build.outside import Outside, new_eraser, new_linking, new_metrics
from ingestd.build.parsing import new_parser
from ingestd.build.store import Store, open_store
from ingestd.inbound.lease import Lease
from ingestd.inbound.supervisor import Supervisor
from ingestd.linking.browser import BrowserLinking
from ingestd.lock import StoreLock
from ingestd.maintenance import Maintenance
from ingestd.privacy.positions import reconcile
from ingestd.telemetry import hooks, logs
from ingestd.telemetry.health import Health
from ingestd.telemetry.metrics import Metrics
from ingestd.telemetry.notify import Notifier
from ingestd.wakes import Bell, watch
from storage import leases
from storage.types import new_id

log = structlog.get_logger()

EXIT_KILLED = 1
"""Exit status after a second SIGTERM."""
_CHECKS = ("database", "keystore", "lease")


class Daemon:
    """All of it, in one TaskGroup: what fails in one mailbox ends there, what fails here ends the daemon."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        """`read` reads the configuration again, at SIGHUP; it raises ConfigError where that is wrong."""
        self._settings = settings
        self._read = read
        self._serving = asyncio.Event()
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._notifier = Notifier.from_environment()

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
        parser = new_parser(settings, processes=settings.parser.processes, replaced=metrics.parser_replaced)
        await stack.enter_async_context(parser)
        lease = Lease(new_id(), settings.inbound.lease_seconds)
        bell, health = Bell(), Health(_CHECKS)
        metrics.watch_parser_queue(new=lambda: parser.waiting(live=True), old=lambda: parser.waiting(live=False))
        metrics.watch_health(health.checks)
        metrics.watch_disks(store.folders())
        supervisor = Supervisor(
            content=store.content,
            lease=lease,
            settings=settings.inbound,
            bell=bell,
            health=health,
            begin=Mailboxes(store, outside, parser, metrics, lease).begin,
        )

        async def apply(changed: Settings) -> None:
            await outside.reload(changed)
            supervisor.rebuild(Mailboxes(replace(store, settings=changed), outside, parser, metrics, lease).begin)

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
            event_days=lambda: self._settings.events.keep_days,
        )
        await supervisor.register()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(watch(store.content, bell, poll_seconds=settings.storage.data_version_poll_seconds)),
                group.create_task(outside.keep_permitting()),
                group.create_task(health.run()),
                group.create_task(self._notifier.keep_alive(lambda: health.livez()[0])),
                group.create_task(supervisor.run()),
                group.create_task(maintenance.run()),
                group.create_task(self._serve(store, outside, metrics, health, bell)),
                group.create_task(self._reloading(apply)),
            ]
            try:
                await self._serving.wait()
                log.info("daemon.started", version=version("ingestd"), worker_id=lease.worker_id)
                self._notifier.ready("running")
                await self._stop.wait()
                log.info("daemon.stopping")
                self._notifier.stopping("finishing what is under way")
                health.stopping()
            finally:
                # Also where a task of the group failed: the mailboxes go to whoever comes next.
                await supervisor.drain(settings.shutdown_seconds)
            for task in tasks:
                task.cancel()

    async def _reloading(self, apply: Callable[[Settings], Awaitable[None]]) -> None:
        """At each SIGHUP, take over what a running process can, and say what it cannot."""
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            try:
                plan = plan_reload(self._settings, await asyncio.to_thread(self._read))
                if plan.applied:
                    await apply(plan.settings)
            except ConfigError as error:
                log.error("config.refused", exc_info=error)  # noqa: TRY400  (its text may hold what the file holds)
                self._notifier.ready("running; the changed configuration was refused")
                continue
            self._settings = plan.settings
            logs.configure(plan.settings.logging.format, plan.settings.logging.level)
            log.info("config.reloaded", settings=plan.applied)
            if plan.kept:
                log.warning("config.kept", settings=plan.kept)
            self._notifier.ready("running")

    async def _serve(self, store: Store, outside: Outside, metrics: Metrics, health: Health, bell: Bell) -> None:
        # Here, as they cost a quarter of the time that a command of the command line takes to start.
        from ingestd.api.app import create_app  # noqa: PLC0415
        from ingestd.api.server import ServerLimits, serve  # noqa: PLC0415
        from ingestd.build.backend import new_backend  # noqa: PLC0415

        api, linking = self._settings.api, new_linking(store, outside)
        backend = new_backend(store, linking, bell, lambda: self._settings)
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
            await backend.feed.close()
