"""One mailbox of the demo's Gmail: messages with labels, and the history of what happened to them. No I/O.

The ids of messages rise with their arrival, as Google's do, whatever their dates say; those of different mailboxes
never meet, so that an answer that went to the wrong mailbox is seen.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

SYSTEM_LABELS: Final = (
    "INBOX", "SENT", "DRAFT", "SPAM", "TRASH", "UNREAD", "STARRED", "IMPORTANT", "CHAT",
    "CATEGORY_PERSONAL", "CATEGORY_UPDATES",
)  # fmt: skip
HIDDEN: Final = frozenset({"SPAM", "TRASH"})
"""What `messages.list` leaves out unless it is told otherwise."""
_FIRST_ID: Final = 0x18F0_0000_0000_0000
_MESSAGE_ID: Final = re.compile(rb"(?im)^message-id:[ \t]*(?:\r?\n[ \t]+)?(<[^<>\r\n]+>|[^\s<>]+)")
_REFERENCES: Final = re.compile(rb"(?ims)^(?:references|in-reply-to):(.*?)\r?\n(?![ \t])")
_ID: Final = re.compile(rb"<[^<>\s]+>")
_numbers = itertools.count(1)


class NoSuchMessage(KeyError):
    """404."""


class NoSuchLabel(KeyError):
    """400: a label that is not there."""


class StaleHistory(KeyError):
    """404: what happened then is not kept any more."""


def header_of(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[0] + b"\r\n"


def message_id_of(raw: bytes) -> str:
    found = _MESSAGE_ID.search(header_of(raw))
    return found.group(1).decode("ascii", "replace") if found else ""


def references_of(raw: bytes) -> list[str]:
    """Return the ids that a message names in References and In-Reply-To."""
    found = [match.group(1) for match in _REFERENCES.finditer(header_of(raw) + b"\r\n")]
    return [one.decode("ascii", "replace") for block in found for one in _ID.findall(block)]


@dataclass(slots=True)
class Stored:
    """A message as it lies in the mailbox."""

    id: str
    thread_id: str
    raw: bytes
    labels: set[str]
    internal_ms: int
    history_id: int
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Happened:
    """A record of the history: `kind` is messageAdded, messageDeleted, labelAdded or labelRemoved."""

    id: int
    kind: str
    message_id: str
    thread_id: str
    labels: frozenset[str]
    """Those that the message had afterwards."""
    changed: tuple[str, ...] = ()


@dataclass
class GmailBox:
    """A mailbox. Its methods may be called from any thread."""

    address: str
    changed: Callable[[GmailBox, frozenset[str]], None] = lambda _box, _labels: None
    """Told of every record, with the labels that it concerns."""
    messages: dict[str, Stored] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=lambda: {name: name for name in SYSTEM_LABELS})
    """Id → name."""
    history_id: int = 1000
    forgotten_upto: int = 0
    """Records up to here are not kept any more."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.records: list[Happened] = []
        self._by_message_id: dict[str, list[str]] = {}
        self._label_numbers = itertools.count(1)
        self._ids = itertools.count(_FIRST_ID + (next(_numbers) << 36), 1 << 12)

    # -- messages --------------------------------------------------------------------------------

    def add(
        self,
        raw: bytes,
        labels: Iterable[str] = ("INBOX", "UNREAD"),
        *,
        internal_ms: int | None = None,
        thread_id: str | None = None,
    ) -> Stored:
        """Put a message there. Raises NoSuchLabel, NoSuchMessage for a thread that is not there."""
        with self.lock:
            wanted = set(labels)
            self._require(wanted)
            identity = format(next(self._ids), "x")
            if thread_id is not None and all(one.thread_id != thread_id for one in self.messages.values()):
                raise NoSuchMessage(thread_id)
            stored = Stored(
                identity,
                thread_id or self._thread_of(raw) or identity,
                raw,
                wanted,
                int(time.time() * 1000) if internal_ms is None else internal_ms,
                0,
                message_id_of(raw),
            )
            self.messages[identity] = stored
            self._by_message_id.setdefault(stored.message_id, []).append(identity)
            self._note("messageAdded", stored, ())
            return stored

    def get(self, identity: str) -> Stored:
        with self.lock:
            try:
                return self.messages[identity]
            except KeyError:
                raise NoSuchMessage(identity) from None

    def modify(self, identity: str, add: Collection[str] = (), remove: Collection[str] = ()) -> Stored:
        """Change labels; what is so already makes no record. Raises NoSuchMessage, NoSuchLabel."""
        with self.lock:
            stored = self.get(identity)
            self._require({*add, *remove})
            added = tuple(one for one in add if one not in stored.labels)
            removed = tuple(one for one in remove if one in stored.labels)
            stored.labels |= set(added)
            stored.labels -= set(removed)
            if added:
                self._note("labelAdded", stored, added)
            if removed:
                self._note("labelRemoved", stored, removed)
            return stored

    def trash(self, identity: str) -> Stored:
        return self.modify(identity, ("TRASH",), ("INBOX", "SPAM"))

    def delete(self, identity: str) -> None:
        with self.lock:
            stored = self.get(identity)
            del self.messages[identity]
            self._by_message_id[stored.message_id].remove(identity)
            self._note("messageDeleted", stored, ())

    def find(
        self,
        *,
        labels: Collection[str] = (),
        with_hidden: bool = False,
        after: int | None = None,
        before: int | None = None,
        message_id: str | None = None,
    ) -> list[Stored]:
        """Return messages, the newest by date first; `after` (inclusive) and `before` in seconds since the epoch."""
        with self.lock:
            self._require(set(labels))
            some: Iterable[Stored] = self.messages.values()
            if message_id is not None:
                ids = {message_id, f"<{message_id}>", message_id.strip("<>")}
                some = [self.messages[one] for name in ids for one in self._by_message_id.get(name, ())]
            found = [
                one
                for one in some
                if one.labels.issuperset(labels)
                and (with_hidden or not one.labels & HIDDEN)
                and (after is None or one.internal_ms >= after * 1000)
                and (before is None or one.internal_ms < before * 1000)
            ]
            return sorted(found, key=lambda one: (one.internal_ms, one.id), reverse=True)

    # -- labels ----------------------------------------------------------------------------------

    def label(self, name: str) -> str:
        """Return the id of a label, which is made where there is none."""
        with self.lock:
            for identity, known in self.labels.items():
                if known == name:
                    return identity
            identity = f"Label_{next(self._label_numbers)}"
            self.labels[identity] = name
            return identity

    def forget_label(self, identity: str) -> None:
        with self.lock:
            del self.labels[identity]
            for stored in self.messages.values():
                stored.labels.discard(identity)

    # -- history ---------------------------------------------------------------------------------

    def since(self, start: int, kinds: Collection[str] = (), label: str | None = None) -> list[Happened]:
        """Return what happened after `start`. Raises StaleHistory."""
        with self.lock:
            if start < self.forgotten_upto:
                raise StaleHistory(str(start))
            return [
                one
                for one in self.records
                if one.id > start
                and (not kinds or one.kind in kinds)
                and (label is None or label in one.labels or label in one.changed)
            ]

    def forget_history(self) -> None:
        """Keep nothing of what happened so far, as after a week."""
        with self.lock:
            self.records.clear()
            self.history_id += 1
            self.forgotten_upto = self.history_id

    def _require(self, labels: set[str]) -> None:
        if missing := labels - self.labels.keys():
            raise NoSuchLabel(str(sorted(missing)))

    def _thread_of(self, raw: bytes) -> str | None:
        for reference in reversed(references_of(raw)):
            for identity in self._by_message_id.get(reference, ()):
                return self.messages[identity].thread_id
        return None

    def _note(self, kind: str, stored: Stored, changed: Sequence[str]) -> None:
        self.history_id += 7  # Google's rise by more than one
        stored.history_id = self.history_id
        labels = frozenset(stored.labels)
        self.records.append(Happened(self.history_id, kind, stored.id, stored.thread_id, labels, tuple(changed)))
        self.changed(self, labels | set(changed))
