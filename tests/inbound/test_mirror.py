"""What agents do with tickets, mirrored in the mailbox: what is planned, what a real server shows, and what comes
of later mail."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from connectors.base import Edit, EditKind, RateLimited, Reader
from ingestd.mirror import Waiting, mirror_of, plan_status
from ingestd.records import EditRecord
from storage.edits import EditCause
from storage.ticket_lists import list_tickets
from storage.tickets import TicketStatus
from storage.types import new_id
from tests.connectors.mailbox import EVERYTHING, Mailbox
from tests.inbound.test_edits import ScriptedServer, edits_of, mails, rows, take_all
from tests.office import Office, mail
from tests.stores import Stores

EVERYWHERE = {"read": "seen", "spam": "junk", "delete": "trash", "solved": "keyword:Solved"}


async def planned(office: Office) -> list[tuple[str, str, str | None]]:
    """Return cause, kind and target of what waits, in the order in which it was planned."""
    found = []
    for row in sorted(await rows(office), key=lambda row: row.edit_id):
        record = office.context.key.open_record(EditRecord.place(row.edit_id), bytes(row.sealed), EditRecord)
        found.append((row.cause, row.kind, record.target))
    return found


async def statuses(office: Office) -> list[str]:
    found = await office.stores.content.read(office.held.account_id, list_tickets)
    return [one.status for one in found]


def answer(text: str = "And the fax does not, either.", *, number: int = 2, to: str = "<q0@example.org>") -> bytes:
    return mail("Re: Printer", message_id=f"<q{number}@example.org>", text=text, headers=f"In-Reply-To: {to}\r\n")


# -- what is planned -----------------------------------------------------------------------------


async def test_nothing_is_the_default(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(*mails(1))
    for status in ("closed", "spam", "deleted", "open"):
        assert (await office.act(1, status)).changed
    await office.read(1)
    assert await rows(office) == []
    await office.check()


async def test_each_action_is_planned_with_its_status_and_once(stores: Stores) -> None:
    office = await Office.open(stores, mirror=EVERYWHERE)
    await office.take(*mails(1))
    assert (await office.read(1)).planned == 1
    assert (await office.act(1, "closed")).changed
    assert not (await office.act(1, "closed")).changed
    await office.read(1)
    assert await planned(office) == [("solved", "keyword", "Solved"), ("read", "read", None)]
    assert await office.event_types() == ["ticket.created", "message.received", "ticket.closed"]
    await office.check()


async def test_what_is_not_done_yet_is_not_done_any_more(stores: Stores) -> None:
    """It may be done all the same: only its row is known. So the contrary is planned."""
    office = await Office.open(stores, mirror=EVERYWHERE)
    await office.take(*mails(1))
    await office.act(1, "closed")
    await office.act(1, "spam")
    assert await planned(office) == [("reopen", "remove_keyword", "Solved"), ("spam", "spam", None)]
    await office.act(1, "deleted")
    assert await planned(office) == [("reopen", "remove_keyword", "Solved"), ("delete", "trash", None)]
    await office.act(1, "open")
    assert await planned(office) == [("reopen", "remove_keyword", "Solved"), ("reopen", "move", "INBOX")]
    await office.act(1, "closed")
    assert await planned(office) == [("solved", "keyword", "Solved"), ("reopen", "move", "INBOX")]
    assert await office.event_types() == [
        *("ticket.created", "message.received"),
        *("ticket.closed", "ticket.spam", "ticket.deleted", "ticket.reopened", "ticket.closed"),
    ]
    await office.check()


async def test_the_later_of_two_moves_is_kept_and_the_way_back_leads_where_the_import_would_have(
    stores: Stores,
) -> None:
    office = await Office.open(stores, after_import="move:Done", mirror=EVERYWHERE)
    await office.take(*mails(1))
    await office.read(1)
    await office.act(1, "spam")
    assert await planned(office) == [("read", "read", None), ("spam", "spam", None)]
    await office.check()
    await office.act(1, "open")
    assert await planned(office) == [("read", "read", None), ("reopen", "move", "Done")]
    await office.check()


async def test_a_deletion_that_is_due_makes_all_others_pointless(stores: Stores) -> None:
    office = await Office.open(stores, after_import="delete", mirror=EVERYWHERE)
    await office.take(*mails(1))
    await office.read(1)
    await office.act(1, "spam")
    assert await planned(office) == [("import", "delete", None)]
    assert await edits_of(office, ScriptedServer()).run_due() is None
    await office.check()


async def test_of_a_long_ticket_the_newest_are_edited(stores: Stores) -> None:
    office = await Office.open(stores, mirror=EVERYWHERE)
    await office.take(*mails(1), *(answer(str(number), number=number) for number in range(1, 6)))
    assert (await office.act(1, "closed", messages_max=4)).mirrored.planned == 4
    await office.check()


async def test_marks_come_before_moves(stores: Stores) -> None:
    """After a move the server may not tell where the message lies."""
    office = await Office.open(stores, mirror=EVERYWHERE)
    await office.take(*mails(2))
    for number in (1, 2):
        await office.act(number, "spam")
        await office.read(number)
    server = ScriptedServer()
    await edits_of(office, server).run_due()
    assert [edit.kind for _, edit in server.calls] == [EditKind.READ, EditKind.SPAM]


@pytest.mark.parametrize("was", [*TicketStatus])
@pytest.mark.parametrize("status", [*TicketStatus])
def test_every_status_can_follow_every_other(was: TicketStatus, status: TicketStatus) -> None:
    """One move at most, the way back remembered exactly where the message is away, no keyword that is both given
    and taken."""
    mirror = mirror_of({"spam": "junk", "delete": "trash", "solved": "keyword:Solved"})
    away = {TicketStatus.SPAM, TicketStatus.DELETED}
    for waiting in ([], [Waiting(new_id(), Edit(EditKind.MOVE, "Done"), EditCause.IMPORT)]):
        before = plan_status(mirror, TicketStatus.OPEN, was, "INBOX", "", waiting)
        left = [one for one in waiting if one.edit_id not in before.dropped]
        left += [Waiting(new_id(), edit, cause) for edit, cause in before.new]
        for still in (left, []):  # nothing of it is done yet, or all
            plan = plan_status(mirror, was, status, "\\Junk" if was in away else "INBOX", before.home, still)
            kept = [one.edit for one in still if one.edit_id not in plan.dropped] + [edit for edit, _ in plan.new]
            assert sum(edit.kind is EditKind.MOVE or edit.kind in (EditKind.SPAM, EditKind.TRASH) for edit in kept) <= 1
            assert bool(plan.home) == (status in away)
            keywords = [edit.target for edit in kept if edit.kind in (EditKind.KEYWORD, EditKind.REMOVE_KEYWORD)]
            assert len(keywords) == len(set(keywords)) == (TicketStatus.CLOSED in (was, status))


# -- what comes of later mail ----------------------------------------------------------------------


async def test_what_comes_to_spam_stays_there_and_is_not_announced(stores: Stores) -> None:
    office = await Office.open(stores, after_import="move:Done", mirror=EVERYWHERE)
    await office.take(*mails(1))
    await office.act(1, "spam")
    await office.take(answer())
    assert await statuses(office) == ["spam"]
    assert (await office.event_types())[-2:] == ["ticket.spam", "message.muted"]
    assert await planned(office) == [("spam", "spam", None)] * 2
    view = await office.ticket(1)
    assert [one.row.muted for one in view.messages] == [False, True]
    assert [one.record.home for one in view.messages] == ["Done", "Done"]
    await office.act(1, "open")
    await office.take(answer("Still?", number=3))
    assert (await office.event_types())[-1] == "message.received"
    await office.check()


async def test_what_comes_to_a_deleted_ticket_opens_one_that_follows_it_up(stores: Stores) -> None:
    office = await Office.open(stores, mirror=EVERYWHERE)
    await office.take(*mails(1))
    await office.act(1, "deleted")
    await office.take(answer())
    await office.take(answer("And the copier.", number=3))
    first, second = await office.ticket(1), await office.ticket(2)
    assert (first.ticket.status, second.ticket.status) == ("deleted", "open")
    assert second.ticket.follows_ticket_id == first.ticket.ticket_id
    assert len(second.messages) == 2
    headers = "In-Reply-To: <q0@example.org>\r\nAuto-Submitted: auto-replied\r\n"
    await office.take(mail("Away", message_id="<q4@example.org>", headers=headers))
    assert await statuses(office) == ["deleted", "open"]
    await office.check()


async def test_a_customer_who_opens_a_ticket_again_is_mirrored_too(stores: Stores) -> None:
    office = await Office.open(stores, mirror={"solved": "move:Solved"})
    await office.take(*mails(1))
    await office.act(1, "closed")
    assert await planned(office) == [("solved", "move", "Solved")]
    await office.take(answer())
    assert await statuses(office) == ["open"]
    assert await planned(office) == [("reopen", "move", "INBOX")]
    await office.check()


# -- on a real server ------------------------------------------------------------------------------


class Watch:
    """What lies in a mailbox on the server."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def count(self, *folders: str) -> list[int]:
        there = await asyncio.to_thread(self._mailbox.server.folders, self._mailbox.user)
        return [
            len(await asyncio.to_thread(self._mailbox.server.mails, self._mailbox.user, one)) if one in there else 0
            for one in folders
        ]

    async def flags(self, folder: str = "INBOX") -> list[set[str]]:
        found = await asyncio.to_thread(self._mailbox.server.flags, self._mailbox.user, folder)
        return [set(one.split()) for one in found]


