"""Taking messages out of a selected folder: UIDs in windows, sizes first, then bodies within limits.

The limits are asked for before they are needed, because imaplib takes literals
of any size into memory: RFC822.SIZE comes first, and a body over the limit is
never asked for. Only BODY.PEEK is used: reading a message marks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from connectors.base import RawMessage, ReadPlan, TemporaryError
from connectors.imap_cursor import Locator
from connectors.imap_session import ImapSession, Selected

HEADER_BYTES_MAX = 256 * 1024
SIZE_SLACK_BYTES = 1024 * 1024
"""So much larger than it was told a batch may come; a message by itself may have all of the caller's limit."""
WINDOW_UIDS = 500
WINDOW_UIDS_MAX = 1 << 18
"""Were all of them messages, SEARCH would name them in a line that is still within LINE_BYTES_MAX (imap_wire)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What is known of a message before its body is fetched."""

    uid: int
    size_bytes: int
    received_at: datetime
    provider_id: str | None


class Window:
    """How many UIDs to look at together: few where messages are dense, many where they are sparse."""

    def __init__(self) -> None:
        self.size = WINDOW_UIDS

    def cut(self, uids: list[int], low: int, high: int, *, from_end: bool = False) -> tuple[list[int], int, int]:
        """Return no more UIDs than usual, and the range that was looked at for them; adapts the next size.

        `uids` is what was found from `low` to `high`, ascending; with `from_end` its end is kept.
        """
        self.size = min(self.size * 4, WINDOW_UIDS_MAX) if not uids else WINDOW_UIDS
        if len(uids) <= WINDOW_UIDS:
            return uids, low, high
        if from_end:
            uids = uids[-WINDOW_UIDS:]
            return uids, uids[0], high
        uids = uids[:WINDOW_UIDS]
        return uids, low, uids[-1]


def header_of(content: bytes) -> bytes:
    r"""Return the header block with the empty line that ends it.

    >>> header_of(b"A: 1\r\n\r\nbody")
    b'A: 1\r\n\r\n'
    """
    ends = [at + len(mark) for mark in (b"\r\n\r\n", b"\n\n") if (at := content.find(mark)) >= 0]
    return content[: min(ends)] if ends else content


def group(listed: Iterable[Listed], plan: ReadPlan) -> list[list[Listed]]:
    """Cut into batches within the plan's limits, each of at least one message.

    A message over `message_bytes_max` weighs as much as a header, for no more of it is fetched.
    """
    groups: list[list[Listed]] = []
    weight = 0
    for item in listed:
        weighs = item.size_bytes if item.size_bytes <= plan.message_bytes_max else HEADER_BYTES_MAX
        full = not groups or len(groups[-1]) >= plan.batch_messages_max or weight + weighs > plan.batch_bytes_max
        if full:
            groups.append([])
            weight = 0
        groups[-1].append(item)
        weight += weighs
    return groups


def date_criteria(since: datetime | None, before: datetime | None = None) -> list[object]:
    """Return what SEARCH is to be asked for the time from `since` to `before`, with some more on both sides.

    SINCE and BEFORE know days only, in a time zone of the server's choice, so what is exact is INTERNALDATE alone.

    >>> date_criteria(datetime(2026, 3, 2, 12, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC))
    ['SINCE', datetime.date(2026, 3, 1), 'BEFORE', datetime.date(2026, 3, 7)]
    """
    criteria: list[object] = []
    if since is not None:
        criteria += ["SINCE", since.astimezone(UTC).date() - timedelta(days=1)]
    if before is not None:
        criteria += ["BEFORE", before.astimezone(UTC).date() + timedelta(days=2)]
    return criteria


async def search_window(
    session: ImapSession, low: int, high: int, since: datetime | None, before: datetime | None = None
) -> list[int]:
    """Return the UIDs from `low` to `high` inclusive, ascending, at least those of the time in question.

    The server may answer a range whose upper end is gone with its last message
    (RFC 3501 §6.4.8: "n:*" always holds one), so the answer is filtered.
    """
    criteria = ["UID", f"{low}:{high}", *date_criteria(since, before)]
    found = await session.run("SEARCH", lambda client: client.search(criteria))
    return sorted({uid for uid in found if low <= uid <= high})


def of_time(listed: Iterable[Listed], since: datetime | None, before: datetime | None = None) -> list[Listed]:
    """Return the messages of the time from `since` to `before`, exclusive."""
    return [
        item
        for item in listed
        if (since is None or item.received_at >= since) and (before is None or item.received_at < before)
    ]


