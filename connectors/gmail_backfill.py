"""The mail that was there before the mailbox was linked, by the Gmail API.

The listing of a label is read once from end to end, in the order of ids, so it can be taken up again at any of them.
The end is fixed at the first reading: what comes later is `changes`' business, which must have begun before: a message
with an old date that comes between the two would be nobody's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from connectors.base import HistoryBatch, HistoryPlan, RawMessage, ReadPlan
from connectors.gmail_cursor import ALL_MAIL, order_of
from connectors.gmail_fetch import fetch_parts, group, list_ids, sorted_ids
from connectors.gmail_labels import Labels, lies_in
from connectors.gmail_quota import Urgency
from connectors.gmail_session import GmailSession

_VERSION = 1
_OLD = Urgency.HISTORY
_EDGE: Final = timedelta(seconds=2)
"""A search by date is widened by a second: what lies so near to an end is rather not claimed."""


@dataclass(frozen=True, slots=True)
class LabelHistory:
    """How far the old mail of a label was read."""

    top: str
    """The greatest id that is of the history."""
    at: str = ""
    """The id that was read last; all between it and the end that comes first are behind us."""
    seen: int = 0
    total: int = 0
    done: bool = False

    def left(self, ids: Sequence[str], *, newest_first: bool) -> list[str]:
        """Return what is still to be read, in the order of ids.

        >>> LabelHistory("5", at="3").left(["1", "2", "3", "4", "5", "6"], newest_first=True)
        ['1', '2']
        >>> LabelHistory("5", at="3").left(["1", "2", "3", "4", "5", "6"], newest_first=False)
        ['4', '5']
        """
        top, at = order_of(self.top), order_of(self.at)
        some = [one for one in ids if order_of(one) <= top]
        if not self.at:
            return some
        return [one for one in some if (order_of(one) < at if newest_first else order_of(one) > at)]

    def counted(self, messages: int, at: str) -> LabelHistory:
        seen = self.seen + messages
        return replace(self, seen=seen, total=max(self.total, seen), at=at)


def parse_backfill(text: str | None) -> dict[str, LabelHistory]:
    """Read a cursor; one that is not ours is as none: what is read again is known by the caller."""
    if text is None:
        return {}
    try:
        document = json.loads(text)
        if document["v"] != _VERSION:
            return {}
        return {str(label): LabelHistory(**record) for label, record in document["gmail_history"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def format_backfill(labels: Mapping[str, LabelHistory]) -> str:
    """Write a cursor.

    >>> format_backfill({"INBOX": LabelHistory("18f1", "18f0", 40, 120)})
    '{"v":1,"gmail_history":{"INBOX":{"top":"18f1","at":"18f0","seen":40,"total":120,"done":false}}}'
    """
    records = {label: asdict(one) for label, one in labels.items()}
    return json.dumps({"v": _VERSION, "gmail_history": records}, separators=(",", ":"))


async def read_backfill(
    session: GmailSession, labels: Labels, plan: ReadPlan, wanted: HistoryPlan, cursor: str | None
) -> AsyncIterator[HistoryBatch]:
    """Yield old mail label by label in the plan's order; see `Reader.history`.

    The first batch is empty and tells the total, so that the caller can keep where the labels ended when it began.
    """
    state = parse_backfill(cursor)
    since = wanted.since.replace(microsecond=0) if wanted.since else None
    befores = await _befores(labels, plan, wanted)
    listed: dict[str, list[str]] = {}
    begun = False
    for label, before in befores.items():
        if label in state and state[label].done:
            continue
        ids = listed[label] = sorted_ids(await list_ids(session, label, _OLD, since=since, before=before))
        if label not in state:
            state[label] = LabelHistory(top=ids[-1] if ids else "", total=len(ids))
            begun = True
    if begun:
        yield _batch((), state)
    for label, ids in listed.items():
        limits = (since, befores[label])
        async for messages in _read_label(session, labels, plan, label, ids, limits, state, wanted):
            yield _batch(messages, state)


async def claimed_of_labels(
    session: GmailSession, labels: Labels, plan: ReadPlan, wanted: HistoryPlan, cursor: str
) -> dict[str, list[str]]:
    """Return, label by label, the old messages that are there and that a reading at `cursor` has passed."""
    state = parse_backfill(cursor)
    since = wanted.since.replace(microsecond=0) + _EDGE if wanted.since else None
    found: dict[str, list[str]] = {}
    for label, before in (await _befores(labels, plan, wanted)).items():
        if (at := state.get(label)) is None:
            continue
        ids = sorted_ids(await list_ids(session, label, _OLD, since=since, before=before - _EDGE))
        left = set() if at.done else set(at.left(ids, newest_first=wanted.newest_first))
        top = order_of(at.top)
        found[label] = [one for one in ids if at.top and order_of(one) <= top and one not in left]
    return found


async def _befores(labels: Labels, plan: ReadPlan, wanted: HistoryPlan) -> dict[str, datetime]:
    """Return the labels of the plan, in its order, with the moment from which on their mail is new."""
    befores: dict[str, datetime] = {}
    for entry in plan.folders:
        # A label that is gone is passed over: that it is missing is told by `changes`.
        label = await labels.find(entry, _OLD)
        if label is not None and label != ALL_MAIL:
            before = plan.starts.get(entry, wanted.before).replace(microsecond=0)
            befores[label] = min(befores.get(label, before), before)
    return befores


async def _read_label(
    session: GmailSession,
    labels: Labels,
    plan: ReadPlan,
    label: str,
    ids: Sequence[str],
    limits: tuple[datetime | None, datetime],
    state: dict[str, LabelHistory],
    wanted: HistoryPlan,
) -> AsyncIterator[Sequence[RawMessage]]:
    left = state[label].left(ids, newest_first=wanted.newest_first)
    name = await labels.name_of(label, _OLD)
    parts = fetch_parts(session, left, plan, _OLD, from_end=wanted.newest_first)
    async with aclosing(parts):  # type: ignore[type-var]
        async for some, fetched in parts:
            there = [
                one
                for key in some
                if (one := fetched.get(key)) is not None
                and lies_in(label, one.labels)
                and (limits[0] is None or one.received_at >= limits[0])
                and one.received_at < limits[1]
            ]
            for messages in group(there, plan, from_end=wanted.newest_first):
                at = messages[0] if wanted.newest_first else messages[-1]
                state[label] = state[label].counted(len(messages), at.message_id)
                yield [one.as_raw(label, name) for one in messages]
            state[label] = state[label].counted(0, some[0] if wanted.newest_first else some[-1])
    state[label] = replace(state[label], done=True, total=state[label].seen)
    yield ()


def _batch(messages: Sequence[RawMessage], state: Mapping[str, LabelHistory]) -> HistoryBatch:
    return HistoryBatch(
        messages,
        format_backfill(state),
        seen=sum(one.seen for one in state.values()),
        total=sum(one.total for one in state.values()),
    )
