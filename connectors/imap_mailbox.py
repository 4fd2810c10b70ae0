"""The constructors: a reader and a sender for one mailbox, over the process's shared tools."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from concurrent.futures import Executor

from connectors.base import ReadPlan, TokenSource
from connectors.egress import EgressGuard
from connectors.imap import ImapReader
from connectors.imap_access import ImapAccess, ImapEndpoint, SmtpEndpoint
from connectors.imap_places import HostPlaces
from connectors.imap_session import ImapTools
from connectors.smtp import SmtpSender

__all__ = ["HostPlaces", "ImapAccess", "ImapEndpoint", "SmtpEndpoint", "imap_reader", "smtp_sender"]


def imap_reader(
    access: ImapAccess,
    token_source: TokenSource,
    *,
    ssl_context: ssl.SSLContext,
    guard: EgressGuard,
    executor: Executor,
    places: HostPlaces | None = None,
    alerted: Callable[[int], None] = lambda _: None,
    plan: ReadPlan,
) -> ImapReader:
    return ImapReader(
        access, token_source, ImapTools(ssl_context, guard, executor, alerted, places or HostPlaces()), plan
    )


def smtp_sender(
    access: ImapAccess,
    token_source: TokenSource,
    *,
    ssl_context: ssl.SSLContext,
    guard: EgressGuard,
    executor: Executor,
    places: HostPlaces | None = None,
    alerted: Callable[[int], None] = lambda _: None,
) -> SmtpSender:
    return SmtpSender(access, token_source, ImapTools(ssl_context, guard, executor, alerted, places or HostPlaces()))
