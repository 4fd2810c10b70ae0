"""What a daemon does beside mail: erasures, revocations, sweeps and warnings."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from ingestd.keys import KeyRing
from ingestd.linking.foresight import Foresight
from ingestd.privacy.account_retention import AccountRetention
from ingestd.privacy.closing import Closer
from ingestd.privacy.disconnect import Eraser
from ingestd.privacy.expiry import MessageRetention
from ingestd.privacy.persons import PersonEraser
from ingestd.privacy.quarantine_expiry import QuarantineRetention
from ingestd.privacy.revocation import Revoker
from ingestd.retention import Retention
from ingestd.telemetry.metrics import Metrics
from ingestd.wakes import Bell
from storage import accounts, erasures, keystore, mailboxes, messages
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import StorageError, StorageUnavailable

log = structlog.get_logger()

_ERASURE_SECONDS = 5.0
_REVOCATION_SECONDS = 5.0
_SWEEP_SECONDS = 3600.0
_SWEPT_AT_ONCE = 500
_LATE = timedelta(hours=1)
"""How long after its erasure a mailbox is looked at for what a process wrote that had slept through it."""
_ORPHAN_AGE = timedelta(hours=1)
"""Younger files and keys may belong to a transaction or a linking under way."""


@dataclass(slots=True)
class Maintenance:
    """Its loops run until cancelled; a store that is away is waited for."""

    content: Database
    keystore: Database
    blobs: Blobs
    keys: KeyRing
    eraser: Eraser
    closer: Closer
    revoker: Revoker
    persons: PersonEraser
    bell: Bell
    metrics: Metrics
    retention: Retention
    foresight: Foresight
    accounts: AccountRetention
    messages: MessageRetention
    quarantine: QuarantineRetention
    check_seconds: Callable[[], float]
    """How often these three look."""
    looked: dict[UUID, timedelta] = field(default_factory=dict)
    """Of mailboxes that were erased lately: how long after it what they left was looked for last."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._make_unreadable())
            group.create_task(self._erase())
            group.create_task(self._erase_persons())
            group.create_task(self._revoke())
            group.create_task(self._sweep())
            group.create_task(self.foresight.run())
            group.create_task(self._retain())

    async def _make_unreadable(self) -> None:
        """Beside the deletion of rows, which takes minutes, and may be another mailbox's."""
        with self.bell.subscribe("erasures") as listener:
            while True:
                await self._destroy_keys()
                with suppress(StorageUnavailable):  # the other loop says so
                    await self.eraser.clean_keystore()
                await listener.wait(_ERASURE_SECONDS)

    async def _erase(self) -> None:
        with self.bell.subscribe("erasures") as listener:
            while True:
                await self.erase()
                await self._clean()
                await listener.wait(_ERASURE_SECONDS)

    async def erase(self) -> None:
        """Bring on what is to be forgotten, each as far as it goes now."""
        # Of many mailboxes at once, as when an account is closed, none stays readable until others are deleted.
        await self._destroy_keys()
        # An account last: it waits for its mailboxes.
        for erasure in sorted(await self._waiting(), key=lambda one: one.is_of_account):
            await self._guarded(erasure, self.closer.run if erasure.is_of_account else self.eraser.run)

    async def _destroy_keys(self) -> None:
        for erasure in await self._waiting():
            if erasure.step == "requested" and not erasure.is_of_account:
                await self._guarded(erasure, self._make_one_unreadable)

    async def _make_one_unreadable(self, erasure: erasures.Erasure) -> None:
        await self.eraser.make_unreadable(erasure.account_id, erasure.mailbox_id)

    async def _erase_persons(self) -> None:
        """Apart from the rest: it reads all of an account's mail, and a disconnect does not wait for that."""
        with self.bell.subscribe("erasures") as listener:
            while True:
                try:
                    await self.persons.run_waiting()
                except StorageUnavailable as error:
                    log.warning("storage.unavailable", exc_info=error)
                await listener.wait(_ERASURE_SECONDS)

    async def _waiting(self) -> list[erasures.Erasure]:
        try:
            return await self.content.read(None, erasures.list_erasures)
        except StorageUnavailable as error:
            log.warning("storage.unavailable", exc_info=error)
            return []

    async def _clean(self) -> None:
        """Wipe what a disconnect left: pages that a reader held open, blobs of a worker that had slept through it."""
        try:
            await self.eraser.clean()
            # Who sleeps longer leaves it to the sweep. To list what is stored of all mailboxes would take ever longer.
            at, looked, self.looked = datetime.now(UTC), self.looked, {}
            for account_id, mailbox_id, done_at in await self.content.read(None, erasures.list_done_since, at - _LATE):
                before, age = looked.get(mailbox_id, timedelta()), at - done_at
                if age >= 2 * before:  # a dozen times in all: each is a request to the bucket
                    await asyncio.to_thread(self.blobs.delete_mailbox, account_id, mailbox_id)
                    before = age
                self.looked[mailbox_id] = before
        except (StorageUnavailable, OSError) as error:
            log.warning("storage.unavailable", exc_info=error)

    async def _guarded(self, erasure: erasures.Erasure, step: Callable[[erasures.Erasure], Awaitable[object]]) -> None:
        """One that cannot go on must not keep the others waiting; it is tried again later."""
        try:
            await step(erasure)
        except Exception as error:
            self.metrics.erasure_ended("failed")
            log.error("erasure.failed", mailbox_id=erasure.mailbox_id, exc_info=error)  # noqa: TRY400

    async def _revoke(self) -> None:
        while True:
            try:
                await self.revoker.revoke_due()
            except StorageError as error:
                log.warning("storage.unavailable", exc_info=error)
            await asyncio.sleep(_REVOCATION_SECONDS)

    async def _retain(self) -> None:
        while True:
            await asyncio.sleep(self.check_seconds())
            try:
                await self.accounts.run(datetime.now(UTC))
                await self.messages.run(datetime.now(UTC))
                await self.quarantine.run(datetime.now(UTC))
            except StorageUnavailable as error:
                log.warning("storage.unavailable", exc_info=error)
            except Exception as error:  # it is tried again; nothing else waits for it
                log.exception("task.failed", component="retention", exc_info=error)

    async def _sweep(self) -> None:
        while True:
            # Not at once: whoever restored the wrong backup has an hour to notice before orphans go.
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                await self.sweep(datetime.now(UTC))
            except (StorageError, OSError) as error:
                log.warning("storage.unavailable", exc_info=error)

    async def sweep(self, at: datetime) -> None:
        """Remove what a crash can leave (blobs without a row, keys without a mailbox), and what is too old."""
        before = at - _ORPHAN_AGE
        await asyncio.to_thread(self.blobs.sweep_temporary, before)
        # The files first, then the rows: a blob whose transaction commits meanwhile is younger than `before`.
        stored = self.blobs.list()
        while some := await asyncio.to_thread(lambda: list(itertools.islice(stored, _SWEPT_AT_ONCE))):
            old = [(one.account_id, one.mailbox_id, one.owner_id) for one in some if one.modified_at < before]
            owned = await self.content.read(None, messages.owning_blobs, [(place[0], place[2]) for place in old])
            for account_id, mailbox_id, owner_id in old:
                if owner_id not in owned:
                    await asyncio.to_thread(self.blobs.delete, account_id, mailbox_id, owner_id)
        await self._sweep_keys(before)
        await self.retention.sweep(at)

    async def _sweep_keys(self, before: datetime) -> None:
        keys = await self.keystore.read(None, keystore.list_keys)
        known: set[UUID] = {one.mailbox_id for one in await self.content.read(None, mailboxes.list_all_mailboxes)}
        known |= {one.account_id for one in await self.content.read(None, accounts.list_accounts)}
        for key in keys:
            if key.owner_id not in known and key.created_at < before:
                await self.keystore.transaction(key.account_id, keystore.forget_unused_key, key.owner_id)
