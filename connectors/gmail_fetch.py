"""Reading messages: the ids of a label, and the messages of some ids, by batches within what memory may hold."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connectors.base import ConnectorError, RawMessage, ReadPlan, TemporaryError
from connectors.gmail_cursor import Locator, order_of, provider_id_of
from connectors.gmail_errors import NotThere, ResponseTooLarge
from connectors.gmail_labels import HIDDEN
from connectors.gmail_quota import Urgency
from connectors.gmail_session import GmailSession, chunks
from connectors.room import SMALL_BYTES

PAGE_MESSAGES = 500
"""Ids of one page: the most that Google gives."""
LISTED_MESSAGES_MAX = 2_000_000
"""Ids of one label that are kept in memory; a mailbox with more of them is read from its newest on."""
_OVERHEAD_BYTES = 64 * 1024
"""What an answer has beside the message."""
_SIZES_BYTES_MAX = 4 * 1024 * 1024
_EXPECTED_BYTES = 128 * 1024
"""What a message is taken for whose size is not known yet."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A message as the API gave it."""

    message_id: str
    labels: frozenset[str]
    received_at: datetime
    size_bytes: int
    content: bytes | None
    header: bytes

    def as_raw(self, label: str, folder: str) -> RawMessage:
        return RawMessage(
            locator=str(Locator(label, self.message_id)),
            folder=folder,
            size_bytes=self.size_bytes,
            received_at=self.received_at,
            content=self.content,
            header=self.header,
            provider_id=provider_id_of(self.message_id),
        )


async def list_ids(
    session: GmailSession,
    label: str,
    urgency: Urgency,
    *,
    since: datetime | None = None,
    before: datetime | None = None,
    pages_max: int = LISTED_MESSAGES_MAX // PAGE_MESSAGES,
) -> list[str]:
    """Return the ids of a label's messages, the newest by date first.

    `since` and `before` are widened by a second, as Google does not say whether their own seconds are within: who
    asks looks at the dates once more.
    """
    q = []
    if since is not None:
        q.append(f"after:{max(int(since.timestamp()) - 1, 0)}")
    if before is not None:
        q.append(f"before:{int(before.timestamp()) + 1}")
    found: list[str] = []
    token: str | None = None
    for _ in range(pages_max):
        request = session.api.messages.list(
            userId="me",
            labelIds=[label],
            includeSpamTrash=label in HIDDEN,
            maxResults=PAGE_MESSAGES,
            fields="messages/id,nextPageToken",
            **({"q": " ".join(q)} if q else {}),
            **({"pageToken": token} if token else {}),
        )
        page = await session.call("messages.list", request, urgency)
        found += [str(one["id"]) for one in page.get("messages", ())]
        token = page.get("nextPageToken")
        if not token:
            break
    return list(dict.fromkeys(found))


