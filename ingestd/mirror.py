"""What is done in the mailbox to the mail of a ticket, and why. Pure: settings and what waits in, edits out.

A message lies where its import put it, or where the status of its ticket asks for. When the status changes,

- what an earlier status had asked for and is not done yet is not done any more;
- what had been done is undone where that is natural: its keyword goes, and a message that was moved is moved
  back to where it lay before (`home`). \\Seen stays, and what was deleted for good stays deleted;
- then comes what the new status asks for.

Whether an edit that waits was done is not always known: its row may have outlived it in a crash. So the
contrary edit is planned in either case: it changes nothing where nothing was done. Of two edits that would
move a message only the later one is kept. A deletion that is due makes all others pointless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from uuid import UUID

from config import split_after_import
from connectors.base import Edit, EditKind
from ingestd.records import MessageRecord
from storage.edits import EditCause
from storage.tickets import TicketStatus

MOVES: Final = frozenset({EditKind.MOVE, EditKind.SPAM, EditKind.TRASH, EditKind.DELETE})
"""After these a message lies elsewhere, or nowhere."""
_KINDS: Final[Mapping[str, EditKind]] = {
    "seen": EditKind.READ,
    "keyword": EditKind.KEYWORD,
    "move": EditKind.MOVE,
    "delete": EditKind.DELETE,
    "junk": EditKind.SPAM,
    "trash": EditKind.TRASH,
}
_CAUSES: Final[Mapping[TicketStatus, EditCause]] = {
    TicketStatus.CLOSED: EditCause.SOLVED,
    TicketStatus.SPAM: EditCause.SPAM,
    TicketStatus.DELETED: EditCause.DELETE,
}
_OF_A_STATUS: Final = frozenset({*_CAUSES.values(), EditCause.REOPEN})


_GONE = "somebody moved or deleted it in the mailbox; it was left as it is"
_MOVED = "moved in the mailbox, by us or by somebody else; where it lies now is not known"
_LOST: Final[Mapping[str, str]] = {
    EditKind.READ: _GONE,
    EditKind.KEYWORD: _GONE,
    EditKind.REMOVE_KEYWORD: _GONE,
    EditKind.MOVE: _MOVED,
    EditKind.SPAM: _MOVED,
    EditKind.TRASH: _MOVED,
    EditKind.DELETE: "deleted in the mailbox",
}
"""What is said of a message whose place is not known, by the edit that found that out."""


def where_lost(record: MessageRecord) -> str | None:
    """Return what became of a message whose place in the mailbox is not known; None where it is."""
    return _LOST.get(record.lost_by)


def edit_of(spelled: str) -> Edit | None:
    """Return the edit that a setting, `after_import` or one of `mirror`, stands for; None for `nothing`.

    >>> edit_of("keyword:Ticketed")
    Edit(kind=<EditKind.KEYWORD: 'keyword'>, target='Ticketed')
    """
    word, target = split_after_import(spelled)
    kind = _KINDS.get(word)
    return None if kind is None else Edit(kind, target)


@dataclass(frozen=True, slots=True)
class Mirror:
    """What is done in a mailbox to what agents do."""

    read: Edit | None = None
    of_status: Mapping[TicketStatus, Edit] = field(default_factory=lambda: MappingProxyType({}))


def mirror_of(spelled: Mapping[str, str]) -> Mirror:
    """Return what the settings `mirror` stand for: `read`, `spam`, `delete`, `solved`."""
    found = {status: edit_of(spelled.get(cause.value, "nothing")) for status, cause in _CAUSES.items()}
    return Mirror(edit_of(spelled.get("read", "nothing")), {status: edit for status, edit in found.items() if edit})


@dataclass(frozen=True, slots=True)
class Waiting:
    """An edit that waits for a message."""

    edit_id: UUID
    edit: Edit
    cause: EditCause
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What changes for one message."""

    home: str
    dropped: Sequence[UUID] = ()
    """Edits that are not to be done any more."""
    new: Sequence[tuple[Edit, EditCause]] = ()
    """Marks before moves: after a move the server may not tell where the message lies."""


