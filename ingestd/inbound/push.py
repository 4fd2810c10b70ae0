"""The subscription by which Microsoft Graph tells of news in a held mailbox: made, renewed, and made anew.

Polling goes on beneath: where there is no subscription, mail comes later, and nothing is lost. So what fails here is
told and tried again after a growing pause, and never concerns the reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from config import Inbound
from connectors.base import ConnectorError, RateLimited
from connectors.graph_subscriptions import Subscription, Subscriptions, new_client_state
from ingestd.inbound.states import backoff_seconds
from ingestd.records import PushRecord
from ingestd.telemetry.metrics import Metrics
from storage import pushes
from storage.database import Database
from storage.errors import FenceLost, KeyDestroyed, SealBroken
from storage.leases import Held
from storage.pushes import Push
from storage.sealing import DataKey

log = structlog.get_logger()

_LIFETIME: Final = timedelta(days=3)
"""One that we lose sight of, as we were killed between its making and our commit, ends by itself after so long."""
_RENEW_MIN: Final = timedelta(minutes=1)
"""No sooner is it renewed, whatever the server says of its end."""
_JITTER: Final = 0.2
"""Share of the time until a renewal by which renewals are spread."""
_WAY: Final = "graph"
NOTIFICATIONS_PATH: Final = "/push/graph"
"""Below `api.public_url`, before the mailbox's id."""


@dataclass(frozen=True, slots=True)
class PushTools:
    """What all mailboxes of a process share."""

    content: Database
    metrics: Metrics
    settings: Inbound
    slots: asyncio.Semaphore
    """Subscriptions that are made or renewed at once."""


class MailboxPush:
    """Keeps one held mailbox subscribed, and wakes its reader. `url` is where Graph is to post to."""

    def __init__(
        self,
        held: Held,
        key: DataKey,
        subscriptions: Subscriptions,
        url: str,
        wake: Callable[[], None],
        tools: PushTools,
    ) -> None:
        self._held = held
        self._key = key
        self._subscriptions = subscriptions
        self._url = url
        self._wake = wake
        self._tools = tools

    async def run_due(self) -> None:
        """Look at what was told, and make or renew the subscription where that is due. Raises StorageUnavailable."""
        held, content = self._held, self._tools.content
        with contextlib.suppress(FenceLost, KeyDestroyed):  # it is somebody else's, or is being forgotten
            taken = await content.transaction(held.account_id, pushes.take, held.mailbox_id, fence=held.fence)
            if taken is None:
                return
            if taken.push.told is not None:
                self._tools.metrics.push_told(_WAY)
                self._wake()
            if taken.is_due:
                async with self._tools.slots:
                    await self._renew(taken.push)

    async def _renew(self, push: Push) -> None:
        try:
            await self._stand(push)
        except ConnectorError as error:
            jitter = random.random()  # noqa: S311  (jitter, not a secret)
            pause = backoff_seconds(self._tools.settings.push_backoff, push.failures + 1, jitter)
            if isinstance(error, RateLimited):
                pause = max(pause, error.retry_after)
            tell_of_failure(self._tools.metrics, _WAY, error, pause, mailbox_id=self._held.mailbox_id)
            await self._tools.content.transaction(
                self._held.account_id,
                pushes.note_failed,
                self._held.mailbox_id,
                fence=self._held.fence,
                retry_in=timedelta(seconds=pause),
            )

    async def _stand(self, push: Push) -> None:
        """Have a subscription that lasts. Raises ConnectorError."""
        record = self._open(push)
        if record is not None and record.url == self._url:
            renewed = await self._subscriptions.renew(record.subscription_id, _LIFETIME)
            if renewed is not None:
                await self._tools.content.transaction(
                    self._held.account_id,
                    pushes.note_renewed,
                    self._held.mailbox_id,
                    fence=self._held.fence,
                    expires_at=renewed.expires_at,
                    renew_in=self._renew_in(renewed),
                )
                return
        elif record is not None:
            with contextlib.suppress(ConnectorError):  # then it ends by itself
                await self._subscriptions.delete(record.subscription_id)
        await self._make()

    async def _make(self) -> None:
        secret = new_client_state()
        made = await self._subscriptions.create(notification_url=self._url, client_state=secret, lifetime=_LIFETIME)
        record = PushRecord(made.id, secret, self._url)
        try:
            await self._tools.content.transaction(
                self._held.account_id,
                pushes.note_made,
                self._held.mailbox_id,
                fence=self._held.fence,
                sealed=self._key.seal_record(PushRecord.place(self._held.mailbox_id), record),
                expires_at=made.expires_at,
                renew_in=self._renew_in(made),
            )
        except FenceLost:
            with contextlib.suppress(ConnectorError):
                await self._subscriptions.delete(made.id)
            raise
        # What came until it was written down was told by nobody whom we believe.
        self._wake()

    def _open(self, push: Push) -> PushRecord | None:
        if push.sealed is None:
            return None
        try:
            return self._key.open_record(PushRecord.place(self._held.mailbox_id), push.sealed, PushRecord)
        except SealBroken:
            return None  # another one is made

    def _renew_in(self, subscription: Subscription) -> timedelta:
        half = (subscription.expires_at - datetime.now(UTC)) / 2
        wanted = min(timedelta(seconds=self._tools.settings.push_renew_seconds), half)
        return max(wanted, _RENEW_MIN) * (1 - _JITTER * random.random())  # noqa: S311  (jitter, not a secret)


def tell_of_failure(
    metrics: Metrics, way: str, error: ConnectorError, seconds: float, *, mailbox_id: UUID | None = None
) -> None:
    """Log and count that a provider does not tell of news, and in how many seconds it is asked again."""
    metrics.push_failed(way)
    log.warning(
        "push.failed",
        mailbox_id=mailbox_id,
        kind=way,
        trouble=error.trouble.value,
        exc_info=error,
        delay_seconds=round(seconds, 1),
    )
