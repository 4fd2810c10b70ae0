"""The outbox of one mailbox: does what is due for its replies, one after the other, in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from connectors.base import Sender
from ingestd.outbound import steps
from ingestd.outbound.budgets import Allowance, Spent
from ingestd.outbound.held import HeldReplies, SenderTools
from ingestd.outbound.sending import Sending
from ingestd.outbound.sent_copies import SentCopies, SentPolicy
from ingestd.outbound.trouble import SendingTrouble, WhyRefused
from ingestd.records import ReplyRecord
from storage.due import Due
from storage.errors import Conflict, FenceLost, KeyDestroyed, NotFound, StorageUnavailable
from storage.leases import Held
from storage.outbox import UNSENT, Reply, ReplyStatus
from storage.sealing import DataKey

BATCH = 20
"""Replies that are read at a time."""


class MailboxOutbox:
    """Does what is due for the replies of one held mailbox, one after the other, in their order."""

    def __init__(
        self,
        held: Held,
        key: DataKey,
        sender: Sender,
        policy: SentPolicy,
        tools: SenderTools,
        why_refused: WhyRefused,
        allowance: Allowance | None = None,
    ) -> None:
        self._replies = HeldReplies(held, key, tools)
        self._trouble = SendingTrouble(self._replies, why_refused)
        self._copies = SentCopies(self._replies, sender, policy, self._trouble)
        self._sending = Sending(
            self._replies,
            sender,
            self._trouble,
            may_leave=self._may_leave,
            admits=self._admits,
            keeps_copies=policy.sent_copy != "never",
        )
        self._sender = sender
        self._allowance = allowance
        """None: nothing limits how much is sent."""
        self._spent: Spent | None = None
        """The budget that replies wait for now."""
        self._stopping = False

    async def run_due(self) -> None:
        """Do every step that is due now. Whatever fails is noted on its reply; never raises for a mailbox's trouble."""
        replies = self._replies
        try:
            waiting = deque(await self._look())
            while waiting and await self._step(waiting.popleft(), waiting):
                pass
        except (FenceLost, KeyDestroyed, NotFound):
            replies.log.info("mailbox.lost")
        except StorageUnavailable as error:
            replies.log.warning("storage.unavailable", exc_info=error)
        finally:
            if self._allowance is not None:
                self._allowance.rest(replies.held, self._sender.hang_up)

    def stop(self) -> None:
        """Begin nothing more, and keep a mail back that can still be kept back."""
        self._stopping = True

    async def close(self) -> None:
        await self._sender.close()
        if self._allowance is not None:
            self._allowance.end(self._replies.held)

    async def _look(self) -> Sequence[Due]:
        """Return what is due, once what would only meet again what was found out already has been put off."""
        replies = self._replies
        mailbox, waiting = await replies.read(steps.look, replies.held, limit=BATCH)
        self._trouble.read(mailbox)
        if mailbox.retry_at is None and mailbox.send_retry_at is None:
            return waiting
        await replies.write(steps.hold_back, replies.held)
        _, waiting = await replies.read(steps.look, replies.held, limit=BATCH)
        return waiting

    async def _step(self, one: Due, behind: deque[Due]) -> bool:
        """Do one reply's next step; return False where the others wait."""
        reply, record = one.reply, self._replies.open(one.reply)
        # Waits for the mailbox's own turn, so not among those that send.
        if (reply.status in UNSENT and not await self._admits(reply, record)) or self._stopping:
            return False
        async with self._replies.tools.sends:
            try:
                if reply.status in UNSENT:
                    return await self._sending.send(one, behind)
                if reply.status is ReplyStatus.UNKNOWN:
                    return await self._copies.resolve(reply, record)
                return await self._copies.file(reply, record)
            except Conflict:
                # A person decided on it while it was looked for, or a bounce came in: it stands elsewhere now.
                return True

    async def _admits(self, reply: Reply, record: ReplyRecord) -> bool:
        """Return False where what is to be sent has to wait, as the mailbox has sent enough for now."""
        if self._allowance is None:
            return True
        held, tools = self._replies.held, self._replies.tools
        postponed = await self._allowance.ask(tools.content, held, len(record.recipients))
        spent = postponed.spent if postponed is not None else None
        if spent is not None and spent is not self._spent:
            tools.metrics.budget_spent(spent.value)
            self._replies.log.warning("mailbox.budget_spent", reason=spent.value)
        self._spent = spent
        if postponed is None:
            await self._allowance.connect(held)
        return postponed is None

    def _may_leave(self) -> bool:
        return self._replies.tools.lease.is_ours() and not self._stopping
