"""Messages that a server has and does not give: put aside, asked for again, and taken as what there is.

One such message must stop nobody: it is noted in the folder's cursor, and reading goes on behind it. It is asked
for again after growing pauses; what is not given then either is yielded as its header, or as less, and marked as
withheld. So nothing is lost: not what was given late, nor the fact that there was something.

An outage is another matter: where the server gives no other message either, the fault is not this one's. Then
nothing is put aside and nothing taken for less than it is; the reading fails as a whole, and is tried again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from connectors.aside import PAUSES_SECONDS, has_place
from connectors.base import RawMessage, ReadPlan, TemporaryError
from connectors.imap_connection import Connection
from connectors.imap_cursor import Aside, FolderCursor, Locator
from connectors.imap_fetch import Fetched, Listed, group
from connectors.imap_session import Selected


async def require_others(connection: Connection, selected: Selected, fetched: Fetched, witness: int | None) -> None:
    """Raise TemporaryError where messages were withheld and the server gives no other one of the folder either.

    `witness` is the UID of a message that it has given before. In a folder without others there is no telling.
    """
    if fetched.withheld and not fetched.messages:
        withheld = {item.uid for item in fetched.withheld}
        if not await connection.gives_others(selected, withheld, witness):
            raise TemporaryError(f"FETCH at {connection.where}: all messages are withheld")


def put_aside(at: FolderCursor, withheld: Sequence[Listed], now: datetime, where: str) -> FolderCursor:
    """Note messages that were withheld at the first try. Raises TemporaryError where they are too many."""
    if not withheld:
        return at
    if not has_place(at.aside, len(withheld)):
        raise TemporaryError(f"FETCH at {where}: too many messages are withheld")
    again_at = now + timedelta(seconds=PAUSES_SECONDS[0])
    return replace(at, aside=(*at.aside, *(Aside(item.uid, 1, again_at) for item in withheld)))


def is_crowded(aside: Sequence[object], plan: ReadPlan) -> bool:
    """Whether the messages aside come before new ones: a batch of these may have no place beside them."""
    return not has_place(aside, plan.batch_messages_max)


async def ask_again(
    connection: Connection, selected: Selected, at: FolderCursor, plan: ReadPlan, now: datetime
) -> AsyncIterator[tuple[list[RawMessage], FolderCursor]]:
    """Ask for the messages that are due; yield what came of them, and the cursor behind it."""
    due = {one.uid: one for one in at.aside if one.again_at < now}
    if not due:
        return
    listed = await connection.describe(selected, list(due))
    at = _settled(at, due.keys() - {item.uid for item in listed})
    for items in group(listed, plan):
        fetched = await connection.fetch(selected, items)
        await require_others(connection, selected, fetched, at.last[0] if at.last else None)
        later = [item for item in fetched.withheld if due[item.uid].tries < len(PAUSES_SECONDS)]
        fetched.withheld = [item for item in fetched.withheld if item not in later]
        at = _settled(at, {item.uid for item in items})
        at = replace(at, aside=(*at.aside, *(_later(due[item.uid], now) for item in later)))
        yield await with_withheld(connection, selected, fetched), at
    if not listed:
        yield [], at


async def with_withheld(connection: Connection, selected: Selected, fetched: Fetched) -> list[RawMessage]:
    """Return the messages that were given, and what there is of those that were not, in the order of arrival."""
    rest = [await connection.fetch_withheld(selected, item) for item in fetched.withheld]
    messages = [*fetched.messages, *(message for message in rest if message is not None)]
    return sorted(messages, key=lambda message: Locator.parse(message.locator).uid)


def _later(one: Aside, now: datetime) -> Aside:
    return Aside(one.uid, one.tries + 1, now + timedelta(seconds=PAUSES_SECONDS[one.tries]))


def _settled(at: FolderCursor, uids: set[int]) -> FolderCursor:
    return replace(at, aside=tuple(one for one in at.aside if one.uid not in uids))
