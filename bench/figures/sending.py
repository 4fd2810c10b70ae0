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
from bench.provider import CUSTOMER, USER, Provider, running_provider
from bench.timing import Stopwatch
from bench.workshop import Workshop
from connectors.base import ConnectorError
from connectors.imap_mailbox import smtp_sender
from ingestd.build.outside import new_metrics
from ingestd.build.store import Store
from ingestd.inbound.parser import ParserPool
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.outbound.sender import MailboxOutbox, SenderTools, SentPolicy
from storage import due, outbox
from storage.outbox import ReplyStatus

_REPLIES = 100
"""Of a run."""
_TEXT = "Thank you. We look into it and write to you again.\n" * 40
_QUESTION = (
    f"From: Customer <{CUSTOMER}>\r\nTo: {USER}\r\nSubject: Printer\r\nMessage-ID: <question@example.com>\r\n\r\n"
    "It does not print.\r\n"
).encode()


async def send(workshop: Workshop) -> AsyncIterator[Run]:
    """Replies of 2 KB a second that one mailbox's outbox sends, from SQLite to a Postfix on this machine: read and
    open the reply, record the attempt, send over TLS, record the outcome. One after the other, as a mailbox does.

    Composing and queueing, and the Sent copy, are not in it. The yardstick is aiosmtplib alone: the same bytes on
    one connection. Postfix works on the same cores, and waits for the disk, too. Wall time, both.
    """
    with running_provider(workshop) as provider, workshop.temporary("sqlite") as installation:
        async with opened(installation) as store, ParserPool() as parser:
            account_id = await add_account(store)
            await add_mailboxes(store, account_id, 1)
            worker = await claim_all(store)
            (mailbox,) = mailboxes(store, worker, parser)
            await mailbox.take([fetched(_QUESTION, 1, datetime.now(UTC))])
            tools = SenderTools(
                content=store.content,
                blobs=store.blobs,
                metrics=new_metrics(),
                settings=store.settings.outbound,
                lease=worker.lease,
                sends=asyncio.Semaphore(store.settings.outbound.sends_max),
            )
            sender = smtp_sender(
                provider.access(),
                provider.token_source(),
                ssl_context=provider.ssl_context,
                guard=provider.guard,
                executor=provider.executor,
            )
            policy = SentPolicy("never", 0.0)
            sending = MailboxOutbox(worker.held[0], worker.contexts[0].key, sender, policy, tools, _why_refused)
            for _ in range(RUNS):
                replies = await _queue(store, account_id)
                value = await _send(store, sending, worker, replies)
                contents = [await store.desk.raw(account_id, message_id) for message_id in replies]
                yield Run(value, await _send_bare(provider, contents))
            await sending.close()


async def _why_refused() -> ConnectorError:
    raise RuntimeError("the server refused us: what was measured is something else")


async def _queue(store: Store, account_id: UUID) -> list[UUID]:
    # More to one ticket within an hour than anybody may.
    caps = dict.fromkeys(
        ("replies_per_ticket_per_hour_max", "replies_per_ticket_per_day_max", "replies_per_recipient_per_day_max"),
        1_000_000,
    )
    settings = store.settings.outbound.model_copy(update=caps)
    return [
        (await create_reply(store.desk, settings, account_id, 1, ReplyDraft(f"{number}\n{_TEXT}"))).message_id
        for number in range(_REPLIES)
    ]


async def _send(store: Store, sending: MailboxOutbox, worker: Worker, replies: Sequence[UUID]) -> float:
    held = worker.held[0]
    watch = Stopwatch()
    while await store.content.read(held.account_id, due.list_due, held.mailbox_id, limit=1):
        await sending.run_due()
    value = len(replies) / watch.seconds()
    for message_id in replies:
        reply = await store.content.read(held.account_id, outbox.get_reply, message_id)
        if reply.status is not ReplyStatus.SENT:
            raise RuntimeError(f"a reply is {reply.status}: what was measured is something else")
    return value


async def _send_bare(provider: Provider, contents: Sequence[bytes]) -> float:
    watch = Stopwatch()
    client = aiosmtplib.SMTP(
        hostname="localhost", port=provider.postfix.port_tls, use_tls=True, tls_context=provider.ssl_context
    )
    async with client:
        await client.auth_xoauth2(USER, provider.token())
        for content in contents:
            await client.sendmail(USER, [CUSTOMER], content)
    return len(contents) / watch.seconds()


FIGURES = (Figure("send", "replies/s", "aiosmtplib alone", send),)
