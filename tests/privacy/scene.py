"""A mailbox with something in every table, made by the real daemon and the real code."""

from __future__ import annotations

import base64
import random
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import cast
from uuid import UUID

from sqlalchemy import Connection, func, insert, select

from connectors.base import RawMessage
from ingestd.inbound import backfill_steps
from ingestd.inbound.commit import commit_batch
from ingestd.inbound.intake import MailboxContext, read_batch, seal_batch
from ingestd.inbound.parser import ParserPool, ParserRejected
from ingestd.mail.compose import AttachmentContent
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.records import (
    CursorRecord,
    EditRecord,
    GrantRecord,
    MailboxRecord,
    PushRecord,
    UploadRecord,
    WebhookRecord,
)
from ingestd.uploads import store_upload
from storage import backfills, deliveries, edits, grants, mailboxes, pushes, webhooks
from storage.backfills import BackfillStatus
from storage.edits import NewEdit
from storage.requests import Claim
from storage.sealing import DataKey
from storage.tables import MAILBOX_TABLES, forgotten_messages, messages, quarantine
from storage.types import new_id
from tests.crash import story
from tests.crash.world import Daemon, House, Tuning, World, open_world
from tests.privacy.witness import Witness, take_slices
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import S3

_MAILS = 3


@asynccontextmanager
async def open_scene(
    engine: str, folder: Path, postgres: PostgresServer | None, s3: S3 | None = None, *, poll_seconds: float = 30
) -> AsyncIterator[World]:
    """As `open_world`, with addresses that occur nowhere else on this machine."""
    mark = secrets.token_hex(5)
    tuning = Tuning(poll_seconds=poll_seconds, http_timeout_seconds=1, attempts_max=1)
    customers = [f"zeugin-{mark}@example.org"]
    async with open_world(
        engine, folder, postgres, houses_max=3, name=f"postfach-{mark}-", customers=customers, tuning=tuning, s3=s3
    ) as world:
        yield world


def customer_of(world: World) -> str:
    return world.provider.addresses[-1]


async def live(world: World, house: House, daemon: Daemon) -> Witness:
    """Mail comes in, one is large and one is quarantined, a reply goes out; return what to look for."""
    witness = Witness(f"Zeugenwört{secrets.token_hex(5)}")
    for number in range(_MAILS):
        await world.provider.deliver(house.address, make_mail(witness, customer_of(world), house.address, number))
    await daemon.start()
    await daemon.until(lambda: _took(house, _MAILS), "the mails are taken in")
    await _quarantine(house, make_mail(witness, customer_of(world), house.address, _MAILS))
    word = _word(witness)
    draft = ReplyDraft(
        f"Antwort {word}",
        [AttachmentContent(f"{_word(witness)}.txt", "text/plain", word.encode())],
        author=_word(witness),
    )
    created = await create_reply(
        house.store.desk, house.settings.outbound, house.account_id, 1, draft, idempotency_key=word
    )
    told = await story.after_reply(world, house, daemon, created.message_id)
    assert told.reply.sent_copy == "filed"
    await _upload(house, UploadRecord(f"{_word(witness)}.txt", "text/plain", _word(witness).encode()))
    await _give_up_an_edit(house, _word(witness))
    await _stop_a_backfill(house)
    await daemon.until(lambda: story.is_warned(house), "a warning is told")
    key = await house.store.keys.mailbox(house.account_id, house.mailbox_id)
    await house.store.content.transaction(house.account_id, _subscribe, house.mailbox_id, key)
    await house.store.content.transaction(
        house.account_id, _tell_a_webhook, await house.store.keys.account(house.account_id)
    )
    mailbox_key = await house.store.keys.mailbox(house.account_id, house.mailbox_id)
    known_by = mailbox_key.hash("identity", b"<old@example.org>")
    await house.store.content.transaction(house.account_id, _forget_a_message, house.mailbox_id, known_by)
    witness.words += [witness.stem, customer_of(world), house.address, told.reply_id, *await _tokens(house)]
    witness.slices = await take_slices(world, house)
    witness.keys = [mailbox_key._key, (await house.store.keys.account(house.account_id))._key]
    empty = await house.store.content.read(None, _empty_tables, house)
    assert not empty, empty
    return witness


