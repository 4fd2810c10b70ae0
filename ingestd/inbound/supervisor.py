"""Which mailboxes this process works on, and a task for each.

The process shows by its heartbeat that it lives, takes mailboxes that nobody holds, and
stops at once with those that it holds no more. What goes wrong in one mailbox's task
ends that task alone; it is started again after a pause.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import structlog

from config import Inbound
from ingestd.inbound.lease import Lease
from ingestd.outbound import steps
from ingestd.telemetry.health import Health
from ingestd.wakes import Bell
from storage import backfills, due, edits, leases, pushes
from storage.database import Database
from storage.errors import FenceLost, StorageError, StorageUnavailable
from storage.leases import Held

log = structlog.get_logger()

_CLAIM_SECONDS = 5.0
"""How often free mailboxes are looked for, beneath the wakes."""
_CLAIMS_MAX = 200
"""Mailboxes taken in one transaction."""
_CRASH_PAUSE_SECONDS = 30.0
_OUTBOX_SECONDS = 5.0
_RENEW_SECONDS = 30.0
"""How long a changed configuration waits for sends under way."""
_LET_GO_SECONDS = 10.0
"""How long a server may take to say what became of a mail that could not be kept back any more."""
_OUTBOX_MAILBOXES = 500
_EDITS_SECONDS = 60.0
"""Beneath the wakes: what is repeated later is repeated by the mailbox's own task."""
_EDITS_MAILBOXES = 500
_BACKFILL_SECONDS = 5.0
_PUSHES_SECONDS = 60.0
_PUSHES_MAILBOXES = 500


