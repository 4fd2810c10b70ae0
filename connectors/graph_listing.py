"""Lists of messages: of a folder in the order of `receivedDateTime`, and the changes that delta tells of.

A list is never paged by `$skip` alone: what is deleted or comes in meanwhile would shift it, and a message would be
passed over. It goes on from the moment of the last message that was read instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connectors.base import TemporaryError
from connectors.graph_client import GraphClient
from connectors.graph_cursor import Position, literal, moment
from connectors.graph_errors import ItemMissing
from connectors.graph_folders import Folder

PAGE: Final = 100
BASELINE_PAGE: Final = 500
"""Of the first round of delta, which only counts what is there."""
FIELDS: Final = "id,receivedDateTime,createdDateTime"


@dataclass(frozen=True, slots=True)
class Listed:
    """What is known of a message before its content is fetched."""

    id: str
    received_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ListPage:
    items: Sequence[Listed]
    """Those that were not passed yet, in the list's order."""
    more: bool


@dataclass(frozen=True, slots=True)
class DeltaPage:
    items: Sequence[Listed]
    """New or changed messages, each once, by `receivedDateTime`."""
    partial: Collection[str]
    """Messages of which only what has changed is told: `look_up` tells the rest."""
    gone: Collection[str]
    link: str
    """The page that follows, or the one that the next round begins with."""
    more: bool


async def list_from(
    client: GraphClient,
    folder: Folder,
    position: Position,
    *,
    passed: Collection[str] = (),
    newest_first: bool = False,
    beyond: str = "",
) -> ListPage:
    """Return the next messages of a folder behind `position`, oldest first or newest first.

    `beyond` is the other end, as a filter: "receivedDateTime lt 2026-01-01T00:00:00Z".
    """
    known = {*position.ids, *passed}
    order, direction = ("le", "desc") if newest_first else ("ge", "asc")
    wanted = f"receivedDateTime {order} {literal(position.at)}" + (f" and {beyond}" if beyond else "")
    url: str | None = client.url(
        "mailFolders",
        folder.id,
        "messages",
        filter=wanted,
        orderby=f"receivedDateTime {direction}",
        select=FIELDS,
        top=str(PAGE),
    )
    while url is not None:
        page = await client.get(url, "messages")
        items = [item for item in map(_listed, _rows(page)) if item.id not in known]
        link = page.get("@odata.nextLink")
        if items or not link:
            return ListPage(items, bool(link))
        # A whole page of the same second, read already.
        url = client.absolute(client.relative(link))
    raise AssertionError("unreachable")


async def list_ids(client: GraphClient, folder: Folder, since: datetime) -> list[Listed]:
    """Return the messages of a folder that were received since a moment that is not long ago."""
    found: list[Listed] = []
    position = Position(since)
    while True:
        page = await list_from(client, folder, position)
        for item in page.items:
            position = position.behind(item.id, item.received_at)
        found += page.items
        if not page.more:
            return found


async def count(client: GraphClient, folder: Folder, filter_: str) -> int:
    url = client.url("mailFolders", folder.id, "messages", filter=filter_, select="id", top="1", count="true")
    return int((await client.get(url, "messages")).get("@odata.count") or 0)


def first_delta(client: GraphClient, folder: Folder, *, created: bool = False) -> str:
    """Return the link that begins delta: without a filter, as that would hide mail that is moved in later.

    `created`: of what comes in alone (graph/delta-query-messages).
    """
    link = client.relative(client.url("mailFolders", folder.id, "messages", "delta", select=FIELDS))
    return f"{link}&changeType=created" if created else link


async def delta_page(client: GraphClient, link: str, *, size: int = PAGE) -> DeltaPage:
    """Ask for one page of delta. Raises DeltaExpired, ItemMissing where the folder is gone."""
    page = await client.get(client.absolute(link), "messages/delta", page_size=size)
    items: dict[str, Listed] = {}
    gone: dict[str, None] = {}
    partial: dict[str, None] = {}
    for row in _rows(page):
        message_id = str(row.get("id"))
        # The last word on a message counts; what was moved out and back is there.
        gone.pop(message_id, None)
        if "@removed" in row:
            items.pop(message_id, None)
            partial.pop(message_id, None)
            gone[message_id] = None
        elif "receivedDateTime" in row and "createdDateTime" in row:
            partial.pop(message_id, None)
            items[message_id] = _listed(row)
        elif message_id not in items:
            partial[message_id] = None
    following = page.get("@odata.nextLink")
    return DeltaPage(
        sorted(items.values(), key=lambda item: item.received_at),
        partial.keys(),
        gone.keys(),
        client.relative(following or page.get("@odata.deltaLink")),
        bool(following),
    )


async def look_up(client: GraphClient, message_id: str) -> Listed | None:
    """Return what a list would tell of a message; None where it is gone."""
    try:
        return _listed(await client.get(client.url("messages", message_id, select=FIELDS), "messages"))
    except ItemMissing:
        return None


def _rows(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = page.get("value")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TemporaryError("Graph: a page without a value")
    return rows


def _listed(row: Mapping[str, Any]) -> Listed:
    try:
        received_at = moment(row["receivedDateTime"])
        return Listed(str(row["id"]), received_at, moment(row.get("createdDateTime") or row["receivedDateTime"]))
    except (KeyError, ValueError):
        raise TemporaryError("Graph: a message without id or date") from None
