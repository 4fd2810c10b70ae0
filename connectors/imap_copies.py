"""Which messages an earlier move, that was cut short, has copied already.

Without MOVE (RFC 6851) a move is COPY and then a deletion, and a loss between the two leaves a message in both
folders: who repeats it blindly makes a second copy. So the end of the target is looked at first, where copies go. By
size, as every server tells sizes without opening a message; then by the bytes themselves, as two mails of one size are
nothing rare. COPY keeps the bytes, but need not keep the date (RFC 3501 §6.4.7). SEARCH is no help: Courier holds
LARGER against another size than RFC822.SIZE, and an index of words is late with what has just come.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from connectors.base import PermanentError, TemporaryError
from connectors.imap_cursor import Locator
from connectors.imap_errors import OWN_TROUBLES
from connectors.imap_fetch import fetch_rows
from connectors.imap_session import FolderMissing, ImapSession, Selected

T = TypeVar("T")
NEWEST_MAX = 1000
"""Messages at the end of the target that are looked at: more than are moved between an attempt and the next."""
_LISTED_TOGETHER = 500
_COMPARED_BYTES = 64 * 1024
"""Of each message; what is alike so far, headers and all, and of one size, is one message."""
_COMPARED_TOGETHER = 50

Identity = tuple[int, bytes]
"""Size and digest."""


async def find_copies(
    session: ImapSession, selected: Selected, places: Sequence[Locator], folder: str
) -> dict[Locator, Locator]:
    """Return which of the messages lie in `folder` too, and where. The folder of the messages is selected afterwards.

    Each copy stands for one message: where two alike are to be moved and one is there, the other is still to be copied.
    """
    sizes = await _sizes(session, [place.uid for place in places])
    copies: dict[Identity, list[Locator]] = {}
    with contextlib.suppress(FolderMissing):  # COPY says so, too
        target = await session.select(folder, readonly=True)
        there = await _sizes(session, await _newest(session, target.exists))
        wanted = set(sizes.values())
        alike = [uid for uid, size in there.items() if size in wanted]
        for uid, identity in (await _identities(session, alike)).items():
            copies.setdefault(identity, []).append(Locator(target.uidvalidity, uid, folder))
    back = await session.select(selected.folder)
    if back.uidvalidity != selected.uidvalidity:
        raise TemporaryError(f"SELECT at {session.where}: UIDVALIDITY changed")
    known = {size for size, _ in copies}
    own = await _identities(session, [uid for uid, size in sizes.items() if size in known])
    by_uid = {place.uid: place for place in places}
    return {by_uid[uid]: copies[identity].pop(0) for uid, identity in own.items() if copies.get(identity)}


async def _newest(session: ImapSession, exists: int) -> list[int]:
    if not exists:
        return []
    asked = f"{max(1, exists - NEWEST_MAX + 1)}:{exists}"
    return list(await session.run("SEARCH", lambda client: client.search([asked])))


async def _sizes(session: ImapSession, uids: Sequence[int]) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for some in _chunks(uids, _LISTED_TOGETHER):
        rows = await fetch_rows(session, some, ["RFC822.SIZE"])
        sizes |= {uid: int(row[b"RFC822.SIZE"]) for uid, row in rows.items() if row.get(b"RFC822.SIZE") is not None}
    return sizes


async def _identities(session: ImapSession, uids: Sequence[int]) -> dict[int, Identity]:
    """Return size and digest of messages; what the server does not give is like no other."""
    identities: dict[int, Identity] = {}
    for some in _chunks(uids, _COMPARED_TOGETHER):
        items = ["RFC822.SIZE", f"BODY.PEEK[]<0.{_COMPARED_BYTES}>"]
        try:
            rows = await fetch_rows(session, some, items, bytes_max=len(some) * _COMPARED_BYTES)
        except (TemporaryError, PermanentError) as error:
            if not session.alive or error.trouble not in OWN_TROUBLES:
                raise
            continue
        for uid, row in rows.items():
            begin, size = row.get(b"BODY[]<0>"), row.get(b"RFC822.SIZE")
            if begin is not None and size is not None:
                identities[uid] = (int(size), hashlib.sha256(begin).digest())
    return identities


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))
