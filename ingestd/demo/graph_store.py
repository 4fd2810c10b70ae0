"""The mailboxes behind the fake of Microsoft Graph: folders, messages, and the journal that delta reads.

May be used from any thread: each method takes the mailbox's lock.
"""

from __future__ import annotations

import base64
import functools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Concatenate, Final, ParamSpec, TypeVar

from ingestd.demo import graph_mime as mime

P = ParamSpec("P")
R = TypeVar("R")

WELL_KNOWN: Final[Mapping[str, str]] = {
    "inbox": "Inbox",
    "drafts": "Drafts",
    "sentitems": "Sent Items",
    "deleteditems": "Deleted Items",
    "junkemail": "Junk Email",
    "archive": "Archive",
    "outbox": "Outbox",
    "recoverableitemsdeletions": "Deletions",
}
_HIDDEN = frozenset({"recoverableitemsdeletions"})


class NotFound(Exception):
    """404 ErrorItemNotFound."""


class FolderExists(Exception):
    """409 ErrorFolderExists."""


@dataclass
class Folder:
    id: str
    name: str
    parent: str | None
    well_known: str | None = None

    def __hash__(self) -> int:
        return hash(self.id)


@dataclass
class Item:
    """A message."""

    number: int
    content: bytes
    folder: str
    created: datetime
    received: datetime
    modified: datetime
    is_read: bool = False
    is_draft: bool = False
    categories: tuple[str, ...] = ()
    change: int = 1
    moves: int = 0
    composed: bool = False
    """Made here, not received: it has no transport headers, but for those of its draft that are `x-`."""
    properties: dict[str, str] = field(default_factory=dict)
    _parsed: tuple[bytes, list[tuple[str, str]]] | None = None

    @property
    def headers(self) -> list[tuple[str, str]]:
        if self._parsed is None or self._parsed[0] is not self.content:
            self._parsed = (self.content, mime.headers_of(self.content))
        return self._parsed[1]

    def id(self, *, immutable: bool) -> str:
        """Return its id; the ordinary one changes with every move."""
        if immutable:
            return encode(f"immutable/{self.number:012}", "AAkALg")
        return encode(f"{self.folder[-12:]}/{self.number:012}/{self.moves:04}", "AAMkAG")

    @property
    def change_key(self) -> str:
        return encode(f"{self.number}/{self.change}", "CQAAAB")

    @property
    def message_id(self) -> str:
        return mime.first(self.headers, "Message-ID")


@dataclass(frozen=True)
class Change:
    """One entry of a folder's journal."""

    sequence: int
    number: int
    gone: bool
    entered: int
    """When the message came into the folder; earlier than `sequence` where it was changed there since."""


