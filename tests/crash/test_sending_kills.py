"""Killed again and again while replies are on their way through a real Postfix: each is sent once, or is unknown.

One mailbox is of a provider that files its copies in Sent, the other of one that leaves it to us.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select

from config import Outbound
from connectors.base import OWN_HEADER
from ingestd.demo.authserver import AuthServer
from ingestd.inbound.rules import Rules
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.records import ReplyRecord
from storage import outbox
from storage.outbox import ReplyStatus, SentCopy
from storage.tables import outbox as outbox_table
from storage.ticket_lists import TicketFilter, list_tickets
from tests.crash.sending_worker import MailboxPlace, WorkerConfig
from tests.crash.world import ROOT
from tests.office import Office, mail
from tests.servers.certs import Certificates
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures import USERS, auth_server, certificates, dovecot, started
from tests.servers.postfix import Postfix
from tests.stores import Stores

__all__ = ["auth_server", "certificates", "dovecot"]

KILLS, KILLS_LONG = 10, 250
"""On each database."""
WAITING_MIN = 4
"""Replies that wait in each mailbox when a life begins."""
TICKETS_PER_KILL = 2 * WAITING_MIN
TICKETS_PER_BATCH = 100
POINTS_MAX = 36
"""A life passes about eight before it sends."""
FINISH_SECONDS = 60
SETTINGS = Outbound(
    replies_per_ticket_per_hour_max=10**6,
    replies_per_ticket_per_day_max=10**6,
    replies_per_recipient_per_day_max=10**6,
)
FILES, FILES_NOT, CUSTOMER = USERS[150:153]


@dataclass
class Campaign:
    """Two mailboxes, and a process that sends for them and dies."""

    offices: list[Office]
    config: Path
    random: random.Random
    replies: list[tuple[Office, UUID]] = field(default_factory=list)
    tickets: dict[str, list[int]] = field(default_factory=dict)
    """Those that have no reply, by their mailbox's address."""
    kills: int = 0
    process: asyncio.subprocess.Process | None = None

    async def life(self, plan: dict[str, Any]) -> int:
        """Return how it ended."""
        if self.process is None:
            with (self.config.parent / "log").open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "tests.crash.sending_worker", str(self.config)),
                    cwd=ROOT,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(plan).encode() + b"\n")
        async with asyncio.timeout(FINISH_SECONDS + 30):
            line = await self.process.stdout.readline()
        assert line, self.log()
        return int(line)

    async def kill(self) -> None:
        await self.fill()
        plan: dict[str, Any] = {"at": self.random.randint(1, POINTS_MAX)}
        if self.random.random() < 0.4:
            plan = {"after": self.random.uniform(0.05, 0.6)}
        status = await self.life(plan)
        assert status in (-signal.SIGKILL, 0), self.log()
        self.kills += status == -signal.SIGKILL

    def log(self) -> str:
        return (self.config.parent / "log").read_text()[-3000:]

    async def fill(self) -> None:
        """Have some replies wait in each mailbox."""
        for office in self.offices:
            read = office.stores.content.read
            for _ in range(WAITING_MIN - await read(office.held.account_id, _waiting, office.held.mailbox_id)):
                draft = ReplyDraft(f"Answer {len(self.replies)}.")
                number = self.tickets[office.context.record.address].pop()
                made = await create_reply(office.desk, SETTINGS, office.held.account_id, number, draft)
                self.replies.append((office, made.message_id))

    async def open_tickets(self, count: int) -> None:
        """A ticket for each reply: those of one ticket would wait behind one that is unknown."""
        for office in self.offices:
            address = office.context.record.address
            mails = [mail(sender=CUSTOMER, message_id=f"<{number}-to-{address}>") for number in range(count)]
            for at in range(0, count, TICKETS_PER_BATCH):
                await office.take(*mails[at : at + TICKETS_PER_BATCH])
            read, held = office.stores.content.read, office.held
            found = await read(held.account_id, list_tickets, TicketFilter(mailbox_id=held.mailbox_id), limit=count)
            self.tickets[address] = [one.number for one in found]

    async def end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            await self.process.wait()


