"""What agents do, done in the mailbox: labels that come and go, safe to repeat.

To move is to change labels: the place where the message lies goes, the target comes. A message that lies there no
more is left as it is: the edit was done before, or somebody else did more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from connectors.base import ConnectorError, Edit, EditKind, PermanentError, TemporaryError
from connectors.gmail_cursor import ALL_MAIL, Locator
from connectors.gmail_errors import BadArgument, NotThere, ScopeMissing
from connectors.gmail_fetch import minimal
from connectors.gmail_labels import Labels, lies_in
from connectors.gmail_quota import Urgency
from connectors.gmail_session import GmailSession, chunks

EDIT_MESSAGES_MAX = 1000
"""Ids of one batchModify: the most that Google takes."""
_ONE_BY_ONE_MAX = 9
"""So many messages cost less one by one (5 units each) than all together (50)."""
_ANSWER_BYTES_MAX = 4 * 1024 * 1024
_ROLE_OF: Mapping[EditKind, str] = {EditKind.TRASH: "\\Trash", EditKind.SPAM: "\\Junk"}
_NOW = Urgency.SEND
"""Few units, and an agent may be watching."""

Outcome = dict[Locator, Locator | None]


async def edit_messages(
    session: GmailSession, labels: Labels, locators: Sequence[str], edit: Edit
) -> dict[str, str | None]:
    """Do `edit`; see `Reader.edit`. Raises ValueError for a keyword that is none.

    A locator of another way than this, or with a label that is not there, is left out: the message may lie elsewhere.
    """
    if edit.kind in (EditKind.KEYWORD, EditKind.REMOVE_KEYWORD):
        _check_keyword(edit)
    by_label: dict[str, list[Locator]] = {}
    for place in filter(None, map(Locator.parse, dict.fromkeys(locators))):
        by_label.setdefault(place.label, []).append(place)
    done: dict[str, str | None] = {}
    for label, places in by_label.items():
        for some in chunks(places, EDIT_MESSAGES_MAX):
            outcome = await _edit(session, labels, label, some, edit)
            done.update({str(place): str(now) if (now := outcome.get(place)) else None for place in some})
    return done


async def _edit(session: GmailSession, labels: Labels, label: str, places: Sequence[Locator], edit: Edit) -> Outcome:
    found = await minimal(session, [place.message_id for place in places], _NOW)
    there = [
        place
        for place in places
        if place.message_id in found and lies_in(label, found[place.message_id].get("labelIds", ()))
    ]
    if not there:
        return {}
    if edit.kind is EditKind.READ:
        return await _modify(session, there, remove=["UNREAD"])
    if edit.kind is EditKind.KEYWORD:
        return await _modify(session, there, add=[await labels.ensure(_target(edit), _NOW)])
    if edit.kind is EditKind.REMOVE_KEYWORD:
        known = await labels.find(_target(edit), _NOW)
        return await _modify(session, there, remove=[known]) if known else {place: place for place in there}
    if edit.kind is EditKind.DELETE:
        await _delete(session, there)
        return {}
    target = await labels.ensure(_ROLE_OF.get(edit.kind) or _target(edit), _NOW)
    if target == label:
        return {place: place for place in there}
    add, remove = labels_of_move(label, target)
    await _modify(session, there, add=add, remove=remove)
    return {place: Locator(target, place.message_id) for place in there}


def labels_of_move(source: str, target: str) -> tuple[list[str], list[str]]:
    """Return the labels that a move brings and takes.

    >>> labels_of_move("INBOX", "-"), labels_of_move("Label_1", "TRASH"), labels_of_move("-", "INBOX")
    (([], ['INBOX']), (['TRASH'], ['INBOX', 'Label_1']), (['INBOX'], []))
    """
    remove = {source} if source != ALL_MAIL else set()
    if target in ("TRASH", "SPAM", ALL_MAIL):
        remove.add("INBOX")
    return ([] if target == ALL_MAIL else [target]), sorted(remove)


async def _modify(
    session: GmailSession, places: Sequence[Locator], *, add: Collection[str] = (), remove: Collection[str] = ()
) -> Outcome:
    ids = [place.message_id for place in places]
    body = {"addLabelIds": sorted(add), "removeLabelIds": sorted(remove)}
    if len(ids) > _ONE_BY_ONE_MAX:
        request = session.api.messages.batchModify(userId="me", body={"ids": ids, **body})
        await session.call("messages.batchModify", request, _NOW)
        return {place: place for place in places}
    requests = {one: session.api.messages.modify(userId="me", id=one, body=body) for one in ids}
    answers = await session.batch("messages.modify", requests, _NOW, response_bytes_max=_ANSWER_BYTES_MAX)
    _raise_first(answers.values())
    # What went meanwhile is a 404.
    return {place: place for place in places if not isinstance(answers[place.message_id], NotThere)}


async def _delete(session: GmailSession, places: Sequence[Locator]) -> None:
    ids = [place.message_id for place in places]
    try:
        if len(ids) > _ONE_BY_ONE_MAX // 2:
            request = session.api.messages.batchDelete(userId="me", body={"ids": ids})
            await session.call("messages.batchDelete", request, _NOW)
            return
        requests = {one: session.api.messages.delete(userId="me", id=one) for one in ids}
        answers = await session.batch("messages.delete", requests, _NOW, response_bytes_max=_ANSWER_BYTES_MAX)
        _raise_first(answers.values())
    except ScopeMissing:
        # gmail.modify does not cover it, and need not: reading and sending work.
        raise PermanentError("messages.delete: the grant does not cover it; trash is what it does") from None


def _raise_first(answers: Iterable[object]) -> None:
    for answer in answers:
        if isinstance(answer, ConnectorError) and not isinstance(answer, NotThere):
            if isinstance(answer, BadArgument):
                # A label that was deleted since it was listed: it is found, or made, at the next attempt.
                raise TemporaryError(str(answer))
            raise answer


def _check_keyword(edit: Edit) -> None:
    """A keyword is the same on every way to a mailbox: an atom (RFC 9051 §2.3.2), which a label can be called."""
    keyword = _target(edit)
    if not keyword.isascii() or not keyword.isprintable() or any(char in '(){%*"\\] ' for char in keyword):
        raise ValueError("a keyword that is no atom")


def _target(edit: Edit) -> str:
    if not edit.target:
        raise ValueError(f"{edit.kind} needs a target")
    return edit.target
