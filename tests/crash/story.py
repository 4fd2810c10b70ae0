"""The story that is told again and again, with a kill in it, and what must hold at its end."""

from __future__ import annotations

import base64
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import Connection, func, select

from connectors.base import OWN_HEADER
from ingestd.demo.local import AUTHSERV_ID
from ingestd.keys import KeyRing
from ingestd.linking.risks import Risk
from ingestd.mail.compose import AttachmentContent
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.privacy.requests import request_disconnect
from ingestd.records import MessageRecord, Receipt, ReplyRecord
from ingestd.ticketing import Mirroring, set_status
from ingestd.verify.check import verify
from storage import access_warnings, backfills, erasures, events, keystore, mailboxes, outbox
from storage.backfills import BackfillStatus
from storage.database import now, wake
from storage.errors import KeyDestroyed, NotFound
from storage.mailboxes import MailboxState
from storage.messages import BLOB
from storage.outbox import Reply, ReplyStatus, SentCopy
from storage.sealing import MasterKey
from storage.tables import edits, messages
from tests.crash.world import CUSTOMER, Daemon, House, World

MAILS = 4
OLD_MAILS = 3
"""What came long before the mailbox was linked, and is read beside the rest."""
EDITED = "Archive"
"""Where a story that has its mail moved has it moved to."""
_LARGE_BYTES = 40_000
_EVENTS_MAX = 1_000
_ANSWERED, _ANSWER_ID = "Re: Printer", "<answer@example.org>"
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Told:
    """What the story left at the provider's and in the store, before the disconnect."""

    delivered: list[str]
    reply: Reply
    reply_id: str
    """The reply's Message-ID, as we gave it."""
    token: str
    """The value of our own header in it: some providers give what is sent another Message-ID."""


def mails(address: str) -> list[bytes]:
    """Return a batch: small ones, an answer among them, and one that is stored as a blob."""
    name = address.partition("@")[0]
    made = []
    for number in range(MAILS):
        head = f"From: Anna <{CUSTOMER}>\r\nTo: {address}\r\nSubject: Printer {number}\r\n"
        head += f"Message-ID: <{name}-{number}@example.org>\r\n"
        if number == 1:
            head += f"In-Reply-To: <{name}-0@example.org>\r\n"
        body = "It does not print.\r\n"
        if number == 2:
            noise = base64.encodebytes(random.Random(number).randbytes(_LARGE_BYTES)).decode().replace("\n", "\r\n")
            head += "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
            part = 'Content-Type: image/png; name="p.png"\r\nContent-Transfer-Encoding: base64\r\n'
            body = f"--b\r\nContent-Type: text/plain\r\n\r\n{body}\r\n--b\r\n{part}\r\n{noise}\r\n--b--\r\n"
        made.append(f"{head}\r\n{body}".encode())
    return made


def old_mails(address: str) -> list[bytes]:
    """Return a thread, oldest first."""
    name = address.partition("@")[0]
    made = []
    for number in range(OLD_MAILS):
        head = f"From: Anna <{CUSTOMER}>\r\nTo: {address}\r\nSubject: Old printer\r\n"
        head += f"Message-ID: <{name}-old-{number}@example.org>\r\n"
        if number:
            head += f"In-Reply-To: <{name}-old-{number - 1}@example.org>\r\n"
        made.append(f"{head}\r\nIt did not print either.\r\n".encode())
    return made


async def deliver(world: World, house: House) -> None:
    for number, mail in enumerate(old_mails(house.address)):
        await world.provider.deliver(house.address, mail, received_at=_LONG_AGO + timedelta(days=number))
    for mail in mails(house.address):
        await world.provider.deliver(house.address, mail)


async def begin(world: World, house: House, daemon: Daemon) -> None:
    """Deliver, start the daemon, and wait until all of it is in."""
    await deliver(world, house)
    await daemon.start()
    await daemon.until(lambda: has_all(house, daemon), "all mails are taken in")


async def reply(house: House, *, idempotency_key: str = "first") -> UUID:
    draft = ReplyDraft("Switch it on.", [AttachmentContent("manual.txt", "text/plain", b"On, then off." * 200)])
    created = await create_reply(
        house.store.desk, house.settings.outbound, house.account_id, 1, draft, idempotency_key=idempotency_key
    )
    return created.message_id


