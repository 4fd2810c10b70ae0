"""Folders of Graph by the names that people write: paths of display names, INBOX, and roles by well-known names."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connectors.base import TemporaryError
from connectors.graph_client import GraphClient
from connectors.graph_errors import EditConflict, ItemMissing
from connectors.imap_folders import Role, role_of

FOLDERS_MAX: Final = 5000
_PAGE = "200"
_FIELDS = "id,displayName,childFolderCount"
_INBOX = "INBOX"
_WELL_KNOWN: Final[Mapping[Role, str]] = {"sent": "sentitems", "trash": "deleteditems", "junk": "junkemail"}


@dataclass(frozen=True, slots=True)
class Folder:
    id: str
    name: str
    """Its path, of display names; "INBOX" for the inbox, whatever it is called in the user's language."""


class Folders:
    """The mailbox's folders, asked for when they are needed and kept for a while."""

    def __init__(self, client: GraphClient) -> None:
        self._client = client
        self._by_path: dict[str, Folder] = {}
        self._by_id: dict[str, Folder] = {}
        self._well_known: dict[str, Folder | None] = {}
        self._listed_at: float | None = None
        self._fresh = False

    def begin_round(self) -> None:
        """Look again for folders that are not found, and for all of them where the list has become old."""
        self._fresh = False
        self._well_known = {name: folder for name, folder in self._well_known.items() if folder is not None}
        oldest = time.monotonic() - self._client.access.folders_seconds
        if self._listed_at is not None and self._listed_at < oldest:
            self.forget()

    def forget(self) -> None:
        self._by_path.clear()
        self._well_known.clear()
        self._listed_at = None

    async def find(self, wanted: str) -> Folder | None:
        r"""Return the folder that a person calls `wanted`, a path or a role as `\Sent`; None where there is none."""
        role = role_of(wanted)
        if role is not None and not self._client.access.role_folders.get(role):
            return await self._find_well_known(_WELL_KNOWN[role])
        path = wanted if role is None else self._client.access.role_folders[role]
        if _key(path) == _key(_INBOX):
            return await self._find_well_known("inbox")
        if self._listed_at is None or (_key(path) not in self._by_path and not self._fresh):
            await self._list()
        return self._by_path.get(_key(path))

    async def ensure(self, wanted: str) -> Folder:
        """As `find`, but make what is not there, with the folders above it."""
        found = await self.find(wanted)
        if found is not None:
            return found
        role = role_of(wanted)
        path = wanted if role is None else self._client.access.role_folders.get(role) or role.capitalize()
        parent: Folder | None = None
        names = [name for name in path.split("/") if name]
        for depth in range(1, len(names) + 1):
            so_far = "/".join(names[:depth])
            parent = await self.find(so_far) or await self._create(names[depth - 1], parent)
        if parent is None:
            raise ValueError("a folder without a name")
        return parent

    async def name_of(self, folder_id: str) -> str:
        """Return a folder's path; its id where it is hidden or has just been made."""
        if folder_id not in self._by_id:
            await self._list()
        found = self._by_id.get(folder_id)
        return found.name if found is not None else folder_id

    async def _find_well_known(self, name: str) -> Folder | None:
        if name not in self._well_known:
            try:
                found = await self._client.get(self._client.url("mailFolders", name, select=_FIELDS), "mailFolders")
            except ItemMissing:
                # An archive mailbox, or a role that this mailbox does not have.
                self._well_known[name] = None
            else:
                shown = _INBOX if name == "inbox" else str(found.get("displayName"))
                self._well_known[name] = self._keep(Folder(str(found["id"]), shown))
        return self._well_known[name]

    async def _list(self) -> None:
        inbox = await self._find_well_known("inbox")
        self._by_path.clear()
        waiting: list[tuple[Sequence[str], str, str]] = [(("mailFolders",), "", "")]
        count = 0
        while waiting:
            segments, prefix, _ = waiting.pop()
            url: str | None = self._client.url(*segments, select=_FIELDS, top=_PAGE)
            while url is not None:
                page = await self._client.get(url, "mailFolders")
                for row in _rows(page):
                    count += 1
                    folder = self._place(row, prefix, inbox)
                    if int(row.get("childFolderCount") or 0) > 0:
                        waiting.append((("mailFolders", folder.id, "childFolders"), f"{folder.name}/", ""))
                if count > FOLDERS_MAX:
                    raise TemporaryError(f"Graph at {self._client.where}: too many folders")
                link = page.get("@odata.nextLink")
                url = self._client.absolute(self._client.relative(link)) if link else None
        self._listed_at, self._fresh = time.monotonic(), True

    def _place(self, row: Mapping[str, Any], prefix: str, inbox: Folder | None) -> Folder:
        folder_id = str(row["id"])
        if inbox is not None and folder_id == inbox.id:
            return inbox
        folder = self._keep(Folder(folder_id, prefix + str(row.get("displayName"))))
        self._by_path.setdefault(_key(folder.name), folder)
        return folder

    def _keep(self, folder: Folder) -> Folder:
        self._by_id[folder.id] = folder
        return folder

    async def _create(self, name: str, parent: Folder | None) -> Folder:
        segments = ("mailFolders", parent.id, "childFolders") if parent else ("mailFolders",)
        try:
            answer = await self._client.send_json(
                "POST", self._client.url(*segments), {"displayName": name}, "mailFolders"
            )
        except EditConflict:
            # Somebody made it meanwhile.
            await self._list()
            path = f"{parent.name}/{name}" if parent else name
            if (found := self._by_path.get(_key(path))) is None:
                raise
            return found
        folder = self._keep(Folder(str(answer.document["id"]), f"{parent.name}/{name}" if parent else name))
        self._by_path[_key(folder.name)] = folder
        return folder


def _rows(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = page.get("value")
    if not isinstance(rows, list):
        raise TemporaryError("Graph: a page without a value")
    return [row for row in rows if isinstance(row, dict)]


def _key(path: str) -> str:
    """Exchange compares names without case; one made on a Mac can be decomposed, and looks the same."""
    return unicodedata.normalize("NFC", path).casefold()
