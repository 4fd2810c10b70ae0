"""The delivery to one webhook, while this process holds it: the log, through its deliveries, to the receiver.

One loop: write what came of attempts and take more from the log, in one transaction; begin what is due; wait. The
attempts are tasks beside it, and each that ends begins the next. What waits is in memory as well (`lanes`), read once;
whoever changes anything raises the webhook's revision, and then it is read anew.

At least once: a crash, or a lost hold, repeats what was not written, under the same webhook-id.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog
from standardwebhooks import Webhook as Signer

from config import Locations, Webhooks
from ingestd.events import steps
from ingestd.events.catalogue import view_of
from ingestd.events.content import Renderer
from ingestd.events.courier import Answer, Courier
from ingestd.events.envelope import event_body, event_id, headers_of
from ingestd.events.health import Health
from ingestd.events.lanes import Entry, Lanes
from ingestd.events.schedule import retry_delay
from ingestd.inbound.lease import Lease
from ingestd.keys import KeyRing
from ingestd.privacy.residency import is_elsewhere
from ingestd.records import WebhookRecord
from ingestd.telemetry.metrics import Metrics
from storage.database import Database
from storage.deliveries import DeliveryStatus, Outcome
from storage.errors import StorageUnavailable
from storage.webhooks import HeldWebhook, Webhook

log = structlog.get_logger()

_AWAY_SECONDS = 1.0
"""Until the database is asked again that was away."""
_LOOK_SECONDS = 30.0
"""Beneath all wakes."""
_UNWRITTEN_MAX = 500
"""Outcomes in memory; beyond that nothing is sent: a crash would repeat it all."""


@dataclass(frozen=True, slots=True)
class DeliveryTools:
    """What all webhooks of a process share."""

    content: Database
    keys: KeyRing
    renderer: Renderer
    courier: Courier
    settings: Callable[[], Webhooks]
    lease: Lease
    slots: asyncio.Semaphore
    """Deliveries under way, over all webhooks."""
    metrics: Metrics
    locations: Callable[[], Locations] = Locations
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random


@dataclass(slots=True)
class Follower:
    held: HeldWebhook
    tools: DeliveryTools
    revision: int = -1
    _webhook: Webhook | None = None
    _record: WebhookRecord | None = None
    _location: str | None = None
    _is_withheld: bool = False
    """Nothing is delivered, as it leads elsewhere than its account is pinned to."""
    _signers: list[tuple[Signer, datetime | None]] = field(default_factory=list)
    _lanes: Lanes = field(default_factory=Lanes)
    _health: Health = field(default_factory=Health)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)
    _outcomes: list[Outcome] = field(default_factory=list)
    _disable: str | None = None
    _behind: bool = True
    _stopping: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def signal(self) -> None:
        """There are events behind the cursor."""
        self._behind = True
        self._wake.set()

    def changed(self, revision: int) -> None:
        """The webhook has this revision now."""
        if revision != self.revision:
            self._wake.set()
            self.revision = -1

    def look(self) -> None:
        """The configuration has changed."""
        self._wake.set()

    @property
    def in_flight(self) -> int:
        return len(self._sending)

    async def run(self) -> None:
        """Deliver until cancelled, or until this process is not to deliver to it any more. Raises StorageError."""
        try:
            while await self._load():
                await self._work()
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            self._lanes = Lanes()  # those of the cancelled would stay closed

    async def finish(self, seconds: float) -> None:
        """Begin nothing more, and wait for what is under way."""
        self._stopping = True
        if self._sending:
            await asyncio.wait(set(self._sending), timeout=seconds)

    async def flush(self) -> None:
        """Write what came of attempts; for the end, when `run` has ended."""
        if self._outcomes:
            with contextlib.suppress(StorageUnavailable):
                await self._advance(take=0)

    # -- the loop --------------------------------------------------------------------------------

    async def _load(self) -> bool:
        """Read the webhook and what waits for it; return False where it is not ours to deliver to."""
        tools, now = self.tools, self.tools.clock()
        self.revision = -1  # nothing more is begun by what was known of it
        if self._outcomes:  # else they would be read as if nothing had come of them
            await self._advance(take=0)
        loaded = await tools.content.transaction(
            self.held.account_id, steps.load, self.held.webhook_id, tools.lease.worker_id
        )
        if loaded is None:
            return False
        self._webhook, self.revision, self._location = loaded.webhook, loaded.webhook.revision, loaded.location
        key = await tools.keys.account(self.held.account_id)
        place = WebhookRecord.place(self.held.webhook_id)
        self._record = record = key.open_record(place, loaded.webhook.sealed, WebhookRecord)
        self._signers = [(Signer(record.secret), None), *((Signer(one.secret), one.until) for one in record.previous)]
        self._lanes.clear()
        self._lanes.add(Entry(one, now + (one.due_at - loaded.at).total_seconds()) for one in loaded.pending)
        self._health.begin(failing=loaded.webhook.failing_since is not None, now=now)
        self._behind, self._disable = True, None
        return True

    async def _work(self) -> None:
        """Deliver until something about the webhook has changed."""
        while True:
            self._wake.clear()
            room = self._room()
            if self._outcomes or self._disable or (self._behind and room > 0):
                try:
                    if not await self._advance(take=room if self._behind else 0):
                        return
                except StorageUnavailable as error:
                    log.warning("storage.unavailable", exc_info=error)
                    await asyncio.sleep(_AWAY_SECONDS)
                    continue
            if self.revision < 0:
                return
            pause = self._begin_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _room(self) -> int:
        """Return how many events may become deliveries now."""
        settings = self.tools.settings()
        if self._withheld() or self._stopping or (self._health.down and len(self._lanes) > 0):
            return 0
        return min(settings.batch_max, settings.pending_max - len(self._lanes))

    async def _advance(self, *, take: int) -> bool:
        """Write outcomes and take from the log; return False where the webhook is to be read anew.

        Raises StorageUnavailable; then nothing was written, and the outcomes stay.
        """
        tools, written = self.tools, len(self._outcomes)
        outcomes = self._outcomes[:written]
        step = steps.Advance(
            outcomes=outcomes,
            failing=_failing(outcomes),
            recovered=self._health.recovered,
            disable=self._disable,
            disable_after_seconds=tools.settings().disable_after_seconds,
            take=take,
        )
        done = await tools.content.transaction(
            self.held.account_id,
            steps.advance,
            self.held.webhook_id,
            worker_id=tools.lease.worker_id,
            revision=self.revision,
            step=step,
        )
        del self._outcomes[:written]
        if done is None:
            return False
        self._health.recovered = False
        if done.disabled is not None:
            tools.metrics.webhook_disabled(done.disabled)
            log.warning("webhook.disabled", webhook_id=self.held.webhook_id, reason=done.disabled)
            return False
        if take > 0:
            self._behind = done.more
            now = tools.clock()
            self._lanes.add(Entry(one, now) for one in done.taken)
        return True

    def _withheld(self) -> bool:
        """Whether it leads elsewhere than its account is pinned to, as the configuration has it now."""
        if self._record is None:
            return False
        withheld = is_elsewhere(self.tools.locations(), self._location, self._record.url)
        if withheld != self._is_withheld:
            log.warning("webhook.withheld" if withheld else "webhook.released", webhook_id=self.held.webhook_id)
            self._is_withheld = withheld
        return withheld

    # -- sending ---------------------------------------------------------------------------------

    def _begin_due(self) -> float:
        """Begin what is due and may be sent; return the seconds until there may be more."""
        tools, settings = self.tools, self.tools.settings()
        most = 1 if self._health.down else settings.in_flight_per_webhook_max
        while len(self._sending) < most and len(self._outcomes) < _UNWRITTEN_MAX and not self._stopping:
            now = tools.clock()
            if self._withheld():
                return _LOOK_SECONDS
            if not tools.lease.is_ours():
                return _AWAY_SECONDS
            if now < self._health.not_before:
                return self._health.not_before - now
            entry = self._lanes.take(now)
            if entry is None:
                due = self._lanes.next_due()
                return _LOOK_SECONDS if due is None else min(max(due - now, 0.0), _LOOK_SECONDS)
            task = asyncio.create_task(self._send(entry, probe=self._health.down))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return _LOOK_SECONDS

    async def _send(self, entry: Entry, *, probe: bool) -> None:
        try:
            async with self.tools.slots:
                if self._stopping or self._withheld() or not self.tools.lease.is_ours():
                    self._lanes.free(entry)
                    return
                answer = await self._attempt(entry)
            self._settle(entry, answer, probe=probe)
        except StorageUnavailable as error:
            # What it is about could not be read: no attempt was made.
            log.warning("storage.unavailable", exc_info=error)
            entry.due = self.tools.clock() + _AWAY_SECONDS
            self._lanes.free(entry)
        except Exception as error:
            log.exception("task.failed", component="webhook", webhook_id=self.held.webhook_id, exc_info=error)
            self._settle(entry, Answer(None, "internal", 0.0), probe=probe)
        finally:
            self._wake.set()
        # At once, not by the loop: that may be waiting for a slow commit, and the receiver would wait with it.
        self._sending.discard(asyncio.current_task())
        if self.revision >= 0:
            self._begin_due()

    async def _attempt(self, entry: Entry) -> Answer:
        tools, account_id, event = self.tools, self.held.account_id, entry.event
        assert self._webhook is not None
        assert self._record is not None
        content = None
        if self._webhook.content:
            content = await tools.renderer.render(account_id, event, tools.settings().content_text_bytes_max)
        body = event_body(view_of(account_id, event, event.ticket_number), content)
        now = datetime.now(UTC)
        signers = (one for one, until in self._signers if until is None or until > now)
        headers = headers_of(event_id(account_id, event.sequence, event.at), now, body, signers)
        return await tools.courier.post(self._record.url, headers, body)

    def _settle(self, entry: Entry, answer: Answer, *, probe: bool) -> None:
        tools, pending, now = self.tools, entry.pending, self.tools.clock()
        attempts = pending.attempts + 1
        status, delay = DeliveryStatus.DELIVERED, None
        if answer.delivered:
            if self._health.succeeded():
                log.info("webhook.recovered", webhook_id=self.held.webhook_id)
            if self._health.recovered:
                self._lanes.hurry(now)
            self._lanes.done(entry)
        else:
            status, delay = self._put_off(entry, answer, attempts, probe=probe)
        tools.metrics.delivery_ended("failed" if status is DeliveryStatus.PENDING else status.value)
        outcome = Outcome(
            sequence=entry.event.sequence,
            created_at=pending.created_at,
            status=status,
            attempts=attempts,
            code=answer.code,
            reason=answer.reason,
            delay_seconds=delay,
        )
        self._outcomes.append(outcome)

    def _put_off(
        self, entry: Entry, answer: Answer, attempts: int, *, probe: bool
    ) -> tuple[DeliveryStatus, float | None]:
        """Decide what becomes of a delivery that failed; return its status, and when it is tried again."""
        tools, settings, now = self.tools, self.tools.settings(), self.tools.clock()
        asked = answer.retry_after
        retry_after = None if asked is None else min(asked, settings.retry_after_seconds_max)
        first = self._health.failed(
            entry.event.sequence, now, settings.probe, probe=probe, retry_after=retry_after, random=tools.random()
        )
        if first:
            log.warning(
                "webhook.failing", webhook_id=self.held.webhook_id, reason=answer.reason, status_code=answer.code
            )
        delay = retry_delay(
            attempts,
            settings.retry_seconds,
            jitter=settings.retry_jitter,
            random=tools.random(),
            retry_after=retry_after,
        )
        if answer.gone:
            self._disable = steps.GONE
        if delay is None:
            self._disable = self._disable or steps.GIVEN_UP
            self._lanes.done(entry)
            return DeliveryStatus.GIVEN_UP, None
        entry.pending = replace(entry.pending, attempts=attempts)
        entry.due = now + delay
        self._lanes.free(entry)
        return DeliveryStatus.PENDING, delay


def _failing(outcomes: list[Outcome]) -> bool | None:
    """Whether these say that the receiver fails: none of them succeeded."""
    if not outcomes:
        return None
    return all(one.status is not DeliveryStatus.DELIVERED for one in outcomes)