def _locked(
    method: Callable[Concatenate[Mailbox, P], R],
) -> Callable[Concatenate[Mailbox, P], R]:
    @functools.wraps(method)
    def locked(self: Mailbox, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock:
            return method(self, *args, **kwargs)

    return locked


class Mailbox:
    """One user's mailbox. Folders are named by their path ("Done/2026") or their well-known name."""

    def __init__(self, address: str, clock: Callable[[], datetime]) -> None:
        self.address = address
        self.lock = threading.RLock()
        self.generation = 1
        """Delta tokens of an earlier one are gone: 410."""
        self._clock = clock
        self._numbers = 0
        self._sequence = 0
        self._ahead = timedelta()
        self.folders: dict[str, Folder] = {}
        self.items: dict[int, Item] = {}
        self.journals: dict[str, dict[int, Change]] = {}
        """By folder: the last thing that happened to each message there."""
        for well_known, name in WELL_KNOWN.items():
            self._add_folder(name, None, well_known)

    @property
    def now(self) -> datetime:
        """The server's time, in whole seconds, as Graph tells it."""
        return (self._clock() + self._ahead).replace(microsecond=0)

    @_locked
    def advance(self, by: timedelta) -> None:
        """Let the server's clock go ahead."""
        self._ahead += by

    # -- folders -----------------------------------------------------------------------------------

    def _add_folder(self, name: str, parent: str | None, well_known: str | None = None) -> Folder:
        self._numbers += 1
        folder = Folder(encode(f"folder/{self._numbers:012}", "AQMkAD"), name, parent, well_known)
        self.folders[folder.id] = folder
        self.journals[folder.id] = {}
        return folder

    @_locked
    def folder(self, wanted: str) -> Folder:
        """Return a folder by id or well-known name. Raises NotFound."""
        found = self.folders.get(wanted) or next(
            (one for one in self.folders.values() if one.well_known == wanted.lower()), None
        )
        if found is None:
            raise NotFound
        return found

    @_locked
    def children(self, parent: str | None) -> list[Folder]:
        return [one for one in self.folders.values() if one.parent == parent and one.well_known not in _HIDDEN]

    @_locked
    def create_folder(self, name: str, parent: str | None = None) -> Folder:
        if any(one.name.lower() == name.lower() for one in self.children(parent)):
            raise FolderExists
        return self._add_folder(name, parent)

    @_locked
    def delete_folder(self, wanted: str) -> None:
        folder = self.folder(wanted)
        for child in self.children(folder.id):
            self.delete_folder(child.id)
        for item in [one for one in self.items.values() if one.folder == folder.id]:
            del self.items[item.number]
        del self.folders[folder.id], self.journals[folder.id]

    def path(self, folder: Folder) -> str:
        return f"{self.path(self.folders[folder.parent])}/{folder.name}" if folder.parent else folder.name

    @_locked
    def at_path(self, path: str) -> Folder:
        """Return a folder by path, well-known name or id. Raises NotFound."""
        for one in self.folders.values():
            if self.path(one).lower() == path.lower():
                return one
        return self.folder(path)

    # -- messages ----------------------------------------------------------------------------------

    def _note(self, folder: str, number: int, *, gone: bool = False) -> None:
        self._sequence += 1
        journal = self.journals[folder]
        before = journal.pop(number, None)
        entered = self._sequence if before is None or before.gone else before.entered
        journal[number] = Change(self._sequence, number, gone, entered)

    @_locked
    def put(
        self,
        content: bytes,
        folder: str = "inbox",
        *,
        received: datetime | None = None,
        is_read: bool = False,
        is_draft: bool = False,
    ) -> Item:
        """Store a message as the server has taken it."""
        self._numbers += 1
        now = self.now
        item = Item(
            self._numbers,
            content,
            self.at_path(folder).id,
            now,
            received or now,
            now,
            is_read=is_read,
            is_draft=is_draft,
        )
        item.composed = is_draft
        item.properties = mime.header_properties(item.headers)
        self.items[item.number] = item
        self._note(item.folder, item.number)
        return item

    @_locked
    def item(self, message_id: str) -> Item:
        """Return a message by either of its ids. Raises NotFound."""
        found = re.fullmatch(r"immutable/(\d+)|[^/]+/(\d+)/(\d+)", _decode(message_id))
        if found is None:
            raise NotFound
        item = self.items.get(int(found.group(1) or found.group(2)))
        if item is None or (not found.group(1) and item.id(immutable=False) != message_id):
            raise NotFound
        return item

    @_locked
    def changed(self, item: Item) -> None:
        """Note that something of a message is another now."""
        item.change += 1
        item.modified = self.now
        self._note(item.folder, item.number)

    @_locked
    def move(self, item: Item, folder: str) -> Item:
        self._note(item.folder, item.number, gone=True)
        item.folder = self.folder(folder).id
        item.moves += 1
        self.changed(item)
        return item

    @_locked
    def remove(self, item: Item) -> None:
        """Take a message out for good."""
        self._note(item.folder, item.number, gone=True)
        del self.items[item.number]

    @_locked
    def in_folder(self, folder: str | None) -> list[Item]:
        """Return a folder's messages in the order in which they came; None: the mailbox's."""
        return [one for one in self.items.values() if folder is None or one.folder == folder]

    @_locked
    def changes(self, folder: str, since: int, upto: int, limit: int) -> list[Change]:
        """Return the next changes of a folder, in order: of each message the last one."""
        found = (one for one in self.journals[folder].values() if since < one.sequence <= upto)
        return _head(found, limit)

    @property
    def sequence(self) -> int:
        return self._sequence

    @_locked
    def expire_deltas(self) -> None:
        """Let all delta links be answered with 410."""
        self.generation += 1


def _head(changes: Iterator[Change], limit: int) -> list[Change]:
    found: list[Change] = []
    for one in changes:
        if len(found) == limit:
            break
        found.append(one)
    return found


def encode(text: str, prefix: str) -> str:
    return prefix + base64.urlsafe_b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text[6:]).decode()
    except ValueError:
        return ""
