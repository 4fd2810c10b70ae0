"""A small office for tests that need no daemon: one account, one linked mailbox, its mail taken in by the
daemon's own functions, on real databases."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from config import MailboxDefaults, Outbound
from connectors.base import AuthError, ConnectorError, RawMessage, Sender
from ingestd.desk import Desk, TicketView
from ingestd.inbound.commit import Committed, commit_batch
from ingestd.inbound.intake import MailboxContext, identities, read_batch, seal_batch
from ingestd.inbound.lease import Lease
from ingestd.inbound.mirroring import Mirrored
from ingestd.inbound.parser import ParserPool, ParserRejected
from ingestd.inbound.rules import Rules
from ingestd.keys import KeyRing
from ingestd.mail.transform import Transformed, transform
from ingestd.mirror import edit_of, mirror_of
from ingestd.outbound.budgets import Allowance
from ingestd.outbound.held import SenderTools
from ingestd.outbound.reply import CreatedReply, ReplyDraft, create_reply
from ingestd.outbound.sender import MailboxOutbox
from ingestd.outbound.sent_copies import SentPolicy
from ingestd.records import AccountRecord, MailboxRecord
from ingestd.telemetry.metrics import Metrics
from ingestd.ticketing import Changed, Mirroring, read_ticket, set_status
from ingestd.verify import verify
from storage import accounts, events, leases, mailboxes, messages
from storage.leases import Held
from storage.sealing import MasterKey
from storage.types import new_id
from tests.secrecy import SECRECY
from tests.stores import Stores

MASTER = MasterKey(bytes(range(32)))
LEASE_SECONDS = 60.0


class OneByOne(ABC):
    """A parser that asks for each message of a batch alone, as the pool does where that is needed."""

    @abstractmethod
    async def transform(
        self, raw: bytes, *, live: bool = True, masked: bool = False, owner: Hashable = None
    ) -> Transformed: ...

    async def transform_all(
        self, raws: Sequence[bytes], *, live: bool = True, masked: bool = False, owner: Hashable = None
    ) -> list[Transformed | ParserRejected]:
        done: list[Transformed | ParserRejected] = []
        for raw in raws:
            try:
                done.append(await self.transform(raw, live=live, masked=masked, owner=owner))
            except ParserRejected as rejected:
                done.append(rejected)
        return done


class HereParser(OneByOne):
    """Parses in the test's own process; a subject of "poison" is given up on."""

    async def transform(
        self, raw: bytes, *, live: bool = True, masked: bool = False, owner: Hashable = None
    ) -> Transformed:
        if b"Subject: poison" in raw:
            raise ParserRejected("timeout")
        return transform(raw, masked=masked)


