"""What happened in a mailbox since a record of its history: which messages came into the watched labels.

The history can tell a thing twice, and in another order: it is read to its end, or as far as is kept in memory, and
sorted, before any of it is used. So the cursor stands behind what was read, whatever came first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import TemporaryError
from connectors.gmail_errors import BadArgument, NotThere
from connectors.gmail_quota import Urgency
from connectors.gmail_session import GmailSession

HISTORY_PAGES_MAX = 40
"""Pages of 500 records that are in memory at the same time; where there are more, they are read in portions."""
_PAGE_RECORDS = 500
_KINDS = ("messageAdded", "labelAdded")


class HistoryLost(Exception):
    """What happened since the cursor is not kept any more: labels have to be listed."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that came into a watched label."""

    record: int
    message_id: str


@dataclass(frozen=True, slots=True)
class Happened:
    arrivals: Sequence[Arrival]
    """In the order in which they happened, each message once."""
    upto: str
    """The record that all of these stand before."""
    records: int
    """How many were told, those that concern no arrival among them."""
    more: bool
    """Whether there is more behind `upto`."""


async def read_history(session: GmailSession, start: str, labels: Collection[str], urgency: Urgency) -> Happened:
    """Return what came into `labels` since the record `start`. Raises HistoryLost."""
    records: dict[tuple[int, str], Arrival] = {}
    last, token, now = int(start), None, start
    told = 0
    for _ in range(HISTORY_PAGES_MAX):
        page = await _page(session, start, labels, urgency, token)
        now = str(page.get("historyId", start))
        for record in page.get("history", ()):
            told += 1
            last = max(last, int(record["id"]))
            for arrival in _arrivals(record, labels):
                records.setdefault((arrival.record, arrival.message_id), arrival)
        token = page.get("nextPageToken")
        if not token:
            break
    if not now.isdigit() or int(now) < int(start):
        # Before what we have read: the mailbox is not the one that it was.
        raise HistoryLost
    arrivals: dict[str, Arrival] = {}
    for one in sorted(records.values(), key=lambda arrival: arrival.record):
        arrivals.setdefault(one.message_id, one)
    # Behind the last record that was told, and not at `now`: a record before that may not be visible yet.
    upto = str(last) if told else now
    return Happened(list(arrivals.values()), upto, told, more=bool(token))


async def has_news(session: GmailSession, start: str, labels: Collection[str]) -> bool:
    """Whether something came since the record `start`: the cheapest question there is."""
    try:
        page = await _page(session, start, labels, Urgency.NEW_MAIL, None, size=1)
    except HistoryLost:
        return True
    return bool(page.get("history"))


async def current_history(session: GmailSession, urgency: Urgency) -> str:
    """Return the mailbox's last record."""
    profile = await session.call("getProfile", session.api.users.getProfile(userId="me"), urgency)
    history = str(profile.get("historyId", ""))
    if not history.isdigit():
        raise TemporaryError("getProfile: answer broken")
    return history


async def _page(
    session: GmailSession,
    start: str,
    labels: Collection[str],
    urgency: Urgency,
    token: str | None,
    *,
    size: int = _PAGE_RECORDS,
) -> dict[str, Any]:
    request = session.api.history.list(
        userId="me",
        startHistoryId=start,
        historyTypes=list(_KINDS),
        maxResults=size,
        # Google takes one label only; of several we choose ourselves.
        **({"labelId": next(iter(labels))} if len(labels) == 1 else {}),
        **({"pageToken": token} if token else {}),
    )
    try:
        return await session.call("history.list", request, urgency)
    except (NotThere, BadArgument):
        raise HistoryLost from None


def _arrivals(record: dict[str, Any], labels: Collection[str]) -> list[Arrival]:
    """Return what a record says of messages that came into one of `labels`.

    Which labels a new message had is not always told: then it is one to look at.
    """
    number = int(record["id"])
    found = []
    for entry in record.get("messagesAdded", ()):
        had = entry["message"].get("labelIds")
        if had is None or set(had) & set(labels):
            found.append(str(entry["message"]["id"]))
    found += [
        str(entry["message"]["id"])
        for entry in record.get("labelsAdded", ())
        if set(entry.get("labelIds", ())) & set(labels)
    ]
    return [Arrival(number, one) for one in found]
