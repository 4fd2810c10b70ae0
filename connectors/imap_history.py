"""Reading what was in a mailbox before it was linked: windows of UIDs, from either end, resumable.

The cursor is JSON, one record a folder:

    {"v": 1, "history": {"INBOX": {"uidvalidity": 7, "low": 1, "high": 80, "seen": 40, "total": 120}}}

`low` and `high` are the UIDs that are still to be read, inclusive; it ends with `low` behind `high`. `high` begins
at the folder's last UID, as what comes later belongs to `changes` whatever its date says. For the same reason
`changes` must have begun before: a message with an old date that comes between the two would be nobody's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace

from connectors.aside import ASIDE_MAX
from connectors.base import HistoryBatch, HistoryPlan, RawMessage, ReadPlan, TemporaryError
from connectors.imap_aside import require_others, with_withheld
from connectors.imap_connection import Connection
from connectors.imap_fetch import Listed, Window, date_criteria, group, of_time, search_window, weight_of
from connectors.imap_session import FolderMissing, ImapSession, Selected

_VERSION = 1
_COUNT_MESSAGES = 20_000
"""Messages that are counted in one command: the answer names each, and a line has a limit (imap_wire)."""


@dataclass(frozen=True, slots=True)
class FolderHistory:
    """What is left to be read of a folder, and how much that is."""

    uidvalidity: int
    low: int
    high: int
    seen: int = 0
    total: int = 0
    aside: tuple[int, ...] = ()
    """UIDs of messages that the server withheld: they are asked for once more at the end."""

    @property
    def searched(self) -> bool:
        return self.low > self.high

    @property
    def done(self) -> bool:
        return self.searched and not self.aside

    def window(self, size: int, *, newest_first: bool) -> tuple[int, int]:
        """Return the next `size` UIDs to look at, first and last.

        >>> FolderHistory(7, 1, 100).window(30, newest_first=True)
        (71, 100)
        >>> FolderHistory(7, 90, 100).window(30, newest_first=False)
        (90, 100)
        """
        if newest_first:
            return max(self.low, self.high - size + 1), self.high
        return self.low, min(self.high, self.low + size - 1)

    def behind(self, low: int, high: int, *, newest_first: bool) -> FolderHistory:
        """Return what is left after the messages between `low` and `high`."""
        return replace(self, high=low - 1) if newest_first else replace(self, low=high + 1)

    def counted(self, messages: int) -> FolderHistory:
        """Count messages that were read; at the end the total is what it was."""
        seen = self.seen + messages
        return replace(self, seen=seen, total=seen if self.done else max(self.total, seen))


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

    >>> format_history({"INBOX": FolderHistory(7, 1, 80, 40, 120)})
    '{"v":1,"history":{"INBOX":{"uidvalidity":7,"low":1,"high":80,"seen":40,"total":120}}}'
    """
    # What is empty is left out, as almost always there is nothing aside.
    records = {
        name: {key: value for key, value in asdict(folder).items() if value != ()} for name, folder in folders.items()
    }
    return json.dumps({"v": _VERSION, "history": records}, ensure_ascii=False, separators=(",", ":"))


async def read_history(
    connection: Connection, plan: ReadPlan, wanted: HistoryPlan, cursor: str | None
) -> AsyncIterator[HistoryBatch]:
    """Yield old mail folder by folder in the plan's order; see `Reader.history`.

    The first batch is empty and tells the total, so that the caller can keep where the folders ended when it began.
    """
    state = parse_history(cursor)
    plans = await folder_plans(connection, plan, wanted)
    begun = False
    for name, of_folder in plans.items():
        # The folders behind one that was deleted are read; that it is missing is told by `changes`.
        with contextlib.suppress(FolderMissing):
            begun = await _begin(connection, of_folder, name, state) or begun
    if begun:
        yield _batch((), state)
    for name, of_folder in plans.items():
        with contextlib.suppress(FolderMissing):
            batches = _read_folder(connection, plan, of_folder, name, state)
            async with aclosing(batches):  # type: ignore[type-var]  # or who ends us leaves its room taken
                async for batch in batches:
                    yield batch


async def folder_plans(connection: Connection, plan: ReadPlan, wanted: HistoryPlan) -> dict[str, HistoryPlan]:
    """Return what is old in each folder, in the plan's order: what came later is `changes`' business."""
    # INTERNALDATE knows whole seconds, and `changes` begins at a whole one.
    since = wanted.since.replace(microsecond=0) if wanted.since else None
    plans: dict[str, HistoryPlan] = {}
    for entry in plan.folders:
        if (name := await connection.find(entry)) is not None:
            start_at = plan.starts.get(entry, wanted.before).replace(microsecond=0)
            before = min(plans[name].before, start_at) if name in plans else start_at
            plans[name] = replace(wanted, before=before, since=since)
    return plans