@dataclass
class Office:
    stores: Stores
    keys: KeyRing
    desk: Desk
    context: MailboxContext
    held: Held
    lease: Lease

    @classmethod
    async def open(
        cls,
        stores: Stores,
        *,
        address: str = "support@example.com",
        aliases: Sequence[str] = (),
        contact_forms: Sequence[str] = (),
        after_import: str = "nothing",
        mirror: Mapping[str, str] | None = None,
        authserv_ids: Sequence[str] = (),
        rules: Rules | None = None,
        beside: Office | None = None,
        mailbox: Mapping[str, Any] = MappingProxyType({}),
    ) -> Office:
        """With `beside`, the mailbox is one more of that office's account; `mailbox` are fields of its record."""
        keys = KeyRing(stores.keystore, MASTER)
        account_id, mailbox_id, worker_id = new_id(), new_id(), new_id()
        if beside is not None:
            account_id = beside.held.account_id
        else:
            account_key = await keys.create_account_key(account_id)
            sealed = account_key.seal_record(AccountRecord.place(account_id), AccountRecord("Example"))
            await stores.content.transaction(account_id, accounts.insert_account, sealed)
        key = await keys.create_mailbox_key(account_id, mailbox_id)
        record = MailboxRecord(
            address=address,
            subject="1",
            issuer="https://login.example.com",
            login=address,
            addresses=tuple(aliases),
            mirror=dict(mirror or {}),
        )
        record = msgspec.structs.replace(record, **mailbox)
        await stores.content.transaction(
            account_id,
            mailboxes.insert_mailbox,
            mailbox_id,
            provider="local",
            start_from="now",
            start_days=0,
            sealed=key.seal_record(MailboxRecord.place(mailbox_id), record),
        )
        await stores.content.transaction(None, leases.register, worker_id)
        lease = Lease(worker_id, LEASE_SECONDS)
        lease.renewed(lease.asking())
        held = (await stores.content.transaction(None, leases.claim, worker_id, LEASE_SECONDS, 10))[0]
        context = MailboxContext(
            account_id=account_id,
            mailbox_id=mailbox_id,
            key=key,
            record=record,
            contact_forms=frozenset(contact_forms),
            authserv_ids=frozenset(authserv_ids),
            edit=edit_of(after_import),
            mirror=mirror_of(mirror or {}),
            rules=rules or Rules(),
        )
        desk = Desk(stores.content, stores.blobs, keys, blob_bytes_min=64 * 1024)
        return cls(stores, keys, desk, context, held, lease)

    async def take(self, *raws: bytes, fence: int | None = None, at: datetime | None = None) -> Committed:
        """Take mails in as one batch, as the mailbox's worker does; they arrived now, or `at` a time."""
        now = at or datetime.now(UTC)
        fetched = [RawMessage(f"1:{n}:INBOX", "INBOX", len(raw), now, raw, raw) for n, raw in enumerate(raws)]
        return await self.take_fetched(fetched, fence=fence)

    async def take_fetched(
        self, fetched: Sequence[RawMessage], *, fence: int | None = None, parser: ParserPool | None = None
    ) -> Committed:
        masked = await self.stores.content.read(self.held.account_id, accounts.masks_cards)
        reads = await read_batch(parser or HereParser(), self.context, fetched, masked=masked)  # type: ignore[arg-type]
        known = await self.stores.content.read(
            self.held.account_id, messages.known_identities, self.held.mailbox_id, identities(reads)
        )
        prepared = await seal_batch(self.stores.blobs, self.context, reads, set(), self.desk.blob_bytes_min)
        mailbox = await self.stores.content.read(self.held.account_id, mailboxes.get_mailbox, self.held.mailbox_id)
        return await self.stores.content.transaction(
            self.held.account_id,
            commit_batch,
            self.context,
            prepared,
            fence=self.held.fence if fence is None else fence,
            cursor_sequence=mailbox.cursor_sequence,
            cursor="{}",
            seen=[read for read in reads if read.is_among(known)],
        )

    async def known_of(self, mailbox: mailboxes.Mailbox) -> MailboxContext:
        """Return what is known of the mailbox."""
        assert mailbox.mailbox_id == self.held.mailbox_id
        return self.context

    async def ticket(self, number: int) -> TicketView:
        return await self.desk.ticket(self.held.account_id, number)

    async def act(self, number: int, status: str, messages_max: int = 500) -> Changed:
        """Let an agent close a ticket, and so on; what is mirrored is planned."""
        mirroring = Mirroring(self.context.key, MailboxDefaults(), messages_max)
        return await self.stores.content.transaction(self.held.account_id, set_status, number, status, mirroring)

    async def read(self, number: int) -> Mirrored:
        """Let an agent read a ticket."""
        mirroring = Mirroring(self.context.key, MailboxDefaults(), 500)
        return await self.stores.content.transaction(self.held.account_id, read_ticket, number, mirroring)

    async def reply(
        self,
        number: int,
        text: str = "We look into it.",
        *,
        idempotency_key: str | None = None,
        **draft: Any,
    ) -> CreatedReply:
        """`draft` are further fields of the reply's draft."""
        return await create_reply(
            self.desk,
            Outbound(),
            self.held.account_id,
            number,
            ReplyDraft(text, **draft),
            idempotency_key=idempotency_key,
        )

    def outbox(
        self, sender: Sender, settings: Outbound, policy: SentPolicy, allowance: Allowance | None = None
    ) -> MailboxOutbox:
        tools = SenderTools(
            content=self.stores.content,
            blobs=self.stores.blobs,
            metrics=Metrics(version="0", python_version="3"),
            settings=settings,
            lease=self.lease,
            sends=asyncio.Semaphore(1),
        )
        return MailboxOutbox(self.held, self.context.key, sender, policy, tools, self.why_refused, allowance)

    async def why_refused(self) -> ConnectorError:
        """What the provider says where a mail server refused a fresh token: nothing."""
        return AuthError("refused")

    async def event_types(self) -> list[str]:
        found = await self.stores.content.read(self.held.account_id, events.list_events, 0, 1000)
        return [event.type for event in found]

    async def check(self) -> None:
        """Assert every promise."""
        keys = KeyRing(self.stores.keystore, MASTER)
        report = await verify(self.stores.content, self.stores.keystore, self.stores.blobs, keys)
        assert report.violations == []


def mail(
    subject: str = "Printer",
    *,
    sender: str = "anna@example.org",
    message_id: str = "<q1@example.org>",
    text: str = "It does not print.",
    headers: str = "",
) -> bytes:
    """Return a plain mail; `headers` are further lines, each ended by CRLF."""
    SECRECY.remember((subject, text, sender, message_id))
    return (
        f"From: {sender}\r\nTo: support@example.com\r\nSubject: {subject}\r\nMessage-ID: {message_id}\r\n"
        f"{headers}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
    ).encode()
