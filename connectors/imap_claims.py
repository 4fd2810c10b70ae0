"""Which old mail of a folder a reading must have seen: what is neither before it nor the business of `changes`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from connectors.base import HistoryPlan, ReadPlan
from connectors.imap_connection import Connection
from connectors.imap_cursor import FolderCursor, Locator
from connectors.imap_fetch import Window, of_time, search_window
from connectors.imap_history import FolderHistory, folder_plans
from connectors.imap_session import FolderMissing


async def claimed_history(
    connection: Connection,
    plan: ReadPlan,
    wanted: HistoryPlan,
    history: Mapping[str, FolderHistory],
    changes: Mapping[str, FolderCursor],
) -> AsyncIterator[Sequence[str]]:
    """Yield locators, at most a window of UIDs together; see `Reader.claimed_history`."""
    for name, of_folder in (await folder_plans(connection, plan, wanted)).items():
        if name in history and name in changes:
            # A folder that was deleted holds nothing.
            with contextlib.suppress(FolderMissing):
                async for locators in _of_folder(connection, name, of_folder, history[name], changes[name]):
                    yield locators


async def _of_folder(
    connection: Connection, name: str, wanted: HistoryPlan, at: FolderHistory, new: FolderCursor
) -> AsyncIterator[Sequence[str]]:
    _, selected = await connection.select(name)
    if {selected.uidvalidity} != {at.uidvalidity, new.uidvalidity}:
        return
    low, window, aside = 1, Window(), {*at.aside, *(one.uid for one in new.aside)}
    # Where the history ended when it began is not kept: what lies behind that was passed by `changes`, up to its own.
    while low <= new.uid:
        high = min(low + window.size - 1, new.uid)
        session = await connection.same(selected)
        uids, _, high = window.cut(await search_window(session, low, high, wanted.since, wanted.before), low, high)
        left = [uid for uid in uids if uid not in aside and not at.low <= uid <= at.high]
        listed = of_time(await connection.describe(selected, left), wanted.since, wanted.before)
        if locators := [str(Locator(selected.uidvalidity, one.uid, name)) for one in listed if one.received_at]:
            yield locators
        low = high + 1
