"""The Sent folder of Graph: looking for a reply in it, and removing what an attempt that was cut short has left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from connectors.base import OWN_HEADER, FiledCopy, PermanentError, PlaceMissing
from connectors.graph_client import GraphClient, Request
from connectors.graph_cursor import Locator
from connectors.graph_errors import ItemMissing
from connectors.graph_folders import Folder, Folders

COPIES_MAX: Final = 20
"""More copies than this of one reply are not worth looking at."""
_HEADER_PROPERTY: Final = "String {00020386-0000-0000-C000-000000000046} Name "
"""A header of ours is a named property of the message (PS_INTERNET_HEADERS, MS-OXPROPS), its name in lower case by
MS-OXCMAIL; `internetMessageHeaders` does not have it of a message that was sent from here."""


class SentFolder:
    """Finds copies in Sent."""

    def __init__(self, client: GraphClient, folders: Folders) -> None:
        self._client = client
        self._folders = folders

    async def find(self, message_id: str, token: str) -> Sequence[FiledCopy]:
        """Return the copies with this Message-ID or with our own header's token, at most COPIES_MAX.

        Where there is none, a draft of it that an attempt has left is removed: nobody is to send it as well. Raises
        PlaceMissing where there is no such folder.
        """
        folder = await self._folders.find("\\Sent")
        if folder is None:
            raise PlaceMissing(f"mailFolders at {self._client.where}: no folder for Sent")
        filters = [by_message_id(message_id)] if is_plain(message_id) else []
        if is_plain(token):
            filters += [_by_header(OWN_HEADER.lower(), token), _by_header(OWN_HEADER, token)]
        found: dict[str, FiledCopy] = {}
        try:
            for wanted in filters:
                for row in await self._list(folder.id, wanted):
                    copy = _copy(folder, row)
                    found[copy.locator] = copy
        except ItemMissing:
            self._folders.forget()
            raise PlaceMissing(f"messages at {self._client.where}: no folder for Sent") from None
        if not found and is_plain(message_id):
            await self.remove_drafts(message_id)
        return list(found.values())[:COPIES_MAX]

    async def remove_drafts(self, message_id: str) -> None:
        """Delete the drafts with this Message-ID."""
        try:
            for row in await self._list("drafts", by_message_id(message_id)):
                if row.get("isDraft") is True:
                    await self.remove_draft(str(row["id"]))
        except ItemMissing:
            return

    async def remove_draft(self, draft_id: str) -> None:
        try:
            url = self._client.url("messages", draft_id)
            await self._client.call(Request("DELETE", url, "DELETE messages"))
        except ItemMissing:
            return

    async def file(self, content: bytes, sent_at: datetime) -> FiledCopy:
        """Refuse: Graph makes a draft of whatever MIME it is given, and a draft in Sent would be sent again."""
        raise PermanentError(
            f"Sent at {self._client.where}: Exchange files what it sends by itself, and Graph takes no other copy"
        )

    async def _list(self, folder_id: str, filter_: str) -> Sequence[Any]:
        url = self._client.url(
            "mailFolders",
            folder_id,
            "messages",
            filter=filter_,
            select="id,internetMessageId,isDraft",
            top=str(COPIES_MAX),
        )
        rows = (await self._client.get(url, "messages")).get("value")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _copy(folder: Folder, row: Any) -> FiledCopy:
    message_id = row.get("internetMessageId")
    place = str(Locator(folder.id, str(row["id"])))
    return FiledCopy(place, message_id if isinstance(message_id, str) else None, str(row["id"]))


def by_message_id(message_id: str) -> str:
    """Return the filter for a Message-ID."""
    return f"internetMessageId eq {_literal(message_id)}"


def _by_header(name: str, value: str) -> str:
    identity = _literal(_HEADER_PROPERTY + name)
    return f"singleValueExtendedProperties/any(ep: ep/id eq {identity} and ep/value eq {_literal(value)})"


def _literal(text: str) -> str:
    """Write text as OData takes it.

    >>> _literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def is_plain(value: str) -> bool:
    """What is 8-bit or has controls cannot be in a header as ours either."""
    return bool(value) and value.isascii() and value.isprintable()