async def _begin(connection: Connection, wanted: HistoryPlan, name: str, state: dict[str, FolderHistory]) -> bool:
    """Fix the end of a folder and count it, where it has not begun yet or its UIDs mean other messages now."""
    if name in state and state[name].done:
        return False
    session, selected = await connection.select(name)
    if name in state and state[name].uidvalidity == selected.uidvalidity:
        return False
    total = await _count(session, selected, wanted)
    state[name] = FolderHistory(selected.uidvalidity, 1, selected.uidnext - 1, total=total)
    return True


async def _read_folder(
    connection: Connection, plan: ReadPlan, wanted: HistoryPlan, name: str, state: dict[str, FolderHistory]
) -> AsyncIterator[HistoryBatch]:
    newest_first = wanted.newest_first
    if name not in state or state[name].done:
        return
    session, selected = await connection.select(name)
    if selected.uidvalidity != state[name].uidvalidity:
        raise TemporaryError(f"SELECT at {session.where}: UIDVALIDITY changed")
    window = Window()
    while not (left := state[name]).searched:
        low, high = left.window(window.size, newest_first=newest_first)
        session = await connection.same(selected)
        uids = await search_window(session, low, high, wanted.since, wanted.before)
        uids, low, high = window.cut(uids, low, high, from_end=newest_first)
        listed = of_time(await connection.describe(selected, uids), wanted.since, wanted.before)
        for items in _groups(listed, plan, newest_first=newest_first):
            async with plan.room.taken(weight_of(items, plan), connection.where):
                fetched = await connection.fetch(selected, items)
                await require_others(connection, selected, fetched, None)
                left = state[name].behind(items[0].uid, items[-1].uid, newest_first=newest_first)
                left = replace(left, aside=(*left.aside, *(item.uid for item in fetched.withheld)))
                state[name] = left.counted(len(fetched.messages))
                yield _batch(fetched.messages, state)
            if len(state[name].aside) >= ASIDE_MAX:
                async for messages in _read_aside(connection, selected, plan, name, state):
                    yield _batch(messages, state)
        state[name] = state[name].behind(low, high, newest_first=newest_first).counted(0)
    async for messages in _read_aside(connection, selected, plan, name, state):
        yield _batch(messages, state)
    yield _batch((), state)


async def _read_aside(
    connection: Connection, selected: Selected, plan: ReadPlan, name: str, state: dict[str, FolderHistory]
) -> AsyncIterator[list[RawMessage]]:
    """Ask once more for what was withheld; what is still withheld is taken as what there is. Old mail needs no more."""
    listed = await connection.describe(selected, sorted(state[name].aside))
    for items in group(listed, plan):
        fetched = await connection.fetch(selected, items)
        await require_others(connection, selected, fetched, None)
        messages = await with_withheld(connection, selected, fetched)
        uids = {item.uid for item in items}
        left = replace(state[name], aside=tuple(uid for uid in state[name].aside if uid not in uids))
        state[name] = left.counted(len(messages))
        yield messages
    state[name] = replace(state[name], aside=()).counted(0)


def _groups(listed: Sequence[Listed], plan: ReadPlan, *, newest_first: bool) -> list[list[Listed]]:
    """Cut into batches from the end that comes first; within a batch the order is that of arrival."""
    if not newest_first:
        return group(listed, plan)
    return [items[::-1] for items in group(reversed(listed), plan)]


async def _count(session: ImapSession, selected: Selected, wanted: HistoryPlan) -> int:
    """Count by SEARCH with dates; by sequence numbers, as these are dense and UIDs are not."""
    criteria = date_criteria(wanted.since, wanted.before)
    total = 0
    for first in range(1, selected.exists + 1, _COUNT_MESSAGES):
        last = min(first + _COUNT_MESSAGES - 1, selected.exists)
        asked = [f"{first}:{last}", *criteria]
        total += len(await session.run("SEARCH", lambda client, asked=asked: client.search(asked)))  # type: ignore[misc]
    return total


def _batch(messages: Sequence[RawMessage], state: Mapping[str, FolderHistory]) -> HistoryBatch:
    return HistoryBatch(
        messages,
        format_history(state),
        seen=sum(folder.seen for folder in state.values()),
        total=sum(folder.total for folder in state.values()),
    )


def _folder(record: Mapping[str, object]) -> FolderHistory:
    numbers = {name: int(str(record[name])) for name in ("uidvalidity", "low", "high", "seen", "total")}
    aside = record.get("aside")
    return FolderHistory(**numbers, aside=tuple(map(int, aside)) if isinstance(aside, list) else ())
