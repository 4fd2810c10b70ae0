"""The copies that Gmail keeps of what was sent: looking for a reply in them, and putting one there.

Gmail may give a mail that is sent another Message-ID, and cannot search for a header of ours: so the newest of Sent
are looked at, once each. What this process has sent itself it knows by the id that Gmail answered.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from googleapiclient.http import MediaInMemoryUpload

from connectors.base import OWN_HEADER, FiledCopy, PlaceMissing
from connectors.gmail_cursor import Locator, provider_id_of
from connectors.gmail_fetch import headers_of, list_ids
from connectors.gmail_mail import is_searchable, message_id_of, own_token_of
from connectors.gmail_quota import Urgency
from connectors.gmail_session import GmailSession, chunks

COPIES_MAX = 20
"""More copies than this of one reply are not worth looking at."""
UPLOAD_PIECE_BYTES = 8 * 1024 * 1024
_REMEMBERED_MAX = 2_000
_SEND = Urgency.SEND


@dataclass(frozen=True, slots=True)
class _Seen:
    message_id: str
    token: str


class SentLabel:
    """What a sender knows of Sent."""

    def __init__(self, session: GmailSession) -> None:
        self._session = session
        self._sent: OrderedDict[str, str] = OrderedDict()
        """Our token → the id that Gmail gave it."""
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        """Messages of Sent that were looked at: what is in them does not change."""

    def remember(self, content: bytes, gmail_id: str) -> None:
        """Note what Gmail answered to a mail that was sent."""
        if token := own_token_of(content):
            self._sent[token] = gmail_id
            while len(self._sent) > _REMEMBERED_MAX:
                self._sent.popitem(last=False)

    async def find(self, message_id: str, token: str) -> list[FiledCopy]:
        """Return the copies with this Message-ID, or with our own header's token, at most COPIES_MAX.

        Raises PlaceMissing where nothing was found and Sent holds more than is looked at: that says nothing.
        """
        if found := await self._look([self._sent[token]] if token in self._sent else [], message_id, token):
            return found
        if is_searchable(message_id):
            named = await self._search(message_id)
            if found := await self._look(named, message_id, token):
                return found
        return await self._among_newest(message_id, token) if token else []

    async def _search(self, message_id: str) -> list[str]:
        request = self._session.api.messages.list(
            userId="me",
            labelIds=["SENT"],
            q=f"rfc822msgid:{message_id.strip('<>')}",
            maxResults=COPIES_MAX,
            fields="messages/id",
        )
        page = await self._session.call("messages.list", request, _SEND)
        return [str(one["id"]) for one in page.get("messages", ())]

    async def _among_newest(self, message_id: str, token: str) -> list[FiledCopy]:
        limit = self._session.access.sent_looked_at_max
        newest = await list_ids(self._session, "SENT", _SEND, pages_max=1)
        for some in chunks(newest[:limit], self._session.access.batch_calls_max):
            if found := await self._look(some, message_id, token):
                return found
        if len(newest) >= limit:
            raise PlaceMissing("messages.list: more lies in Sent than is looked at")
        return []

    async def _look(self, ids: Sequence[str], message_id: str, token: str) -> list[FiledCopy]:
        unknown = [one for one in ids if one not in self._seen]
        if unknown:
            names = ("Message-ID", OWN_HEADER)
            fields = await headers_of(self._session, unknown, names, _SEND)
            for key, one in fields.items():
                self._seen[key] = _Seen(one.get("message-id", "").strip(), one.get(OWN_HEADER.lower(), "").strip())
            while len(self._seen) > _REMEMBERED_MAX:
                self._seen.popitem(last=False)
        found = [(one, seen) for one in ids if (seen := self._seen.get(one)) is not None]
        wanted = [
            (one, seen)
            for one, seen in found
            if (message_id and seen.message_id == message_id) or (token and seen.token == token)
        ]
        return [_copy(one, seen.message_id) for one, seen in wanted[:COPIES_MAX]]

    async def file(self, content: bytes, sent_at: datetime, thread_id: str | None) -> FiledCopy:
        """Insert a copy as read. Gmail dates it by its own Date, as it takes no other; does not look first."""
        if sent_at.tzinfo is None:
            raise ValueError("sent_at must be aware")
        body: dict[str, Any] = {"labelIds": ["SENT"], **({"threadId": thread_id} if thread_id else {})}
        request = self._session.api.messages.insert(
            userId="me", internalDateSource="dateHeader", **body_or_upload(content, body, self._session.access)
        )
        made = await self._session.call("messages.insert", request, _SEND, repeatable=False)
        return _copy(str(made["id"]), message_id_of(content) or "")


def body_or_upload(content: bytes, body: dict[str, Any], access: Any) -> dict[str, Any]:
    """Return the arguments that carry a mail: base64 for a small one, an upload by pieces for a large one.

    Never a plain media body: the library cannot send bytes that are no ASCII so.
    """
    if len(content) < access.upload_bytes_min:
        return {"body": {**body, "raw": base64.urlsafe_b64encode(content).decode("ascii")}}
    media = MediaInMemoryUpload(content, mimetype="message/rfc822", chunksize=UPLOAD_PIECE_BYTES, resumable=True)
    return {"body": body, "media_body": media}


def _copy(gmail_id: str, message_id: str) -> FiledCopy:
    return FiledCopy(str(Locator("SENT", gmail_id)), message_id or None, provider_id_of(gmail_id))
