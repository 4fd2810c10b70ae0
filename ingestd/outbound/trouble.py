"""Whether a mailbox can be sent from at all, as far as its outbox knows, and what its row says of that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from connectors.base import AuthError, ConnectorError
from ingestd.inbound.states import NEEDS_LINKING, Streak, note_sending
from ingestd.outbound.held import HeldReplies
from storage.mailboxes import Mailbox

WhyRefused = Callable[[], Awaitable[ConnectorError]]
"""Asks the provider why it refuses a login."""


class SendingTrouble:
    """Trouble of the mailbox itself, which no reply is to blame for."""

    def __init__(self, replies: HeldReplies, why_refused: WhyRefused) -> None:
        self._replies = replies
        self._why_refused = why_refused
        self._streak = Streak()
        self._failures = 0
        """To use the mailbox at all, in a row: what the pauses grow by."""
        self._works = True

    def read(self, mailbox: Mailbox) -> None:
        self._works = mailbox.send_retry_at is None

    @property
    def is_over(self) -> bool:
        """Whether the mailbox's row says that it can be sent from."""
        return self._works

    def met(self, error: ConnectorError) -> timedelta:
        """Count a failure; return the pause that it needs."""
        self._streak = self._streak.refused(error)
        self._failures += 1
        return self._replies.pause_after(error, self._failures)

    async def find_out(self, error: ConnectorError, pause: timedelta) -> None:
        """Ask the provider what a failure that was `met` means, and write it to the mailbox."""
        if isinstance(error, AuthError):
            error = await self._why_refused()
        self._streak = self._streak.judged(error)
        self._replies.tools.metrics.mailbox_failed(error.trouble.value)
        self._replies.log.warning("mailbox.send_failed", exc_info=error, delay_seconds=round(pause.total_seconds(), 1))
        await self._note(error, pause)

    async def over(self) -> None:
        """The mailbox was used: whatever was wrong is not any more."""
        self._streak, self._failures = Streak(), 0
        if not self._works:
            await self._note(None, None)

    async def note_lost_grant(self, error: ConnectorError) -> None:
        """Of what goes wrong with Sent, which is reading, all else is for the mailbox's reader to find out."""
        if error.trouble in NEEDS_LINKING:
            await self._note(error, None)

    async def _note(self, error: ConnectorError | None, pause: timedelta | None) -> None:
        held = self._replies.held
        await self._replies.write(
            note_sending, held.mailbox_id, fence=held.fence, streak=self._streak, error=error, retry_in=pause
        )
        self._works = error is None