async def tell(world: World, house: House, daemon: Daemon) -> Told:
    """Mail comes in, an agent replies; what must hold before the disconnect is asserted."""
    daemon.stage("ingest")
    await begin(world, house, daemon)
    daemon.stage("reply")
    told = await after_reply(world, house, daemon, await reply(house))
    await check_told(world, house, told)
    await check_edited(world, house, told)
    await _check_begun(world, house, daemon)
    return told


async def is_warned(house: House) -> bool:
    told = await house.store.content.read(house.account_id, access_warnings.told_of, [house.mailbox_id])
    return set(told.get(house.mailbox_id, ())) == {Risk.PUBLISHER_UNVERIFIED}


async def _check_begun(world: World, house: House, daemon: Daemon) -> None:
    """What a daemon notes when it begins with a mailbox: the way to it, for good, and once what threatens its access.

    The world's application is of a publisher whom nobody has verified.
    """
    read = house.store.content.read
    await daemon.until(lambda: is_warned(house), "the warning is told")
    log = await read(house.account_id, events.list_events, 0, _EVENTS_MAX)
    assert [one.type for one in log].count("mailbox.access_warning") == 1
    assert (await read(house.account_id, mailboxes.get_mailbox, house.mailbox_id)).read_way == world.way


async def after_reply(world: World, house: House, daemon: Daemon, message_id: UUID) -> Told:
    await daemon.until(lambda: _is_over(house, daemon, message_id), "the reply is sent and filed, or unknown")
    await daemon.until(lambda: is_edited(house), "every edit in the mailbox is done")
    stands = await house.store.content.read(house.account_id, outbox.get_reply, message_id)
    view = await house.store.desk.ticket(house.account_id, 1)
    header = next(one.record.mail.message_id for one in view.messages if one.row.message_id == message_id)
    delivered = [message_id_of(one) for one in (*old_mails(house.address), *mails(house.address))]
    key = await house.store.keys.mailbox(house.account_id, house.mailbox_id)
    token = key.open_record(ReplyRecord.place(message_id), stands.sealed, ReplyRecord).token
    return Told(delivered, stands, header, token)


async def call_spam(world: World, house: House, daemon: Daemon) -> None:
    """An agent calls a ticket spam: its mail goes to Junk, as far as its place is known."""
    daemon.stage("mirror")
    before = await everywhere(world, house)
    key = await house.store.keys.mailbox(house.account_id, house.mailbox_id)
    mirroring = Mirroring(key, house.settings.mailbox_defaults, house.settings.inbound.mirror_messages_max)
    done = await house.store.content.transaction(house.account_id, set_status, 1, "spam", mirroring)
    await check_mirrored(world, house, daemon, before, done.mirrored.planned)


async def check_mirrored(world: World, house: House, daemon: Daemon, before: Counter[str], moved: int) -> None:
    """So many mails lie in Junk now, and every mail lies somewhere, once."""
    await daemon.until(lambda: is_edited(house), "every edit in the mailbox is done")
    assert await everywhere(world, house) == before
    assert len(await _in(world, house, "Junk")) == moved
    assert (await house.store.desk.ticket(house.account_id, 1)).ticket.status == "spam"
    await check_store(house)


async def two_tickets(house: House) -> tuple[int, int]:
    """Return the numbers of two tickets of the story's new mails, the later one first."""
    found = await house.store.desk.tickets(house.account_id, mailbox_id=house.mailbox_id)
    target, source, *_ = [one.ticket.number for one in found if one.record.subject.startswith("Printer")]
    return source, target


async def answer(world: World, house: House, number: int) -> None:
    """The customer answers what she wrote to a ticket first."""
    view = await house.store.desk.ticket(house.account_id, number)
    # Where a provider proves who sent a mail, one that is not proved opens a ticket of its own.
    domain = CUSTOMER.partition("@")[2]
    head = f"Authentication-Results: {AUTHSERV_ID}; dmarc=pass header.from={domain}\r\n"
    head += f"From: Anna <{CUSTOMER}>\r\nTo: {house.address}\r\nSubject: {_ANSWERED}\r\n"
    head += f"Message-ID: {_ANSWER_ID}\r\nIn-Reply-To: {view.messages[0].record.mail.message_id}\r\n"
    await world.provider.deliver(house.address, f"{head}\r\nIt still does not.\r\n".encode())


async def is_answered(house: House, number: int) -> bool:
    view = await house.store.desk.ticket(house.account_id, number)
    return _ANSWERED in {one.record.mail.subject for one in view.messages}


