"""Reading what was in a mailbox before it was linked: lists by date, from either end, resumable.

The cursor is JSON, one record a folder, by its id:

    {"v": 1, "history": {"AQMk…": {"begun": "2026-11-29T10:00:00+00:00", "seen": 40, "total": 120,
                                   "behind": ["2026-03-01T09:30:00+00:00", "AAkA…"]}}}

`begun` is the server's time when the folder was counted: what came into it later belongs to `changes`, whatever its
date says. `behind` is where the list was left; a folder that is `done` has none.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connectors.base import HistoryBatch, HistoryPlan, RawMessage, ReadPlan
from connectors.graph_client import GraphClient
from connectors.graph_cursor import CLOCK_SLACK, Position, literal, moment
from connectors.graph_errors import ItemMissing
from connectors.graph_fetch import Fetched, fetch_groups, fetch_header
from connectors.graph_folders import Folder, Folders
from connectors.graph_listing import count, list_from

_VERSION = 1
_THE_BEGIN: Final = datetime(1900, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FolderHistory:
    """What is left to be read of a folder, and how much that is."""

    begun: datetime
    behind: Position | None
    """None: it is done."""
    seen: int = 0
    total: int = 0

    def counted(self, messages: int, behind: Position | None) -> FolderHistory:
        """Count messages that were read; at the end the total is what it was."""
        seen = self.seen + messages
        return replace(self, seen=seen, behind=behind, total=max(self.total, seen) if behind else seen)


@dataclass(frozen=True, slots=True)
class _Span:
    """Which mail of a folder is old: from `since` (inclusive) until `before` (exclusive)."""

    since: datetime
    before: datetime
    newest_first: bool

    @property
    def begin(self) -> Position:
        # The list is asked for with "le", and dates are whole seconds.
        return Position(self.before - timedelta(seconds=1) if self.newest_first else self.since)

    @property
    def beyond(self) -> str:
        if self.newest_first:
            return f"receivedDateTime ge {literal(self.since)}"
        return f"receivedDateTime lt {literal(self.before)}"

    @property
    def whole(self) -> str:
        return f"receivedDateTime ge {literal(self.since)} and receivedDateTime lt {literal(self.before)}"


def parse_history(text: str | None) -> dict[str, FolderHistory]:
    """Read a cursor; one that is not ours is as none: what is read again is known by the caller."""
    if text is None:
        return {}
    try:
        document = json.loads(text)
        if document["v"] != _VERSION:
            return {}
        return {str(name): _folder(record) for name, record in document["history"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def format_history(folders: Mapping[str, FolderHistory]) -> str:
    """Write a cursor.

    >>> day = datetime(2026, 1, 1, tzinfo=UTC)
    >>> parse_history(format_history({"f": FolderHistory(day, Position(day, ("a",)), 1, 9)}))["f"].total
    9
    """
    records = {
        name: {
            "begun": folder.begun.isoformat(),
            **({"behind": folder.behind.row()} if folder.behind else {"done": True}),
            "seen": folder.seen,
            "total": folder.total,
        }
        for name, folder in folders.items()
    }
    return json.dumps({"v": _VERSION, "history": records}, ensure_ascii=False, separators=(",", ":"))


async def read_history(
    client: GraphClient, folders: Folders, plan: ReadPlan, wanted: HistoryPlan, cursor: str | None
) -> AsyncIterator[HistoryBatch]:
    """Yield old mail folder by folder in the plan's order; see `Reader.history`."""
    state = parse_history(cursor)
    spans = await _spans(folders, plan, wanted)
    begun = False
    for folder, span in spans:
        if folder.id not in state:
            # The folders behind one that was deleted are read; that it is missing is told by `changes`.
            with contextlib.suppress(ItemMissing):
                total = await count(client, folder, span.whole)
                state[folder.id] = FolderHistory(client.server_now, span.begin, total=total)
                begun = True
    if begun:
        yield _batch((), state)
    for folder, span in spans:
        if folder.id in state:
            with contextlib.suppress(ItemMissing):
                async for batch in _read_folder(client, plan, folder, span, state):
                    yield batch


