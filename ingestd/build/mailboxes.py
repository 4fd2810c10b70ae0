"""The work on a mailbox: its reader, its backfill, its outbox and what they share in a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from config import Provider
from connectors.base import Reader, ReadPlan
from ingestd.build.connectors import Connectors, Reached
from ingestd.build.outside import Outside
from ingestd.build.push import GmailPushes
from ingestd.build.store import Store
from ingestd.inbound.audit import Audited
from ingestd.inbound.backfill import BackfillTools, MailboxBackfill
from ingestd.inbound.folders import begin_folders, open_folders
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.known import KnownMessages
from ingestd.inbound.lease import Lease
from ingestd.inbound.parser import ParserPool
from ingestd.inbound.push import NOTIFICATIONS_PATH, MailboxPush, PushTools
from ingestd.inbound.reader import MailboxReader, WhyRefused
from ingestd.inbound.rules import rules_of
from ingestd.inbound.taking import ReaderTools
from ingestd.inbound.work import HeldMailbox
from ingestd.linking.diagnosis import Diagnostician
from ingestd.linking.keeper import TokenKeeper
from ingestd.linking.ways import Way, ways_of
from ingestd.mail.addresses import normalize
from ingestd.mirror import edit_of, mirror_of
from ingestd.options import effective, mirrored
from ingestd.outbound.budgets import Allowance, Budget, Connections
from ingestd.outbound.held import SenderTools
from ingestd.outbound.sender import MailboxOutbox
from ingestd.outbound.sent_copies import SentPolicy
from ingestd.records import FoldersRecord, MailboxRecord
from ingestd.telemetry.metrics import Metrics
from storage import grants, mailboxes, pushes
from storage.leases import Held
from storage.mailboxes import Mailbox


@dataclass(frozen=True, slots=True)
class _Opened:
    """A mailbox with what every way to it needs."""

    mailbox: Mailbox
    context: MailboxContext
    reached: Reached
    entries: tuple[str, ...]
    """The folders that are to be watched."""
    folders: FoldersRecord | None
    """What is known of them; None before a worker began."""


async def open_context(store: Store, mailbox: Mailbox) -> MailboxContext:
    """Return what is known of a mailbox while its mail is taken in.

    Raises KeyError for a provider that is not configured, StorageError.
    """
    key = await store.keys.mailbox(mailbox.account_id, mailbox.mailbox_id)
    record = key.open_record(MailboxRecord.place(mailbox.mailbox_id), mailbox.sealed, MailboxRecord)
    provider, defaults = store.settings.provider(mailbox.provider), store.settings.mailbox_defaults
    after_import, _ = effective(record, defaults)
    return MailboxContext(
        account_id=mailbox.account_id,
        mailbox_id=mailbox.mailbox_id,
        key=key,
        record=record,
        contact_forms=frozenset(map(normalize, defaults.contact_forms)),
        authserv_ids=frozenset(name.lower() for name in provider.authserv_ids),
        edit=edit_of(after_import),
        mirror=mirror_of(mirrored(record, defaults)),
        mirror_messages_max=store.settings.inbound.mirror_messages_max,
        authserv_several=provider.authserv_several,
        rules=rules_of(store.settings.tickets),
    )


class Mailboxes:
    """Builds the work on a mailbox that this process has just taken."""

    def __init__(
        self,
        store: Store,
        outside: Outside,
        parser: ParserPool,
        metrics: Metrics,
        lease: Lease,
        gmail_pushes: GmailPushes | None = None,
    ) -> None:
        settings = store.settings
        self._store = store
        self._outside = outside
        self._metrics = metrics
        self._keeper = TokenKeeper(
            store.content,
            store.keys,
            outside.clients,
            metrics,
            refresh_ahead_seconds=settings.linking.refresh_ahead_seconds,
            rejection_pause_seconds=settings.linking.rejection_pause_seconds,
            renewal_seconds_max=3 * settings.linking.http_timeout_seconds,  # it may connect more than once
        )
        self._connectors = Connectors(settings, outside, metrics, gmail_pushes)
        self._diagnostician = Diagnostician(store.content, store.keys, outside.clients, self._keeper)
        self._reader_tools = ReaderTools(
            content=store.content,
            blobs=store.blobs,
            parser=parser,
            metrics=metrics,
            settings=settings.inbound,
            blob_bytes_min=settings.storage.blob_bytes_min,
            batches=asyncio.Semaphore(settings.inbound.batches_max),
        )
        self._backfill_tools = BackfillTools(
            reading=self._reader_tools,
            settings=settings.backfill,
            slots=asyncio.Semaphore(settings.backfill.mailboxes_max),
        )
        self._sender_tools = SenderTools(
            content=store.content,
            blobs=store.blobs,
            metrics=metrics,
            settings=settings.outbound,
            lease=lease,
            sends=asyncio.Semaphore(settings.outbound.sends_max),
        )
        self._push_tools = PushTools(
            content=store.content,
            metrics=metrics,
            settings=settings.inbound,
            slots=asyncio.Semaphore(settings.inbound.push_calls_max),
        )
        self._connections: dict[str, Connections] = {}
        """By provider, to its submission server."""

    async def begin(self, held: Held) -> HeldMailbox:
        """Raises KeyError for a provider that is not configured, StorageError; FenceLost."""
        one = await self._bound(held, await self._watched(held, await self._open(held.account_id, held.mailbox_id)))
        why_refused = partial(self._diagnostician.why_refused, held.account_id, held.mailbox_id, one.mailbox.provider)
        reader = MailboxReader(
            held,
            one.context,
            self._connectors.reader(one.reached, self._plan(one)),
            self._reader_tools,
            why_refused,
            folders=one.folders,
        )
        return HeldMailbox(
            reader,
            self._history(held, one, reader.caught_up),
            self._outbox(held, one, why_refused),
            await self._push(held, one, reader.wake),
            lambda: self._forget(held.mailbox_id),
        )

    async def look(self, account_id: UUID, mailbox_id: UUID) -> tuple[MailboxContext, Reader]:
        """Build a reader for somebody who only looks, beside whoever works on the mailbox.

        Raises KeyError for a provider that is not configured, StorageError.
        """
        one = await self._open(account_id, mailbox_id)
        return one.context, self._connectors.reader(one.reached, self._plan(one), name="look")

    async def audited(self, account_id: UUID, mailbox_id: UUID) -> tuple[MailboxContext, Audited]:
        """Build what compares a mailbox with the store, beside whoever works on it. Raises as `look`."""
        one = await self._open(account_id, mailbox_id)
        plan = replace(self._plan(one), readonly=True)
        return one.context, Audited(self._connectors.reader(one.reached, plan, name="audit"), plan.folders)

    async def _open(self, account_id: UUID, mailbox_id: UUID) -> _Opened:
        mailbox = await self._store.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
        context = await open_context(self._store, mailbox)
        provider = self._store.settings.provider(mailbox.provider)
        tokens = partial(self._keeper.source, account_id, mailbox_id, mailbox.provider)
        _, entries = effective(context.record, self._store.settings.mailbox_defaults)
        folders = open_folders(context.key, mailbox)
        grant = await self._store.content.read(account_id, grants.get_grant, mailbox_id)
        ways = ways_of(provider, grant.scopes, _read_way(mailbox))
        user = context.record.graph_user or "me"
        known = KnownMessages(self._store.content, context.key, mailbox_id)
        reached = Reached(mailbox_id, context.record.login, provider, ways, grant.scopes, user, tokens, known)
        return _Opened(mailbox, context, reached, entries, folders)

    async def _bound(self, held: Held, one: _Opened) -> _Opened:
        """Note the way by which a mailbox is read for the first time: no other one must read it later."""
        way = one.reached.ways.read
        if way is not None and one.mailbox.read_way is None:
            await self._store.content.transaction(
                held.account_id, mailboxes.bind_read_way, held.mailbox_id, fence=held.fence, way=way.value
            )
        return one

    async def _watched(self, held: Held, one: _Opened) -> _Opened:
        """Note the folders that are watched from now on, where they are others than before."""
        if one.folders is not None and set(one.folders.since) == set(one.entries):
            return one
        folders = await self._store.content.transaction(
            held.account_id, begin_folders, held, one.context.key, one.entries
        )
        return replace(one, folders=folders)

    def _history(self, held: Held, one: _Opened, caught_up: asyncio.Event) -> MailboxBackfill:
        """On a connection of its own: new mail is waited for in the other one."""
        messages_max = self._store.settings.backfill.batch_messages_max
        plan = replace(self._plan(one), batch_messages_max=messages_max, room=self._outside.room_of_old)
        reader = self._connectors.reader(one.reached, plan, name="history")
        return MailboxBackfill(held, one.context, reader, caught_up, self._backfill_tools)

    async def _push(self, held: Held, one: _Opened, wake: Callable[[], None]) -> MailboxPush | None:
        """Note whether the mailbox is to be subscribed to, and return what sees to that."""
        subscriptions = self._connectors.subscriptions(one.reached)
        noted = await self._store.content.read(held.account_id, pushes.find_push, held.mailbox_id)
        if (subscriptions is None) != (noted is None):
            change = pushes.unwant if subscriptions is None else pushes.want
            await self._store.content.transaction(held.account_id, change, held.mailbox_id, fence=held.fence)
        if subscriptions is None:
            return None
        url = f"{self._store.settings.api.public_url}{NOTIFICATIONS_PATH}/{held.mailbox_id}"
        return MailboxPush(held, one.context.key, subscriptions, url, wake, self._push_tools)

    def _forget(self, mailbox_id: UUID) -> None:
        self._store.keys.forget(mailbox_id)
        self._keeper.forget(mailbox_id)
        self._connectors.forget(mailbox_id)

    def _outbox(self, held: Held, one: _Opened, why_refused: WhyRefused) -> MailboxOutbox:
        provider, sender = one.reached.provider, self._connectors.sender(one.reached)
        policy = SentPolicy(provider.sent_copy, provider.sent_wait_seconds)
        allowance = Allowance(_budget(provider), self._connections_of(provider))
        return MailboxOutbox(held, one.context.key, sender, policy, self._sender_tools, why_refused, allowance)

    def _connections_of(self, provider: Provider) -> Connections:
        return self._connections.setdefault(provider.name, Connections(provider.limits.connections_max))

    def _plan(self, one: _Opened) -> ReadPlan:
        inbound = self._store.settings.inbound
        return ReadPlan(
            folders=tuple(dict.fromkeys(one.entries)),
            start_at=one.mailbox.created_at,
            starts=one.folders.since if one.folders is not None else {},
            batch_messages_max=inbound.batch_messages_max,
            batch_bytes_max=inbound.batch_bytes_max,
            message_bytes_max=inbound.message_bytes_max,
            room=self._outside.room,
        )


def _read_way(mailbox: Mailbox) -> str | None:
    """Return by which way a mailbox is read already; None where nobody began."""
    begun = mailbox.cursor_sealed is not None or mailbox.cursor_sequence > 0
    return mailbox.read_way or (Way.IMAP.value if begun else None)


def _budget(provider: Provider) -> Budget:
    limits = provider.limits
    return Budget(limits.messages_per_minute_max, limits.messages_per_day_max, limits.recipients_per_day_max)
