"""Whether a folder is still the one that was read: its UIDs may mean other messages after a restore from a backup.

UIDNEXT tells of new mail, and of a restore where less came since than was lost by it. Where as many came as were
lost, it is what it was. So the last message that was read is looked at, as UID and INTERNALDATE belong together for
ever (RFC 3501 §2.3): together with new messages, where there are any; once on each connection; and, where the server
has CONDSTORE, whenever HIGHESTMODSEQ is another than at the last reading (RFC 7162 §3.1.2.1). While that is what it
was, nothing has changed and nothing is asked. Nothing lowers it: where it went down, the folder was restored, or the
server lost its counters.
"""

from __future__ import annotations

from connectors.imap_connection import Connection
from connectors.imap_cursor import FolderCursor
from connectors.imap_session import Selected


def highest_seen(*cursors: FolderCursor | None) -> int | None:
    """Return the highest HIGHESTMODSEQ that any of them knows.

    >>> highest_seen(FolderCursor(7, 1, modseq=3), None, FolderCursor(7, 1, modseq=5)), highest_seen(None)
    (5, None)
    """
    return max((one.modseq for one in cursors if one is not None and one.modseq is not None), default=None)


async def where_to_go_on(
    connection: Connection, selected: Selected, at: FolderCursor, uidnext: int, *, seen: int | None, compare: bool
) -> FolderCursor:
    """Return the cursor to go on from; another than `at` where the folder was restored from a backup since.

    `seen` is the highest HIGHESTMODSEQ so far; with `compare` the last message is looked at whatever it says.
    """
    step = 0 if selected.modseq is None or seen is None else selected.modseq - seen
    lower = step < 0
    # Where there are new messages it is looked at together with them.
    if not lower and (at.uid < uidnext - 1 or not (compare or step)):
        return at
    if at.last is None:
        return at.anew(selected.uidvalidity, uidnext) if lower else at
    uid, received_at = at.last
    dates = [item.received_at for item in await connection.describe(selected, [uid])]
    if dates == [received_at]:
        # All up to it is as it was, as the backup was made later than that. UIDs behind it may mean other messages.
        return at.back_to(uid) if lower and uid < at.uid else at
    changed = bool(dates) and dates[0] is not None
    return at.anew(selected.uidvalidity, uidnext) if changed or lower else at