def _word(witness: Witness) -> str:
    """Make a word with the stem that is looked for; the umlaut gives it other bytes in each encoding."""
    return f"{witness.stem}{secrets.token_hex(3)}"


def make_mail(witness: Witness, customer: str, address: str, number: int) -> bytes:
    mail = EmailMessage()
    mail["From"] = f'"{_word(witness)}" <{customer}>'
    mail["To"] = address
    mail["Subject"] = f"Frage {_word(witness)}"
    mail["Date"] = format_datetime(datetime(2026, 1, 2, tzinfo=UTC))
    mail["Message-ID"] = f"<{number}.{customer}>"
    mail.set_content(f"Es geht um {_word(witness)}.", cte=("quoted-printable", "base64", "8bit")[number % 3])
    large = base64.b64encode(random.Random(number).randbytes(40_000)) if number == 1 else b""
    content, name = _word(witness).encode() + large, f"{_word(witness)}.bin"
    mail.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return mail.as_bytes()


class _RejectingParser:
    """What the pool does with mail that no parser survives."""

    async def transform_all(self, raws: Sequence[bytes], **_: object) -> list[ParserRejected]:
        return [ParserRejected("timeout") for _ in raws]


async def _quarantine(house: House, content: bytes) -> None:
    store = house.store
    mailbox = await store.content.read(house.account_id, mailboxes.get_mailbox, house.mailbox_id)
    key = await store.keys.mailbox(house.account_id, house.mailbox_id)
    record = key.open_record(MailboxRecord.place(house.mailbox_id), mailbox.sealed, MailboxRecord)
    context = MailboxContext(house.account_id, house.mailbox_id, key, record, frozenset(), frozenset())
    raw = RawMessage(
        provider_id="",
        locator="x",
        folder="INBOX",
        received_at=datetime.now(UTC),
        size_bytes=len(content),
        header=b"",
        content=content,
    )
    reads = await read_batch(cast("ParserPool", _RejectingParser()), context, [raw])
    prepared = await seal_batch(store.blobs, context, reads, (), 1 << 20)
    assert mailbox.cursor_sealed is not None
    cursor = key.open_record(CursorRecord.place(house.mailbox_id), mailbox.cursor_sealed, CursorRecord).cursor
    await store.content.transaction(
        house.account_id,
        commit_batch,
        context,
        prepared,
        fence=mailbox.fence,
        cursor_sequence=mailbox.cursor_sequence,
        cursor=cursor,
    )


async def _upload(house: House, record: UploadRecord) -> None:
    """Leave a file that waits for its reply, and the request that it came with."""
    key = await house.store.keys.account(house.account_id)

    async def request(upload_id: UUID) -> Claim:
        asked = key.hash("idempotency", record.content), key.hash("idempotent request", record.content)
        return Claim(*asked, str(upload_id), house.mailbox_id)

    await store_upload(house.store.desk, house.settings, house.account_id, house.mailbox_id, record, request=request)


async def _give_up_an_edit(house: House, folder: str) -> None:
    """Leave an edit that could not be done: it names a folder of the mailbox."""
    key, edit_id = await house.store.keys.mailbox(house.account_id, house.mailbox_id), new_id()
    sealed = key.seal_record(EditRecord.place(edit_id), EditRecord("1:1:INBOX", "INBOX", folder))

    def write(conn: Connection, account_id: UUID) -> None:
        mine = messages.c.mailbox_id == house.mailbox_id, messages.c.direction == "in"
        message_id = conn.execute(select(messages.c.message_id).where(*mine).limit(1)).scalar_one()
        edits.insert_edits(conn, account_id, [NewEdit(edit_id, house.mailbox_id, message_id, "move", sealed)])
        edits.give_up(conn, account_id, [edit_id], reason="refused")

    await house.store.content.transaction(house.account_id, write)