async def do(office: Office, reader: Any, number: int, status: str) -> None:
    await office.act(number, status)
    await edits_of(office, reader).run_due()
    assert await rows(office) == []


async def test_each_action_on_a_real_server_and_back(stores: Stores, mailbox: Mailbox) -> None:
    office, watch = await Office.open(stores, mirror=EVERYWHERE), Watch(mailbox)
    mailbox.deliver("Printer")
    mailbox.deliver("Other")
    reader = mailbox.reader()
    await take_all(office, reader)
    await office.read(1)
    await do(office, reader, 1, "closed")
    assert {"\\Seen", "Solved"} in [one - {"\\Recent"} for one in await watch.flags()]
    await do(office, reader, 1, "spam")
    assert await watch.count("INBOX", "Junk", "Trash") == [1, 1, 0]
    assert not any("Solved" in one for one in await watch.flags("Junk"))
    assert (await office.ticket(1)).messages[0].record.folder == "\\Junk"
    await do(office, reader, 1, "deleted")
    assert await watch.count("INBOX", "Junk", "Trash") == [1, 0, 1]
    await do(office, reader, 1, "open")
    assert await watch.count("INBOX", "Junk", "Trash") == [2, 0, 0]
    (message,) = (await office.ticket(1)).messages
    assert (message.record.folder, message.record.home) == ("INBOX", "")
    assert await reader.fetch(message.record.locator) is not None
    assert any("\\Seen" in one for one in await watch.flags()), "what an agent has read is not unread again"
    await office.check()
    await mailbox.close()


