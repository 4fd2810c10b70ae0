"""Taking messages out of a selected folder: UIDs in windows, sizes first, then bodies within limits.

The limits are asked for before they are needed, because imaplib takes literals
of any size into memory: RFC822.SIZE comes first, and a body over the limit is
never asked for. Only BODY.PEEK is used: reading a message marks nothing.

A server may leave out of an answer what it cannot read, say NIL for it, or refuse the
whole command (RFC 3501 §6.4.5). What is there and was not given is *withheld*, and
told apart from what was expunged by SEARCH, which needs no message to be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base import ConnectorError, RawMessage, ReadPlan
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
    """What is known of a message before its body is fetched; None where the server does not tell."""

    uid: int
    size_bytes: int | None = None
    received_at: datetime | None = None
    provider_id: str | None = None


@dataclass(slots=True)
class Fetched:
    """Messages in their order, and those that are there and that the server did not give."""

    messages: list[RawMessage] = field(default_factory=list)
    withheld: list[Listed] = field(default_factory=list)

    def add(self, more: Fetched) -> None:
        self.messages += more.messages
        self.withheld += more.withheld


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
    end = content.find(b"\r\n\r\n")
    # Nothing behind it is looked through: a mail of many megabytes may have no other.
    bare = content.find(b"\n\n", 0, end if end >= 0 else len(content))
    if bare >= 0:
        return content[: bare + 2]
    return content[: end + 4] if end >= 0 else content


def group(listed: Iterable[Listed], plan: ReadPlan) -> list[list[Listed]]:
    """Cut into batches within the plan's limits, each of at least one message.

    A message over `message_bytes_max` weighs as much as a header, for no more of it is fetched; one whose size
    is not known may be as large as that.
    """
    groups: list[list[Listed]] = []
    weight = 0
    for item in listed:
        weighs = _weight(item, plan)
        full = not groups or len(groups[-1]) >= plan.batch_messages_max or weight + weighs > plan.batch_bytes_max
        if full:
            groups.append([])
            weight = 0
        groups[-1].append(item)
        weight += weighs
    return groups


def weight_of(items: Sequence[Listed], plan: ReadPlan) -> int:
    """Return how many bytes a batch may have."""
    return sum(_weight(item, plan) for item in items)


def _weight(item: Listed, plan: ReadPlan) -> int:
    size_bytes = plan.message_bytes_max if item.size_bytes is None else item.size_bytes
    return size_bytes if size_bytes <= plan.message_bytes_max else HEADER_BYTES_MAX


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
    """Return the messages of the time from `since` to `before`, exclusive; one without a date may be of any time."""
    return [
        item
        for item in listed
        if item.received_at is None
        or ((since is None or item.received_at >= since) and (before is None or item.received_at < before))
    ]


async def fetch_rows(
    session: ImapSession, uids: Sequence[int], items: Sequence[str], *, bytes_max: int | None = None
) -> dict[int, dict[bytes, Any]]:
    """FETCH; the literals may have `bytes_max` in all, None where each may have the wire's limit."""
    try:
        return await session.run("FETCH", lambda client: client.fetch_within(bytes_max, uids, items))
    except ConnectorError:
        if session.alive:
            # What was given before the refusal would lie in memory, and in the next answer.
            session.take_untagged("FETCH")
        raise


async def list_messages(session: ImapSession, uids: Sequence[int]) -> list[Listed]:
    """Ask size, date and lasting id of messages. Those that were expunged in between are not in the answer."""
    if not uids:
        return []
    id_item = id_item_of(session)
    items = ["UID", "RFC822.SIZE", "INTERNALDATE", *([id_item] if id_item else [])]
    found = await fetch_rows(session, uids, items)
    listed = []
    for uid in uids:
        row = found.get(uid)
        if row is not None:
            received_at = row.get(b"INTERNALDATE")
            received_at = received_at.astimezone(UTC) if received_at else None
            listed.append(Listed(uid, row.get(b"RFC822.SIZE"), received_at, provider_id_of(row, id_item)))
    return listed


async def fetch_messages(
    session: ImapSession, selected: Selected, listed: Sequence[Listed], message_bytes_max: int
) -> Fetched:
    """Fetch bodies, or headers alone for those over the limit; the expunged are left out."""
    sizes = {item.uid: item.size_bytes or 0 for item in listed}
    whole = [uid for uid, size_bytes in sizes.items() if size_bytes <= message_bytes_max]
    large = [uid for uid, size_bytes in sizes.items() if size_bytes > message_bytes_max]
    bodies: dict[int, bytes] = {}
    headers: dict[int, bytes] = {}
    if whole:
        told = sum(sizes[uid] for uid in whole)
        # Exchange's sizes are estimates; what is far from them is a server that lies.
        limit = 2 * told + SIZE_SLACK_BYTES if len(whole) > 1 else message_bytes_max
        rows = await fetch_rows(session, whole, ["UID", "BODY.PEEK[]"], bytes_max=limit)
        bodies = {uid: row[b"BODY[]"] for uid, row in rows.items() if row.get(b"BODY[]") is not None}
    if large:
        headers = await fetch_headers(session, large)
    given = bodies.keys() | headers.keys()
    missing = [uid for uid in sizes if uid not in given]
    there = await still_there(session, missing)
    return Fetched(
        [
            _raw(selected, item, bodies.get(item.uid), headers.get(item.uid, b""), message_bytes_max)
            for item in listed
            if item.uid in given
        ],
        [item for item in listed if item.uid in there],
    )


async def fetch_headers(session: ImapSession, uids: Sequence[int]) -> dict[int, bytes]:
    """Fetch the begin of messages, as much as a header may have; those that are not given are left out."""
    item = f"BODY.PEEK[HEADER]<0.{HEADER_BYTES_MAX}>"
    limit = len(uids) * HEADER_BYTES_MAX
    rows = await fetch_rows(session, uids, ["UID", item], bytes_max=limit)
    return {uid: row[b"BODY[HEADER]<0>"] for uid, row in rows.items() if row.get(b"BODY[HEADER]<0>") is not None}


async def still_there(session: ImapSession, uids: Sequence[int]) -> set[int]:
    """Return those of the messages that were not expunged."""
    if not uids:
        return set()
    named = ",".join(map(str, uids))
    found = await session.run("SEARCH", lambda client: client.search(["UID", named]))
    return set(found) & set(uids)


def withheld_message(selected: Selected, item: Listed, header: bytes) -> RawMessage:
    """Return what there is of a message that the server does not give."""
    return replace(_raw(selected, item, None, header, 0), withheld=True)


def _raw(selected: Selected, item: Listed, content: bytes | None, header: bytes, message_bytes_max: int) -> RawMessage:
    size_bytes = (item.size_bytes or 0) if content is None else len(content)
    if content is not None:
        header = header_of(content)
        if len(content) > message_bytes_max:
            # It is larger than was told; nobody behind us takes more than the limit.
            content, header = None, header[:HEADER_BYTES_MAX]
    return RawMessage(
        locator=str(Locator(selected.uidvalidity, item.uid, selected.folder)),
        folder=selected.folder,
        size_bytes=size_bytes,
        received_at=item.received_at or datetime.now(UTC),
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