async def check_merged(world: World, house: House, source: int, target: int) -> None:
    """Every mail is a ticket message, once, and none is in the source."""
    delivered = [message_id_of(one) for one in (*old_mails(house.address), *mails(house.address))]
    assert (await stored(house))["in"] == Counter([*delivered, _ANSWER_ID])
    view = await house.store.desk.ticket(house.account_id, source)
    assert (view.merged_into, len(view.messages)) == (target, 0)
    await check_store(house)


async def forget(house: House, daemon: Daemon) -> None:
    """Disconnect, and wait until the daemon has done it."""
    daemon.stage("disconnect")
    await house.store.content.transaction(house.account_id, request_disconnect, house.mailbox_id)
    await daemon.until(lambda: _is_forgotten(house), "the mailbox is forgotten")


async def check_told(world: World, house: House, told: Told) -> None:
    """Nothing lost, nothing twice."""
    known = await stored(house)
    assert Counter(told.delivered) == known["in"], "a mail is no ticket message, or is one twice"
    assert known["out"] == Counter([told.reply_id])
    await _check_imported(house)
    await check_sent(world, house, told)
    await check_store(house)


async def check_sent(world: World, house: House, told: Told) -> None:
    """What the customer and Sent have of the reply is what its status says."""
    came = [_token_of(one) for one in await world.provider.mails(CUSTOMER)].count(told.token)
    filed = [_token_of(one) for one in await world.provider.mails(house.address, "Sent")].count(told.token)
    if told.reply.status is ReplyStatus.SENT:
        assert (came, filed) == (1, 1), f"sent: {came} came, {filed} filed"
    else:
        assert told.reply.status is ReplyStatus.UNKNOWN
        assert came <= 1
        assert filed <= came
        assert world.way == "imap" or came == 0, "the provider filed it, and it was not found"


async def _check_imported(house: House) -> None:
    """The old mails are one ticket, in their order, closed unless somebody answered it."""
    found = await house.store.desk.tickets(house.account_id, mailbox_id=house.mailbox_id)
    views = [await house.store.desk.ticket(house.account_id, one.ticket.number) for one in found]
    threads = [[one.record.mail.message_id for one in view.messages if one.row.direction == "in"] for view in views]
    assert [message_id_of(one) for one in old_mails(house.address)] in threads


async def check_edited(world: World, house: House, told: Told) -> None:
    """What was taken in lies where it was to be moved to, once each, or is deleted. Old mail stays."""
    old = [message_id_of(one) for one in old_mails(house.address)]
    await check_new_edited(world, house, [one for one in told.delivered if one not in old], old)


async def check_new_edited(world: World, house: House, new: Sequence[str], old: Sequence[str] = ()) -> None:
    """As `check_edited`, where `new` and `old` mail were delivered."""
    moved = new if world.tuning.after_import == f"move:{EDITED}" else ()
    stays = [] if moved or world.tuning.after_import == "delete" else new
    assert Counter(await _in(world, house, EDITED)) == Counter(moved)
    assert Counter(await _in(world, house, "INBOX")) == Counter([*old, *stays])
    assert await house.store.content.read(None, _waiting_edits, house.mailbox_id) == 0


async def everywhere(world: World, house: House) -> Counter[str]:
    """Return which mails lie in the mailbox, wherever."""
    return Counter([one for folder in ("INBOX", EDITED, "Junk") for one in await _in(world, house, folder)])


async def _in(world: World, house: House, folder: str) -> list[str]:
    return [message_id_of(one) for one in await world.provider.mails(house.address, folder)]


async def check_store(house: House) -> None:
    """`ingestd verify` has nothing to say."""
    store = house.store
    keys = KeyRing(store.keystore, MasterKey(house.settings.keys.master_key_bytes()))
    report = await verify(store.content, store.keystore, store.blobs, keys)
    assert report.clean, report.violations


