"""Reading messages: the ids of a label, and the messages of some ids, by batches within what memory may hold."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connectors.base import ConnectorError, RawMessage, ReadPlan, TemporaryError
from connectors.gmail_cursor import Locator, order_of, provider_id_of
from connectors.gmail_errors import NotThere, ResponseTooLarge
from connectors.gmail_labels import HIDDEN
from connectors.gmail_quota import Urgency
from connectors.gmail_session import GmailSession, chunks

PAGE_MESSAGES = 500
"""Ids of one page: the most that Google gives."""
LISTED_MESSAGES_MAX = 2_000_000
"""Ids of one label that are kept in memory; a mailbox with more of them is read from its newest on."""
_OVERHEAD_BYTES = 64 * 1024
"""What an answer has beside the message."""
_SIZES_BYTES_MAX = 4 * 1024 * 1024


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


async def fetch_messages(
    session: GmailSession, ids: Sequence[str], plan: ReadPlan, urgency: Urgency
) -> dict[str, Fetched]:
    """Return messages whole, by id; those that are gone are left out, and of too large ones only the header is read."""
    found: dict[str, Fetched] = {}
    for some in chunks(ids, session.access.batch_calls_max):
        if len(some) == 1:
            found |= await _fetch_one(session, some[0], plan, urgency)
            continue
        limit = min(session.access.batch_response_bytes_max, _encoded(plan.batch_bytes_max) + 1024 * 1024)
        try:
            answers = await _get_batch(session, some, urgency, "raw", limit)
        except ResponseTooLarge:
            found |= await _fetch_by_size(session, some, plan, urgency, limit)
        else:
            for key, answer in answers.items():
                found[key] = _whole(key, answer, plan)
    return found


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


async def _fetch_by_size(
    session: GmailSession, ids: Sequence[str], plan: ReadPlan, urgency: Urgency, limit: int
) -> dict[str, Fetched]:
    """Read messages that are too large together: small ones by batches that fit, large ones by themselves."""
    sizes = {key: int(one.get("sizeEstimate", 0)) for key, one in (await minimal(session, ids, urgency)).items()}
    found: dict[str, Fetched] = {}
    some: list[str] = []
    held = 0
    for key in (one for one in ids if one in sizes):
        size = _encoded(sizes[key])
        if size > limit // 4:
            found |= await _fetch_one(session, key, plan, urgency, size=sizes[key])
            continue
        # A quarter is left for sizes that were estimated too low.
        if some and held + size > limit * 3 // 4:
            found |= await _fetch_some(session, some, plan, urgency, limit)
            some, held = [], 0
        some.append(key)
        held += size
    if some:
        found |= await _fetch_some(session, some, plan, urgency, limit)
    return found


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
