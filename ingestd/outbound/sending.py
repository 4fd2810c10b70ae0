"""Sending the replies of one held mailbox: record the attempt, send, record what came of it.

Between the record of an attempt (`sending`) and the record of its outcome lies the one window in which a crash
leaves a reply that nobody can know about: it becomes `unknown`, and is looked for in Sent.

Of replies that leave one after the other, the outcome of one and the beginning of the next are one transaction. The
next one's dialogue with the server begins while that is committed, and waits for it before anything leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from connectors.base import (
    AuthError,
    ConnectorError,
    Envelope,
    RateLimited,
    Sender,
    SendOutcome,
    SendStatus,
    StillOurs,
)
from ingestd.outbound import steps
from ingestd.outbound.held import LOOK_AGAIN, HeldReplies
from ingestd.outbound.statuses import ReplyEvent
from ingestd.outbound.steps import AttemptResult, Move
from ingestd.outbound.trouble import SendingTrouble
from ingestd.records import ReplyRecord
from storage import outbox
from storage.due import Due
from storage.errors import Conflict, FenceLost, SealBroken, StorageUnavailable
from storage.outbox import UNSENT, Reply, ReplyStatus, SentCopy

_TURN_SECONDS = 2.0
"""For so long a mailbox goes on with its next reply before others that wait for a place have theirs."""
_NOT_WRITTEN = (Conflict, FenceLost, StorageUnavailable)
"""It stands elsewhere already, the mailbox is another's, or the database is gone: whoever comes next finds out."""
MayLeave = Callable[[], bool]
Admits = Callable[[Reply, ReplyRecord], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class _Ready:
    """What is read of a reply before its attempt begins: nothing has to be read between that and its outcome."""

    reply: Reply
    record: ReplyRecord
    content: bytes
    deferred: int
    """How many of its attempts ended with a no for now, since a person last decided that it is to be tried again."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A reply whose attempt is recorded."""

    reply: Reply
    record: ReplyRecord
    content: bytes
    deferred: int
    """As in _Ready."""


class Sending:
    """Sends replies of one held mailbox, one after the other.

    `may_leave`: whether a mail may still leave us, asked before its final dot. `admits`: whether the mailbox may send
    this one now; it lets wait what may not. `keeps_copies`: whether a Sent copy is wanted.
    """

    def __init__(
        self,
        replies: HeldReplies,
        sender: Sender,
        trouble: SendingTrouble,
        *,
        may_leave: MayLeave,
        admits: Admits,
        keeps_copies: bool,
    ) -> None:
        self._replies = replies
        self._sender = sender
        self._trouble = trouble
        self._may_leave = may_leave
        self._admits = admits
        self._keeps_copies = keeps_copies

    async def send(self, one: Due, behind: deque[Due]) -> bool:
        """Send a reply, and of those `behind` it what may leave at once: these are taken from there.

        Returns False where the mailbox itself is the trouble: the others wait. Raises FenceLost, Conflict.
        """
        taken = await self._take(one.reply, await self._get_ready(one))
        if taken is None:
            return True
        ends_at = time.monotonic() + _TURN_SECONDS
        outcome = await self._attempt(taken)
        while True:
            if isinstance(outcome, ConnectorError):
                await self._not_sent(taken.reply, outcome)
                return False
            if outcome.status is SendStatus.DEFERRED and outcome.retry_after is not None and not outcome.of_message:
                await self._throttled(taken.reply, outcome, outcome.retry_after)
                return False
            goes_on = bool(behind) and self._trouble.is_over and time.monotonic() < ends_at
            following, move = self._ready_at_once(behind[0]) if goes_on else None, self._move_of(taken, outcome)
            if following is None or not await self._may_follow(following, taken.reply, move):
                await self._settle(taken.reply, move)
                await self._trouble.over()
                return True
            # What did not go well may hold the next one up: only behind what did is it begun at once.
            at_once = outcome.status is SendStatus.ACCEPTED
            recording = asyncio.ensure_future(self._record(taken, move, following))
            if at_once:
                outcome = await self._attempt_behind(recording, following)
            # Where it is None, it was not the next one's turn: nothing of that has left, whatever came of its attempt.
            taken = await recording
            await self._trouble.over()
            if taken is None:
                return True
            behind.popleft()
            if not at_once:
                outcome = await self._attempt(taken)

    # -- one attempt -----------------------------------------------------------------------------

    async def _attempt(self, taken: _Taken) -> SendOutcome | ConnectorError:
        """Send it. Returns an error where the mailbox could not be used: then it is certain that nothing left."""

        async def may_leave() -> bool:
            return self._may_leave()

        try:
            return await self._send(taken, may_leave)
        except BaseException:
            # Stopped, or a bug, in the middle of it: whether it left is not known. Say so before anything else.
            await self._lose(taken.reply)
            raise

    async def _attempt_behind(
        self, recording: asyncio.Task[_Taken | None], ready: _Ready
    ) -> SendOutcome | ConnectorError:
        """As `_attempt`, begun while what came of the one before is still being recorded.

        `recording` takes this one with it: until that is committed, nothing of it leaves.
        """
        has_left = False

        async def may_leave() -> bool:
            nonlocal has_left
            has_left = await asyncio.shield(recording) is not None and self._may_leave()
            return has_left

        try:
            return await self._send(ready, may_leave)
        except BaseException:
            if has_left:
                taken = await recording  # which is over
                assert taken is not None
                await self._lose(taken.reply)
            else:
                await self._take_back(recording)
            raise

    async def _send(self, one: _Ready | _Taken, still_ours: StillOurs) -> SendOutcome | ConnectorError:
        record = one.record
        try:
            return await self._sender.send(
                Envelope(record.sender, record.recipients, record.token), one.content, still_ours=still_ours
            )
        except ConnectorError as error:
            return error

    async def _lose(self, reply: Reply) -> None:
        stopped = AttemptResult(reply.attempts, "unknown", "stopped")
        await self._settle_at_last(reply, Move(ReplyEvent.LOSE, attempt=stopped, due_in=timedelta()))

    async def _take_back(self, recording: asyncio.Task[_Taken | None]) -> None:
        """Give a reply back that is being taken, of which nothing has left."""
        with contextlib.suppress(*_NOT_WRITTEN):
            if (taken := await asyncio.shield(recording)) is not None:
                attempt = AttemptResult(taken.reply.attempts, "not_sent", "stopped")
                await self._settle_at_last(taken.reply, Move(ReplyEvent.RETURN, attempt=attempt, due_in=timedelta()))

    def _move_of(self, taken: _Taken, outcome: SendOutcome) -> Move:
        """Return what is to be recorded of an outcome."""
        reply, record = taken.reply, taken.record
        refused = outcome.refused_recipients
        attempt = AttemptResult(
            reply.attempts,
            outcome.status.value,
            outcome.stage,
            outcome.code,
            outcome.enhanced_code,
            {place: refused[one] for place, one in enumerate(record.recipients) if one in refused},
        )
        move = partial(Move, attempt=attempt)
        if outcome.status is SendStatus.ACCEPTED:
            codes = {one: said.code or 0 for one, said in refused.items()}
            return move(
                ReplyEvent.ACCEPT,
                due_in=timedelta() if self._keeps_copies else None,
                reason="partly_refused" if refused else None,
                sent_copy=SentCopy.DUE if self._keeps_copies else SentCopy.NONE,
                sealed=self._replies.seal(reply, msgspec.structs.replace(record, refused=codes)),
            )
        if outcome.status is SendStatus.REFUSED:
            return move(ReplyEvent.REFUSE, reason=f"refused_at_{outcome.stage}")
        if outcome.status is SendStatus.UNKNOWN:
            return move(ReplyEvent.LOSE, due_in=LOOK_AGAIN, reason=f"lost_at_{outcome.stage}")
        reason = f"deferred_at_{outcome.stage}"
        if taken.deferred + 1 >= self._replies.tools.settings.attempts_max:
            return move(ReplyEvent.EXHAUST, reason=reason)
        pause = max(self._replies.pause(taken.deferred + 1), timedelta(seconds=outcome.retry_after or 0.0))
        return move(ReplyEvent.DEFER, due_in=pause, reason=reason)

    # -- the mailbox's trouble -------------------------------------------------------------------

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
        pause = self._trouble.met(error)
        # Before the provider is asked: stopped in the middle of that, the reply would seem to be on its way.
        reason = "login_refused" if isinstance(error, AuthError) else error.trouble.value
        await self._replies.settle(reply, Move(ReplyEvent.RETURN, attempt=attempt, due_in=pause, reason=reason))
        await self._trouble.find_out(error, pause)

    # -- one after the other ---------------------------------------------------------------------

    async def _take(self, reply: Reply, ready: _Ready) -> _Taken | None:
        taking = self._replies.write(steps.take, self._replies.held, reply, self._worker_id)
        return self._begun(await self._or_give_back(taking), ready)

    async def _get_ready(self, one: Due) -> _Ready:
        reply, record, deferred = one.reply, self._replies.open(one.reply), 0
        if reply.attempts:
            # Attempts that met the mailbox's own trouble do not count against the reply.
            deferred = await self._replies.read(
                outbox.count_attempts, reply.message_id, SendStatus.DEFERRED.value, since=_tried_since(record)
            )
        content = self._replies.open_bytes(one) if one.chunks else await self._replies.load(reply)
        return _Ready(reply, record, content, deferred)

    def _ready_at_once(self, one: Due) -> _Ready | None:
        """Return a reply that can be taken together with an outcome; None where more has to be read of it first."""
        if one.reply.status not in UNSENT or one.reply.attempts or not one.chunks:
            return None
        try:
            return _Ready(one.reply, self._replies.open(one.reply), self._replies.open_bytes(one), 0)
        except SealBroken:
            return None

    async def _settle(self, reply: Reply, move: Move) -> None:
        """Record what came of a reply, also where that is being stopped."""
        try:
            await self._replies.settle(reply, move)
        except asyncio.CancelledError:
            await self._settle_at_last(reply, move)  # which does nothing where it is written already
            raise

    async def _record(self, taken: _Taken, move: Move, following: _Ready) -> _Taken | None:
        """Record what came of one reply, and with it that the next begins, where it is its turn; return it."""
        try:
            found = await self._or_give_back(self._settle_and_take(taken.reply, move, following.reply))
        except (Conflict, FenceLost):
            # Nothing new may begin here, or somebody decided on one of the two meanwhile.
            await self._replies.settle(taken.reply, move)
            return None
        except BaseException:
            await self._settle_at_last(taken.reply, move)  # which does nothing where it is written already
            raise
        return self._begun(found, following)

    async def _may_follow(self, following: _Ready, reply: Reply, move: Move) -> bool:
        """Whether the next one may leave now. Stopped while that is looked at, what came of `reply` is not lost."""
        try:
            return self._may_leave() and await self._admits(following.reply, following.record)
        except BaseException:
            await self._settle_at_last(reply, move)
            raise

    async def _settle_and_take(self, reply: Reply, move: Move, following: Reply) -> Reply | None:
        status, taken = await self._replies.write(
            steps.settle_and_take, self._replies.held, reply, move, following, self._worker_id
        )
        self._replies.tell(reply, status, move)
        return taken

    async def _or_give_back(self, taking: Coroutine[Any, Any, Reply | None]) -> Reply | None:
        """Wait for the reply that is being taken; stopped meanwhile, give it back, as nothing of it was sent."""
        task = asyncio.ensure_future(taking)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            with contextlib.suppress(*_NOT_WRITTEN):  # it could not be taken
                if (taken := await task) is not None:
                    attempt = AttemptResult(taken.attempts, "not_sent", "stopped")
                    await self._settle_at_last(taken, Move(ReplyEvent.RETURN, attempt=attempt, due_in=timedelta()))
            raise

    async def _settle_at_last(self, reply: Reply, move: Move) -> None:
        """Record what is known while being stopped. The stop goes on where that cannot be done any more."""
        with contextlib.suppress(*_NOT_WRITTEN):
            await self._replies.settle(reply, move)

    def _begun(self, taken: Reply | None, ready: _Ready) -> _Taken | None:
        if taken is None:
            return None
        self._replies.tools.metrics.reply_changed(ReplyStatus.SENDING.value)
        record = self._replies.open(taken)
        decided_meanwhile = _tried_since(record) != _tried_since(ready.record)
        return _Taken(taken, record, ready.content, 0 if decided_meanwhile else ready.deferred)

    @property
    def _worker_id(self) -> UUID:
        return self._replies.tools.lease.worker_id


def _tried_since(record: ReplyRecord) -> datetime | None:
    return record.decisions[-1].at if record.decisions else None
