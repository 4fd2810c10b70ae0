"""How fast queued replies leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import aiosmtplib

from bench.harness import RUNS, Figure, Run
from bench.house import Worker, add_account, add_mailboxes, claim_all, fetched, opened
from bench.intake import mailboxes
from bench.provider import CUSTOMER, Provider, running_provider, user
from bench.replies import TEXT
from bench.timing import Stopwatch
from bench.workshop import Workshop
from connectors.base import ConnectorError, Sender
from connectors.imap_mailbox import smtp_sender
from ingestd.build.outside import new_metrics
from ingestd.build.store import Store
from ingestd.inbound.parser import ParserPool
from ingestd.outbound.held import SenderTools
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.outbound.sender import BATCH, MailboxOutbox
from ingestd.outbound.sent_copies import SentPolicy
from storage import outbox
from storage.outbox import ReplyStatus

_REPLIES = 200
"""Of a run, over all mailboxes."""


async def send_one_vs_bare(workshop: Workshop) -> AsyncIterator[Run]:
    """Replies of 2 KB a second that one mailbox's outbox sends, from SQLite to a Postfix on this machine: read and
    open the reply, record the attempt, send over TLS, record the outcome. One after the other, as a mailbox does.

    Composing and queueing, and the Sent copy, are not in it; connecting is. The yardstick is aiosmtplib alone: the
    same bytes on one connection. Postfix works on the same cores, and waits for the disk, too. Wall time, both.
    """
    async for run in _measure(workshop, 1):
        yield run


async def send_hundred_vs_bare(workshop: Workshop) -> AsyncIterator[Run]:
    """As send_one_vs_bare, through 100 mailboxes at once, two replies each; the yardstick has 100 connections."""
    async for run in _measure(workshop, 100):
        yield run


async def _measure(workshop: Workshop, count: int) -> AsyncIterator[Run]:
    with running_provider(workshop, count) as provider, workshop.temporary("sqlite") as installation:
        async with opened(installation) as store:
            office = await _open_office(store, provider, count)
            for _ in range(RUNS):
                replies = await office.queue()
                value = await office.send(replies)
                contents = [
                    [await store.desk.raw(office.account_id, message_id) for message_id in share] for share in replies
                ]
                yield Run(value, await _send_bare(provider, contents))
            await office.close()


class _Office:
    """Mailboxes, with a ticket for each reply of a run, and what sends the replies."""

    def __init__(self, store: Store, account_id: UUID, worker: Worker, senders: Sequence[Sender]) -> None:
        self.store = store
        self.account_id = account_id
        self._worker = worker
        self._senders = senders
        # More to one customer in a day than anybody may.
        caps = (
            "replies_per_ticket_per_hour_max",
            "replies_per_ticket_per_day_max",
            "replies_per_recipient_per_day_max",
        )
        self._settings = store.settings.outbound.model_copy(update=dict.fromkeys(caps, 1_000_000))
        tools = SenderTools(
            content=store.content,
            blobs=store.blobs,
            metrics=new_metrics(),
            settings=self._settings,
            lease=worker.lease,
            sends=asyncio.Semaphore(self._settings.sends_max),
        )
        policy = SentPolicy("never", 0.0)
        self._outboxes = [
            MailboxOutbox(held, context.key, sender, policy, tools, _why_refused)
            for held, context, sender in zip(worker.held, worker.contexts, senders, strict=True)
        ]

    async def queue(self) -> list[list[UUID]]:
        """Queue the replies of a run; return those of each mailbox."""
        share = _REPLIES // len(self._outboxes)
        return [
            [await self._create(first + number) for number in range(1, share + 1)]
            for first in range(0, _REPLIES, share)
        ]

    async def _create(self, ticket: int) -> UUID:
        draft = ReplyDraft(TEXT)
        return (await create_reply(self.store.desk, self._settings, self.account_id, ticket, draft)).message_id

    async def send(self, replies: Sequence[Sequence[UUID]]) -> float:
        for sender in self._senders:
            await sender.hang_up()
        watch = Stopwatch()
        await asyncio.gather(*(self._empty(*one) for one in zip(self._outboxes, map(len, replies), strict=True)))
        value = sum(map(len, replies)) / watch.seconds()
        for message_id in (one for share in replies for one in share):
            reply = await self.store.content.read(self.account_id, outbox.get_reply, message_id)
            if reply.status is not ReplyStatus.SENT:
                raise RuntimeError(f"a reply is {reply.status}: what was measured is something else")
        return value

    async def _empty(self, box: MailboxOutbox, count: int) -> None:
        for _ in range(0, count, BATCH):
            await box.run_due()

    async def close(self) -> None:
        for one in self._outboxes:
            await one.close()


async def _open_office(store: Store, provider: Provider, count: int) -> _Office:
    account_id = await add_account(store)
    await add_mailboxes(store, account_id, count)
    worker = await claim_all(store)
    async with ParserPool() as parser:
        for number, mailbox in enumerate(mailboxes(store, worker, parser), 1):
            address = worker.contexts[number - 1].record.address
            for uid in range(1, _REPLIES // count + 1):
                await mailbox.take([fetched(_question(address, uid), uid, datetime.now(UTC))])
    senders = [_sender(provider, context.record.address) for context in worker.contexts]
    return _Office(store, account_id, worker, senders)


def _question(address: str, uid: int) -> bytes:
    header = f"From: Customer <{CUSTOMER}>\r\nTo: {address}\r\nSubject: Printer\r\nMessage-ID: <{uid}@example.com>\r\n"
    return f"{header}\r\nIt does not print.\r\n".encode()


def _sender(provider: Provider, address: str) -> Sender:
    return smtp_sender(
        provider.access(address),
        provider.token_source(address),
        ssl_context=provider.ssl_context,
        guard=provider.guard,
        executor=provider.executor,
    )


async def _why_refused() -> ConnectorError:
    raise RuntimeError("the server refused us: what was measured is something else")


async def _send_bare(provider: Provider, contents: Sequence[Sequence[bytes]]) -> float:
    tokens = [provider.token(user(number)) for number in range(1, len(contents) + 1)]

    async def one(number: int, share: Sequence[bytes]) -> None:
        client = aiosmtplib.SMTP(
            hostname="localhost", port=provider.postfix.port_tls, use_tls=True, tls_context=provider.ssl_context
        )
        async with client:
            await client.auth_xoauth2(user(number), tokens[number - 1])
            for content in share:
                await client.sendmail(user(number), [CUSTOMER], content)

    watch = Stopwatch()
    await asyncio.gather(*(one(number, share) for number, share in enumerate(contents, 1)))
    return sum(map(len, contents)) / watch.seconds()


FIGURES = (
    Figure("send_one_vs_bare", "replies/s", "aiosmtplib alone", send_one_vs_bare),
    Figure("send_hundred_vs_bare", "replies/s", "aiosmtplib alone, 100 connections", send_hundred_vs_bare),
)
