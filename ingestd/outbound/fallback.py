"""A sender with another way beside it, for a provider that has switched the first one off.

Microsoft refuses SMTP AUTH for a whole tenant by default (`535 5.7.139`). Where the grant
opens another way as well, mail leaves by that one: the refusal comes before the envelope, so
nothing was sent by the first (connectors.base.Sender.send). The first is tried again now and
then, as an administrator may have allowed it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import structlog

from connectors.base import Envelope, FiledCopy, PermanentError, Sender, SendOutcome, StillOurs, Trouble, always

log = structlog.get_logger()

AGAIN_SECONDS: Final = 3600.0
"""After so long the first way is tried again."""
_SWITCHED_OFF: Final = frozenset({Trouble.ADMIN_BLOCKED, Trouble.PROTOCOL_DISABLED})


class FallbackSender:
    """The Sender (connectors.base) of two ways."""

    def __init__(self, first: Sender, second: Sender, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._second = second
        self._clock = clock
        self._again_at = 0.0

    async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
        if self._clock() < self._again_at:
            return await self._second.send(envelope, content, still_ours=still_ours)
        try:
            return await self._first.send(envelope, content, still_ours=still_ours)
        except PermanentError as refused:
            if refused.trouble not in _SWITCHED_OFF:
                raise
            return await self._send_by_second(refused, envelope, content, still_ours)

    async def _send_by_second(
        self, refused: PermanentError, envelope: Envelope, content: bytes, still_ours: StillOurs
    ) -> SendOutcome:
        try:
            outcome = await self._second.send(envelope, content, still_ours=still_ours)
        except PermanentError as error:
            # What a person must change is the first one's: the second was never asked for.
            raise refused from error
        self._again_at = self._clock() + AGAIN_SECONDS
        log.warning("mailbox.send_fell_back", trouble=refused.trouble.value)
        return outcome

    async def find_in_sent(self, message_id: str, token: str) -> Sequence[FiledCopy]:
        return await self._keeper.find_in_sent(message_id, token)

    async def file_in_sent(self, content: bytes, sent_at: datetime) -> FiledCopy:
        return await self._keeper.file_in_sent(content, sent_at)

    @property
    def _keeper(self) -> Sender:
        """Whoever sent last looks in Sent: both see the same folder."""
        return self._second if self._clock() < self._again_at else self._first

    async def hang_up(self) -> None:
        await self._first.hang_up()
        await self._second.hang_up()

    async def close(self) -> None:
        try:
            await self._first.close()
        finally:
            await self._second.close()
