"""The log's own queries: what they read, by which indexes, and what is left when old events go."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from ingestd.privacy.positions import begin_epoch
from ingestd.wakes import Bell
from storage.accounts import draw_numbers
from storage.database import now
from storage.errors import NotFound
from storage.events import TOPIC, NewEvent, forget_old, insert_events, list_events, read_log, topic_of
from storage.tables import events
from storage.types import new_id
from tests.office import Office, mail
from tests.plans import plans
from tests.stores import Stores


def _tell(conn: Connection, account_id: UUID, *types: str) -> None:
    _, sequence = draw_numbers(conn, account_id, events=len(types))
    insert_events(conn, account_id, sequence, [NewEvent(one) for one in types])


async def test_events_have_the_number_of_their_ticket(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail(), mail(message_id="<q2@example.org>"))
    found = await stores.content.read(office.held.account_id, list_events, 0, 10)
    assert [one.ticket_number for one in found] == [1, 1, 2, 2]
    await stores.content.transaction(office.held.account_id, _tell, "mailbox.paused")
    assert (await stores.content.read(office.held.account_id, list_events, 4, 10))[0].ticket_number is None


async def test_a_log_says_how_far_it_reaches(stores: Stores, account: UUID) -> None:
    empty = await stores.content.read(account, read_log, 0, 10)
    assert (list(empty.events), empty.oldest, empty.latest) == ([], 0, 0)
    await stores.content.transaction(account, _tell, "mailbox.paused", "mailbox.resumed", "mailbox.paused")
    log = await stores.content.read(account, read_log, 1, 1)
    assert ([one.sequence for one in log.events], log.latest) == ([2], 3)
    with pytest.raises(NotFound):
        await stores.content.read(new_id(), read_log, 0, 10)


async def test_old_events_go_from_the_beginning_on(stores: Stores, account: UUID) -> None:
    """A clock that was set back must not leave an old event behind the first that stays: nobody would read it."""
    await stores.content.transaction(account, _tell, *["mailbox.paused"] * 5)
    clock = await stores.content.read(None, now)

    def age(conn: Connection, account_id: UUID) -> None:
        conn.execute(update(events).where(events.c.sequence.in_([1, 2, 4])).values(at=clock - timedelta(days=100)))

    await stores.content.transaction(account, age)
    before = clock - timedelta(days=90)
    assert await stores.content.transaction(account, forget_old, before, 1) == 1
    assert await stores.content.transaction(account, forget_old, before, 10) == 1
    assert await stores.content.transaction(account, forget_old, before, 10) == 0
    log = await stores.content.read(account, read_log, 2, 10)
    assert ([one.sequence for one in log.events], log.oldest, log.latest) == ([3, 4, 5], 2, 5)


async def test_look_ups_go_by_indexes(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())

    def look(conn: Connection, account_id: UUID) -> list[str]:
        return plans(
            conn,
            "events",
            lambda: list_events(conn, account_id, 0, 10),
            lambda: read_log(conn, account_id, 0, 10),
            lambda: forget_old(conn, account_id, now(conn) - timedelta(days=90), 10),
        )

    found = "\n".join(await stores.content.transaction(office.held.account_id, look))
    assert "SCAN events" not in found
    assert "Seq Scan" not in found
    assert "pk_events" in found or "USING INDEX sqlite_autoindex_events_1" in found
    assert "sequence>?" in found or "sequence >" in found


async def test_one_account_rings_for_its_readers_and_for_those_of_all(stores: Stores, account: UUID) -> None:
    bell = Bell()
    stores.content.on_wake(bell.ring)
    with (
        bell.subscribe(topic_of(account)) as mine,
        bell.subscribe(TOPIC) as all_,
        bell.subscribe(topic_of(new_id())) as no,
    ):
        await stores.content.transaction(account, _tell, "mailbox.paused")
        assert await mine.wait(0.01)
        assert await all_.wait(0.01)
        assert not await no.wait(0.01)


async def test_after_a_restore_no_old_cursor_passes_over_new_events(stores: Stores) -> None:
    """The helpdesk may have read further than the backup knew."""
    office = await Office.open(stores)
    await office.take(mail())
    await office.reply(1)
    account = office.held.account_id
    lost = (await stores.content.read(account, read_log, 0, 100)).latest + 1000
    assert await stores.content.transaction(None, begin_epoch) == 1
    log = await stores.content.read(account, read_log, lost, 100)
    assert [(one.type, one.detail, one.ticket_number) for one in log.events] == [("reply.unknown", "restored", 1)]
    await office.check()
