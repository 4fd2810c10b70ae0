"""What agents do, done in the mailbox: one edit of one message, safe to repeat."""

from __future__ import annotations

from collections.abc import Mapping

from imapclient import DELETED, SEEN

from connectors.base import Edit, EditKind
from connectors.imap_cursor import Locator
from connectors.imap_folders import Role
from connectors.imap_session import ImapSession

_ROLE_OF: Mapping[EditKind, Role] = {EditKind.TRASH: "trash", EditKind.SPAM: "junk"}


async def apply_edit(session: ImapSession, place: Locator, edit: Edit, role_folders: Mapping[str, str]) -> str | None:
    """Do `edit` on the message in the selected folder; return its locator afterwards where it is known.

    A message that is gone, or marked as deleted already, is left as it is: the
    edit was done before, or somebody else did more.
    """
    uid = place.uid
    flags = (await session.run("FETCH", lambda client: client.get_flags([uid]))).get(uid)
    if flags is None:
        return None
    if edit.kind is EditKind.READ:
        await session.run("STORE", lambda client: client.add_flags([uid], [SEEN], silent=True))
        return str(place)
    if edit.kind is EditKind.KEYWORD:
        keyword = _target(edit).encode("ascii")
        await session.run("STORE", lambda client: client.add_flags([uid], [keyword], silent=True))
        return str(place)
    if edit.kind is EditKind.DELETE:
        await _delete(session, uid)
        return None
    if DELETED in flags:
        return None
    role = _ROLE_OF.get(edit.kind)
    folder = await session.ensure_role(role, role_folders.get(role)) if role else _target(edit)
    return str(place) if folder == place.folder else await _move(session, uid, folder)


async def _move(session: ImapSession, uid: int, folder: str) -> str | None:
    """MOVE (RFC 6851), else COPY and delete."""
    session.take_untagged("COPYUID")
    if "MOVE" in session.capabilities:
        await session.run("MOVE", lambda client: client.move([uid], folder))
    else:
        await session.run("COPY", lambda client: client.copy([uid], folder))
        await _delete(session, uid)
    return _copied_to(session, folder)


async def _delete(session: ImapSession, uid: int) -> None:
    r"""Mark \Deleted, and expunge this one message where the server can.

    Never a plain EXPUNGE: it deletes what other clients have marked (RFC 4315 §2.1).
    """
    await session.run("STORE", lambda client: client.add_flags([uid], [DELETED], silent=True))
    if "UIDPLUS" in session.capabilities:
        await session.run("EXPUNGE", lambda client: client.uid_expunge([uid]))


def _copied_to(session: ImapSession, folder: str) -> str | None:
    """Read `[COPYUID uidvalidity from to]` (RFC 4315 §3), said by MOVE and COPY."""
    codes = session.take_untagged("COPYUID")
    words = codes[-1].split() if codes else []
    if len(words) == 3 and words[0].isdigit() and words[2].isdigit():
        return str(Locator(int(words[0]), int(words[2]), folder))
    return None


def _target(edit: Edit) -> str:
    if not edit.target:
        raise ValueError(f"{edit.kind} needs a target")
    return edit.target
