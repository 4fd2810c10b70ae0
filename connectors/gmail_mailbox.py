"""The constructors: what the mailboxes of a process share, and a reader and a sender for one of them."""

from __future__ import annotations

import ssl
from concurrent.futures import Executor

from connectors.base import ReadPlan, TokenSource
from connectors.egress import EgressGuard
from connectors.gmail import GmailReader, Known, WatchFailed
from connectors.gmail_access import ROOT_URL, GmailAccess
from connectors.gmail_push import PushListener
from connectors.gmail_quota import Quotas
from connectors.gmail_sender import GmailSender
from connectors.gmail_session import GmailApi, GmailSession, GmailTools
from connectors.gmail_wait import stop_watch

__all__ = [
    "GmailAccess",
    "GmailTools",
    "Known",
    "PushListener",
    "gmail_reader",
    "gmail_sender",
    "gmail_stop_watch",
    "gmail_tools",
]

UNITS_PER_USER_MINUTE = 6_000
UNITS_PER_PROJECT_MINUTE = 1_200_000
"""Google's for projects since May 2026; older ones have 15,000 a user."""


def gmail_tools(
    *,
    ssl_context: ssl.SSLContext,
    guard: EgressGuard,
    executor: Executor,
    root_url: str = ROOT_URL,
    units_per_user_minute: int = UNITS_PER_USER_MINUTE,
    units_per_project_minute: int = UNITS_PER_PROJECT_MINUTE,
) -> GmailTools:
    """Make what all mailboxes of a process use, once. `executor` is for this alone: each of its threads carries one
    call at a time. Where several processes share a project, each has its share of its units."""
    quotas = Quotas(units_per_user_minute, units_per_project_minute)
    return GmailTools(ssl_context, guard, executor, GmailApi(root_url), quotas)


def gmail_reader(
    access: GmailAccess,
    token_source: TokenSource,
    *,
    tools: GmailTools,
    plan: ReadPlan,
    known: Known | None = None,
    push: PushListener | None = None,
    watch_failed: WatchFailed = lambda _error, _seconds: None,
) -> GmailReader:
    """`known` tells which messages the caller has; without it, all of them are read again where the history is lost."""
    return GmailReader(access, token_source, tools, plan, known=known, push=push, watch_failed=watch_failed)


def gmail_sender(access: GmailAccess, token_source: TokenSource, *, tools: GmailTools) -> GmailSender:
    return GmailSender(access, token_source, tools)


async def gmail_stop_watch(access: GmailAccess, token_source: TokenSource, *, tools: GmailTools) -> None:
    """End the publishing of what happens in a mailbox. Raises ConnectorError."""
    session = GmailSession(access, token_source, tools)
    try:
        await stop_watch(session)
    finally:
        await session.close()
