"""Looking for one message in all folders of a mailbox, by its Message-ID."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from connectors.base import FOUND_MAX, Whereabouts
from connectors.imap_connection import Connection
from connectors.imap_cursor import Locator
from connectors.imap_session import FolderMissing

_FOLDERS_MAX: Final = 1000


async def find_message(connection: Connection, message_id: str, watched: Mapping[str, int]) -> list[Whereabouts]:
    """Return where it lies, in watched folders first; `watched` has the positions of those in the plan.

    SEARCH finds a header that contains the id (RFC 3501 §6.4.4), so it is asked for with its brackets. What a server
    cannot take, 8-bit or with controls, is not asked for.
    """
    if not message_id.isascii() or not message_id.isprintable():
        return []
    listed = [one.name for one in await (await connection.open()).list_folders() if "\\noselect" not in one.flags]
    found: list[Whereabouts] = []
    for folder in [*watched, *(one for one in listed if one not in watched)][:_FOLDERS_MAX]:
        if len(found) >= FOUND_MAX:
            break
        with contextlib.suppress(FolderMissing):
            session, selected = await connection.select(folder)
            uids = await session.run("SEARCH", lambda client: client.search(["HEADER", "Message-ID", message_id]))
            for one in await connection.describe(selected, sorted(uids)[:FOUND_MAX]):
                place = str(Locator(selected.uidvalidity, one.uid, folder))
                found.append(Whereabouts(place, folder, one.received_at, watched.get(folder)))
    return found[:FOUND_MAX]
