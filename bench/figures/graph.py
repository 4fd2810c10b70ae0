"""How many calls a mailbox makes to Microsoft Graph at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from bench.corpus import corpus
from bench.harness import RUNS, Figure, Run
from bench.workshop import Workshop
from connectors.base import AccessToken, Envelope, HistoryPlan, ReadPlan, SendStatus
from connectors.egress import EgressGuard
from connectors.graph_access import CALLS_AT_ONCE_MAX
from connectors.graph_mailbox import GraphAccess, GraphTransport, MailboxLimiter, graph_reader, graph_sender
from ingestd.demo.graphserver import GraphServer

_LATENCY_SECONDS = 0.06
_MAILBOXES = 5
_OLD, _NEW, _SENDS = 40, 20, 10
"""Of a mailbox: mails that were there, mails that come, replies that leave."""

_CUSTOMER = "customer@example.net"


class _Tokens:
    """The token is the address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        return AccessToken(self._address)


async def graph_calls_at_once_max(workshop: Workshop) -> AsyncIterator[Run]:
    """The most calls that were under way together for any of 5 mailboxes at a fake of Microsoft Graph that answers
    after 60 ms, while the backfill of 40 mails, 20 new ones that are pushed, and 10 replies compete in each.

    The yardstick is what Graph allows. The figure fails where anything is not read or not sent. Calls that the fake
    turned away as too many are counted, too.
    """
    workshop.say(f"making {_OLD + _NEW} mails")
    mails = [mail.raw for mail in corpus(_OLD + _NEW)]
    for _ in range(RUNS):
        with _graph() as graph:
            transport = GraphTransport(EgressGuard([("127.0.0.1", urlsplit(graph.url).port or 0)]))
            try:
                await asyncio.gather(*(_Mailbox(graph, transport, one, mails).work() for one in graph.mailboxes))
            finally:
                await transport.aclose()
            yield Run(float(max(graph.calls_at_once_max.values())), float(CALLS_AT_ONCE_MAX))


@contextmanager
def _graph() -> Iterator[GraphServer]:
    addresses = [f"support{number}@example.com" for number in range(_MAILBOXES)]
    graph = GraphServer(addresses, lambda token: token if token in addresses else None)
    graph.latency_seconds = _LATENCY_SECONDS
    graph.start()
    try:
        yield graph
    finally:
        graph.stop()


class _Mailbox:
    """One mailbox, and what works on it."""

    def __init__(self, graph: GraphServer, transport: GraphTransport, address: str, mails: Sequence[bytes]) -> None:
        self._graph, self._address, self._mails = graph, address, mails
        self._linked = datetime.now(UTC).replace(microsecond=0)
        access, tokens, limiter = GraphAccess(base_url=graph.url), _Tokens(address), MailboxLimiter()
        plan = ReadPlan(start_at=self._linked)
        self._reader = graph_reader(access, tokens, transport=transport, limiter=limiter, plan=plan)
        self._history = graph_reader(access, tokens, transport=transport, limiter=limiter, plan=plan, name="history")
        self._sender = graph_sender(access, tokens, transport=transport, limiter=limiter)

    async def work(self) -> None:
        for raw in self._mails[:_OLD]:
            self._graph.deliver(self._address, raw, received=self._linked - timedelta(days=1))
        async with asyncio.timeout(60):
            await asyncio.gather(self._push(), self._read(), self._fill(), self._send())

    async def _push(self) -> None:
        for raw in self._mails[_OLD:]:
            await asyncio.sleep(_LATENCY_SECONDS)
            self._graph.deliver(self._address, raw)
            self._reader.wake()

    async def _read(self) -> None:
        cursor, count = None, 0
        while count < _NEW:
            async with aclosing(self._reader.changes(cursor)) as batches:  # type: ignore[type-var]
                async for batch in batches:
                    cursor, count = batch.cursor, count + len(batch.messages)
            await self._reader.wait(0.5)
        _require("new mails read", count, _NEW)

    async def _fill(self) -> None:
        plan = HistoryPlan(before=self._linked)
        async with aclosing(self._history.history(plan, None)) as batches:  # type: ignore[type-var]
            _require("old mails read", sum([len(batch.messages) async for batch in batches]), _OLD)

    async def _send(self) -> None:
        for number in range(_SENDS):
            head = f"From: <{self._address}>\r\nTo: <{_CUSTOMER}>\r\nMessage-ID: <{number}@example.com>\r\n"
            outcome = await self._sender.send(Envelope(self._address, [_CUSTOMER]), f"{head}\r\nHello\r\n".encode())
            if outcome.status is not SendStatus.ACCEPTED:
                raise RuntimeError(f"a reply was not sent: {outcome.status}")


def _require(what: str, count: int, wanted: int) -> None:
    if count != wanted:
        raise RuntimeError(f"{what}: {count} of {wanted}")


FIGURES = (Figure("graph_calls_at_once_max", "calls", "what Graph allows", graph_calls_at_once_max),)
