"""How fast mail is read from a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

from imapclient import IMAPClient

from bench.corpus import corpus
from bench.harness import RUNS, Figure, Run
from bench.provider import USER, Provider, running_provider
from bench.timing import Stopwatch
from bench.workshop import Workshop
from connectors.base import ReadPlan
from connectors.imap_mailbox import imap_reader

_MAILS = 1000
_BATCH = 50
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


async def imap_fetch(workshop: Workshop) -> AsyncIterator[Run]:
    """Corpus mails a second that `connectors/imap` reads from a Dovecot on this machine, over TLS: connect, log
    in by XOAUTH2, find the mails, list their sizes, fetch them in batches of 50.

    The yardstick is imapclient alone: the same connection and login, one SEARCH, BODY.PEEK[] of 50 UIDs at a
    time. Dovecot works on the same cores. Wall time, both.
    """
    with running_provider(workshop) as provider:
        workshop.say(f"storing {_MAILS} mails")
        await asyncio.to_thread(_store, provider)
        await _read(provider)  # once before, so that the server has its index
        for _ in range(RUNS):
            value = await _read(provider)
            yield Run(value, await asyncio.to_thread(_read_bare, provider))


async def _read(provider: Provider) -> float:
    watch, count = Stopwatch(), 0
    reader = imap_reader(
        provider.access(),
        provider.token_source(),
        ssl_context=provider.ssl_context,
        guard=provider.guard,
        executor=provider.executor,
        plan=ReadPlan(start_at=_LONG_AGO),
    )
    try:
        async with aclosing(reader.changes(None)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                count += sum(message.content is not None for message in batch.messages)
    finally:
        await reader.close()
    return _rate(count, watch)


def _client(provider: Provider) -> IMAPClient:
    client = IMAPClient("localhost", provider.dovecot.port_tls, ssl_context=provider.ssl_context)
    client.oauth2_login(USER, provider.token())
    return client


def _read_bare(provider: Provider) -> float:
    watch, count = Stopwatch(), 0
    with _client(provider) as client:
        client.select_folder("INBOX", readonly=True)
        uids = client.search(["ALL"])
        for at in range(0, len(uids), _BATCH):
            count += len(client.fetch(uids[at : at + _BATCH], ["BODY.PEEK[]", "INTERNALDATE"]))
    return _rate(count, watch)


def _store(provider: Provider) -> None:
    with _client(provider) as client:
        for mail in corpus(_MAILS):
            client.append("INBOX", mail.raw)


def _rate(count: int, watch: Stopwatch) -> float:
    if count != _MAILS:
        raise RuntimeError(f"{count} mails were read, {_MAILS} are there")
    return count / watch.seconds()


FIGURES = (Figure("imap_fetch", "messages/s", "imapclient alone", imap_fetch),)
