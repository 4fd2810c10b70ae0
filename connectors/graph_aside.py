"""Messages that Graph has and does not give: put aside, asked for again, and taken as what there is.

As for IMAP (imap_aside): one such message stops nobody; an outage, in which no message is given, is another matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from connectors.aside import PAUSES_SECONDS, has_place
from connectors.base import RawMessage, TemporaryError
from connectors.graph_client import GraphClient, TooLarge
from connectors.graph_cursor import Aside, FolderCursor
from connectors.graph_errors import CallRefused, ItemMissing
from connectors.graph_fetch import Fetched, fetch_header, fetch_message, read_content
from connectors.graph_folders import Folder
from connectors.graph_listing import Listed

_WITNESS_BYTES = 1024 * 1024


class Witness:
    """The message that was given last: it tells a message that is withheld from a server that gives none."""

    def __init__(self, client: GraphClient) -> None:
        self._client = client
        self._id: str | None = None

    def note(self, fetched: Sequence[Fetched]) -> None:
        for one in fetched:
            if one.message is not None and one.message.content is not None:
                self._id = one.item.id

    async def require_others(self, fetched: Sequence[Fetched]) -> None:
        """Raise TemporaryError where messages were withheld and the server gives no other one either."""
        if not any(one.withheld for one in fetched) or any(one.message is not None for one in fetched):
            return
        if self._id is None:
            return  # in a mailbox without others there is no telling
        try:
            await read_content(self._client, self._id, _WITNESS_BYTES)
        except (TooLarge, ItemMissing):
            return
        except CallRefused:
            raise TemporaryError(f"GET $value at {self._client.where}: all messages are withheld") from None


def put_aside(at: FolderCursor, fetched: Sequence[Fetched], now: datetime, where: str) -> FolderCursor:
    """Note messages that were withheld at the first try. Raises TemporaryError where they are too many."""
    withheld = [one.item for one in fetched if one.withheld]
    if not withheld:
        return at
    if not has_place(at.aside, len(withheld)):
        raise TemporaryError(f"GET $value at {where}: too many messages are withheld")
    again_at = now + timedelta(seconds=PAUSES_SECONDS[0])
    return replace(at, aside=(*at.aside, *(Aside(item.id, item.received_at, 1, again_at) for item in withheld)))


async def ask_again(
    client: GraphClient, folder: Folder, one: Aside, now: datetime, bytes_max: int
) -> tuple[RawMessage | None, Aside | None]:
    """Ask for one that is due; return what came of it, and how it stays aside."""
    item = Listed(one.id, one.received_at, one.received_at)
    fetched = await fetch_message(client, folder, item, bytes_max)
    if not fetched.withheld:
        return fetched.message, None
    if one.tries < len(PAUSES_SECONDS):
        later = now + timedelta(seconds=PAUSES_SECONDS[one.tries])
        return None, replace(one, tries=one.tries + 1, again_at=later)
    return await fetch_header(client, folder, item, withheld=True), None
