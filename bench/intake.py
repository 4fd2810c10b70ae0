"""Taking mail in as the daemon does, without a server: batches of corpus mails through its own functions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

from bench.corpus import corpus
from bench.house import Worker, fetched
from bench.timing import Stopwatch
from connectors.base import RawMessage
from ingestd.build.outside import new_metrics
from ingestd.build.store import Store
from ingestd.inbound.commit import Committed, commit_batch
from ingestd.inbound.intake import MailboxContext, Prepared
from ingestd.inbound.parser import ParserPool
from ingestd.inbound.taking import ReaderTools, Taker
from storage.leases import Held

BATCH = 50
"""Messages of a batch: the setting's default."""


class Mailbox:
    """One held mailbox that batches are taken into."""

    def __init__(self, store: Store, held: Held, context: MailboxContext, tools: ReaderTools) -> None:
        self._store = store
        self._held = held
        self._context = context
        self._tools = tools
        self._taker = Taker(held, context, tools)
        self._sequence = 0

    @property
    def mailbox_id(self) -> UUID:
        return self._held.mailbox_id

    async def take(self, batch: Sequence[RawMessage]) -> None:
        """Parse, identify, look up, seal and commit one batch; within the daemon's limit on batches at once."""
        async with self._tools.batches:
            watch = Stopwatch()
            committed = await self.commit(await self.prepare(batch))
            self._taker.count(batch, committed, watch.seconds(), live=True)

    async def prepare(self, batch: Sequence[RawMessage]) -> list[Prepared]:
        """Return those that are new, ready to be written."""
        new, _known = await self._taker.prepare(batch, live=True)
        return new

    async def commit(self, prepared: Sequence[Prepared]) -> Committed:
        committed = await self._store.content.transaction(
            self._held.account_id,
            commit_batch,
            self._context,
            prepared,
            fence=self._held.fence,
            cursor_sequence=self._sequence,
            cursor="{}",
        )
        self._sequence += 1
        if len(committed.kinds) != len(prepared):
            raise RuntimeError("a mail of the batch was not taken: what was measured is something else")
        return committed


def mailboxes(store: Store, worker: Worker, parser: ParserPool) -> list[Mailbox]:
    """Return the held mailboxes, over tools that they share as in a daemon with default settings."""
    settings = store.settings
    tools = ReaderTools(
        content=store.content,
        blobs=store.blobs,
        parser=parser,
        metrics=new_metrics(),
        settings=settings.inbound,
        blob_bytes_min=settings.storage.blob_bytes_min,
        batches=asyncio.Semaphore(settings.inbound.batches_max),
    )
    return [Mailbox(store, held, context, tools) for held, context in zip(worker.held, worker.contexts, strict=True)]


def batches(count: int, first: int) -> Iterator[list[RawMessage]]:
    """Yield `count` batches of corpus mails, from the mail `first` on."""
    now = datetime.now(UTC)
    for begin in range(first, first + count * BATCH, BATCH):
        yield [fetched(mail.raw, mail.index, now) for mail in corpus(BATCH, first=begin)]


def plain_mail(number: int) -> bytes:
    """Return a mail of 2 KB of plain text, which answers none."""
    head = (
        f"From: Anna <anna{number}@example.org>\r\nTo: support1@example.com\r\nSubject: Question {number}\r\n"
        f"Message-ID: <{number}@example.org>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    return head.encode() + b"Where is my order? It was to come on Monday.\r\n" * 40
