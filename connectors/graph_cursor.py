"""Where reading a mailbox by Microsoft Graph stands: the cursor and the locators. Pure.

The cursor is JSON, one record a folder, by the folder's id (which a rename does not change):

    {"v": 1, "folders": {"AQMk…": {"link": "/me/mailFolders/…/delta?$deltatoken=…", "from": "2026-11-01T00:00:00+00:00",
                                   "begun": "2026-11-02T08:00:00+00:00", "at": "2026-11-29T10:00:00+00:00"}}}

`link` is the page of delta that is to be asked for next, below the API's address, and `at` when the server gave it.
`from` is the moment from which on mail is wanted, as far as it was there when reading began (`begun`, by the server's
clock); what came into the folder after that is wanted whatever its date says. Where there is something to say, a
record also has `done`, the messages of that page that were read already, `backlog`, how far the mail has been read
that was there when reading began, `anew`, while that is read again, `aside`, the messages that are withheld, and
`came_link` with `came`: a second delta, which tells old mail that is moved in from old mail that somebody marks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base import CursorInvalid

_VERSION = 1
_LOCATOR = "graph"
CLOCK_SLACK = timedelta(seconds=60)
"""The clocks of the provider's machines may differ; a message read twice is found out, a lost one is not."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a list in the order of `receivedDateTime` has been read: `ids` are those of that very second.

    `receivedDateTime` knows whole seconds, and many messages may share one.
    """

    at: datetime
    ids: tuple[str, ...] = ()

    def behind(self, message_id: str, received_at: datetime) -> Position:
        """Return the position behind one more message.

        >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        >>> Position(noon, ("a",)).behind("b", noon).ids
        ('a', 'b')
        """
        return Position(received_at, (*self.ids, message_id) if received_at == self.at else (message_id,))

    def row(self) -> list[Any]:
        return [self.at.isoformat(), *self.ids]

    @classmethod
    def of_row(cls, row: Any) -> Position:
        at, *ids = row
        return cls(moment(at), tuple(map(str, ids)))


@dataclass(frozen=True, slots=True)
class Aside:
    """A message that is read later than those behind it, as the server did not give it."""

    id: str
    received_at: datetime
    tries: int
    """How often the server was asked for it."""
    again_at: datetime

    def row(self) -> list[object]:
        return [self.id, self.received_at.isoformat(), self.tries, self.again_at.isoformat()]


@dataclass(frozen=True, slots=True)
class FolderCursor:
    link: str
    wanted_from: datetime
    begun: datetime
    at: datetime
    done: tuple[str, ...] = ()
    backlog: Position | None = None
    recovering: bool = False
    """Whether the backlog is read again, because the server forgot how far we were."""
    aside: tuple[Aside, ...] = ()
    came_link: str | None = None
    """Of a second delta, which tells only of what has come in; None where the folder had no old mail."""
    came: tuple[str, ...] = ()
    """Messages with old dates that came in by that, and that the first has not told of yet."""

    def looks_old(self, received_at: datetime, created_at: datetime) -> bool:
        """Whether a message may be one of those that were there when reading began, and are not wanted."""
        return received_at < self.wanted_from and created_at <= self.begun


Cursor = Mapping[str, FolderCursor]


def parse_cursor(text: str | None) -> dict[str, FolderCursor]:
    """Read a cursor. Raises CursorInvalid where it is not one of ours."""
    if text is None:
        return {}
    try:
        document = json.loads(text)
        if document["v"] != _VERSION:
            raise CursorInvalid("cursor of another version")
        return {str(name): _folder(record) for name, record in document["folders"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CursorInvalid("cursor is not one of Graph") from None


def format_cursor(folders: Cursor) -> str:
    """Write a cursor.

    >>> day = datetime(2026, 1, 1, tzinfo=UTC)
    >>> parse_cursor(format_cursor({"f": FolderCursor("/x", day, day, day)}))["f"].link
    '/x'
    """
    records = {
        name: {
            "link": folder.link,
            "from": folder.wanted_from.isoformat(),
            "begun": folder.begun.isoformat(),
            "at": folder.at.isoformat(),
            **({"done": list(folder.done)} if folder.done else {}),
            **({"backlog": folder.backlog.row()} if folder.backlog else {}),
            **({"anew": True} if folder.recovering else {}),
            **({"aside": [one.row() for one in folder.aside]} if folder.aside else {}),
            **({"came_link": folder.came_link} if folder.came_link else {}),
            **({"came": list(folder.came)} if folder.came else {}),
        }
        for name, folder in folders.items()
    }
    return json.dumps({"v": _VERSION, "folders": records}, ensure_ascii=False, separators=(",", ":"))


def _folder(record: Mapping[str, Any]) -> FolderCursor:
    backlog = record.get("backlog")
    return FolderCursor(
        _link(record["link"]),
        moment(record["from"]),
        moment(record["begun"]),
        moment(record["at"]),
        done=tuple(map(str, record.get("done") or ())),
        backlog=Position.of_row(backlog) if backlog is not None else None,
        recovering=record.get("anew") is True,
        aside=tuple(_aside(record.get("aside") or ())),
        came_link=_link(record["came_link"]) if record.get("came_link") else None,
        came=tuple(map(str, record.get("came") or ())),
    )


def _link(link: object) -> str:
    if not isinstance(link, str) or not link.startswith("/"):
        raise ValueError("a link is kept below the API's address")
    return link


def _aside(rows: Sequence[Any]) -> Iterable[Aside]:
    for message_id, received_at, tries, again_at in rows:
        yield Aside(str(message_id), moment(received_at), int(tries), moment(again_at))


def moment(text: object) -> datetime:
    """Read a moment of Graph's or of ours: aware, UTC. Raises ValueError.

    >>> moment("2026-11-29T10:00:00Z").isoformat()
    '2026-11-29T10:00:00+00:00'
    """
    found = datetime.fromisoformat(str(text))
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def literal(value: datetime) -> str:
    """Write a moment as OData takes it.

    >>> literal(datetime(2026, 11, 29, 10, tzinfo=UTC))
    '2026-11-29T10:00:00Z'
    """
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Locator:
    """Where a message lies: the folder's id and the message's immutable one.

    >>> Locator.parse("graph:AQMk:AAkA")
    Locator(folder='AQMk', id='AAkA')
    """

    folder: str
    id: str

    def __str__(self) -> str:
        return f"{_LOCATOR}:{self.folder}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Locator | None:
        """Return None where it is not a locator of Graph: the mailbox was read in another way before."""
        kind, _, rest = text.partition(":")
        folder, _, message_id = rest.partition(":")
        return cls(folder, message_id) if kind == _LOCATOR and folder and message_id and ":" not in message_id else None
