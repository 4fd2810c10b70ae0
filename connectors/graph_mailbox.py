"""The constructors: a reader and a sender for one mailbox, over the process's shared transport.

A mailbox's reader, its backfill (a reader of its own, named "history") and its sender are given one `MailboxLimiter`,
as Graph counts their calls together. The transport is the owner's to close.
"""

from __future__ import annotations

import httpx2

from connectors.base import ReadPlan, TokenSource
from connectors.graph import GraphReader
from connectors.graph_access import GraphAccess
from connectors.graph_delta import Known
from connectors.graph_limiter import MailboxLimiter
from connectors.graph_sender import GraphSender
from connectors.graph_subscriptions import Subscriptions
from connectors.graph_transport import GraphTransport

__all__ = [
    "GraphAccess",
    "GraphTransport",
    "Known",
    "MailboxLimiter",
    "Subscriptions",
    "graph_reader",
    "graph_sender",
    "graph_subscriptions",
]


def graph_reader(
    access: GraphAccess,
    token_source: TokenSource,
    *,
    transport: httpx2.AsyncBaseTransport,
    limiter: MailboxLimiter,
    plan: ReadPlan,
    name: str = "reader",
    known: Known | None = None,
) -> GraphReader:
    """`known` tells which messages the caller has, and where: those are not fetched again (graph_delta.Known)."""
    return GraphReader(access, token_source, transport, limiter, plan, name=name, known=known)


def graph_sender(
    access: GraphAccess,
    token_source: TokenSource,
    *,
    transport: httpx2.AsyncBaseTransport,
    limiter: MailboxLimiter,
) -> GraphSender:
    return GraphSender(access, token_source, transport, limiter)


def graph_subscriptions(
    access: GraphAccess,
    token_source: TokenSource,
    *,
    transport: httpx2.AsyncBaseTransport,
    limiter: MailboxLimiter,
) -> Subscriptions:
    return Subscriptions(access, token_source, transport, limiter)
