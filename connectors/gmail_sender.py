"""Sending by the Gmail API.

Theory of operation. A request without its last byte is none, so up to there nothing was sent, whatever happens; from
there on only the answer tells, and a send is never made again by itself:

    connect, auth, the rest of the mailbox's own trouble → exceptions (nothing was sent)
    data (until the last byte is written) → DEFERRED
    dot (written, no answer, or a server's error) → UNKNOWN; an answer decides: ACCEPTED, REFUSED, DEFERRED

An answer of 4xx is a refusal before anything was done. One of 5xx says nothing: the mail may have gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from connectors.base import (
    AuthError,
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
from connectors.gmail_access import GmailAccess
from connectors.gmail_cursor import provider_id_of
from connectors.gmail_errors import BadArgument, NotThere
from connectors.gmail_http import LastByte, NotOurs
from connectors.gmail_mail import ancestors_of, is_searchable, with_recipients
from connectors.gmail_quota import Urgency
from connectors.gmail_sent import SentLabel, body_or_upload
from connectors.gmail_session import GmailSession, GmailTools
from connectors.idle_timer import IdleTimer

SEND_BYTES_MAX = 36_700_160
"""What messages.send takes (the API's discovery document)."""
_ASKED_SECONDS = 30.0
_SEND = Urgency.SEND


class GmailSender:
    """A `Sender` over the Gmail API, which files what it sends by itself. Sends one message at a time."""

    def __init__(self, access: GmailAccess, token_source: TokenSource, tools: GmailTools) -> None:
        self._session = GmailSession(access, token_source, tools)
        self._sent = SentLabel(self._session)
        self._lock = asyncio.Lock()
        self._idle = IdleTimer(access.connection_idle_seconds, self.hang_up)

    async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
        """Make one attempt; see `Sender.send`. Raises ValueError for an envelope that no server can take."""
        check_envelope(envelope)
        content = with_recipients(content, envelope.recipients)
        if len(content) > SEND_BYTES_MAX:
            return SendOutcome(SendStatus.REFUSED, "mail", code=552, enhanced_code="5.3.4")
        async with self._lock:
            self._idle.stop()
            try:
                thread_id = await self._thread_of(content)
                outcome = await self._attempt(content, thread_id, still_ours)
                if outcome is None:
                    # The thread is gone. That was a refusal: nothing was sent.
                    outcome = await self._attempt(content, None, still_ours)
                assert outcome is not None
                return outcome
            finally:
                self._idle.start()

    async def _attempt(self, content: bytes, thread_id: str | None, still_ours: StillOurs) -> SendOutcome | None:
        """Return the outcome, None where the thread was refused."""
        last_byte = LastByte(_asked_in(asyncio.get_running_loop(), still_ours))
        body = {"threadId": thread_id} if thread_id else {}
        request = self._session.api.messages.send(
            userId="me", **body_or_upload(content, dict(body), self._session.access)
        )
        try:
            answer = await self._session.call("messages.send", request, _SEND, repeatable=False, last_byte=last_byte)
        except NotOurs:
            return SendOutcome(SendStatus.DEFERRED, "data")
        except ConnectorError as error:
            last_byte.give_up()
            if isinstance(error, NotThere) and thread_id and last_byte.status is not None:
                return None
            return _outcome_of(error, last_byte)
        except BaseException:
            last_byte.give_up()
            raise
        gmail_id = str(answer.get("id", ""))
        if gmail_id:
            self._sent.remember(content, gmail_id)
        return SendOutcome(
            SendStatus.ACCEPTED, "dot", code=200, provider_id=provider_id_of(gmail_id) if gmail_id else None
        )

    async def find_in_sent(self, message_id: str, token: str) -> Sequence[FiledCopy]:
        """Return the copies in Sent; see `Sender.find_in_sent`."""
        async with self._lock:
            self._idle.stop()
            try:
                return await self._sent.find(message_id, token)
            finally:
                self._idle.start()

    async def file_in_sent(self, content: bytes, sent_at: datetime) -> FiledCopy:
        """Put a copy into Sent; see `Sender.file_in_sent`. Its date is that of its Date header."""
        async with self._lock:
            self._idle.stop()
            try:
                return await self._sent.file(content, sent_at, await self._thread_of(content))
            finally:
                self._idle.start()

    async def hang_up(self) -> None:
        self._idle.stop()
        await self._session.close()

    async def close(self) -> None:
        await self.hang_up()

    async def _thread_of(self, content: bytes) -> str | None:
        """Return the thread in Gmail of what a mail answers, None where that is not in the mailbox."""
        for ancestor in filter(is_searchable, ancestors_of(content)):
            request = self._session.api.messages.list(
                userId="me", q=f"rfc822msgid:{ancestor.strip('<>')}", maxResults=1, fields="messages(id,threadId)"
            )
            found = (await self._session.call("messages.list", request, _SEND)).get("messages", ())
            if found:
                return str(found[0]["threadId"])
        return None


def _outcome_of(error: ConnectorError, last_byte: LastByte) -> SendOutcome:
    """Return what a failed attempt means; raises what concerns the mailbox, where it is certain that nothing left."""
    status = last_byte.status
    if last_byte.has_left and (status is None or status >= 500 or status == 408):
        return SendOutcome(SendStatus.UNKNOWN, "dot", code=status)
    if isinstance(error, AuthError):
        raise error
    if isinstance(error, RateLimited):
        # Known from the first piece of an upload on, when nothing is on its way.
        return SendOutcome(SendStatus.DEFERRED, "mail", code=status, retry_after=error.retry_after)
    if isinstance(error, (BadArgument, NotThere)):
        return SendOutcome(SendStatus.REFUSED, "data", code=status)
    if isinstance(error, TemporaryError) and last_byte.has_begun:
        return SendOutcome(SendStatus.DEFERRED, "data", code=status)
    raise error


def _asked_in(loop: asyncio.AbstractEventLoop, still_ours: StillOurs) -> Callable[[], bool]:
    """Return what asks the question in the event loop, as who answers it may know nothing of threads."""

    async def answer() -> bool:
        return await still_ours()

    def ask() -> bool:
        return asyncio.run_coroutine_threadsafe(answer(), loop).result(_ASKED_SECONDS)

    return ask


def check_envelope(envelope: Envelope) -> None:
    if not envelope.recipients:
        raise ValueError("an envelope without recipients")
    for address in (envelope.sender, *envelope.recipients):
        if not address or any(char in "<>, " or ord(char) < 0x20 or ord(char) == 0x7F for char in address):
            raise ValueError("an envelope with an address that cannot be sent")