async def fetch_parts(
    session: GmailSession, ids: Sequence[str], plan: ReadPlan, urgency: Urgency, *, from_end: bool = False
) -> AsyncIterator[tuple[Sequence[str], dict[str, Fetched]]]:
    """Yield messages whole, in parts: the next of the ids, from their end where that is asked for, and those of them
    that are there, by id. Of too large ones only the header is read.

    Ordinary mail comes by batches, what is large one by one; a part holds its room until the next one is asked for.
    """
    size = min(plan.batch_messages_max, session.access.batch_calls_max)
    for some in _cut(ids, size, from_end=from_end):
        limit = min(session.access.batch_response_bytes_max, _encoded(plan.batch_bytes_max) + 1024 * 1024)
        try:
            # How large they are, nobody knows yet.
            async with plan.room.taken(min(len(some) * _EXPECTED_BYTES, SMALL_BYTES), session.api.root_url):
                yield some, await _fetch_small(session, some, plan, urgency, limit)
            continue
        except ResponseTooLarge:
            found = await minimal(session, some, urgency)
        sizes = {key: int(found[key].get("sizeEstimate", 0)) if key in found else 0 for key in some}
        # A quarter is left for sizes that were estimated too low.
        for part in _parts(some, sizes, limit * 3 // 4, from_end=from_end):
            async with plan.room.taken(sum(sizes[key] for key in part), session.api.root_url):
                there = [key for key in part if key in found]
                if len(there) == 1:
                    yield part, await _fetch_one(session, there[0], plan, urgency, size=sizes[there[0]])
                else:
                    yield part, await _fetch_some(session, there, plan, urgency, limit)


def _cut(ids: Sequence[str], size: int, *, from_end: bool) -> Iterator[Sequence[str]]:
    """Cut into parts of at most `size`; within each, the order is that of the ids.

    >>> list(_cut("abcde", 2, from_end=True))
    ['de', 'bc', 'a']
    """
    if from_end:
        return (ids[max(at - size, 0) : at] for at in range(len(ids), 0, -size))
    return (ids[at : at + size] for at in range(0, len(ids), size))


def _parts(
    ids: Sequence[str], sizes: Mapping[str, int], encoded_bytes_max: int, *, from_end: bool
) -> Iterator[list[str]]:
    """Cut into parts whose answers fit; what does not, and what is large, is one by itself.

    >>> list(_parts("abcde", {"a": 3, "b": 3, "c": 90, "d": 3, "e": 3}, 24, from_end=False))
    [['a', 'b'], ['c'], ['d', 'e']]
    """
    part: list[str] = []
    held = 0
    for key in reversed(ids) if from_end else ids:
        size = _encoded(sizes[key])
        if part and held + size > encoded_bytes_max:
            yield part[::-1] if from_end else part
            part, held = [], 0
        part.append(key)
        held += size
        if size > encoded_bytes_max // 3:
            yield part[::-1] if from_end else part
            part, held = [], 0
    if part:
        yield part[::-1] if from_end else part


async def fetch_one(session: GmailSession, message_id: str, plan: ReadPlan, urgency: Urgency) -> Fetched | None:
    return (await _fetch_one(session, message_id, plan, urgency)).get(message_id)


async def minimal(session: GmailSession, ids: Sequence[str], urgency: Urgency) -> dict[str, dict[str, Any]]:
    """Return labels, dates and sizes of messages, by id, without what they say; those that are gone are left out."""
    found: dict[str, dict[str, Any]] = {}
    for some in chunks(ids, session.access.batch_calls_max):
        found |= await _get_batch(session, some, urgency, "minimal", _SIZES_BYTES_MAX)
    return found


async def headers_of(
    session: GmailSession, ids: Sequence[str], names: Sequence[str], urgency: Urgency
) -> dict[str, dict[str, str]]:
    """Return some header fields of messages: by id, and by their names in lower case."""
    found: dict[str, dict[str, str]] = {}
    for some in chunks(ids, session.access.batch_calls_max):
        answers = await _get_batch(session, some, urgency, "metadata", _SIZES_BYTES_MAX, metadataHeaders=list(names))
        for key, answer in answers.items():
            found[key] = {name.lower(): value for name, value in _fields(answer)}
    return found


def group(found: Sequence[Fetched], plan: ReadPlan, *, from_end: bool = False) -> Iterator[list[Fetched]]:
    """Cut messages into batches within the plan's limits, at least one in each; in the order of arrival within."""
    some: list[Fetched] = []
    size = 0
    for one in reversed(found) if from_end else found:
        held = len(one.content or one.header)
        if some and (len(some) >= plan.batch_messages_max or size + held > plan.batch_bytes_max):
            yield some[::-1] if from_end else some
            some, size = [], 0
        some.append(one)
        size += held
    if some:
        yield some[::-1] if from_end else some


def sorted_ids(ids: Collection[str]) -> list[str]:
    return sorted(ids, key=order_of)


def received_at(answer: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(answer["internalDate"]) / 1000, UTC)


async def _get_batch(
    session: GmailSession, ids: Sequence[str], urgency: Urgency, form: str, limit: int, **more: Any
) -> dict[str, dict[str, Any]]:
    requests = {key: session.api.messages.get(userId="me", id=key, format=form, **more) for key in ids}
    answers = await session.batch("messages.get", requests, urgency, response_bytes_max=limit)
    found: dict[str, dict[str, Any]] = {}
    for key, answer in answers.items():
        if isinstance(answer, NotThere):
            continue
        if isinstance(answer, ConnectorError):
            raise answer
        found[key] = _checked(key, answer)
    return found


async def _fetch_small(
    session: GmailSession, ids: Sequence[str], plan: ReadPlan, urgency: Urgency, limit: int
) -> dict[str, Fetched]:
    """Read messages together, or the only one. Raises ResponseTooLarge where they are more than ordinary."""
    if len(ids) > 1:
        answers = await _get_batch(session, ids, urgency, "raw", limit)
    else:
        request = session.api.messages.get(userId="me", id=ids[0], format="raw")
        limit = min(limit, _encoded(SMALL_BYTES))
        try:
            answers = {ids[0]: await session.call("messages.get", request, urgency, response_bytes_max=limit)}
        except NotThere:
            return {}
    return {key: _whole(key, _checked(key, answer), plan) for key, answer in answers.items()}


async def _fetch_some(
    session: GmailSession, ids: Sequence[str], plan: ReadPlan, urgency: Urgency, limit: int
) -> dict[str, Fetched]:
    try:
        answers = await _get_batch(session, ids, urgency, "raw", limit)
    except ResponseTooLarge:
        found: dict[str, Fetched] = {}
        for key in ids:
            found |= await _fetch_one(session, key, plan, urgency)
        return found
    return {key: _whole(key, answer, plan) for key, answer in answers.items()}


async def _fetch_one(
    session: GmailSession, key: str, plan: ReadPlan, urgency: Urgency, *, size: int = 0
) -> dict[str, Fetched]:
    """Read one message; of one that is over the limit the header alone."""
    try:
        if size <= plan.message_bytes_max:
            async with session.tools.large:
                request = session.api.messages.get(userId="me", id=key, format="raw")
                limit = _encoded(plan.message_bytes_max) + _OVERHEAD_BYTES
                answer = await session.call("messages.get", request, urgency, response_bytes_max=limit)
                return {key: _whole(key, _checked(key, answer), plan)}
    except ResponseTooLarge:
        pass
    except NotThere:
        return {}
    try:
        request = session.api.messages.get(userId="me", id=key, format="metadata")
        answer = _checked(key, await session.call("messages.get", request, urgency))
    except NotThere:
        return {}
    header = "".join(f"{name}: {value}\r\n" for name, value in _fields(answer)) + "\r\n"
    # Nobody knows the true size: what Google estimates counts the message as it came.
    estimate = max(int(answer.get("sizeEstimate", 0)), plan.message_bytes_max + 1)
    return {key: _fetched(key, answer, estimate, None, header.encode("utf-8", "surrogateescape"))}


def _whole(key: str, answer: dict[str, Any], plan: ReadPlan) -> Fetched:
    try:
        content = base64.b64decode(answer["raw"], b"-_")
    except (binascii.Error, KeyError, ValueError, TypeError):
        raise TemporaryError("messages.get: answer broken") from None
    header, _, _ = content.partition(b"\r\n\r\n")
    header = content[: len(header) + 4]
    return _fetched(key, answer, len(content), content if len(content) <= plan.message_bytes_max else None, header)


def _fetched(key: str, answer: dict[str, Any], size: int, content: bytes | None, header: bytes) -> Fetched:
    try:
        return Fetched(key, frozenset(answer.get("labelIds", ())), received_at(answer), size, content, header)
    except (KeyError, ValueError, TypeError, OverflowError):
        raise TemporaryError("messages.get: answer broken") from None


def _checked(key: str, answer: dict[str, Any]) -> dict[str, Any]:
    """An answer that is another message's is none."""
    if answer.get("id") != key:
        raise TemporaryError("messages.get: the answer is another message's")
    return answer


def _fields(answer: dict[str, Any]) -> list[tuple[str, str]]:
    fields = answer.get("payload", {}).get("headers", ())
    return [(str(one.get("name", "")), str(one.get("value", ""))) for one in fields]


def _encoded(size: int) -> int:
    """Return how long bytes are as base64."""
    return (size + 2) // 3 * 4