async def list_messages(session: ImapSession, uids: Sequence[int]) -> list[Listed]:
    """Ask size, date and lasting id of messages. Those that were expunged in between are not in the answer."""
    if not uids:
        return []
    id_item = id_item_of(session)
    items = ["UID", "RFC822.SIZE", "INTERNALDATE", *([id_item] if id_item else [])]
    found = await session.run("FETCH", lambda client: client.fetch(list(uids), items))
    listed = []
    for uid in uids:
        row = found.get(uid)
        if row is None:
            continue
        if b"RFC822.SIZE" not in row:
            # Not expunged, so not to be passed over.
            raise TemporaryError(f"FETCH at {session.where}: a message without its size")
        received_at = row.get(b"INTERNALDATE") or datetime.fromtimestamp(0, UTC)
        received_at = received_at.astimezone(UTC)
        listed.append(Listed(uid, row[b"RFC822.SIZE"], received_at, provider_id_of(row, id_item)))
    return listed


async def fetch_messages(
    session: ImapSession, selected: Selected, listed: Sequence[Listed], message_bytes_max: int
) -> list[RawMessage]:
    """Fetch bodies, or headers alone for those over the limit; the expunged are left out."""
    whole = [item.uid for item in listed if item.size_bytes <= message_bytes_max]
    large = [item.uid for item in listed if item.size_bytes > message_bytes_max]
    bodies: dict[int, bytes] = {}
    headers: dict[int, bytes] = {}
    if whole:
        told = sum(item.size_bytes for item in listed if item.size_bytes <= message_bytes_max)
        # Exchange's sizes are estimates; what is far from them is a server that lies.
        limit = 2 * told + SIZE_SLACK_BYTES if len(whole) > 1 else message_bytes_max
        rows = await session.run("FETCH", lambda client: client.fetch_within(limit, whole, ["UID", "BODY.PEEK[]"]))
        bodies = {uid: row[b"BODY[]"] for uid, row in rows.items() if row.get(b"BODY[]") is not None}
    if large:
        item = f"BODY.PEEK[HEADER]<0.{HEADER_BYTES_MAX}>"
        limit = len(large) * HEADER_BYTES_MAX
        rows = await session.run("FETCH", lambda client: client.fetch_within(limit, large, ["UID", item]))
        headers = {uid: row[b"BODY[HEADER]<0>"] for uid, row in rows.items() if row.get(b"BODY[HEADER]<0>") is not None}
    missing = [uid for uid in (*whole, *large) if uid not in bodies and uid not in headers]
    if missing:
        await _require_gone(session, missing)
    return [
        _raw(selected, item, bodies.get(item.uid), headers.get(item.uid, b""), message_bytes_max)
        for item in listed
        if item.uid in bodies or item.uid in headers
    ]


async def _require_gone(session: ImapSession, uids: Sequence[int]) -> None:
    """Tell an expunged message from one whose body the server would not give (BODY[] NIL): that is not skipped."""
    rows = await session.run("FETCH", lambda client: client.fetch(list(uids), ["UID", "RFC822.SIZE"]))
    if any(b"RFC822.SIZE" in row for row in rows.values()):
        raise TemporaryError(f"FETCH at {session.where}: a message without its body")


def _raw(selected: Selected, item: Listed, content: bytes | None, header: bytes, message_bytes_max: int) -> RawMessage:
    size_bytes = item.size_bytes if content is None else len(content)
    if content is not None:
        header = header_of(content)
        if len(content) > message_bytes_max:
            # It is larger than was told; nobody behind us takes more than the limit.
            content, header = None, header[:HEADER_BYTES_MAX]
    return RawMessage(
        locator=str(Locator(selected.uidvalidity, item.uid, selected.folder)),
        folder=selected.folder,
        size_bytes=size_bytes,
        received_at=item.received_at,
        content=content,
        header=header,
        provider_id=item.provider_id,
    )


def id_item_of(session: ImapSession) -> str | None:
    if "OBJECTID" in session.capabilities:
        return "EMAILID"
    return "X-GM-MSGID" if "X-GM-EXT-1" in session.capabilities else None


def provider_id_of(row: dict[bytes, object], id_item: str | None) -> str | None:
    value = row.get(id_item.encode()) if id_item else None
    if isinstance(value, tuple):  # EMAILID (M123), RFC 8474 §5.1
        value = value[0] if value else None
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    return str(value) if value is not None else None
