"""Which mailboxes this process works on, and a task for each.

The process shows by its heartbeat that it lives, takes its share of the mailboxes that
nobody holds, and stops at once with those that it holds no more. What goes wrong in one
mailbox's task ends that task alone; it is started again after a pause.

A mailbox that goes to another process is let go of first, and given back then: the
other one never waits for us, and finds nothing under way. When a process joins, the
others give back few at a time, as each change of hands costs a login; a process that
ends gives back all that is idle at once, and the rest as its sends end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog

from config import Inbound
from ingestd.inbound.lease import Lease
from ingestd.inbound.running import MailboxWork, Running
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
_STARTS_MAX = 16
"""Mailboxes whose work is begun at the same time."""
_HANDOVERS_MAX = 50
"""Mailboxes given back at once to a process that has joined."""
_HANDOVER_SECONDS = 1.0
"""How long until the next of them: those are to be read again by then."""
_ENDS_MAX = 200
"""Mailboxes that are given back together at the end of a process."""
_SPREAD_SECONDS = 0.5
"""The processes that wait for one's lease to run out do not look all at once."""
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
    _running: dict[UUID, Running] = field(default_factory=dict)
    _outdated: list[Running] = field(default_factory=list)
    _stopping: bool = False
    _handed_at: float = float("-inf")

    async def register(self) -> None:
        """Take the lease. Raises StorageUnavailable."""
        asked_at = self.lease.asking()
        await self.content.transaction(None, leases.register, self.lease.worker_id, self.settings.mailboxes_max)
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
        """Stop reading, let sends in flight end within `seconds`, and hand every mailbox over as soon as it can be."""
        self._stopping = True
        with contextlib.suppress(StorageUnavailable):
            await self.content.transaction(None, leases.stand_down, self.lease.worker_id)
        for one in self._running.values():
            one.reading.cancel()
            if one.backfilling:
                one.backfilling.cancel()
        sending = [one for one in self._running.values() if one.is_sending()]
        idle = [one for one in self._running.values() if not one.is_sending()]
        groups = [idle[at : at + _ENDS_MAX] for at in range(0, len(idle), _ENDS_MAX)]
        await asyncio.gather(*map(self._hand_over, groups), *(self._hand_over([one], seconds) for one in sending))
        with contextlib.suppress(StorageUnavailable):
            await self.content.transaction(None, leases.release, self.lease.worker_id)

    async def _hand_over(self, group: Sequence[Running], seconds: float = 0.0) -> None:
        """End the work on some mailboxes, their sends within `seconds`, and give them to whoever has room."""
        if sending := [one.sending for one in group if one.sending]:
            await asyncio.wait(sending, timeout=seconds)
        await asyncio.gather(*(self._end(one) for one in group))
        with contextlib.suppress(StorageUnavailable):  # then they are free when the lease runs out
            await self.content.transaction(None, leases.give_back, self.lease.worker_id, [one.held for one in group])

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
                pause = _CLAIM_SECONDS
                try:
                    pause = await self._sync()
                except StorageUnavailable as error:
                    log.warning("storage.unavailable", exc_info=error)
                await listener.wait(pause)

    async def _sync(self) -> float:
        """Take what is ours to take, begin and end what has changed; return when to look again."""
        if self._stopping:
            return _CLAIM_SECONDS
        known = len(self._running), sum(one.held.fence for one in self._running.values())
        look = await self.content.transaction(
            None, leases.look, self.lease.worker_id, self.settings.lease_seconds, _CLAIMS_MAX, known
        )
        if look.held is not None or self._outdated:
            await self._follow([one.held for one in self._running.values()] if look.held is None else look.held)
        if look.above:
            return await self._make_room(look.above)
        if look.more:
            return 0.0
        if look.next_end is None:
            return _CLAIM_SECONDS
        spread = random.random() * _SPREAD_SECONDS  # noqa: S311  (jitter, not a secret)
        return min(_CLAIM_SECONDS, max(look.next_end.total_seconds(), 0.0) + spread)

    async def _follow(self, held: Sequence[Held]) -> None:
        """Begin and end work, so that it is done on what is held, as it is now."""
        places = {one.mailbox_id: one for one in held}
        gone = [one for mailbox_id, one in self._running.items() if places.get(mailbox_id) != one.held]
        outdated, self._outdated = [one for one in self._outdated if one not in gone], []
        await asyncio.gather(*(self._let_go(one) for one in gone), *(self._renew(one) for one in outdated))
        await self._start_all([one for mailbox_id, one in places.items() if mailbox_id not in self._running])

    async def _make_room(self, above: int) -> float:
        """Give some mailboxes back to a process that has joined; return when it is time for the next."""
        wait = self._handed_at + _HANDOVER_SECONDS - time.monotonic()
        if wait > 0:
            return wait
        idle_first = sorted(self._running.values(), key=Running.is_busy)
        group = idle_first[: min(above, _HANDOVERS_MAX)]
        log.info("mailbox.handed_over", mailboxes=len(group))
        for one in group:
            one.work.stop_sending()
        await self._hand_over(group, _LET_GO_SECONDS)
        self._handed_at = time.monotonic()
        return _HANDOVER_SECONDS

    async def _start_all(self, wanted: Sequence[Held]) -> None:
        places = asyncio.Semaphore(_STARTS_MAX)

        async def start(held: Held) -> None:
            async with places:
                await self._start(held)

        done = await asyncio.gather(*map(start, wanted), return_exceptions=True)
        for error in done:
            if error is not None:
                raise error

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
        if self._stopping:
            await work.close()
            return
        log.info("mailbox.claimed", mailbox_id=str(held.mailbox_id), fence=held.fence, replies=lost)
        reading = asyncio.create_task(self._guarded(held, work))
        self._running[held.mailbox_id] = Running(held, work, reading)
        self.bell.ring(["outbox", "backfills", "pushes"])

    async def _guarded(self, held: Held, work: MailboxWork) -> None:
        while True:
            try:
                return await work.read()
            except Exception as error:
                log.exception("task.failed", component="mailbox", mailbox_id=held.mailbox_id, exc_info=error)
            await asyncio.sleep(_CRASH_PAUSE_SECONDS)

    async def _let_go(self, one: Running) -> None:
        """End the work on a mailbox that was paused, is being disconnected, or is somebody else's."""
        one.work.stop_sending()
        await self._renew(one, _LET_GO_SECONDS)

    async def _renew(self, one: Running, seconds: float = _RENEW_SECONDS) -> None:
        """End the work on a mailbox that stays ours. A send that is cut off would be one of unknown outcome."""
        one.reading.cancel()
        if one.sending:
            await asyncio.wait([one.sending], timeout=seconds)
        await self._end(one)

    async def _end(self, one: Running) -> None:
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
        if self._stopping or one is None or one.held != held or one.is_sending():
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
        """Wake those that wait for mail where others have made edits due; they look by themselves, too."""
        with self.bell.subscribe("edits") as listener:
            while True:
                try:
                    due = await self.content.read(
                        None, edits.due_by_others, self.lease.worker_id, limit=_EDITS_MAILBOXES
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
