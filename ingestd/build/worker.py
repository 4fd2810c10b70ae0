"""What works on mail in a process: its lease, the mailboxes it takes, and maintenance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any

from config import Settings
from ingestd.build.looking import audit_tools
from ingestd.build.mailboxes import Mailboxes
from ingestd.build.outside import Outside, new_forgetters
from ingestd.build.push import GmailPushes
from ingestd.build.store import Store
from ingestd.build.webhooks import new_dispatcher
from ingestd.events.courier import Courier
from ingestd.events.dispatcher import Dispatcher
from ingestd.inbound.audits import Audits
from ingestd.inbound.lease import Lease
from ingestd.inbound.parser import ParserPool
from ingestd.inbound.supervisor import Supervisor
from ingestd.linking.foresight import Foresight
from ingestd.maintenance import Maintenance
from ingestd.privacy.account_retention import AccountRetention, rules_of
from ingestd.privacy.expiry import MessageRetention
from ingestd.privacy.quarantine_expiry import QuarantineRetention
from ingestd.retention import Retention
from ingestd.telemetry.health import Health
from ingestd.telemetry.metrics import Metrics
from ingestd.wakes import Bell
from storage.types import new_id


@dataclass(frozen=True, slots=True)
class Worker:
    store: Store
    outside: Outside
    metrics: Metrics
    lease: Lease
    parser: ParserPool
    supervisor: Supervisor
    maintenance: Maintenance
    dispatcher: Dispatcher
    gmail_pushes: GmailPushes
    audits: Audits

    def parts(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Return what it does, each to be run until it is cancelled."""
        parts = self.supervisor, self.maintenance, self.dispatcher, self.gmail_pushes, self.audits
        return [one.run() for one in parts]

    async def drain(self, seconds: float) -> None:
        """Let what is under way end within `seconds`, and hand everything over."""
        await asyncio.gather(self.supervisor.drain(seconds), self.dispatcher.drain(seconds))

    def rebuild(self, settings: Settings) -> None:
        """Go on with changed settings: the work on every mailbox begins anew."""
        changed = replace(self.store, settings=settings)
        self.gmail_pushes.forget()
        self.dispatcher.look()
        built = Mailboxes(changed, self.outside, self.parser, self.metrics, self.lease, self.gmail_pushes)
        self.supervisor.rebuild(built.begin)
        self.audits.begin = built.audited


async def new_worker(
    store: Store,
    outside: Outside,
    courier: Courier,
    metrics: Metrics,
    bell: Bell,
    health: Health,
    parser: ParserPool,
    current: Callable[[], Settings],
) -> Worker:
    """Build a worker that holds its lease; `current` returns the settings in force. Raises StorageUnavailable."""
    settings = store.settings
    lease = Lease(new_id(), settings.inbound.lease_seconds)
    gmail_pushes = GmailPushes(outside, metrics, settings.linking)
    built = Mailboxes(store, outside, parser, metrics, lease, gmail_pushes)
    supervisor = Supervisor(
        content=store.content,
        lease=lease,
        settings=settings.inbound,
        bell=bell,
        health=health,
        begin=built.begin,
    )
    forgetters = new_forgetters(store, outside, metrics)
    maintenance = Maintenance(
        content=store.content,
        keystore=store.keystore,
        blobs=store.blobs,
        keys=store.keys,
        eraser=forgetters.eraser,
        closer=forgetters.closer,
        revoker=forgetters.revoker,
        persons=forgetters.persons,
        bell=bell,
        metrics=metrics,
        retention=Retention(
            store.content,
            event_days=lambda: current().events.keep_days,
            delivery_days=lambda: current().webhooks.retention_days,
        ),
        foresight=Foresight(store.content, current),
        accounts=AccountRetention(store.content, lambda: rules_of(current())),
        messages=MessageRetention(
            store.content,
            store.blobs,
            lambda: current().retention.solved_days,
            lambda: current().retention.spam_days,
        ),
        quarantine=QuarantineRetention(
            store.content, store.blobs, store.keys, lambda: current().retention.quarantine_days
        ),
        check_seconds=lambda: current().retention.check_seconds,
    )
    dispatcher = new_dispatcher(store, courier, metrics, bell, current, lease.worker_id)
    audits = Audits(
        store.content,
        lease.worker_id,
        settings=lambda: current().inbound,
        tools=lambda: audit_tools(store, parser, current()),
        begin=built.audited,
    )
    await supervisor.register()
    return Worker(store, outside, metrics, lease, parser, supervisor, maintenance, dispatcher, gmail_pushes, audits)
