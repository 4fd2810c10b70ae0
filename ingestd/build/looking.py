"""Readers for somebody who only looks: what `verify --against-mailbox`, `audit` and `explain` need of a daemon."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import UUID

from config import Settings
from connectors.egress import install_audit_hook
from ingestd.build.mailboxes import Mailboxes
from ingestd.build.outside import Outside, new_metrics
from ingestd.build.parsing import new_parser
from ingestd.build.store import Store
from ingestd.inbound.audit import Audited, AuditTools
from ingestd.inbound.explain import Looks
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.lease import Lease
from ingestd.inbound.parser import ParserPool
from ingestd.telemetry.metrics import Metrics
from storage.types import new_id


def audit_tools(store: Store, parser: ParserPool, settings: Settings | None = None) -> AuditTools:
    """Return what a comparison needs; with the settings in force, where those changed."""
    settings = settings or store.settings
    return AuditTools(
        content=store.content,
        blobs=store.blobs,
        parser=parser,
        blob_bytes_min=settings.storage.blob_bytes_min,
        fetches_max=settings.inbound.audit_fetches_max,
        ticket_status=settings.backfill.ticket_status,
    )


@contextlib.asynccontextmanager
async def open_looking(store: Store) -> AsyncIterator[tuple[Mailboxes, ParserPool]]:
    """Build what reaches mailboxes, behind the same guard as the daemon's, and one parser process."""
    outside = Outside(store.settings)
    await outside.permit_databases()
    install_audit_hook(outside.guard)
    try:
        async with new_parser(store.settings, processes=1) as parser:
            yield _mailboxes(store, outside, parser, new_metrics()), parser
    finally:
        await outside.close()


def looks_of(
    store: Store, outside: Outside, parser: ParserPool, metrics: Metrics, settings: Callable[[], Settings]
) -> Looks:
    """Return what asks providers for the API; `settings` returns those in force, also after a reload."""

    async def begin(account_id: UUID, mailbox_id: UUID) -> tuple[MailboxContext, Audited]:
        # Built for each request: what it keeps of a mailbox in memory (tokens) goes with it.
        builder = _mailboxes(replace(store, settings=settings()), outside, parser, metrics)
        return await builder.audited(account_id, mailbox_id)

    return Looks(lambda: audit_tools(store, parser, settings()), begin, settings().api.provider_lookups_max)


def _mailboxes(store: Store, outside: Outside, parser: ParserPool, metrics: Metrics) -> Mailboxes:
    # It holds no lease: it takes no mailbox, and what it builds sends nothing.
    return Mailboxes(store, outside, parser, metrics, Lease(new_id(), store.settings.inbound.lease_seconds))
