"""Taking messages whole: MIME by `$value`, several at once within the mailbox's limit, in order.

Graph does not tell a message's size before it is read. What turns out to be larger than the caller's limit is not
read to its end; its header comes from `internetMessageHeaders`, and its size from the property that Exchange keeps.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from connectors.base import RawMessage, ReadPlan
from connectors.graph_client import GraphClient, Request, TooLarge
from connectors.graph_cursor import Locator
from connectors.graph_errors import CallRefused, ItemMissing
from connectors.graph_folders import Folder
from connectors.graph_listing import Listed
from connectors.imap_fetch import header_of
from connectors.room import SMALL_BYTES

AHEAD: Final = 4
"""Messages that are asked for together, and kept while the first of them is awaited."""
_EXPECTED_BYTES: Final = 128 * 1024
_TRIES: Final = 2
_SIZE: Final = "Integer 0x0E08"
"""PidTagMessageSize."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of one message: it was given, it is gone (None), or it is withheld."""

    item: Listed
    message: RawMessage | None
    withheld: bool = False


async def fetch_message(client: GraphClient, folder: Folder, item: Listed, bytes_max: int) -> Fetched:
    """Fetch one message; where it is over the limit, its header."""
    try:
        return await _fetch_whole(client, folder, item, bytes_max)
    except TooLarge as error:
        return Fetched(item, await fetch_header(client, folder, item, size_min=error.size))


async def _fetch_whole(client: GraphClient, folder: Folder, item: Listed, bytes_max: int) -> Fetched:
    """Fetch one message. Raises TooLarge where it is over the limit."""
    for attempt in range(1, _TRIES + 1):
        try:
            content = await read_content(client, item.id, bytes_max)
            return Fetched(item, _message(folder, item, content))
        except ItemMissing:
            return Fetched(item, None)
        except CallRefused:
            if attempt == _TRIES:
                return Fetched(item, None, withheld=True)
    raise AssertionError("unreachable")


async def read_content(client: GraphClient, message_id: str, bytes_max: int) -> bytes:
    """Return a message's MIME. Raises ItemMissing, TooLarge, CallRefused where it is this message's own trouble."""
    url = client.url("messages", message_id, "$value")
    return (await client.call(Request("GET", url, "GET $value", bytes_max=bytes_max))).body


async def fetch_header(
    client: GraphClient, folder: Folder, item: Listed, *, size_min: int = 0, withheld: bool = False
) -> RawMessage | None:
    """Return what can be told of a message without its content; None where it is gone."""
    expand = f"singleValueExtendedProperties($filter=id eq '{_SIZE}')"
    url = client.url("messages", item.id, select="id,internetMessageHeaders", expand=expand)
    try:
        found = await client.get(url, "messages")
    except ItemMissing:
        return None
    except CallRefused:
        if not withheld:
            raise
        found = {}
    size = next((_number(one.get("value")) for one in found.get("singleValueExtendedProperties") or ()), 0)
    header = header_block(found.get("internetMessageHeaders") or ())
    return RawMessage(
        str(Locator(folder.id, item.id)),
        folder.name,
        max(size, size_min),
        item.received_at,
        None,
        header,
        provider_id=item.id,
        withheld=withheld,
    )


def header_block(rows: Iterable[Any]) -> bytes:
    r"""Write `internetMessageHeaders` as a header block.

    >>> header_block([{"name": "Subject", "value": "Hi\r\nthere"}])
    b'Subject: Hi there\r\n\r\n'
    """
    lines = [
        f"{row['name']}: {' '.join(str(row['value']).splitlines())}"
        for row in rows
        if isinstance(row, dict) and str(row.get("name", "")).isascii() and "value" in row
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("utf-8", "surrogateescape") if lines else b""


def _message(folder: Folder, item: Listed, content: bytes) -> RawMessage:
    return RawMessage(
        str(Locator(folder.id, item.id)),
        folder.name,
        len(content),
        item.received_at,
        content,
        header_of(content),
        provider_id=item.id,
    )


async def in_order(items: Iterable[T], work: Callable[[T], Awaitable[R]], *, ahead: int = AHEAD) -> AsyncIterator[R]:
    """Work on several at once and yield what comes of them in their order. Close it, so that the rest is cancelled."""
    left = iter(items)
    tasks: deque[asyncio.Future[R]] = deque(asyncio.ensure_future(work(item)) for item in islice(left, ahead))
    try:
        while tasks:
            result = await tasks[0]
            tasks.popleft()
            tasks.extend(asyncio.ensure_future(work(item)) for item in islice(left, 1))
            yield result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def fetch_groups(
    client: GraphClient, folder: Folder, items: Sequence[Listed], plan: ReadPlan
) -> AsyncIterator[list[Fetched]]:
    """Fetch messages and yield them in groups within the plan's limits, in their order; each item is in one of them.

    What is large is a group of its own, and holds its room until the next one is asked for.
    """
    small_bytes = min(SMALL_BYTES, plan.message_bytes_max)
    batch_bytes = min(2 * SMALL_BYTES, plan.batch_bytes_max)
    group: list[Fetched] = []
    size = count = 0

    async def fetch(item: Listed) -> Fetched | Listed:
        try:
            return await _fetch_whole(client, folder, item, small_bytes)
        except TooLarge:
            return item

    # How large those that are small will be, nobody knows yet.
    expected = min(len(items), AHEAD) * _EXPECTED_BYTES
    async with plan.room.taken(expected, client.where), aclosing(in_order(items, fetch)) as fetched:  # type: ignore[type-var]
        async for one in fetched:
            if isinstance(one, Listed):
                if group:
                    yield group
                    group, size, count = [], 0, 0
                # Again, and whole: it waits for room, and those behind it for their turn.
                async with plan.room.taken(plan.message_bytes_max, client.where):
                    yield [await fetch_message(client, folder, one, plan.message_bytes_max)]
                continue
            more = len(one.message.content or one.message.header) if one.message else 0
            if group and (count == plan.batch_messages_max or size + more > batch_bytes):
                yield group
                group, size, count = [], 0, 0
            group.append(one)
            size, count = size + more, count + 1
        if group:
            yield group


def _number(text: object) -> int:
    digits = str(text)
    return int(digits[:15]) if digits.isascii() and digits.isdigit() else 0
