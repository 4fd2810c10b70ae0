"""Comparing a mailbox with the store: every message is accounted for, or taken in once; and the turns of a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, insert, select, update

from config import Inbound
from connectors.base import FINGERPRINTS_MAX, ConnectorError, Fingerprint, HistoryPlan, RawMessage, TemporaryError
from ingestd.inbound.audit import Audit, Audited, AuditTools, audit, take_missed
from ingestd.inbound.audits import Audits
from ingestd.inbound.identity import header_key, thread_key
from ingestd.inbound.intake import MailboxContext
from storage import audits, leases, mailboxes, tables
from storage.audits import Fate
from storage.errors import Conflict
from storage.figures import read_figures
from storage.mailboxes import MailboxState
from storage.messages import Identities
from tests.inbound.attic import imported
from tests.office import HereParser, Office, mail
from tests.plans import plans
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long


def letter(name: str) -> bytes:
    return mail(name, message_id=f"<{name}@x.example>", text=f"This is {name}.")


@dataclass
class Box:
    """The reader of somebody who compares, on a server with these mails: new ones, and old ones."""

    new: dict[str, bytes] = field(default_factory=dict)
    """By locator."""
    old: dict[str, bytes] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    """Of which messages the headers were asked for, together."""
    fetched: list[str] = field(default_factory=list)
    error: ConnectorError | None = None
    closed: int = 0

    async def claimed(self, cursor: str) -> AsyncIterator[Sequence[str]]:
        if self.error is not None:
            raise self.error
        yield list(self.new)

    async def claimed_history(self, plan: HistoryPlan, cursor: str, changes: str) -> AsyncIterator[Sequence[str]]:
        yield list(self.old)

    async def fingerprints(self, locators: Sequence[str]) -> dict[str, Fingerprint]:
        self.asked.append(list(locators))
        there = self.new | self.old
        return {one: Fingerprint(None, header_of(there[one])) for one in locators if one in there}

    async def fetch(self, locator: str) -> RawMessage | None:
        self.fetched.append(locator)
        raw = (self.new | self.old).get(locator)
        if raw is None:
            return None
        return RawMessage(locator, "INBOX", len(raw), datetime(2026, 1, 1, tzinfo=UTC), raw, header_of(raw))

    async def close(self) -> None:
        self.closed += 1


def header_of(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def seen_by(box: Box) -> Audited:
    return Audited(box)  # type: ignore[arg-type]


def tools(office: Office, fetches_max: int = 1000) -> AuditTools:
    return AuditTools(
        content=office.stores.content,
        blobs=office.stores.blobs,
        parser=HereParser(),  # type: ignore[arg-type]
        blob_bytes_min=office.desk.blob_bytes_min,
        fetches_max=fetches_max,
        ticket_status="closed",
    )


async def compared(office: Office, box: Box, *, repair: bool = False, fetches_max: int = 1000) -> Audit:
    return await audit(tools(office, fetches_max), office.context, seen_by(box), repair=repair)


async def take(office: Office, *names: str) -> None:
    raws = [letter(name) for name in names]
    now = datetime.now(UTC)
    header = [raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for raw in raws]
    await office.take_fetched(
        [
            RawMessage(f"1:{n}:INBOX", "INBOX", len(raw), now, raw, header[n], withheld=False)
            for n, raw in enumerate(raws)
        ]
    )


async def test_each_message_has_its_fate(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a", "b", "poison")
    gone = header_key(office.context.key, letter("gone").partition(b"\r\n\r\n")[0] + b"\r\n\r\n")

    def forget(conn: Connection, account_id: UUID) -> None:
        row = {"account_id": account_id, "mailbox_id": office.held.mailbox_id}
        conn.execute(insert(tables.forgotten_messages).values(**row, identity_key=b"1", header_key=gone))

    await stores.content.transaction(office.held.account_id, forget)
    box = Box(
        {
            "1:0:INBOX": letter("a"),
            "9:9:INBOX": letter("b"),  # moved
            "1:2:INBOX": letter("poison"),
            "1:5:INBOX": letter("gone"),
            "1:6:INBOX": letter("lost"),
        }
    )
    found = await compared(office, box)
    assert found.fates == {Fate.TAKEN: 2, Fate.QUARANTINED: 1, Fate.FORGOTTEN: 1}
    assert (found.listed, found.fetched, found.unaccounted, found.complete) == (5, 3, ["1:6:INBOX"], True)
    # The header did for all that is known; what is not was fetched whole.
    assert (box.asked, box.fetched) == ([["9:9:INBOX", "1:5:INBOX", "1:6:INBOX"]], ["1:6:INBOX"])
    assert await office.event_types() == [
        "ticket.created",
        "message.received",
        "ticket.created",
        "message.received",
        "message.quarantined",
    ]
    await office.check()


async def test_what_is_missing_is_taken_in_once(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a")
    box = Box({"1:0:INBOX": letter("a"), "1:1:INBOX": letter("lost"), "1:2:INBOX": letter("poison")})
    found = await compared(office, box, repair=True)
    assert (len(found.unaccounted), found.repaired) == (2, 2)
    assert (await office.ticket(2)).messages[0].record.mail.subject == "lost"
    again = await compared(office, box, repair=True)
    assert (again.unaccounted, again.repaired) == ([], 0)
    # Two who repair at once, or one and its worker: each of them had found it missing.
    message = await box.fetch("1:1:INBOX")
    assert message is not None
    both = await asyncio.gather(
        *(take_missed(tools(office), office.context, message, imported=False) for _ in range(2))
    )
    assert [one.known for one in both] == [1, 1]
    assert (await office.event_types()).count("ticket.created") == 2
    await office.check()


class _Killed(Exception):
    pass


@pytest.mark.parametrize("phase", ["committing", "committed"])
async def test_a_repair_that_was_cut_off_is_done_once_by_the_next(
    stores: Stores, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = await Office.open(stores)
    await take(office, "a")
    box = Box({"1:0:INBOX": letter("a"), "1:1:INBOX": letter("lost"), "1:2:INBOX": letter("more")})

    def kill(name: str) -> None:
        if name == "commit_missed":
            raise _Killed

    with monkeypatch.context() as patched:
        patched.setattr(stores.content, phase, kill)
        with pytest.raises(_Killed):
            await compared(office, box, repair=True)
    await office.check()
    found = await compared(office, box, repair=True)
    assert found.repaired == (2 if phase == "committing" else 1)
    assert (await office.event_types()).count("message.received") == 3
    await office.check()


async def test_each_page_is_read_by_an_index(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a")
    key = thread_key(office.context.key, "<a@x.example>")

    def planned(conn: Connection, account_id: UUID) -> list[str]:
        of = conn, account_id, office.held.mailbox_id
        return plans(
            conn,
            "messages",
            lambda: audits.page_of_places(*of, quarantined=False, after=b"", limit=10),
            lambda: audits.fates_of(*of, Identities([b"1"], [b"2"])),
            lambda: audits.find_known(*of, key, 10),
        )

    found = await stores.content.read(office.held.account_id, planned)
    assert found
    assert [one for one in found if one.startswith("SCAN") or "TEMP B-TREE" in one or "Seq Scan" in one] == []


async def test_old_mail_is_taken_in_as_old_mail(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a")
    await imported(office, [letter("o1"), letter("o2")])
    box = Box({"1:0:INBOX": letter("a")}, {"5:5:INBOX": letter("o2"), "5:6:INBOX": letter("o3")})
    found = await compared(office, box, repair=True)
    assert (found.fates[Fate.TAKEN], found.unaccounted, found.repaired) == (2, ["5:6:INBOX"], 1)
    assert (await office.ticket(4)).ticket.status == "closed"
    assert (await office.event_types())[-2:] == ["ticket.imported", "message.imported"]
    await office.check()


async def test_nothing_is_taken_into_a_mailbox_that_is_not_read(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a")
    await stores.content.transaction(
        office.held.account_id, mailboxes.set_state, office.held.mailbox_id, fence=1 + 1, state=MailboxState.PAUSED
    )
    with pytest.raises(Conflict, match="is not being read"):
        await compared(office, Box({"1:1:INBOX": letter("lost")}), repair=True)
    await office.check()


async def test_a_comparison_ends_at_its_limits(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a")
    found = await compared(office, Box({f"7:{n}:INBOX": letter("a") for n in range(9)}), fetches_max=3)
    assert (found.listed, found.fetched, found.complete) == (3, 3, False)
    lost = Box({f"7:{n}:INBOX": letter(f"lost{n}") for n in range(3)})
    for unaccounted_max, complete in ((2, False), (3, True)):
        found = await audit(tools(office), office.context, seen_by(lost), unaccounted_max=unaccounted_max)
        assert (len(found.unaccounted), found.complete) == (unaccounted_max, complete)


async def test_headers_are_asked_for_many_together(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a", "b")
    box = Box({f"7:{n}:INBOX": letter("ab"[n % 2]) for n in range(2 * FINGERPRINTS_MAX + 1)})
    found = await compared(office, box)
    assert (found.fates, found.unaccounted) == ({Fate.TAKEN: 2 * FINGERPRINTS_MAX + 1}, [])
    assert [len(some) for some in box.asked] == [FINGERPRINTS_MAX, FINGERPRINTS_MAX, 1]
    assert box.fetched == []


async def test_what_goes_meanwhile_is_nobodys_loss(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a")
    box = Box({"1:0:INBOX": letter("a"), "1:1:INBOX": letter("going")})

    class Going(Box):
        async def fetch(self, locator: str) -> RawMessage | None:
            return None

    found = await audit(tools(office), office.context, seen_by(Going(box.new)))
    assert (found.listed, found.unaccounted) == (1, [])


# -- in a daemon -----------------------------------------------------------------------------------


def turns(office: Office, box: Box, days: float = 7.0) -> Audits:
    async def begin(_account_id: UUID, _mailbox_id: UUID) -> tuple[MailboxContext, Audited]:
        return office.context, seen_by(box)

    return Audits(
        office.stores.content,
        office.lease.worker_id,
        settings=lambda: Inbound(audit_days=days),
        tools=lambda: tools(office),
        begin=begin,
    )


async def age(office: Office, days: int) -> None:
    """Let the mailbox have been linked so long ago."""

    def change(conn: Connection, account_id: UUID) -> None:
        created_at = datetime.now(UTC) - timedelta(days=days)
        conn.execute(update(tables.mailboxes).values(created_at=created_at))

    await office.stores.content.transaction(office.held.account_id, change)


async def unaccounted(office: Office) -> int:
    return (await office.stores.content.read(None, read_figures)).unaccounted_messages


async def test_each_mailbox_has_its_turn(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a")
    box = Box({"1:0:INBOX": letter("a"), "1:1:INBOX": letter("lost")})
    assert not await turns(office, box).run_due()  # linked just now
    await age(office, 8)
    assert not await turns(office, box, days=0).run_due()
    assert await turns(office, box).run_due()
    assert await unaccounted(office) == 1
    assert box.closed == 1
    assert not await turns(office, box).run_due()
    rows = await stores.content.read(None, lambda conn: conn.execute(select(tables.mailboxes.c.audited_at)).all())
    assert rows[0][0] is not None
    await office.check()


async def test_one_that_fails_keeps_no_other_waiting(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a")
    await age(office, 8)
    mine = turns(office, Box(error=TemporaryError("away")))
    assert await mine.run_due()
    assert not await mine.run_due()  # in an hour
    assert await turns(office, Box()).run_due()


async def test_what_is_another_processs_is_left_to_it(stores: Stores) -> None:
    office = await Office.open(stores)
    await take(office, "a")
    await age(office, 8)
    box = Box({"1:1:INBOX": letter("lost")})
    mine = turns(office, box)
    begin = mine.begin

    async def begin_late(account_id: UUID, mailbox_id: UUID) -> tuple[MailboxContext, Audited]:
        built = await begin(account_id, mailbox_id)
        await stores.content.transaction(None, leases.release, office.lease.worker_id)
        other = office.lease.worker_id
        await stores.content.transaction(None, leases.register, other)
        await stores.content.transaction(None, leases.claim, other, 60.0, 10)
        return built

    mine.begin = begin_late
    assert await mine.run_due()
    assert await unaccounted(office) == 0
