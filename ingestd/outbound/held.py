"""The replies of one held mailbox: how they are read, opened, and moved, each time with the fence."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from config import Outbound
from connectors.base import ConnectorError, RateLimited
from ingestd.inbound.lease import Lease
from ingestd.inbound.states import backoff_seconds
from ingestd.outbound import steps
from ingestd.outbound.steps import Move
from ingestd.raw import RawPlace, load_raw, open_raw
from ingestd.records import ReplyRecord
from ingestd.telemetry.metrics import Metrics
from storage import messages
from storage.blobs import Blobs
from storage.database import Database
from storage.due import Due
from storage.leases import Held
from storage.outbox import Reply, ReplyStatus
from storage.sealing import DataKey

log = structlog.get_logger()

T = TypeVar("T")

LOOK_AGAIN = timedelta(seconds=2)
"""How soon a copy in Sent is looked for again."""


@dataclass(frozen=True, slots=True)
class SenderTools:
    """What all mailboxes of a process share."""

    content: Database
    blobs: Blobs
    metrics: Metrics
    settings: Outbound
    lease: Lease
    sends: asyncio.Semaphore


class HeldReplies:
    """The replies of one mailbox that this process holds."""

    def __init__(self, held: Held, key: DataKey, tools: SenderTools) -> None:
        self.held = held
        self.key = key
        self.tools = tools
        self.log = log.bind(mailbox_id=str(held.mailbox_id), fence=held.fence)

    async def read(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self.tools.content.read(self.held.account_id, function, *args, **kwargs)

    async def write(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self.tools.content.transaction(self.held.account_id, function, *args, **kwargs)

    def open(self, reply: Reply) -> ReplyRecord:
        return self.key.open_record(ReplyRecord.place(reply.message_id), reply.sealed, ReplyRecord)

    def seal(self, reply: Reply, record: ReplyRecord) -> bytes:
        return self.key.seal_record(ReplyRecord.place(reply.message_id), record)

    def open_bytes(self, one: Due) -> bytes:
        """Return the bytes that are sent, of one whose chunks were read with it. Raises SealBroken."""
        return open_raw(self.key, one.reply.message_id, one.chunks)

    async def load(self, reply: Reply) -> bytes:
        """Return the bytes that are sent. Raises SealBroken, NotFound."""
        message = await self.read(messages.get_message, reply.message_id)
        place = RawPlace(reply.message_id, message.chunks, message.raw_place)
        return await load_raw(self.tools.content, self.tools.blobs, self.key, place)

    def pause(self, attempts: int) -> timedelta:
        """Return the jittered, bounded pause after so many attempts."""
        jitter = random.random()  # noqa: S311  (not a secret)
        return timedelta(seconds=backoff_seconds(self.tools.settings.backoff, attempts, jitter))

    def pause_after(self, error: ConnectorError, attempts: int) -> timedelta:
        """Return the pause, or the longer one that the provider asked for."""
        pause = self.pause(attempts)
        return max(pause, timedelta(seconds=error.retry_after)) if isinstance(error, RateLimited) else pause

    async def settle(self, reply: Reply, move: Move) -> None:
        """Record what came of a step. Raises FenceLost, Conflict."""
        self.tell(reply, await self.write(steps.settle, self.held, reply, move), move)

    def tell(self, reply: Reply, status: ReplyStatus, move: Move) -> None:
        """Log and count what was settled."""
        message_id, attempt = str(reply.message_id), move.attempt
        if attempt is not None:
            self.log.info(
                "reply.attempted",
                message_id=message_id,
                attempt=attempt.number,
                outcome=attempt.outcome,
                stage=attempt.stage or "none",
                reply_code=attempt.code or 0,
            )
        if status is not reply.status:
            self.tools.metrics.reply_changed(status.value)
            self.log.info("reply.settled", message_id=message_id, status=status.value, reason=move.reason or "none")
