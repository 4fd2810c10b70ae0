"""Looking for one message in all folders of a mailbox, by its Message-ID."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.base import FOUND_MAX, TemporaryError, Whereabouts
from connectors.graph_client import GraphClient
from connectors.graph_cursor import Locator, moment
from connectors.graph_folders import Folders
from connectors.graph_sent import by_message_id, is_plain


async def find_message(
    client: GraphClient, folders: Folders, message_id: str, watched: Mapping[str, int]
) -> list[Whereabouts]:
    """Return where it lies; `watched` has the positions in the plan of the folders that are, by their ids."""
    if not is_plain(message_id):
        return []
    url = client.url(
        "messages",
        filter=by_message_id(message_id),
        select="id,parentFolderId,receivedDateTime",
        top=str(FOUND_MAX),
    )
    rows = (await client.get(url, "messages")).get("value")
    found = []
    for row in rows if isinstance(rows, list) else ():
        try:
            folder, at = str(row["parentFolderId"]), moment(row["receivedDateTime"])
            place = str(Locator(folder, str(row["id"])))
        except (KeyError, ValueError, TypeError):
            raise TemporaryError("Graph: a message without id, folder or date") from None
        found.append(Whereabouts(place, await folders.name_of(folder), at, watched.get(folder)))
    return found[:FOUND_MAX]
