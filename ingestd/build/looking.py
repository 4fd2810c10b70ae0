"""Readers for somebody who only looks: what `ingestd verify --against-mailbox` needs of a daemon."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from connectors.egress import install_audit_hook
from ingestd.build.mailboxes import Mailboxes
from ingestd.build.outside import Outside, new_metrics
from ingestd.build.parsing import new_parser
from ingestd.build.store import Store
from ingestd.inbound.lease import Lease
from ingestd.inbound.parser import ParserPool
from storage.types import new_id


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
