"""Webhooks for people and programs: made, changed, rotated, tried, replayed, shown."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from config import Locations, Webhooks
from connectors.base import TemporaryError
from connectors.egress import EgressGuard, EgressRefused
from ingestd.access import Buckets, TooManyRequests
from ingestd.events import steps
from ingestd.events.courier import Answer, Courier
from ingestd.events.envelope import headers_of, signers_of, trial_body
from ingestd.events.urls import UrlRefused, read_url
from ingestd.keys import KeyRing
from ingestd.privacy.residency import is_elsewhere
from ingestd.records import OldSecret, WebhookRecord
from storage import accounts, deliveries, webhooks
from storage.database import Database, now
from storage.deliveries import Delivery, DeliveryStatus, Lag
from storage.requests import Claim, Done, once
from storage.sealing import DataKey
from storage.types import new_id
from storage.webhooks import Webhook

_SECRET_BYTES: Final = 32
"""Standard Webhooks: 24 to 64."""
_PREVIOUS_MAX: Final = 4
"""Old secrets that are kept: each signs, and all signatures go into one header."""
_DELETED_ROWS, _DELETED_CHUNKS = 500, 20
"""What of a deleted webhook's deliveries goes at once, so many rows in a transaction; the sweep deletes the rest."""
_TESTS_PER_SECOND, _TESTS_BURST = 0.5, 5
"""Of one webhook: whoever has a token shall not have us shoot at somebody."""


@dataclass(frozen=True, slots=True)
class WebhookView:
    webhook: Webhook
    record: WebhookRecord
    lag: Lag
    withheld: bool
    """Nothing is delivered, however it stands, as it leads elsewhere than its account is pinned to."""

    def previous_secret_until(self, at: datetime) -> datetime | None:
        """Return until when an older secret signs as well; None where none does."""
        return max((old.until for old in self.record.previous if old.until > at), default=None)


@dataclass(frozen=True, slots=True)
class NewWebhook:
    url: str
    types: Collection[str] = (webhooks.EVERYTHING,)
    content: bool = False
    description: str = ""
    after: int | None = None
    """Where in the log it begins; None: at the newest event."""


@dataclass(frozen=True, slots=True)
class Change:
    """None: as it is."""

    url: str | None = None
    types: Collection[str] | None = None
    content: bool | None = None
    description: str | None = None
    enabled: bool | None = None


