"""Sending by Microsoft Graph: a draft from MIME, checked, then sent.

`sendMail` is one call and tells nothing of what it made. A draft has an id that it keeps when it is sent, and what
Graph understood of it, above all its recipients, is compared before it leaves. Everything before the call that sends
is without consequence; after it, only an answer tells. 202 is a yes, whatever Retry-After comes with it
(msgraph-sdk-java#1487: to obey it by repeating sends twice). 504, another 5xx or a lost answer is unknown.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from connectors.base import (
    ConnectorError,
    Envelope,
    FiledCopy,
    RateLimited,
    SendOutcome,
    SendStatus,
    StillOurs,
    TemporaryError,
    TokenSource,
    always,
)
from connectors.graph_access import GraphAccess
from connectors.graph_client import AnswerLost, GraphClient, Request
from connectors.graph_draft import (
    CHUNK_BYTES,
    UPLOAD_BYTES_MIN,
    Attachment,
    message_id_of,
    recipients_of,
    split,
    with_blind_copies,
)
from connectors.graph_errors import CallRefused, EditConflict, ItemMissing, code_of, refusal
from connectors.graph_folders import Folders
from connectors.graph_limiter import MailboxLimiter
from connectors.graph_sent import SentFolder

_TRIES: Final = 3
"""Of the send itself, where Graph asks for short pauses."""
_LEFT_MAX: Final = 100
"""Drafts that could not be removed, and are tried again."""
_REFUSED_CODES: Final = frozenset(
    {
        "errorinvalidrecipients",
        "errorsendasdenied",
        "errormessagesizeexceeded",
        "errorinvalidrequest",
        "errormimecontentinvalid",
        "errormimecontentinvalidbase64string",
        "errorattachmentsizelimitexceeded",
    }
)
"""A final no to this message (graph/errors); what else is refused may be the mailbox's or the moment's."""
_TOO_LARGE: Final = SendOutcome(SendStatus.REFUSED, "data", code=413)


@dataclass(frozen=True, slots=True)
class _Draft:
    id: str
    message: Any
    """The `message` resource."""


class GraphSender:
    """A `Sender` over Graph."""

    def __init__(
        self,
        access: GraphAccess,
        token_source: TokenSource,
        transport: httpx2.AsyncBaseTransport,
        limiter: MailboxLimiter,
        *,
        name: str = "sender",
    ) -> None:
        self._access = access
        self._client = GraphClient(access, token_source, transport, limiter, name)
        self._folders = Folders(self._client)
        self._sent = SentFolder(self._client, self._folders)
        self._limiter = limiter
        self._left: OrderedDict[str, None] = OrderedDict()
        """Message-IDs of drafts that we made and could not remove."""

    async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
        """Make one attempt; see `Sender.send`. Stages: mail (the draft), rcpt, data (its attachments), dot (the send).

        Graph tells of no recipient by itself: who does not exist is told by a bounce.
        """
        await self._remove_left()
        parts = split(with_blind_copies(content, envelope.recipients))
        if parts is None:
            return _TOO_LARGE
        mime, attachments = parts
        message_id = message_id_of(content)
        stage = "mail"
        self._leave(message_id)  # until it is known what became of it
        try:
            draft = await self._create(mime)
            stage = "rcpt"
            if recipients_of(draft.message) != {one.lower() for one in envelope.recipients}:
                await self._discard(draft, message_id)
                return SendOutcome(SendStatus.REFUSED, stage)
            await self._keep_message_id(draft, message_id)
            stage = "data"
            for attachment in attachments:
                await self._attach(draft, attachment)
        except (CallRefused, ItemMissing) as error:
            await self._remove_left()
            return _not_sent(stage, error)
        if not await still_ours():
            await self._discard(draft, message_id)
            return SendOutcome(SendStatus.DEFERRED, stage)
        try:
            outcome = await self._send(draft, still_ours)
        except ConnectorError:
            await self._discard(draft, message_id)
            raise
        if outcome.status in (SendStatus.REFUSED, SendStatus.DEFERRED):
            await self._discard(draft, message_id)
        else:
            # What is unknown is looked for before its draft is touched (find_in_sent).
            self._left.pop(message_id, None)
        return outcome

    async def _create(self, mime: bytes) -> _Draft:
        request = Request(
            "POST",
            self._client.url("messages"),
            "POST messages",
            {"Content-Type": "text/plain"},
            base64.b64encode(mime),
            repeatable=False,
        )
        message = (await self._client.call(request)).document
        if not isinstance(message.get("id"), str):
            raise TemporaryError(f"POST messages at {self._client.where}: a draft without an id")
        return _Draft(message["id"], message)

    async def _keep_message_id(self, draft: _Draft, message_id: str) -> None:
        """Give the draft our Message-ID back where the server made one of its own: answers are known by it."""
        if not message_id or draft.message.get("internetMessageId") == message_id:
            return
        url = self._client.url("messages", draft.id)
        with contextlib.suppress(CallRefused):  # then it is found by our header
            await self._client.send_json("PATCH", url, {"internetMessageId": message_id}, "messages", repeatable=True)

    async def _attach(self, draft: _Draft, attachment: Attachment) -> None:
        item = {
            "name": attachment.name,
            "contentType": attachment.content_type,
            "isInline": attachment.inline,
            **({"contentId": attachment.content_id} if attachment.content_id else {}),
        }
        if len(attachment.data) < UPLOAD_BYTES_MIN:
            data = base64.b64encode(attachment.data).decode()
            document = {"@odata.type": "#microsoft.graph.fileAttachment", **item, "contentBytes": data}
            await self._client.send_json(
                "POST", self._client.url("messages", draft.id, "attachments"), document, "attachments"
            )
            return
        size = len(attachment.data)
        answer = await self._client.send_json(
            "POST",
            self._client.url("messages", draft.id, "attachments", "createUploadSession"),
            {"AttachmentItem": {"attachmentType": "file", "size": size, **item}},
            "createUploadSession",
        )
        url = self._upload_url(answer.document.get("uploadUrl"))
        for start in range(0, size, CHUNK_BYTES):
            chunk = attachment.data[start : start + CHUNK_BYTES]
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"bytes {start}-{start + len(chunk) - 1}/{size}",
            }
            # The address is the key to it: a bearer token is refused there (graph/outlook-large-attachments).
            request = Request("PUT", url, "PUT upload", headers, chunk, repeatable=False, with_token=False)
            await self._client.call(request)

    def _upload_url(self, url: object) -> str:
        parts = urlsplit(url) if isinstance(url, str) else None
        allowed = {self._access.origin, *self._access.upload_origins}
        if parts is None or f"{parts.scheme}://{parts.netloc}" not in allowed:
            raise TemporaryError(f"createUploadSession at {self._client.where}: an upload that leads elsewhere")
        return str(url)

    async def _send(self, draft: _Draft, still_ours: StillOurs) -> SendOutcome:
        """Send the draft. A short pause that Graph asks for is waited out: what it throttles it has not done."""
        for _ in range(_TRIES - 1):
            outcome = await self._send_once(draft)
            wait = outcome.retry_after
            if outcome.status is not SendStatus.DEFERRED or wait is None or wait > self._access.throttle_seconds_max:
                return outcome
            await asyncio.sleep(wait)
            if not await still_ours():
                return SendOutcome(SendStatus.DEFERRED, "dot")
        return await self._send_once(draft)

    async def _send_once(self, draft: _Draft) -> SendOutcome:
        """Ask for the send. From here on, what is not answered is not known."""
        url = self._client.url("messages", draft.id, "send")
        request = Request("POST", url, "POST send", {"Content-Length": "0"}, repeatable=False)
        unknown = SendOutcome(SendStatus.UNKNOWN, "dot", provider_id=draft.id)
        try:
            answer = await self._client.ask(request)
        except AnswerLost:
            return unknown
        except RateLimited as error:
            # Not asked at all: another call of the mailbox was told to wait.
            return SendOutcome(SendStatus.DEFERRED, "dot", retry_after=error.retry_after)
        if 200 <= answer.status < 300:
            if answer.retry_after:
                self._limiter.pause(min(answer.retry_after, self._access.throttle_seconds_max))
            return SendOutcome(SendStatus.ACCEPTED, "dot", code=answer.status, provider_id=draft.id)
        said = refusal(f"POST send at {self._client.where}", answer.status, code_of(answer.body), answer.retry_after)
        if isinstance(said, RateLimited):
            self._limiter.pause(said.retry_after)
            return SendOutcome(SendStatus.DEFERRED, "dot", code=answer.status, retry_after=said.retry_after)
        if answer.status >= 500 or isinstance(said, EditConflict):
            return replace(unknown, code=answer.status)
        if isinstance(said, CallRefused | ItemMissing):
            return _not_sent("dot", said, code_of(answer.body), answer.status)
        raise said

    # -- what is left ----------------------------------------------------------------------------------

    def _leave(self, message_id: str) -> None:
        if message_id:
            self._left[message_id] = None
            while len(self._left) > _LEFT_MAX:
                self._left.popitem(last=False)

    async def _discard(self, draft: _Draft, message_id: str) -> None:
        """Remove a draft that is not sent; what cannot be removed now is tried again with the next message."""
        with contextlib.suppress(ConnectorError):
            await self._sent.remove_draft(draft.id)
            self._left.pop(message_id, None)

    async def _remove_left(self) -> None:
        for message_id in list(self._left):
            with contextlib.suppress(ConnectorError):
                await self._sent.remove_drafts(message_id)
                self._left.pop(message_id, None)

    # -- Sent -------------------------------------------------------------------------------------------

    async def find_in_sent(self, message_id: str, token: str) -> Sequence[FiledCopy]:
        """Look for a reply in Sent; see `Sender.find_in_sent`."""
        self._folders.begin_round()
        return await self._sent.find(message_id, token)

    async def file_in_sent(self, content: bytes, sent_at: datetime) -> FiledCopy:
        """Raise PermanentError: Graph cannot; Exchange files what it sends by itself."""
        return await self._sent.file(content, sent_at)

    async def hang_up(self) -> None:
        """Nothing is kept open: connections are the transport's."""

    async def close(self) -> None:
        """Remove drafts that are left, as far as that goes now."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._access.connect_seconds):
                await self._remove_left()


def _not_sent(stage: str, error: ConnectorError, code: str = "", status: int | None = None) -> SendOutcome:
    """Return what a no before anything was sent means: final where it is about the message."""
    if isinstance(error, CallRefused):
        code, status = error.code, error.status
    final = code.lower() in _REFUSED_CODES or status == 413
    return SendOutcome(SendStatus.REFUSED if final else SendStatus.DEFERRED, stage, code=status)
