"""A mailbox is disconnected while all is under way: mail comes in, old mail is read, replies leave, webhooks are told.

Nothing of that brings anything back, and the mailbox beside it, which shares the daemon, goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import Connection, select

from config import load
from ingestd.build.store import open_store
from ingestd.build.webhooks import open_webhook_desk
from ingestd.demo.provider import DemoProvider
from ingestd.events.desk import NewWebhook
from ingestd.mail.compose import AttachmentContent
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.records import Receipt
from storage import backfills, mailboxes
from storage.backfills import BackfillStatus
from storage.outbox import ReplyStatus
from storage.tables import outbox
from storage.types import new_id
from tests.crash import story
from tests.crash.world import Daemon, House, Process, World, link, until
from tests.events.receiver import NO_CONTENT, Received, Receiver
from tests.privacy.scene import customer_of, make_mail, open_scene
from tests.privacy.witness import Witness, forms, look, take_slices

pytestmark = pytest.mark.timeout(240)

_OLD_MAILS, _REPLIES, _SENT = 200, 8, 2
"""Of the replies, so many are accepted at once; then the server takes its time."""
_PAUSE_SECONDS = 0.06
"""Between two mails that come in."""
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    async with open_scene(request.param, tmp_path, server, poll_seconds=1) as opened:
        yield opened


@pytest.mark.postgresql_is_long
async def test_a_disconnect_in_full_flight(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    witness, flight = Witness(f"Zeugenwört{secrets.token_hex(5)}"), _Flight(world)
    async with world.house() as house, flight.receiver.serving():
        other_address = world.addresses.pop()
        other_id = await link(house.store, house.account_id, other_address)
        await flight.subscribe(house)
        flight.slow_down(monkeypatch)
        witness.words += [witness.stem, customer_of(world), house.address]
        for number in range(_OLD_MAILS):
            raw, at = make_mail(witness, customer_of(world), house.address, 1000 + number), timedelta(hours=number)
            await world.provider.deliver(house.address, raw, received_at=_LONG_AGO + at)
        daemon = Daemon(house)
        try:
            async with flight.mail_coming_in(house.address, other_address, witness):
                await daemon.start()
                await daemon.until(lambda: _is_new_mail_in(house), "new mail is taken in beside the old")
                await _queue_replies(house, witness)
                await daemon.until(lambda: flight.is_in_full_flight(house), "everything is under way")
                witness.slices = await take_slices(world, house)
                before = await look(world, house, witness)
                assert min(before.values()) > 0, "the control: all of it is found before"
                assert await flight.is_in_full_flight(house), "the control: nothing has ended meanwhile"

                receipt = await _disconnect(house)
                told, given = len(flight.receiver.got), flight.accepted
                assert receipt.left == {}
                assert receipt.deleted["outbox"] == _REPLIES
                flight.go_on()
                mails = flight.delivered
                await until(lambda: flight.is_past(mails), "more comes in for both")

            await daemon.until(lambda: _has_taken(house, other_id, flight.delivered), "the other one has all its mail")
            await _reply(house, await _tickets(house, other_id, 1), "Still here.")
            await daemon.until(lambda: _is_sent(house, other_id), "the other one's reply is sent")
            assert _SENT < given < _REPLIES, "the control: some had left, and some were still to leave"
            assert flight.accepted == given + 1, "a reply left after the disconnect"
            assert len(await world.provider.mails(customer_of(world))) <= given + 1
            await flight.receiver.until(lambda: "erasure.completed" in flight.receiver.types())
            mine = [*forms(witness.stem), *forms(house.address)]  # the customer writes to the other one, too
            bodies = [one.body for one in flight.receiver.got]
            assert [one for one in bodies[:told] for needle in mine if needle in one], "the control: content was told"
            late = [needle for one in bodies[told:] for needle in mine if needle in one]
            assert late == [], "content was told after the key was destroyed"
            assert flight.receiver.wrong == []
            await story.check_forgotten(world, house)
            assert world.provider.auth.grants.living_grants(other_address) == 1
            await daemon.stop()
            await story.check_forgotten(world, house)
            after = await look(world, house, witness)
            print(f"{world.engine}: slices found before {before}, after {after}")
            assert after["blob"] == 0
            if world.engine == "sqlite":
                assert after["wrapped key"] == 0
                assert sum(after.values()) * 10 < sum(before.values())
        finally:
            flight.go_on()
            await daemon.process.kill()


class _Flight:
    """What goes on around the mailbox: a sender of mail, a slow server for what leaves, a slow receiver of webhooks."""

    def __init__(self, world: World) -> None:
        self.receiver = Receiver(respond=self._respond)
        self.delivered = 0
        """Mails that came in, in each of the two mailboxes."""
        self.accepted = 0
        """Replies that the server was given whole."""
        self._world = world
        self._goes_on = asyncio.Event()
        self._mailbox_id = ""
        self._told_content = False
        self._told_slowly = 0

    async def subscribe(self, house: House) -> None:
        """Add a webhook that wants content, to the configuration and the store."""
        self._mailbox_id = str(house.mailbox_id)
        more = f"egress: {{allow: ['{self.receiver.allowed}']}}\nwebhooks: {{hold_seconds: 1}}\n"
        house.config.write_text(house.config.read_text() + more)
        async with open_store(load(house.config)) as store, open_webhook_desk(store) as desk:
            new = NewWebhook(self.receiver.url, content=True, after=0)
            _, self.receiver.secret = await desk.create(house.account_id, new_id(), new)

    def slow_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the server that replies leave by accept the first ones, and the others when `go_on` is called."""
        assert isinstance(self._world.provider, DemoProvider)
        imap, customer = self._world.provider._mailboxes, customer_of(self._world)
        append = imap.append

        async def slow(address: str, *rest: Any, **more: Any) -> None:
            if address == customer:
                self.accepted += 1
                if self.accepted > _SENT:
                    await self._goes_on.wait()
            await append(address, *rest, **more)

        monkeypatch.setattr(imap, "append", slow)

    def go_on(self) -> None:
        self._goes_on.set()

    @contextlib.asynccontextmanager
    async def mail_coming_in(self, address: str, other: str, witness: Witness) -> AsyncIterator[None]:
        async def deliver() -> None:
            while True:
                customer, number = customer_of(self._world), self.delivered
                await self._world.provider.deliver(address, make_mail(witness, customer, address, number))
                # pymap gives two mails of one Adler-32 sum the same EMAILID, as short ones with a number in them have.
                head = f"From: {customer}\r\nTo: {other}\r\nMessage-ID: <{number}@example.org>\r\n"
                strange = f"{head}\r\n{secrets.token_hex(400)}\r\n"
                await self._world.provider.deliver(other, strange.encode())
                self.delivered += 1
                await asyncio.sleep(_PAUSE_SECONDS)

        delivering = asyncio.create_task(deliver())
        try:
            yield
        finally:
            delivering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await delivering

    async def is_past(self, delivered: int) -> bool:
        return self.delivered > delivered

    async def is_in_full_flight(self, house: House) -> bool:
        """Whether mail, old mail, replies and webhooks are all in the middle."""
        backfill = await house.store.content.read(house.account_id, backfills.get_backfill, house.mailbox_id)
        replies = await house.store.content.read(house.account_id, _statuses, house.mailbox_id)
        assert backfill.status is BackfillStatus.RUNNING, "the old mail was read too soon: let there be more"
        wanted = {ReplyStatus.SENT, ReplyStatus.SENDING, ReplyStatus.QUEUED}
        slow = self.accepted > _SENT and self._told_slowly > 0
        return slow and backfill.seen > 0 and replies.keys() >= wanted

    async def _respond(self, one: Received) -> bytes:
        """Take the first that has content of the mailbox at once, and the next ones slowly."""
        data = one.event["data"]
        content = "message" in data and data["mailbox_id"] == self._mailbox_id
        if content and self._told_content:
            self._told_slowly += 1
            try:
                await self._goes_on.wait()
            finally:
                self._told_slowly -= 1
        self._told_content |= content
        return NO_CONTENT