class MailboxWork(Protocol):
    """A mailbox that this process holds: reading it, its old mail, and its outbox."""

    async def read(self) -> None:
        """Read until cancelled, or until there is nothing more to do without a person."""
        ...

    async def backfill(self) -> None:
        """Read old mail until cancelled, or until there is nothing more to do."""
        ...

    def edit_due(self) -> None:
        """People's actions have made edits due: do them soon."""
        ...

    async def send_due(self) -> None: ...

    async def push_due(self) -> None:
        """Look at what the provider told, and have it go on to tell of news."""
        ...

    def stop_sending(self) -> None:
        """Begin no step more, and keep a mail back that can still be kept back."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Running:
    held: Held
    work: MailboxWork
    reading: asyncio.Task[None]
    sending: asyncio.Task[None] | None = None
    backfilling: asyncio.Task[None] | None = None
    pushing: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Supervisor:
    """Runs the mailboxes of one process. Build it in the composition root."""

    content: Database
    lease: Lease
    settings: Inbound
    bell: Bell
    health: Health
    begin: Callable[[Held], Awaitable[MailboxWork]]
    """Builds the work on a mailbox that was just taken."""
    _running: dict[UUID, _Running] = field(default_factory=dict)
    _outdated: list[_Running] = field(default_factory=list)
    _stopping: bool = False

    async def register(self) -> None:
        """Take the lease. Raises StorageUnavailable."""
        asked_at = self.lease.asking()
        await self.content.transaction(None, leases.register, self.lease.worker_id)
        self.lease.renewed(asked_at)
        log.info("lease.taken", worker_id=self.lease.worker_id)

    def rebuild(self, begin: Callable[[Held], Awaitable[MailboxWork]]) -> None:
        """Begin the work on every mailbox anew, with what `begin` builds; sends under way end before."""
        self.begin = begin
        self._outdated = list(self._running.values())
        self.bell.ring(["mailboxes"])

    async def run(self) -> None:
        """Work until cancelled; `register` and `drain` stand before and after."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            group.create_task(self._claim_loop())
            group.create_task(self._outbox_loop())
            group.create_task(self._backfill_loop())
            group.create_task(self._edits_loop())
            group.create_task(self._pushes_loop())

    async def drain(self, seconds: float) -> None:
        """Stop reading, let sends in flight end within `seconds`, and hand every mailbox over."""
        self._stopping = True
        sending = [one.sending for one in self._running.values() if one.sending]
        for one in self._running.values():
            one.reading.cancel()
            if one.backfilling:
                one.backfilling.cancel()
        if sending:
            await asyncio.wait(sending, timeout=seconds)
        await asyncio.gather(*(self._end(one) for one in list(self._running.values())))
        with contextlib.suppress(StorageUnavailable):
            await self.content.transaction(None, leases.release, self.lease.worker_id)

    # -- the lease -------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            try:
                asked_at = self.lease.asking()
                alive = await self.content.transaction(
                    None, leases.heartbeat, self.lease.worker_id, self.settings.lease_seconds
                )
                if alive:
                    self.lease.renewed(asked_at)
                elif not self._stopping:
                    await self._lost()
                self.health.set("lease", good=self.lease.is_ours())
            except StorageUnavailable as error:
                self.health.set("lease", good=False, word="unavailable")
                log.warning("storage.unavailable", exc_info=error)
            await asyncio.sleep(self.settings.heartbeat_seconds)

    async def _lost(self) -> None:
        """Others may hold our mailboxes by now. Their fences stop our writes; stop the work, too."""
        log.warning("lease.lost", mailboxes=len(self._running))
        await asyncio.gather(*(self._end(one) for one in list(self._running.values())))
        await self.content.transaction(None, leases.release, self.lease.worker_id)
        await self.register()

    # -- taking and leaving mailboxes ------------------------------------------------------------

    async def _claim_loop(self) -> None:
        with self.bell.subscribe("mailboxes") as listener:
            while True:
                try:
                    await self._sync()
                except StorageUnavailable as error:
                    log.warning("storage.unavailable", exc_info=error)
                await listener.wait(_CLAIM_SECONDS)

    async def _sync(self) -> None:
        if self._stopping:
            return
        room = min(self.settings.mailboxes_max - len(self._running), _CLAIMS_MAX)
        if room > 0:
            await self.content.transaction(None, leases.claim, self.lease.worker_id, self.settings.lease_seconds, room)
        held = {one.mailbox_id: one for one in await self.content.read(None, leases.list_held, self.lease.worker_id)}
        gone = [one for mailbox_id, one in self._running.items() if held.get(mailbox_id) != one.held]
        outdated, self._outdated = [one for one in self._outdated if one not in gone], []
        await asyncio.gather(*(self._let_go(one) for one in gone), *(self._renew(one) for one in outdated))
        for mailbox_id, one in held.items():
            if mailbox_id not in self._running:
                await self._start(one)

    async def _start(self, held: Held) -> None:
        try:
            lost = await self.content.transaction(held.account_id, steps.recover, held)
            work = await self.begin(held)
        except FenceLost:
            return  # taken away again already
        except StorageUnavailable:
            raise
        except (StorageError, LookupError) as error:
            # This mailbox cannot be worked on (no key, no such provider): the others can.
            log.exception("task.failed", component="mailbox", mailbox_id=held.mailbox_id, exc_info=error)
            return
        log.info("mailbox.claimed", mailbox_id=str(held.mailbox_id), fence=held.fence, replies=lost)
        reading = asyncio.create_task(self._guarded(held, work))
        self._running[held.mailbox_id] = _Running(held, work, reading)
        self.bell.ring(["outbox", "backfills", "pushes"])

    async def _guarded(self, held: Held, work: MailboxWork) -> None:
        while True:
            try:
                return await work.read()
            except Exception as error:
                log.exception("task.failed", component="mailbox", mailbox_id=held.mailbox_id, exc_info=error)
            await asyncio.sleep(_CRASH_PAUSE_SECONDS)

    async def _let_go(self, one: _Running) -> None:
        """End the work on a mailbox that was paused, is being disconnected, or is somebody else's."""
        one.work.stop_sending()
        await self._renew(one, _LET_GO_SECONDS)

    async def _renew(self, one: _Running, seconds: float = _RENEW_SECONDS) -> None:
        """End the work on a mailbox that stays ours. A send that is cut off would be one of unknown outcome."""
        one.reading.cancel()
        if one.sending:
            await asyncio.wait([one.sending], timeout=seconds)
        await self._end(one)

    async def _end(self, one: _Running) -> None:
        if self._running.get(one.held.mailbox_id) is one:
            del self._running[one.held.mailbox_id]
        tasks = [task for task in (one.reading, one.sending, one.backfilling, one.pushing) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await one.work.close()
        log.info("mailbox.released", mailbox_id=str(one.held.mailbox_id), fence=one.held.fence)

    # -- the outbox ------------------------------------------------------------------------------

    async def _outbox_loop(self) -> None:
        with self.bell.subscribe("outbox") as listener:
            while True:
                pause = _OUTBOX_SECONDS
                try:
                    ready, next_in = await self.content.read(
                        None, due.due_mailboxes, self.lease.worker_id, limit=_OUTBOX_MAILBOXES
                    )
                    for held in ready:
                        self._send(held)
                    if next_in is not None:
                        pause = min(pause, next_in.total_seconds())
                except StorageUnavailable as error:
                    log.warning("storage.unavailable", exc_info=error)
                await listener.wait(max(pause, 0.01))

    def _send(self, held: Held) -> None:
        one = self._running.get(held.mailbox_id)
        if self._stopping or one is None or one.held != held or (one.sending and not one.sending.done()):
            return
        one.sending = asyncio.create_task(self._send_guarded(held, one.work))

    async def _send_guarded(self, held: Held, work: MailboxWork) -> None:
        try:
            await work.send_due()
        except Exception as error:
            log.exception("task.failed", component="mailbox", mailbox_id=held.mailbox_id, exc_info=error)
            await asyncio.sleep(_CRASH_PAUSE_SECONDS)
        self.bell.ring(["outbox"])

    # -- edits in the mailbox --------------------------------------------------------------------

    async def _edits_loop(self) -> None:
        """Wake those that wait for mail where an agent's action is to be mirrored; they look by themselves, too."""
        with self.bell.subscribe("edits") as listener:
            while True:
                try:
                    due = await self.content.read(
                        None, edits.due_by_people, self.lease.worker_id, limit=_EDITS_MAILBOXES
                    )
                    for held in due:
                        one = self._running.get(held.mailbox_id)
                        if one is not None and one.held == held:
                            one.work.edit_due()
                except StorageUnavailable as error:
                    log.warning("storage.unavailable", exc_info=error)
                await listener.wait(_EDITS_SECONDS)

    # -- what providers tell ---------------------------------------------------------------------

    async def _pushes_loop(self) -> None:
        with self.bell.subscribe("pushes") as listener:
            while True:
                pause = _PUSHES_SECONDS
                try:
                    ready, next_in = await self.content.read(
                        None,
                        pushes.due_mailboxes,
                        self.lease.worker_id,
                        ahead=timedelta(seconds=pause),
                        limit=_PUSHES_MAILBOXES,
                    )
                    for held in ready:
                        self._push(held)
                    if next_in is not None:
                        pause = min(pause, next_in.total_seconds())
                except StorageUnavailable as error:
                    log.warning("storage.unavailable", exc_info=error)
                await listener.wait(max(pause, 0.01))

    def _push(self, held: Held) -> None:
        one = self._running.get(held.mailbox_id)
        if self._stopping or one is None or one.held != held or (one.pushing and not one.pushing.done()):
            return
        one.pushing = asyncio.create_task(self._push_guarded(held, one.work))

    async def _push_guarded(self, held: Held, work: MailboxWork) -> None:
        try:
            await work.push_due()
        except Exception as error:
            log.exception("task.failed", component="push", mailbox_id=held.mailbox_id, exc_info=error)
            await asyncio.sleep(_CRASH_PAUSE_SECONDS)
        self.bell.ring(["pushes"])

    # -- old mail --------------------------------------------------------------------------------

    async def _backfill_loop(self) -> None:
        with self.bell.subscribe("backfills") as listener:
            while True:
                try:
                    self._backfill(await self.content.read(None, backfills.list_running, self.lease.worker_id))
                except StorageUnavailable as error:
                    log.warning("storage.unavailable", exc_info=error)
                await listener.wait(_BACKFILL_SECONDS)

    def _backfill(self, wanted: Sequence[Held]) -> None:
        """Begin those that are wanted, in their order; end those that are not any more: they may be in a long pause."""
        now_wanted = set(wanted)
        for one in self._running.values():
            if one.backfilling and one.held not in now_wanted:
                one.backfilling.cancel()
        for held in wanted:
            mine = self._running.get(held.mailbox_id)
            if self._stopping or mine is None or mine.held != held:
                continue
            if mine.backfilling is None or mine.backfilling.done():
                mine.backfilling = asyncio.create_task(self._backfill_guarded(held, mine.work))

    async def _backfill_guarded(self, held: Held, work: MailboxWork) -> None:
        try:
            await work.backfill()
        except Exception as error:
            log.exception("task.failed", component="backfill", mailbox_id=held.mailbox_id, exc_info=error)
            await asyncio.sleep(_CRASH_PAUSE_SECONDS)
