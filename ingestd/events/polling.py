"""Reading the log piece by piece, as a poll does: some types only, and waiting where there is nothing yet."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

from ingestd.events.feed import EventFeed, Page, Reader, Told

_PAGES_MAX = 20
"""Of the log that one request looks through for the types that it wants; its cursor says how far it came."""


async def look(feed: EventFeed, account_id: UUID, after: int | None, limit: int, types: Collection[str]) -> Page:
    """Return up to `limit` events behind `after`, only of these types; without `types`, all. Raises as `feed.read`."""
    page_max = feed.settings().page_events_max
    limit = min(limit, page_max)
    page = await feed.read(account_id, after, page_max if types else limit)
    for _ in range(_PAGES_MAX - 1):
        if page.is_last or wanted(page.events, types):
            break
        page = await feed.read(account_id, page.cursor, page_max)
    found = wanted(page.events, types)
    cursor = page.cursor if len(found) <= limit else found[limit - 1].sequence
    return replace(page, events=found[:limit], cursor=cursor)


async def wait(reader: Reader, page: Page, limit: int, types: Collection[str], seconds: float) -> Page:
    """Wait for up to `limit` events behind an empty page, so many seconds at most. Raises as `reader.next`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    found: Sequence[Told] = ()
    while not found and (left := until - loop.time()) > 0:
        found = wanted(await reader.next(left, limit), types)
    return Page(found, reader.cursor, page.oldest, max(page.latest, reader.cursor))


def wanted(events: Sequence[Told], types: Collection[str]) -> Sequence[Told]:
    return [told for told in events if told.type in types] if types else events
