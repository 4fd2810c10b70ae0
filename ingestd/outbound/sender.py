"""The outbox of one mailbox: take a reply, record the attempt, send, record what came of it.

Each step is one transaction that names the fence. Between the record of an attempt
(`sending`) and the record of its outcome lies the one window in which a crash leaves a
reply that nobody can know about: it becomes `unknown`, and is looked for in Sent.
Filing the Sent copy is a step of its own: its failure never sends again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import structlog

from config import Outbound
from connectors.base import (
    AuthError,
    ConnectorError,
    Envelope,
    FiledCopy,
    PlaceMissing,
    RateLimited,
    Sender,
    SendOutcome,
    SendStatus,
)
from ingestd.inbound.identity import thread_key
from ingestd.inbound.lease import Lease
from ingestd.inbound.states import NEEDS_LINKING, Streak, backoff_seconds, note_sending
from ingestd.outbound import steps
from ingestd.outbound.budgets import Allowance, Spent
from ingestd.outbound.statuses import ReplyEvent
from ingestd.outbound.steps import AttemptResult
from ingestd.raw import RawPlace, load_raw
from ingestd.records import ReplyRecord
from ingestd.telemetry.metrics import Metrics
from storage import due, mailboxes, messages, outbox
from storage.blobs import FolderBlobs
from storage.database import Database
from storage.errors import Conflict, FenceLost, KeyDestroyed, NotFound, StorageUnavailable
from storage.leases import Held
from storage.outbox import Reply, ReplyStatus, SentCopy
from storage.sealing import DataKey

log = structlog.get_logger()

T = TypeVar("T")

_BATCH = 20
_LOOK_AGAIN = timedelta(seconds=2)
"""How soon the provider's own Sent copy is looked for again."""
_KNOWN_AFTER = 3
"""After so many copies that we had to file, none ever found, the provider is not waited for."""


@dataclass(frozen=True, slots=True)
class SentPolicy:
    """Who files the Sent copy of a mailbox: auto, append or never."""

    sent_copy: str
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class SenderTools:
    """What all mailboxes of a process share."""

    content: Database
    blobs: FolderBlobs
    metrics: Metrics
    settings: Outbound
    lease: Lease
    sends: asyncio.Semaphore