def _tell_a_webhook(conn: Connection, account_id: UUID, key: DataKey) -> None:
    """A webhook that takes nothing: what it was to be told waits."""
    webhook_id = new_id()
    sealed = key.seal_record(
        WebhookRecord.place(webhook_id), WebhookRecord("https://desk.example.com/", "whsec_c2VjcmV0")
    )
    webhooks.insert_webhook(
        conn, account_id, webhook_id, types=["*"], content=True, after=0, sealed=sealed, webhooks_max=10
    )
    deliveries.take(conn, webhooks.get_webhook(conn, account_id, webhook_id), 1000)
    webhooks.disable(conn, account_id, webhook_id, "gone")


async def _stop_a_backfill(house: House) -> None:
    """Leave a backfill that was stopped: it remembers what messages name."""
    key = (await house.store.keys.mailbox(house.account_id, house.mailbox_id)).hash("thread", b"<older@example.org>")

    def write(conn: Connection, account_id: UUID) -> None:
        if backfills.get_backfill(conn, account_id, house.mailbox_id).status is not BackfillStatus.RUNNING:
            backfill_steps.ask(conn, account_id, house.mailbox_id, days=None, newest_first=True)
        backfill_steps.stop(conn, account_id, house.mailbox_id)
        mine = messages.c.mailbox_id == house.mailbox_id
        message_id = conn.execute(select(messages.c.message_id).where(mine).limit(1)).scalar_one()
        backfills.insert_references(conn, account_id, house.mailbox_id, [(key, message_id)])

    await house.store.content.transaction(house.account_id, write)


def _subscribe(conn: Connection, account_id: UUID, mailbox_id: UUID, key: DataKey) -> None:
    """Note a subscription as it is where Microsoft Graph tells of news."""
    fence = mailboxes.get_mailbox(conn, account_id, mailbox_id).fence
    sealed = key.seal_record(PushRecord.place(mailbox_id), PushRecord("id", "secret", "https://mail.example.com/push"))
    pushes.want(conn, account_id, mailbox_id, fence=fence)
    end = datetime(2030, 1, 1, tzinfo=UTC)
    pushes.note_made(
        conn, account_id, mailbox_id, fence=fence, sealed=sealed, expires_at=end, renew_in=timedelta(days=1)
    )


def _forget_a_message(conn: Connection, account_id: UUID, mailbox_id: UUID, identity_key: bytes) -> None:
    """One was deleted for its age: what it would be known by stays."""
    row = {"account_id": account_id, "mailbox_id": mailbox_id, "identity_key": identity_key}
    conn.execute(insert(forgotten_messages).values(row))


async def _tokens(house: House) -> list[str]:
    grant = await house.store.content.read(house.account_id, grants.get_grant, house.mailbox_id)
    key = await house.store.keys.mailbox(house.account_id, house.mailbox_id)
    record = key.open_record(GrantRecord.place(house.mailbox_id), grant.sealed, GrantRecord)
    assert record.refresh_token is not None
    return [record.access_token, record.refresh_token]


async def _took(house: House, count: int) -> bool:
    return (await house.store.content.read(None, story.count_messages, house.mailbox_id))[0] >= count


def _empty_tables(conn: Connection, house: House) -> set[str]:
    """Return the tables that hold nothing of the mailbox: the scene would prove nothing about them."""
    assert {messages, quarantine} <= set(MAILBOX_TABLES)
    return {
        table.name
        for table in MAILBOX_TABLES
        if not conn.execute(select(func.count()).where(table.c.mailbox_id == house.mailbox_id)).scalar_one()
    }