async def check_forgotten(world: World, house: House) -> Receipt:
    """Nothing left: no row, no blob, no key, no grant; a receipt."""
    store, where = house.store, (house.account_id, house.mailbox_id)
    assert await store.content.read(house.account_id, erasures.count_rows, house.mailbox_id) == {}
    with pytest.raises(NotFound):
        await store.content.read(house.account_id, mailboxes.get_mailbox, house.mailbox_id)
    assert store.blobs.count(*where) == 0
    with pytest.raises(KeyDestroyed):
        await store.keystore.read(house.account_id, keystore.get_key, house.mailbox_id)
    written = await store.keystore.read(house.account_id, keystore.find_receipt, house.mailbox_id)
    assert written is not None
    receipt = msgspec.json.decode(written.detail, type=Receipt)
    assert receipt.left == {}
    assert (receipt.revocation, receipt.refresh_after) == ("revoked", "refused")
    assert world.provider.auth.grants.living_grants(house.address) == 0
    entries = await store.keystore.read(None, keystore.list_ledger)
    assert Counter(one.entry for one in entries if one.owner_id == house.mailbox_id)["receipt"] == 1
    await check_store(house)
    return receipt


async def stored(house: House) -> dict[str, Counter[str]]:
    """Return the Message-IDs of the ticket messages, by direction."""
    key = await house.store.keys.mailbox(house.account_id, house.mailbox_id)
    found: dict[str, Counter[str]] = {"in": Counter(), "out": Counter()}
    for message_id, direction, sealed in await house.store.content.read(None, _sealed_messages, house.mailbox_id):
        record = key.open_record(MessageRecord.place(message_id), sealed, MessageRecord)
        found[direction][record.mail.message_id] += 1
    return found


def _sealed_messages(conn: Connection, mailbox_id: UUID) -> list[tuple[UUID, str, bytes]]:
    query = select(messages.c.message_id, messages.c.direction, messages.c.sealed)
    return [(one[0], one[1], bytes(one[2])) for one in conn.execute(query.where(messages.c.mailbox_id == mailbox_id))]


def count_messages(conn: Connection, mailbox_id: UUID) -> tuple[int, int]:
    """Return how many inbound messages there are, and how many of them are blobs."""
    query = select(messages.c.raw_place).where(messages.c.mailbox_id == mailbox_id, messages.c.direction == "in")
    places = list(conn.execute(query).scalars())
    return len(places), places.count(BLOB)


async def has_all(house: House, daemon: Daemon) -> bool:
    count, blobs = await house.store.content.read(None, count_messages, house.mailbox_id)
    if count >= MAILS + OLD_MAILS and await _is_backfilled(house):
        assert blobs == 1
        return True
    await _ring_after_kill(house, daemon)
    return False


async def _is_backfilled(house: House) -> bool:
    found = await house.store.content.read(house.account_id, backfills.get_backfill, house.mailbox_id)
    return found.status is BackfillStatus.DONE


async def _is_over(house: House, daemon: Daemon, message_id: UUID) -> bool:
    stands, at = await house.store.content.read(house.account_id, _standing, message_id)
    if stands.status is ReplyStatus.SENT:
        return stands.sent_copy is SentCopy.FILED
    # Looked for in Sent and not found: now it waits, for a person at last.
    if stands.status is ReplyStatus.UNKNOWN and (stands.due_at is None or stands.due_at > at):
        return True
    await _ring_after_kill(house, daemon)
    return False


async def is_edited(house: House) -> bool:
    return await house.store.content.read(None, _waiting_edits, house.mailbox_id) == 0


def _waiting_edits(conn: Connection, mailbox_id: UUID) -> int:
    count: int = conn.execute(select(func.count()).where(edits.c.mailbox_id == mailbox_id)).scalar_one()
    return count


def _standing(conn: Connection, account_id: UUID, message_id: UUID) -> tuple[Reply, datetime]:
    return outbox.get_reply(conn, account_id, message_id), now(conn)


async def _is_forgotten(house: House) -> bool:
    return (await house.store.content.read(house.account_id, erasures.get_erasure, house.mailbox_id)).step == "done"


async def _ring_after_kill(house: House, daemon: Daemon) -> None:
    """A dead worker's mailbox is looked for every few seconds; let it be now."""
    if daemon.kills and house.engine == "postgresql":
        mailbox = await house.store.content.read(house.account_id, mailboxes.get_mailbox, house.mailbox_id)
        if mailbox.state is not MailboxState.DISCONNECTING:
            await house.store.content.transaction(None, _ring)


def _ring(conn: Connection) -> None:
    wake(conn, "mailboxes")


def _token_of(raw: bytes) -> str:
    return str(message_from_bytes(raw, policy=policy.compat32)[OWN_HEADER] or "").strip()


def message_id_of(raw: bytes) -> str:
    return str(message_from_bytes(raw, policy=policy.compat32)["Message-ID"])