class WebhookDesk:
    """What the API and the command line do with webhooks."""

    def __init__(
        self,
        content: Database,
        keys: KeyRing,
        guard: EgressGuard,
        courier: Courier,
        settings: Callable[[], Webhooks],
        *,
        locations: Callable[[], Locations] = Locations,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._content = content
        self._keys = keys
        self._guard = guard
        self._courier = courier
        self._settings = settings
        self._locations = locations
        self._tests = Buckets(_TESTS_PER_SECOND, _TESTS_BURST, clock)

    async def create(
        self, account_id: UUID, webhook_id: UUID, new: NewWebhook, *, claim: Claim | None = None
    ) -> tuple[Done[None], str]:
        """Make a webhook; return what came of it and its secret, which nobody is shown again.

        Raises UrlRefused, LimitReached, Conflict, EventsGone, KeyReused.
        """
        await self._check(account_id, new.url)
        record = WebhookRecord(url=new.url, secret=_new_secret(), description=new.description)
        key = await self._keys.account(account_id)
        done = await self._content.transaction(
            account_id,
            once,
            claim,
            webhooks.insert_webhook,
            webhook_id,
            types=new.types,
            content=new.content,
            after=new.after,
            sealed=key.seal_record(WebhookRecord.place(webhook_id), record),
            webhooks_max=self._settings().webhooks_max,
        )
        return done, record.secret

    async def change(self, account_id: UUID, webhook_id: UUID, change: Change, *, claim: Claim | None = None) -> bool:
        """Change a webhook; return whether the same request had done so before. Raises NotFound, UrlRefused."""
        if change.url is not None:
            await self._check(account_id, change.url)
        key = await self._keys.account(account_id)
        done = await self._content.transaction(account_id, once, claim, _change, webhook_id, key, change)
        return done.repeated

    async def rotate(
        self, account_id: UUID, webhook_id: UUID, *, claim: Claim | None = None
    ) -> tuple[Done[datetime], str]:
        """Give it a new secret; until the time that is returned the old one signs as well. Raises NotFound."""
        key, secret = await self._keys.account(account_id), _new_secret()
        overlap = timedelta(seconds=self._settings().secret_overlap_seconds)
        done = await self._content.transaction(account_id, once, claim, _rotate, webhook_id, key, secret, overlap)
        return done, secret

    async def replay(self, account_id: UUID, webhook_id: UUID, after: int, *, claim: Claim | None = None) -> bool:
        """Tell it everything behind `after` again; return whether the same request had done so before.

        Raises NotFound, Conflict, EventsGone.
        """
        done = await self._content.transaction(account_id, once, claim, deliveries.replay, webhook_id, after)
        return done.repeated

    async def delete(self, account_id: UUID, webhook_id: UUID, *, claim: Claim | None = None) -> None:
        """Deliver nothing more, and forget where to. Raises NotFound."""
        key = await self._keys.account(account_id)
        emptied = key.seal_record(WebhookRecord.place(webhook_id), WebhookRecord(url="", secret=""))
        await self._content.transaction(account_id, once, claim, webhooks.mark_deleted, webhook_id, emptied)
        for _ in range(_DELETED_CHUNKS):
            if not await self._content.transaction(account_id, deliveries.delete_chunk, webhook_id, _DELETED_ROWS):
                await self._content.transaction(account_id, webhooks.delete_deleted, webhook_id)
                return

    async def test(self, account_id: UUID, webhook_id: UUID) -> Answer:
        """Send an event that is in no log, at once and once, also where the webhook is disabled.

        Raises NotFound, TooManyRequests.
        """
        view = await self.show(account_id, webhook_id)
        if wait := self._tests.wait(webhook_id.hex):
            raise TooManyRequests(wait)
        self._tests.take(webhook_id.hex)
        at = datetime.now(UTC)
        if view.withheld:
            return Answer(None, "location_differs", 0.0)
        body = trial_body(account_id, webhook_id, at)
        headers = headers_of(f"evt_test_{new_id().hex}", at, body, signers_of(view.record, at))
        return await self._courier.post(view.record.url, headers, body)

    async def show(self, account_id: UUID, webhook_id: UUID) -> WebhookView:
        """Raises NotFound."""
        webhook, lag = await self._content.read(account_id, _show, webhook_id)
        pinned = await self._content.read(account_id, accounts.location_of)
        return await self._open(webhook, lag, pinned)

    async def list(self, account_id: UUID, *, after: UUID | None = None, limit: int = 100) -> list[WebhookView]:
        """Return up to `limit` webhooks behind the id `after`, oldest first."""
        found = await self._content.read(account_id, _list, after=after, limit=limit)
        pinned = await self._content.read(account_id, accounts.location_of)
        return [await self._open(*one, pinned) for one in found]

    async def deliveries(
        self,
        account_id: UUID,
        webhook_id: UUID,
        *,
        status: DeliveryStatus | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[Delivery]:
        """Return up to `limit` deliveries behind the sequence `before`, newest first. Raises NotFound."""
        return await self._content.read(account_id, _deliveries, webhook_id, status=status, before=before, limit=limit)

    async def _check(self, account_id: UUID, url: str) -> None:
        """Raises UrlRefused."""
        if is_elsewhere(self._locations(), await self._content.read(account_id, accounts.location_of), url):
            raise UrlRefused("its host is not known to be in the location that this account is pinned to")
        target = read_url(url, self._guard.is_open_to_accounts)
        try:
            await self._guard.resolve(target.host, target.port, account_supplied=True)
        except EgressRefused:
            raise UrlRefused("its host has an address that is not public") from None
        except TemporaryError:
            return  # a new name, perhaps; it is looked up and checked at each connection anyway

    async def _open(self, webhook: Webhook, lag: Lag, pinned: str | None) -> WebhookView:
        record = _record(await self._keys.account(webhook.account_id), webhook)
        return WebhookView(webhook, record, lag, is_elsewhere(self._locations(), pinned, record.url))


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(os.urandom(_SECRET_BYTES)).decode()


def _record(key: DataKey, webhook: Webhook) -> WebhookRecord:
    return key.open_record(WebhookRecord.place(webhook.webhook_id), webhook.sealed, WebhookRecord)


def _change(conn: Connection, account_id: UUID, webhook_id: UUID, key: DataKey, change: Change) -> None:
    webhook = webhooks.get_webhook(conn, account_id, webhook_id, lock=True)
    given = {"url": change.url, "description": change.description}
    record = msgspec.structs.replace(
        _record(key, webhook), **{name: value for name, value in given.items() if value is not None}
    )
    webhooks.change(
        conn,
        account_id,
        webhook_id,
        sealed=key.seal_record(WebhookRecord.place(webhook_id), record),
        types=webhook.types if change.types is None else " ".join(sorted(change.types)),
        content=webhook.content if change.content is None else change.content,
    )
    if change.enabled:
        deliveries.resume(conn, account_id, webhook_id)
    elif change.enabled is False:
        webhooks.disable(conn, account_id, webhook_id, steps.BY_HAND)


def _rotate(
    conn: Connection, account_id: UUID, webhook_id: UUID, key: DataKey, secret: str, overlap: timedelta
) -> datetime:
    webhook, at = webhooks.get_webhook(conn, account_id, webhook_id, lock=True), now(conn)
    record = _record(key, webhook)
    until = at + overlap
    previous = (OldSecret(record.secret, until), *(old for old in record.previous if old.until > at))
    record = msgspec.structs.replace(record, secret=secret, previous=previous[:_PREVIOUS_MAX])
    webhooks.change(conn, account_id, webhook_id, sealed=key.seal_record(WebhookRecord.place(webhook_id), record))
    return until


def _show(conn: Connection, account_id: UUID, webhook_id: UUID) -> tuple[Webhook, Lag]:
    webhook = webhooks.get_webhook(conn, account_id, webhook_id)
    return webhook, deliveries.lag_of(conn, webhook)


def _list(conn: Connection, account_id: UUID, *, after: UUID | None, limit: int) -> list[tuple[Webhook, Lag]]:
    found = webhooks.list_webhooks(conn, account_id, after=after, limit=limit)
    return [(one, deliveries.lag_of(conn, one)) for one in found]


def _deliveries(
    conn: Connection,
    account_id: UUID,
    webhook_id: UUID,
    *,
    status: DeliveryStatus | None,
    before: int | None,
    limit: int,
) -> list[Delivery]:
    webhooks.get_webhook(conn, account_id, webhook_id)
    return deliveries.list_deliveries(conn, account_id, webhook_id, status=status, before=before, limit=limit)