async def test_a_watched_junk_folder_makes_no_second_ticket(stores: Stores, mailbox: Mailbox) -> None:
    office, watch = await Office.open(stores, mirror=EVERYWHERE), Watch(mailbox)
    await asyncio.to_thread(mailbox.server.create_folder, mailbox.user, "Junk")
    mailbox.deliver("Printer")
    reader = mailbox.reader(dataclasses.replace(EVERYTHING, folders=("INBOX", "Junk")))
    cursor = await take_all(office, reader)
    await do(office, reader, 1, "spam")
    cursor = await take_all(office, reader, cursor)
    assert await watch.count("INBOX", "Junk") == [0, 1]
    assert await statuses(office) == ["spam"]
    await do(office, reader, 1, "open")
    await take_all(office, reader, cursor)
    assert await watch.count("INBOX", "Junk") == [1, 0]
    assert await statuses(office) == ["open"]
    assert len((await office.ticket(1)).messages) == 1
    await office.check()
    await mailbox.close()


@pytest.mark.parametrize("status", ["closed", "spam"])
async def test_what_a_person_did_in_the_mailbox_does_not_hurt_the_ticket(
    stores: Stores, mailbox: Mailbox, status: str
) -> None:
    office, watch = await Office.open(stores, mirror=EVERYWHERE), Watch(mailbox)
    mailbox.deliver("Gone")
    reader = mailbox.reader()
    await take_all(office, reader)
    await asyncio.to_thread(mailbox.server.expunge, mailbox.user, "INBOX", 1)
    await do(office, reader, 1, status)
    view = await office.ticket(1)
    assert view.ticket.status == status
    assert (view.messages[0].record.locator, view.messages[0].record.lost_by) == (
        "",
        "keyword" if status == "closed" else "spam",
    )
    done = await office.act(1, "open")
    assert (done.mirrored.planned, done.mirrored.lost) == (0, 1)
    assert await watch.count("INBOX", "Junk") == [0, 0]
    await office.check()
    await mailbox.close()


class Interrupted:
    """A connection on which the work is done, while somebody changes his mind, before that is written down."""

    def __init__(self, reader: Reader, office: Office, status: str) -> None:
        self._reader, self._office, self._status = reader, office, status

    async def edit(self, locators: Sequence[str], edit: Edit) -> Mapping[str, str | None]:
        done = await self._reader.edit(locators, edit)
        await self._office.act(1, self._status)
        return done


@pytest.mark.parametrize(("first", "second"), [("spam", "open"), ("deleted", "closed"), ("closed", "open")])
async def test_an_action_while_another_one_is_being_mirrored(
    stores: Stores, mailbox: Mailbox, first: str, second: str
) -> None:
    """What is planned meanwhile follows the message to where it lies then."""
    office, watch = await Office.open(stores, mirror=EVERYWHERE), Watch(mailbox)
    mailbox.deliver("Printer")
    reader = mailbox.reader()
    await take_all(office, reader)
    await office.act(1, first)
    await edits_of(office, Interrupted(reader, office, second)).run_due()
    assert await rows(office) == []
    assert await watch.count("INBOX", "Junk", "Trash") == [1, 0, 0]
    assert [("Solved" in one) for one in await watch.flags()] == [second == "closed"]
    await office.check()
    await mailbox.close()


async def test_a_server_that_is_slow_holds_nobody_up(stores: Stores) -> None:
    """Mail comes in and actions are taken while no edit can be done."""
    office = await Office.open(stores, mirror=EVERYWHERE)
    await office.take(*mails(1))
    await office.act(1, "spam")
    throttled = ScriptedServer(RateLimited("MOVE: throttled", retry_after=3600))
    await edits_of(office, throttled).run_due()
    await office.take(answer(), *mails(3)[2:])
    await office.act(1, "open")
    assert await planned(office) == [("reopen", "move", "INBOX")] * 2
    assert (await office.act(1, "closed")).changed
    await office.check()
