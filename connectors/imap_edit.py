"""What agents do, done in the mailbox: one edit of many messages, safe to repeat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from imapclient import DELETED, SEEN

from connectors.base import Edit, EditKind, PermanentError
from connectors.imap_connection import Connection
from connectors.imap_copies import find_copies
from connectors.imap_cursor import Locator
from connectors.imap_session import FolderMissing, ImapSession, Selected

EDIT_MESSAGES_MAX = 200
"""Messages of one command: their UIDs make a line, and some servers take lines of 8 kB at most (RFC 7162 §4)."""
_ROLE_OF: Mapping[EditKind, str] = {EditKind.TRASH: "\\Trash", EditKind.SPAM: "\\Junk"}

Places = Sequence[Locator]
Outcome = dict[Locator, Locator | None]


async def edit_messages(
    connection: Connection, locators: Sequence[str], edit: Edit, role_folders: Mapping[str, str]
) -> dict[str, str | None]:
    """Do `edit` folder by folder; see `Reader.edit`. Raises ValueError for a keyword that is none.

    A message that is gone, or marked as deleted already, is left as it is: the edit was done
    before, or somebody else did more. A place that is none at present is left out: what UID 7
    was lies elsewhere, if anywhere. What fails in the middle can be repeated as a whole.
    """
    done: dict[str, str | None] = {}
    by_folder: dict[tuple[str, int], list[Locator]] = {}
    for place in dict.fromkeys(map(Locator.parse, locators)):
        by_folder.setdefault((place.folder, place.uidvalidity), []).append(place)
    for (folder, uidvalidity), places in by_folder.items():
        try:
            session, selected = await connection.select(folder)
        except FolderMissing:
            continue
        if selected.uidvalidity != uidvalidity:
            continue
        for at in range(0, len(places), EDIT_MESSAGES_MAX):
            some = places[at : at + EDIT_MESSAGES_MAX]
            outcome = await _edit(session, selected, some, edit, role_folders)
            done.update({str(place): str(now) if (now := outcome.get(place)) else None for place in some})
    return done


async def _edit(
    session: ImapSession, selected: Selected, places: Places, edit: Edit, role_folders: Mapping[str, str]
) -> Outcome:
    uids = [place.uid for place in places]
    flags = await session.run("FETCH", lambda client: client.get_flags(uids))
    there = [place for place in places if place.uid in flags]
    if not there:
        return {}
    if edit.kind is EditKind.READ:
        await _store(session, there, SEEN)
        return {place: place for place in there}
    if edit.kind is EditKind.KEYWORD:
        await _store(session, there, _keyword(session, selected, edit))
        return {place: place for place in there}
    if edit.kind is EditKind.REMOVE_KEYWORD:
        await _remove_keyword(session, there, edit)
        return {place: place for place in there}
    if edit.kind is EditKind.DELETE:
        await _delete(session, there)
        return {}
    left = [place for place in there if DELETED not in flags[place.uid]]
    marked = [place for place in there if DELETED in flags[place.uid]]
    if not left and not _may_be_ours(session):
        return {}
    wanted = _ROLE_OF.get(edit.kind) or _target(edit)
    # Nothing is made for what was only perhaps copied.
    find = session.ensure_folder if left else session.find_folder
    target = await find(wanted, role_folders)
    if target is None:
        return {}
    if target == selected.folder:
        return {place: place for place in left}
    if "MOVE" in session.capabilities:
        return await _transfer(session, "MOVE", left, target)
    return await _copy_and_delete(session, selected, left, marked if _may_be_ours(session) else [], target)


def _may_be_ours(session: ImapSession) -> bool:
    r"""Whether a message that is marked \Deleted can be one of ours, moved except for its EXPUNGE."""
    return "MOVE" not in session.capabilities and "UIDPLUS" in session.capabilities


async def _transfer(session: ImapSession, command: str, places: Places, folder: str) -> Outcome:
    uids = [place.uid for place in places]
    session.take_untagged("COPYUID")
    await session.run_into(
        folder,
        command,
        lambda client: client.move(uids, folder) if command == "MOVE" else client.copy(uids, folder),
    )
    copied = copied_to(session.take_untagged("COPYUID"), folder)
    return {place: copied.get(place.uid) for place in places}


async def _copy_and_delete(
    session: ImapSession, selected: Selected, places: Places, marked: Places, folder: str
) -> Outcome:
    """Move without MOVE, safe to repeat: what an attempt that was cut short has copied is not copied again.

    Of those that were `marked` as deleted before, by us or by others, only what was copied goes.
    """
    found: Outcome = dict(await find_copies(session, selected, [*places, *marked], folder))
    left = [place for place in places if place not in found]
    if left:
        found |= await _transfer(session, "COPY", left, folder)
    gone = [place for place in (*places, *marked) if place in found]
    if gone:
        await _delete(session, gone)
    return found


async def _delete(session: ImapSession, places: Places) -> None:
    r"""Mark \Deleted, and expunge these messages where the server can.

    Never a plain EXPUNGE: it deletes what other clients have marked (RFC 4315 §2.1).
    """
    await _store(session, places, DELETED)
    if "UIDPLUS" in session.capabilities:
        uids = [place.uid for place in places]
        await session.run("EXPUNGE", lambda client: client.uid_expunge(uids))


async def _store(session: ImapSession, places: Places, flag: bytes) -> None:
    uids = [place.uid for place in places]
    await session.run("STORE", lambda client: client.add_flags(uids, [flag], silent=True))


async def _remove_keyword(session: ImapSession, places: Places, edit: Edit) -> None:
    uids, keyword = [place.uid for place in places], _atom(edit)
    await session.run("STORE", lambda client: client.remove_flags(uids, [keyword], silent=True))


def _atom(edit: Edit) -> bytes:
    keyword = _target(edit)
    if not keyword.isascii() or not keyword.isprintable() or any(char in '(){%*"\\] ' for char in keyword):
        raise ValueError("a keyword that is no atom")
    return keyword.encode("ascii")


def _keyword(session: ImapSession, selected: Selected, edit: Edit) -> bytes:
    """Return the keyword; one that the folder cannot keep would vanish without a word (RFC 3501 §7.1)."""
    keyword = _atom(edit)
    keeps = selected.permanent_flags
    if keeps is not None and "\\*" not in keeps and keyword.decode("ascii").lower() not in keeps:
        raise PermanentError(
            f"STORE at {session.where}: this folder keeps no keywords of ours; choose another edit for this mailbox"
        )
    return keyword


def copied_to(codes: Iterable[bytes], folder: str) -> dict[int, Locator]:
    """Read `[COPYUID uidvalidity from to]` (RFC 4315 §3), said by MOVE and COPY: UID → where it lies now.

    Both sets are in the same order. What does not fit together tells nothing.

    >>> copied_to([b"7 1:3,5 20:23"], "Done")[5]
    Locator(uidvalidity=7, uid=23, folder='Done')
    >>> copied_to([b"7 1:3 20"], "Done")
    {}
    """
    copied: dict[int, Locator] = {}
    for code in codes:
        words = code.split()
        if len(words) != 3 or not words[0].isdigit():
            continue
        sources, targets = list(_expand(words[1])), list(_expand(words[2]))
        if len(sources) == len(targets) and len(sources) <= EDIT_MESSAGES_MAX:
            uidvalidity = int(words[0])
            copied |= {
                source: Locator(uidvalidity, target, folder) for source, target in zip(sources, targets, strict=True)
            }
    return copied


def _expand(uid_set: bytes) -> Iterator[int]:
    """Yield the UIDs of a set, at most one more than a command of ours can name: a server may say `1:4294967295`."""
    left = EDIT_MESSAGES_MAX + 1
    for part in uid_set.split(b","):
        low, _, high = part.partition(b":")
        if not low.isdigit() or not (high or low).isdigit():
            return
        first, last = sorted((int(low), int(high or low)))
        last = min(last, first + left - 1)
        yield from range(first, last + 1)
        left -= last - first + 1
        if left <= 0:
            return


def _target(edit: Edit) -> str:
    if not edit.target:
        raise ValueError(f"{edit.kind} needs a target")
    return edit.target