def plan_read(mirror: Mirror, home: str, waiting: Sequence[Waiting]) -> Plan:
    """Plan for a message whose ticket an agent reads."""
    if mirror.read is None or _goes(waiting):
        return Plan(home)
    return _without_twins(Plan(home, new=[(mirror.read, EditCause.READ)]), waiting)


def plan_status(
    mirror: Mirror, was: TicketStatus, status: TicketStatus, folder: str, home: str, waiting: Sequence[Waiting]
) -> Plan:
    """Plan for a message in `folder` whose ticket `was` something and has now another status.

    `home` is where it is to be moved back to, "" where it was not moved.

    >>> mirror = mirror_of({"spam": "junk"})
    >>> spam = plan_status(mirror, TicketStatus.OPEN, TicketStatus.SPAM, "INBOX", "", [])
    >>> [(edit.kind.value, edit.target) for edit, _ in spam.new], spam.home
    ([('spam', None)], 'INBOX')
    >>> back = plan_status(mirror, TicketStatus.SPAM, TicketStatus.OPEN, "\\\\Junk", spam.home, [])
    >>> [(edit.kind.value, edit.target) for edit, _ in back.new], back.home
    ([('move', 'INBOX')], '')
    """
    if _goes(waiting):
        return Plan(home)
    superseded = [one for one in waiting if one.cause in _OF_A_STATUS]
    # A move back that is still under way says where the message belongs.
    home = home or _target(superseded, EditCause.REOPEN)
    wished = mirror.of_status.get(status)
    new: list[tuple[Edit, EditCause]] = [
        (Edit(EditKind.REMOVE_KEYWORD, keyword), EditCause.REOPEN)
        for keyword in _keywords(mirror.of_status.get(was), superseded, wished)
    ]
    if wished is not None and wished.kind in MOVES:
        home = home or _target(waiting, EditCause.IMPORT) or folder
        new.append((wished, _CAUSES[status]))
    else:
        if wished is not None:
            new.append((wished, _CAUSES[status]))
        if home:
            new.append((Edit(EditKind.MOVE, home), EditCause.REOPEN))
            home = ""
    dropped = [one.edit_id for one in superseded]
    return _without_twins(Plan(home, dropped, new), waiting)


def _goes(waiting: Sequence[Waiting]) -> bool:
    return any(one.edit.kind is EditKind.DELETE and not one.failed for one in waiting)


def _target(waiting: Sequence[Waiting], cause: EditCause) -> str:
    """Return the folder that a move with this cause leads to, "" where none waits."""
    moves = (one.edit for one in waiting if one.cause is cause and one.edit.kind is EditKind.MOVE)
    return next((edit.target or "" for edit in moves), "")


def _keywords(undone: Edit | None, superseded: Sequence[Waiting], wished: Edit | None) -> list[str]:
    """Return the keywords that the message is to lose."""
    marks = (EditKind.KEYWORD, EditKind.REMOVE_KEYWORD)
    found = [one.edit.target for one in superseded if one.edit.kind in marks]
    if undone is not None and undone.kind is EditKind.KEYWORD:
        found.append(undone.target)
    keeps = wished.target if wished is not None and wished.kind is EditKind.KEYWORD else None
    return [one for one in dict.fromkeys(found) if one and one != keeps]


def _without_twins(plan: Plan, waiting: Sequence[Waiting]) -> Plan:
    """Drop, of what waits, what a new edit does as well, and the moves where there is a new one."""
    new = {edit for edit, _ in plan.new}
    moves = any(edit.kind in MOVES for edit in new)
    twins = [one.edit_id for one in waiting if one.edit in new or (moves and one.edit.kind in MOVES)]
    return Plan(plan.home, tuple(dict.fromkeys([*plan.dropped, *twins])), tuple(plan.new))