async def claimed_in_folders(
    client: GraphClient, folders: Folders, plan: ReadPlan, wanted: HistoryPlan, cursor: str
) -> list[tuple[Folder, AsyncIterator[list[str]]]]:
    """Return, folder by folder, pages of the ids of old messages that are there and that a reading at `cursor` has
    passed."""
    state = parse_history(cursor)
    spans = await _spans(folders, plan, replace(wanted, newest_first=False))
    return [
        (folder, _claimed(client, folder, span, state[folder.id], newest_first=wanted.newest_first))
        for folder, span in spans
        if folder.id in state
    ]


async def _claimed(
    client: GraphClient, folder: Folder, span: _Span, at: FolderHistory, *, newest_first: bool
) -> AsyncIterator[list[str]]:
    position, more = span.begin, True
    while more:
        page = await list_from(client, folder, position, beyond=span.beyond)
        found = []
        for item in page.items:
            position = position.behind(item.id, item.received_at)
            # Of the very second at which the reading stands, nobody knows which were passed.
            passed = at.behind is None or (
                item.received_at > at.behind.at if newest_first else item.received_at < at.behind.at
            )
            # What came into the folder later is the business of `changes`.
            if passed and item.created_at <= at.begun:
                found.append(item.id)
        if found:
            yield found
        more = page.more


async def _spans(folders: Folders, plan: ReadPlan, wanted: HistoryPlan) -> list[tuple[Folder, _Span]]:
    """Return the folders with what is old in each, each folder once."""
    since = wanted.since.replace(microsecond=0) if wanted.since else _THE_BEGIN
    found: dict[str, tuple[Folder, _Span]] = {}
    for entry in plan.folders:
        if (folder := await folders.find(entry)) is None:
            continue
        before = plan.starts.get(entry, wanted.before).replace(microsecond=0)
        if folder.id in found:
            before = min(before, found[folder.id][1].before)
        found[folder.id] = (folder, _Span(since, before, wanted.newest_first))
    return list(found.values())


async def _read_folder(
    client: GraphClient, plan: ReadPlan, folder: Folder, span: _Span, state: dict[str, FolderHistory]
) -> AsyncIterator[HistoryBatch]:
    passed: set[str] = set()
    while (position := state[folder.id].behind) is not None:
        page = await list_from(
            client, folder, position, passed=passed, newest_first=span.newest_first, beyond=span.beyond
        )
        # What came later is the business of `changes`; in doubt it is read by both.
        later = state[folder.id].begun + CLOCK_SLACK
        passed |= {item.id for item in page.items if item.created_at > later}
        items = [item for item in page.items if item.id not in passed]
        async with aclosing(fetch_groups(client, folder, items, plan)) as groups:  # type: ignore[type-var]
            async for fetched in groups:
                for one in fetched:
                    position = position.behind(one.item.id, one.item.received_at)
                messages = await _whole(client, folder, fetched)
                state[folder.id] = state[folder.id].counted(len(messages), position)
                yield _batch(_by_arrival(messages, newest_first=span.newest_first), state)
        if not page.more:
            state[folder.id] = state[folder.id].counted(0, None)
            yield _batch((), state)


async def _whole(client: GraphClient, folder: Folder, fetched: Sequence[Fetched]) -> list[RawMessage]:
    """Return the messages that were given, and what there is of the others: old mail is not asked for again."""
    found = [
        await fetch_header(client, folder, one.item, withheld=True) if one.withheld else one.message for one in fetched
    ]
    return [message for message in found if message is not None]


def _by_arrival(messages: Sequence[RawMessage], *, newest_first: bool) -> Sequence[RawMessage]:
    return messages[::-1] if newest_first else messages


def _batch(messages: Sequence[RawMessage], state: Mapping[str, FolderHistory]) -> HistoryBatch:
    return HistoryBatch(
        messages,
        format_history(state),
        seen=sum(folder.seen for folder in state.values()),
        total=sum(folder.total for folder in state.values()),
    )


def _folder(record: Mapping[str, Any]) -> FolderHistory:
    behind = None if record.get("done") is True else Position.of_row(record["behind"])
    return FolderHistory(moment(record["begun"]), behind, int(record["seen"]), int(record["total"]))