def _waiting(conn: Connection, account_id: UUID, mailbox_id: UUID) -> int:
    where = (outbox_table.c.mailbox_id == mailbox_id, outbox_table.c.status == ReplyStatus.QUEUED)
    return int(conn.execute(select(func.count()).select_from(outbox_table).where(*where)).scalar_one())


@pytest.fixture(scope="module")
def filing_postfix(certificates: Certificates, dovecot: Dovecot) -> Iterator[Postfix]:
    yield from started(lambda: Postfix(certificates, dovecot, [FILES, FILES_NOT, CUSTOMER], filing=[FILES]))


@pytest.fixture
async def campaign(
    stores: Stores,
    filing_postfix: Postfix,
    dovecot: Dovecot,
    certificates: Certificates,
    auth_server: AuthServer,
    tmp_path: Path,
) -> AsyncIterator[Campaign]:
    endless = Rules(sender_tickets_max=0)
    first = await Office.open(stores, address=FILES, rules=endless)
    offices = [first, await Office.open(stores, address=FILES_NOT, beside=first, rules=endless)]
    places = []
    for office in offices:
        address = office.context.record.address
        token = auth_server.issue(address).access_token
        places.append(MailboxPlace(str(office.held.mailbox_id), address, token, files=address == FILES))
    config = WorkerConfig(
        content=stores.urls.content,
        keystore=stores.urls.keystore,
        blobs=str(stores.urls.blobs),
        imap_port=dovecot.port_tls,
        smtp_port=filing_postfix.port_tls,
        ca_file=str(certificates.ca_file),
        mailboxes=places,
    )
    config.write(tmp_path / "worker.json")
    seed = stores.urls.content.partition(":")[0]
    begun = Campaign(offices, tmp_path / "worker.json", random.Random(seed))
    yield begun
    await begun.end()


async def check(campaign: Campaign, dovecot: Dovecot, postfix: Postfix) -> Counter[str]:
    """Assert what must hold of every reply; return how many ended how."""
    async with asyncio.timeout(30):
        while postfix.waiting():
            await asyncio.sleep(0.05)
    ends: Counter[str] = Counter()
    for office, message_id in campaign.replies:
        reply = await office.stores.content.read(office.held.account_id, outbox.get_reply, message_id)
        record = office.context.key.open_record(ReplyRecord.place(message_id), reply.sealed, ReplyRecord)
        header = f"{OWN_HEADER}: {record.token}".encode()
        came = dovecot.count(CUSTOMER, "INBOX", header)
        filed = dovecot.count(record.sender, "Sent", header)
        told = f"{reply.status} ({reply.reason}, {reply.sent_copy}): taken {came} times, {filed} in Sent"
        assert came == postfix.accepted(record.message_id) <= 1, told
        if reply.status is ReplyStatus.SENT:
            assert (came, filed, reply.sent_copy) == (1, 1, SentCopy.FILED), told
        else:
            assert reply.status is ReplyStatus.UNKNOWN, told
            assert filed == 0, f"it lies in Sent and was not found: {told}"
        ends[reply.status.value] += 1
    for office in campaign.offices:
        await office.check()
    return ends


async def _kill_and_check(campaign: Campaign, kills: int, dovecot: Dovecot, postfix: Postfix) -> None:
    await campaign.open_tickets(kills * TICKETS_PER_KILL)
    while campaign.kills < kills:
        await campaign.kill()
    assert await campaign.life({"finish": FINISH_SECONDS}) == 0, campaign.log()
    ends = await check(campaign, dovecot, postfix)
    print(f"{campaign.kills} kills, {dict(ends)}")
    assert ends["sent"], "nothing was ever sent: the kills came before the story began"


@pytest.mark.timeout(300)
async def test_killed_while_replies_are_under_way(
    campaign: Campaign, dovecot: Dovecot, filing_postfix: Postfix
) -> None:
    await _kill_and_check(campaign, KILLS, dovecot, filing_postfix)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_while_replies_are_under_way_for_long(
    campaign: Campaign, dovecot: Dovecot, filing_postfix: Postfix
) -> None:
    await _kill_and_check(campaign, KILLS_LONG, dovecot, filing_postfix)
