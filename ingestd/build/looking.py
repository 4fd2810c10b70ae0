"""Readers for somebody who only looks: what `verify --against-mailbox`, `audit` and `explain` need of a daemon."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from config import Settings
from connectors.egress import install_audit_hook
from ingestd.build.mailboxes import Mailboxes
from ingestd.build.outside import Outside, new_metrics
from ingestd.build.parsing import new_parser
from ingestd.build.store import Store
from ingestd.inbound.audit import AuditTools
from ingestd.inbound.lease import Lease
from ingestd.inbound.parser import ParserPool
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
            # It holds no lease: it takes no mailbox, and what it builds sends nothing.
            lease = Lease(new_id(), store.settings.inbound.lease_seconds)
            yield Mailboxes(store, outside, parser, new_metrics(), lease), parser
    finally:
        await outside.close()