class MailboxOutbox:
    """Does what is due for the replies of one held mailbox, one after the other, in their order."""

    def __init__(
        self,
        held: Held,
        key: DataKey,
        sender: Sender,
        policy: SentPolicy,
        tools: SenderTools,
        why_refused: Callable[[], Awaitable[ConnectorError]],
        allowance: Allowance | None = None,
    ) -> None:
        self._held = held
        self._key = key
        self._sender = sender
        self._policy = policy
        self._tools = tools
        self._why_refused = why_refused
        self._allowance = allowance
        """None: nothing limits how much is sent."""
        self._spent: Spent | None = None
        """The budget that replies wait for now."""
        self._streak = Streak()
        self._failures = 0
        """To use the mailbox at all, in a row: what the pauses grow by."""
        self._works = True
        """Whether the mailbox's row says that sending works."""
        self._stopping = False
        self._log = log.bind(mailbox_id=str(held.mailbox_id), fence=held.fence)

    async def run_due(self) -> None:
        """Do every step that is due now. Whatever fails is noted on its reply; never raises for a mailbox's trouble."""
        try:
            await self._hold_back()
            for reply in await self._read(due.list_due, self._held.mailbox_id, limit=_BATCH):
                record = self._open(reply)
                # Waits for the mailbox's own turn, so not among those that send.
                if not await self._admit(reply, record) or self._stopping:
                    return
                async with self._tools.sends:
                    if not await self._step_or_skip(reply, record):
                        return
        except (FenceLost, KeyDestroyed, NotFound):
            self._log.info("mailbox.lost")
        except StorageUnavailable as error:
            self._log.warning("storage.unavailable", exc_info=error)
        finally:
            if self._allowance is not None:
                self._allowance.rest(self._held, self._sender.hang_up)

    async def _hold_back(self) -> None:
        """Let wait what would only meet again what was found out already."""
        mailbox = await self._read(mailboxes.get_mailbox, self._held.mailbox_id)
        self._works = mailbox.send_retry_at is None
        if mailbox.retry_at is not None or not self._works:
            await self._write(steps.hold_back, self._held)

    def stop(self) -> None:
        """Begin nothing more, and keep a mail back that can still be kept back."""
        self._stopping = True

    async def close(self) -> None:
        await self._sender.close()
        if self._allowance is not None:
            self._allowance.end(self._held)

    async def _admit(self, reply: Reply, record: ReplyRecord) -> bool:
        """Return False where what is to be sent has to wait, as the mailbox has sent enough for now."""
        if self._allowance is None or reply.status not in {ReplyStatus.QUEUED, ReplyStatus.DEFERRED}:
            return True
        postponed = await self._allowance.ask(self._tools.content, self._held, len(record.recipients))
        spent = postponed.spent if postponed is not None else None
        if spent is not None and spent is not self._spent:
            self._tools.metrics.budget_spent(spent.value)
            self._log.warning("mailbox.budget_spent", reason=spent.value)
        self._spent = spent
        if postponed is None:
            await self._allowance.connect(self._held)
        return postponed is None

    async def _step_or_skip(self, reply: Reply, record: ReplyRecord) -> bool:
        try:
            return await self._step(reply, record)
        except Conflict:
            return True  # a person decided on it while it was looked for, or a bounce came in: it stands elsewhere now

    async def _step(self, reply: Reply, record: ReplyRecord) -> bool:
        """Do one reply's next step; return False where the mailbox itself is the trouble: the others wait."""
        if reply.status in {ReplyStatus.QUEUED, ReplyStatus.DEFERRED}:
            return await self._send(reply, record)
        if reply.status is ReplyStatus.UNKNOWN:
            return await self._resolve(reply, record)
        return await self._file(reply, record)

    # -- sending ---------------------------------------------------------------------------------

    async def _send(self, reply: Reply, record: ReplyRecord) -> bool:
        content = await self._load(reply)
        taken = await self._write(steps.take, self._held, reply, self._tools.lease.worker_id)
        if taken is None:
            return True
        reply, record = taken, self._open(taken)
        self._tools.metrics.reply_changed(ReplyStatus.SENDING.value)
        try:
            outcome = await self._sender.send(
                Envelope(record.sender, record.recipients, record.token), content, still_ours=self._may_leave
            )
        except ConnectorError as error:
            await self._not_sent(reply, error)
            return False
        except BaseException:
            # Stopped, or a bug, in the middle of it: whether it left is not known. Say so before anything else.
            lost = self._settle(
                reply, ReplyEvent.LOSE, AttemptResult(reply.attempts, "unknown", "stopped"), timedelta()
            )
            await asyncio.shield(asyncio.ensure_future(lost))
            raise
        if outcome.status is SendStatus.DEFERRED and outcome.retry_after is not None and not outcome.of_message:
            await self._throttled(reply, outcome, outcome.retry_after)
            return False
        await self._settle_outcome(reply, record, outcome)
        self._streak, self._failures = Streak(), 0
        if not self._works:
            await self._note_sending(None, None)
        return True

    def _may_leave(self) -> bool:
        return self._tools.lease.is_ours() and not self._stopping

    async def _not_sent(self, reply: Reply, error: ConnectorError) -> None:
        """The mailbox could not be used; it is certain that nothing left.

        That is the mailbox's trouble, not the reply's: it waits, however long that takes.
        """
        await self._give_back(reply, AttemptResult(reply.attempts, "not_sent", "connect"), error)

    async def _throttled(self, reply: Reply, outcome: SendOutcome, seconds: float) -> None:
        """The provider wants no mail at all for a while: no reply is to blame for that either."""
        error = RateLimited(f"{outcome.stage} refused for now ({outcome.code})", retry_after=seconds)
        attempt = AttemptResult(reply.attempts, "not_sent", outcome.stage, outcome.code, outcome.enhanced_code)
        await self._give_back(reply, attempt, error)

    async def _give_back(self, reply: Reply, attempt: AttemptResult, error: ConnectorError) -> None:
        self._streak = self._streak.refused(error)
        self._failures += 1
        pause = _at_least(self._pause(self._failures), error)
        # Before the provider is asked: stopped in the middle of that, the reply would seem to be on its way.
        reason = "login_refused" if isinstance(error, AuthError) else error.trouble.value
        await self._settle(reply, ReplyEvent.RETURN, attempt, pause, reason=reason)
        if isinstance(error, AuthError):
            error = await self._why_refused()
        self._streak = self._streak.judged(error)
        self._tools.metrics.mailbox_failed(error.trouble.value)
        self._log.warning("mailbox.send_failed", exc_info=error, delay_seconds=round(pause.total_seconds(), 1))
        await self._note_sending(error, pause)

    async def _note_sending(self, error: ConnectorError | None, pause: timedelta | None) -> None:
        await self._write(
            note_sending,
            self._held.mailbox_id,
            fence=self._held.fence,
            streak=self._streak,
            error=error,
            retry_in=pause,
        )
        self._works = error is None

    async def _settle_outcome(self, reply: Reply, record: ReplyRecord, outcome: SendOutcome) -> None:
        refused = outcome.refused_recipients
        attempt = AttemptResult(
            reply.attempts,
            outcome.status.value,
            outcome.stage,
            outcome.code,
            outcome.enhanced_code,
            {place: refused[one] for place, one in enumerate(record.recipients) if one in refused},
        )
        if outcome.status is SendStatus.ACCEPTED:
            wanted = self._policy.sent_copy != "never"
            codes = {one: said.code or 0 for one, said in refused.items()}
            sealed = self._seal(reply, msgspec.structs.replace(record, refused=codes))
            await self._settle(
                reply,
                ReplyEvent.ACCEPT,
                attempt,
                timedelta() if wanted else None,
                reason="partly_refused" if refused else None,
                sent_copy=SentCopy.DUE if wanted else SentCopy.NONE,
                sealed=sealed,
            )
        elif outcome.status is SendStatus.REFUSED:
            await self._settle(reply, ReplyEvent.REFUSE, attempt, None, reason=f"refused_at_{outcome.stage}")
        elif outcome.status is SendStatus.DEFERRED:
            await self._defer(reply, record, attempt, f"deferred_at_{outcome.stage}", outcome.retry_after)
        else:
            await self._settle(reply, ReplyEvent.LOSE, attempt, _LOOK_AGAIN, reason=f"lost_at_{outcome.stage}")

    async def _defer(
        self, reply: Reply, record: ReplyRecord, attempt: AttemptResult, reason: str, retry_after: float | None
    ) -> None:
        # Attempts that met the mailbox's own trouble do not count against the reply, nor those before a person's
        # word that it is to be tried again.
        since = record.decisions[-1].at if record.decisions else None
        outcome = SendStatus.DEFERRED.value
        deferred = 1 + await self._read(outbox.count_attempts, reply.message_id, outcome, since=since)
        if deferred >= self._tools.settings.attempts_max:
            await self._settle(reply, ReplyEvent.EXHAUST, attempt, None, reason=reason)
        else:
            pause = max(self._pause(deferred), timedelta(seconds=retry_after or 0.0))
            await self._settle(reply, ReplyEvent.DEFER, attempt, pause, reason=reason)

    # -- finding out -----------------------------------------------------------------------------

    async def _resolve(self, reply: Reply, record: ReplyRecord) -> bool:
        """Look for a reply that may have been sent. Absence proves something only under the design's conditions."""
        looked = True
        try:
            copies = await self._sender.find_in_sent(record.message_id, record.token)
        except PlaceMissing:
            copies, looked = [], False
        except ConnectorError as error:
            pause = _at_least(self._pause(reply.attempts + 1), error)
            await self._settle(reply, ReplyEvent.MISS, None, pause, reason=reply.reason)
            await self._note_lost_grant(error)
            return False
        if copies:
            await self._write(
                steps.find,
                self._held,
                reply,
                sealed=self._seal(reply, _with_copy(record, copies[0])),
                thread_key=self._thread_key(record, copies),
            )
            return True
        settings = self._tools.settings
        absent_for = await self._read_elapsed(reply)
        if absent_for < timedelta(seconds=settings.absence_seconds):
            await self._settle(reply, ReplyEvent.MISS, None, max(_LOOK_AGAIN, absent_for), reason=reply.reason)
            return True
        mailbox = await self._read(mailboxes.get_mailbox, self._held.mailbox_id)
        if looked and settings.resend_when_absent and mailbox.sent_found >= settings.proofs_min:
            await self._settle(reply, ReplyEvent.PROVE_ABSENT, None, timedelta(), reason="absent_from_sent")
        else:
            await self._settle(reply, ReplyEvent.MISS, None, None, reason="needs_person")
        return True

    # -- the Sent copy ---------------------------------------------------------------------------

    async def _file(self, reply: Reply, record: ReplyRecord) -> bool:
        try:
            await self._file_or_wait(reply, record)
        except ConnectorError as error:
            give_up = reply.sent_copy_attempts + 1 >= self._tools.settings.sent_attempts_max
            await self._write(
                steps.postpone_copy,
                self._held,
                reply,
                due_in=_at_least(self._pause(reply.sent_copy_attempts + 1), error),
                failed=True,
                give_up=give_up,
            )
            self._log.warning("sent_copy.failed", message_id=str(reply.message_id), exc_info=error, final=give_up)
            await self._note_lost_grant(error)
            return False
        return True

    async def _file_or_wait(self, reply: Reply, record: ReplyRecord) -> None:
        try:
            copies = await self._sender.find_in_sent(record.message_id, record.token)
        except PlaceMissing:
            copies = []  # the filing makes it
        if copies:
            # One that we may have filed ourselves, before a crash, says nothing about the provider.
            await self._filed(reply, record, copies, found=reply.sent_copy_attempts == 0)
            return
        if self._policy.sent_copy == "auto" and await self._provider_may_file(reply):
            await self._write(steps.postpone_copy, self._held, reply, due_in=_LOOK_AGAIN, failed=False, give_up=False)
            return
        content = await self._load(reply)
        assert reply.sent_at is not None
        await self._write(
            steps.postpone_copy,
            self._held,
            reply,
            due_in=self._pause(reply.sent_copy_attempts + 1),
            failed=True,
            give_up=False,
        )
        copy = await self._sender.file_in_sent(content, reply.sent_at)
        reply = dataclasses.replace(reply, sent_copy_attempts=reply.sent_copy_attempts + 1)
        await self._filed(reply, record, [copy], found=False)

    async def _provider_may_file(self, reply: Reply) -> bool:
        mailbox = await self._read(mailboxes.get_mailbox, self._held.mailbox_id)
        if mailbox.sent_found == 0 and mailbox.sent_appended >= _KNOWN_AFTER:
            return False
        assert reply.sent_at is not None
        waited = await self._tools.content.read(None, steps.elapsed, reply.sent_at)
        return waited < timedelta(seconds=self._policy.wait_seconds)

    async def _filed(self, reply: Reply, record: ReplyRecord, copies: Sequence[FiledCopy], *, found: bool) -> None:
        await self._write(
            steps.file_copy,
            self._held,
            reply,
            found=found,
            sealed=self._seal(reply, _with_copy(record, copies[0])),
            thread_key=self._thread_key(record, copies),
        )
        self._log.info("sent_copy.filed", message_id=str(reply.message_id), outcome="found" if found else "appended")

    # -- helpers ---------------------------------------------------------------------------------

    async def _settle(
        self,
        reply: Reply,
        event: ReplyEvent,
        attempt: AttemptResult | None,
        due_in: timedelta | None,
        *,
        reason: str | None = None,
        sent_copy: SentCopy | None = None,
        sealed: bytes | None = None,
    ) -> None:
        status = await self._write(
            steps.settle,
            self._held,
            reply,
            event,
            attempt=attempt,
            due_in=due_in,
            reason=reason,
            sent_copy=sent_copy,
            sealed=sealed,
        )
        if attempt is not None:
            self._log.info(
                "reply.attempted",
                message_id=str(reply.message_id),
                attempt=attempt.number,
                outcome=attempt.outcome,
                stage=attempt.stage or "none",
                reply_code=attempt.code or 0,
            )
        if status is not reply.status:
            self._tools.metrics.reply_changed(status.value)
            self._log.info(
                "reply.settled", message_id=str(reply.message_id), status=status.value, reason=reason or "none"
            )

    async def _note_lost_grant(self, error: ConnectorError) -> None:
        """Of what goes wrong with Sent, which is reading, all else is for the mailbox's reader to find out."""
        if error.trouble in NEEDS_LINKING:
            await self._note_sending(error, None)

    async def _load(self, reply: Reply) -> bytes:
        message = await self._read(messages.get_message, reply.message_id)
        place = RawPlace(reply.message_id, message.chunks, message.raw_place)
        return await load_raw(self._tools.content, self._tools.blobs, self._key, place)

    def _open(self, reply: Reply) -> ReplyRecord:
        return self._key.open_record(ReplyRecord.place(reply.message_id), reply.sealed, ReplyRecord)

    def _seal(self, reply: Reply, record: ReplyRecord) -> bytes:
        return self._key.seal_record(ReplyRecord.place(reply.message_id), record)

    def _thread_key(self, record: ReplyRecord, copies: Sequence[FiledCopy]) -> bytes | None:
        """Return the key of the Message-ID that the provider gave the copy, where it is not ours."""
        given = copies[0].message_id
        return thread_key(self._key, given) if given and given != record.message_id else None

    def _pause(self, attempts: int) -> timedelta:
        """Return the jittered, bounded pause after so many attempts."""
        jitter = random.random()  # noqa: S311  (not a secret)
        return timedelta(seconds=backoff_seconds(self._tools.settings.backoff, attempts, jitter))

    async def _read_elapsed(self, reply: Reply) -> timedelta:
        return await self._tools.content.read(None, steps.elapsed, reply.status_since)

    async def _read(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self._tools.content.read(self._held.account_id, function, *args, **kwargs)

    async def _write(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self._tools.content.transaction(self._held.account_id, function, *args, **kwargs)


def _at_least(pause: timedelta, error: ConnectorError) -> timedelta:
    """Return the pause, or the longer one that the provider asked for."""
    return max(pause, timedelta(seconds=error.retry_after)) if isinstance(error, RateLimited) else pause


def _with_copy(record: ReplyRecord, copy: FiledCopy) -> ReplyRecord:
    return msgspec.structs.replace(record, filed_message_id=copy.message_id or "", filed_locator=copy.locator)
