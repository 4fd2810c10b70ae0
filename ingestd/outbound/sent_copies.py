"""Looking into the Sent folder: whether a reply was sent that nobody knows about, and the copy of one that was.

Both are steps of their own. The filing of a copy never sends again, whatever becomes of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from connectors.base import ConnectorError, FiledCopy, PlaceMissing, Sender
from ingestd.inbound.identity import thread_key
from ingestd.outbound import steps
from ingestd.outbound.held import LOOK_AGAIN, HeldReplies
from ingestd.outbound.statuses import ReplyEvent
from ingestd.outbound.steps import Move
from ingestd.outbound.trouble import SendingTrouble
from ingestd.records import ReplyRecord
from storage import mailboxes
from storage.outbox import Reply, SentCopy

_KNOWN_AFTER = 3
"""After so many copies that we had to file, none ever found, the provider is not waited for."""


@dataclass(frozen=True, slots=True)
class SentPolicy:
    """Who files the Sent copy of a mailbox: auto, append or never."""

    sent_copy: str
    wait_seconds: float


class SentCopies:
    """The Sent folder of one held mailbox."""

    def __init__(self, replies: HeldReplies, sender: Sender, policy: SentPolicy, trouble: SendingTrouble) -> None:
        self._replies = replies
        self._sender = sender
        self._policy = policy
        self._trouble = trouble

    async def resolve(self, reply: Reply, record: ReplyRecord) -> bool:
        """Look for a reply that may have been sent. Absence proves something only under the design's conditions.

        Returns False where the mailbox itself is the trouble.
        """
        replies = self._replies
        looked = True
        try:
            copies = await self._sender.find_in_sent(record.message_id, record.token)
        except PlaceMissing:
            copies, looked = [], False
        except ConnectorError as error:
            pause = replies.pause_after(error, reply.attempts + 1)
            await replies.settle(reply, Move(ReplyEvent.MISS, due_in=pause, reason=reply.reason))
            await self._trouble.note_lost_grant(error)
            return False
        if copies:
            await replies.write(
                steps.find,
                replies.held,
                reply,
                sealed=replies.seal(reply, _with_copy(record, copies[0])),
                thread_key=self._thread_key(record, copies),
            )
            return True
        settings = replies.tools.settings
        absent_for = await replies.tools.content.read(None, steps.elapsed, reply.status_since)
        if absent_for < timedelta(seconds=settings.absence_seconds):
            again = max(LOOK_AGAIN, absent_for)
            await replies.settle(reply, Move(ReplyEvent.MISS, due_in=again, reason=reply.reason))
            return True
        mailbox = await replies.read(mailboxes.get_mailbox, replies.held.mailbox_id)
        if looked and settings.resend_when_absent and mailbox.sent_found >= settings.proofs_min:
            move = Move(ReplyEvent.PROVE_ABSENT, due_in=timedelta(), reason="absent_from_sent")
        else:
            move = Move(ReplyEvent.MISS, reason="needs_person")
        await replies.settle(reply, move)
        return True

    async def file(self, reply: Reply, record: ReplyRecord) -> bool:
        """See that Sent has the copy of a reply that was sent.

        Returns False where the mailbox itself is the trouble.
        """
        if self._policy.sent_copy == "never":
            await self._end(reply, SentCopy.NONE)  # a person said that it was sent, or the policy was another one
            return True
        try:
            await self._file_or_wait(reply, record)
        except ConnectorError as error:
            attempts = reply.sent_copy_attempts + 1
            give_up = attempts >= self._replies.tools.settings.sent_attempts_max
            if give_up:
                await self._end(reply, SentCopy.FAILED)
            else:
                await self._postpone(reply, self._replies.pause_after(error, attempts), failed=True)
            self._replies.log.warning(
                "sent_copy.failed", message_id=str(reply.message_id), exc_info=error, final=give_up
            )
            await self._trouble.note_lost_grant(error)
            return False
        return True

    async def _file_or_wait(self, reply: Reply, record: ReplyRecord) -> None:
        try:
            copies = await self._sender.find_in_sent(record.message_id, record.token)
        except PlaceMissing:
            copies = []  # the filing makes it
        if copies:
            # One that we may have filed ourselves, before a crash, says nothing about the provider.
            await self._filed(reply, record, copies, found=reply.sent_copy_attempts == 0)
            return
        if self._policy.sent_copy == "auto" and await self._provider_may_file(reply):
            await self._postpone(reply, LOOK_AGAIN, failed=False)
            return
        content = await self._replies.load(reply)
        assert reply.sent_at is not None
        attempts = reply.sent_copy_attempts + 1
        await self._postpone(reply, self._replies.pause(attempts), failed=True)
        copy = await self._sender.file_in_sent(content, reply.sent_at)
        await self._filed(dataclasses.replace(reply, sent_copy_attempts=attempts), record, [copy], found=False)

    async def _postpone(self, reply: Reply, due_in: timedelta, *, failed: bool) -> None:
        await self._replies.write(steps.postpone_copy, self._replies.held, reply, due_in=due_in, failed=failed)

    async def _end(self, reply: Reply, sent_copy: SentCopy) -> None:
        await self._replies.write(steps.end_copy, self._replies.held, reply, sent_copy)

    async def _provider_may_file(self, reply: Reply) -> bool:
        mailbox = await self._replies.read(mailboxes.get_mailbox, self._replies.held.mailbox_id)
        if mailbox.sent_found == 0 and mailbox.sent_appended >= _KNOWN_AFTER:
            return False
        assert reply.sent_at is not None
        waited = await self._replies.tools.content.read(None, steps.elapsed, reply.sent_at)
        return waited < timedelta(seconds=self._policy.wait_seconds)

    async def _filed(self, reply: Reply, record: ReplyRecord, copies: Sequence[FiledCopy], *, found: bool) -> None:
        await self._replies.write(
            steps.file_copy,
            self._replies.held,
            reply,
            found=found,
            sealed=self._replies.seal(reply, _with_copy(record, copies[0])),
            thread_key=self._thread_key(record, copies),
        )
        self._replies.log.info(
            "sent_copy.filed", message_id=str(reply.message_id), outcome="found" if found else "appended"
        )

    def _thread_key(self, record: ReplyRecord, copies: Sequence[FiledCopy]) -> bytes | None:
        """Return the key of the Message-ID that the provider gave the copy, where it is not ours."""
        given = copies[0].message_id
        return thread_key(self._replies.key, given) if given and given != record.message_id else None


def _with_copy(record: ReplyRecord, copy: FiledCopy) -> ReplyRecord:
    return msgspec.structs.replace(record, filed_message_id=copy.message_id or "", filed_locator=copy.locator)