async def _disconnect(house: House) -> Receipt:
    command = Process(house, "mailbox", "disconnect", str(house.mailbox_id), "--json")
    command.log = house.folder / "command"
    await command.start()
    assert await command.end() == 0, command.tail()
    return msgspec.json.decode(command.log.read_bytes(), type=Receipt)


async def _queue_replies(house: House, witness: Witness) -> None:
    for number in await _tickets(house, house.mailbox_id, _REPLIES):
        await _reply(house, [number], witness.stem)


async def _reply(house: House, numbers: Sequence[int], text: str) -> None:
    draft = ReplyDraft(text, [AttachmentContent(f"{text}.txt", "text/plain", text.encode())])
    for number in numbers:
        await create_reply(house.store.desk, house.settings.outbound, house.account_id, number, draft)


async def _tickets(house: House, mailbox_id: UUID, count: int) -> list[int]:
    found = await house.store.desk.tickets(house.account_id, mailbox_id=mailbox_id, limit=count)
    assert len(found) == count
    return [one.ticket.number for one in found]


def _statuses(conn: Connection, account_id: UUID, mailbox_id: UUID) -> Counter[str]:
    mine = outbox.c.account_id == account_id, outbox.c.mailbox_id == mailbox_id
    return Counter(conn.execute(select(outbox.c.status).where(*mine)).scalars())


async def _is_new_mail_in(house: House) -> bool:
    """Whether the large one is, and there are tickets to reply to."""
    messages, blobs = await house.store.content.read(None, story.count_messages, house.mailbox_id)
    return blobs > 0 and messages >= _REPLIES


async def _has_taken(house: House, mailbox_id: UUID, count: int) -> bool:
    taken, _ = await house.store.content.read(None, story.count_messages, mailbox_id)
    state = (await house.store.content.read(house.account_id, mailboxes.get_mailbox, mailbox_id)).state
    assert state == "active"
    assert taken <= count
    return taken == count


async def _is_sent(house: House, mailbox_id: UUID) -> bool:
    return (await house.store.content.read(house.account_id, _statuses, mailbox_id)) == {ReplyStatus.SENT: 1}
