"""What agents do, done in the mailbox by Microsoft Graph: one edit of many messages, safe to repeat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from connectors.base import Edit, EditKind
from connectors.graph_client import GraphClient, Request
from connectors.graph_cursor import Locator
from connectors.graph_errors import EditConflict, ItemMissing
from connectors.graph_fetch import in_order
from connectors.graph_folders import Folder, Folders

_TRIES: Final = 4
"""Of a change that somebody else's came before."""
_FIELDS: Final = "id,parentFolderId,isRead,categories"
_ROLE_OF: Final[Mapping[EditKind, str]] = {EditKind.TRASH: "\\Trash", EditKind.SPAM: "\\Junk"}


async def edit_messages(
    client: GraphClient, folders: Folders, locators: Sequence[str], edit: Edit
) -> dict[str, str | None]:
    """Do `edit` message by message; see `Reader.edit`. Raises ValueError for a keyword that is none.

    Keywords are categories. A message that is gone from its place is left as it is: the edit was done before, or
    somebody else did more. A locator of another connector is left out: the message lies elsewhere.
    """
    places = {text: place for text in dict.fromkeys(locators) if (place := Locator.parse(text)) is not None}
    if edit.kind in (EditKind.KEYWORD, EditKind.REMOVE_KEYWORD):
        _keyword(edit)
    target: list[Folder] = []

    async def find_target() -> Folder:
        # Only once something is to go there: nothing is made for what is gone.
        if not target:
            target.append(await folders.ensure(_ROLE_OF.get(edit.kind) or _target(edit)))
        return target[0]

    async def work(item: tuple[str, Locator]) -> tuple[str, str | None]:
        text, place = item
        try:
            found = await client.get(client.url("messages", place.id, select=_FIELDS), "messages")
            if found.get("parentFolderId") != place.folder:
                return text, None
            return text, await _edit(client, place, found, edit, find_target)
        except ItemMissing:
            return text, None

    done: dict[str, str | None] = {}
    # The first by itself: it makes the folder that the others go to.
    for some in (list(places.items())[:1], list(places.items())[1:]):
        async with aclosing(in_order(some, work)) as results:  # type: ignore[type-var]
            done |= {text: now async for text, now in results}
    return done


async def _edit(
    client: GraphClient,
    place: Locator,
    found: Mapping[str, Any],
    edit: Edit,
    find_target: Callable[[], Awaitable[Folder]],
) -> str | None:
    match edit.kind:
        case EditKind.READ:
            if found.get("isRead") is not True:
                await _patch(client, place, {"isRead": True})
            return str(place)
        case EditKind.KEYWORD | EditKind.REMOVE_KEYWORD:
            await _set_category(client, place, found, edit)
            return str(place)
        case EditKind.DELETE:
            url = client.url("messages", place.id)
            await client.call(Request("DELETE", url, "DELETE messages"))
            await _delete_from_trash(client, place)
            return None
    target = await find_target()
    if target.id == place.folder:
        return str(place)
    url = client.url("messages", place.id, "move")
    await client.send_json("POST", url, {"destinationId": target.id}, "move")
    return str(Locator(target.id, place.id))


async def _delete_from_trash(client: GraphClient, place: Locator) -> None:
    """Delete once more what a deletion has only moved into Deleted Items, as it does in some mailboxes."""
    try:
        found = await client.get(client.url("messages", place.id, select="id,parentFolderId"), "messages")
        trash = await client.get(client.url("mailFolders", "deleteditems", select="id"), "mailFolders")
        if found.get("parentFolderId") == trash.get("id"):
            await client.call(Request("DELETE", client.url("messages", place.id), "DELETE messages"))
    except ItemMissing:
        return


async def _patch(client: GraphClient, place: Locator, changes: Mapping[str, Any], etag: str | None = None) -> None:
    headers = {"If-Match": etag} if etag else {}
    await client.send_json(
        "PATCH", client.url("messages", place.id), changes, "messages", headers=headers, repeatable=True
    )


async def _set_category(client: GraphClient, place: Locator, found: Mapping[str, Any], edit: Edit) -> None:
    """Add or remove one category. The whole list is written, so it must be the one that was read (If-Match)."""
    keyword = _keyword(edit)
    for attempt in range(1, _TRIES + 1):
        categories = [str(one) for one in found.get("categories") or ()]
        wanted = [one for one in categories if one.casefold() != keyword.casefold()]
        if edit.kind is EditKind.KEYWORD:
            wanted = categories if len(wanted) < len(categories) else [*wanted, keyword]
        if wanted == categories:
            return
        etag = found.get("@odata.etag")
        try:
            await _patch(client, place, {"categories": wanted}, etag if isinstance(etag, str) else None)
        except EditConflict:
            if attempt == _TRIES:
                raise
        else:
            return
        found = await client.get(client.url("messages", place.id, select=_FIELDS), "messages")


def _keyword(edit: Edit) -> str:
    """Return the keyword. One rule for all connectors: a setting that IMAP would refuse is refused here, too."""
    keyword = _target(edit)
    if not keyword.isascii() or not keyword.isprintable() or any(char in '(){%*"\\] ' for char in keyword):
        raise ValueError("a keyword that is no atom")
    return keyword


def _target(edit: Edit) -> str:
    if not edit.target:
        raise ValueError(f"{edit.kind} needs a target")
    return edit.target
