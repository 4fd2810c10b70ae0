"""Version 1 of the API: a module a resource, each with its shapes and its routes, and no logic.

What is here stays as it is: fields and addresses are only ever added.
"""

from __future__ import annotations

from fastapi import APIRouter

from ingestd.api.v1 import (
    accounts,
    backfills,
    erasures,
    events,
    explain,
    exports,
    linking,
    mailboxes,
    merging,
    messages,
    quarantine,
    receipts,
    replies,
    tickets,
    tokens,
    uploads,
    webhooks,
)

PREFIX = "/v1"

router = APIRouter(prefix=PREFIX)
_PARTS = (
    *(accounts, tokens, mailboxes, linking, backfills, receipts, erasures),
    *(tickets, merging, messages, explain, uploads, replies, quarantine, exports, events, webhooks),
)
for _part in _PARTS:
    router.include_router(_part.router)
