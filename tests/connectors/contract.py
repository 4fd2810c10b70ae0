"""What every connector must do, whatever its protocol. A connector's test module makes a subclass with a `box`.

A `box` has: reader(plan), sender(), deliver(subject, folder=…, body=…), access to tokens, and close().
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from connectors.base import (
    OWN_HEADER,
    AuthError,
    CursorInvalid,
    Edit,
    EditKind,
    Envelope,
    Fingerprint,
    HistoryPlan,
    RawMessage,
    Reader,
    ReadPlan,
    Refusal,
    SendStatus,
    TemporaryError,
)
from connectors.imap_session import open_session
from connectors.room import SMALL_BYTES, Hold, Room
from tests.connectors.mailbox import (
    EVERYTHING,
    LONG_AGO,
    Mailbox,
    raw_mail,
    read_all,
    read_history,
    read_messages,
    subject_of,
    subjects,
)

LINKED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


class _Watched(Room):
    """Room without a limit that tells what is held."""

    held = 0
    most = 0

    @contextlib.asynccontextmanager
    async def taken(self, size_bytes: int, server: str) -> AsyncIterator[Hold]:
        self.held += size_bytes
        self.most = max(self.most, self.held)
        try:
            yield Hold()
        finally:
            self.held -= size_bytes


class ReaderContract:
    """The Reader half."""

    move_gives_locator: ClassVar[bool] = True

    async def test_from_now_on_only_what_comes_later_is_read(self, box: Mailbox) -> None:
        box.deliver("old")
        reader = box.reader(ReadPlan())
        messages, cursor = await read_messages(reader, None)
        assert messages == []
        assert cursor is not None
        box.deliver("new")
        messages, after = await read_messages(reader, cursor)
        assert subjects(messages) == ["new"]
        assert (await read_messages(reader, after))[0] == []

    async def test_everything_comes_oldest_first_within_the_limits(self, box: Mailbox) -> None:
        sent = [f"m{number}" for number in range(7)]
        for subject in sent:
            box.deliver(subject)
        reader = box.reader(ReadPlan(start_at=LONG_AGO, batch_messages_max=3))
        batches, _ = await read_all(reader, None)
        assert [len(batch.messages) for batch in batches if batch.messages] == [3, 3, 1]
        assert [batch.more for batch in batches if batch.messages] == [True, True, False]
        assert subjects([m for batch in batches for m in batch.messages]) == sent

    async def test_the_bytes_of_a_batch_are_limited_but_one_message_always_passes(self, box: Mailbox) -> None:
        for number in range(3):
            box.deliver(f"m{number}", body=b"x" * 70 + b"\r\n" * 500)
        reader = box.reader(ReadPlan(start_at=LONG_AGO, batch_bytes_max=100))
        batches, _ = await read_all(reader, None)
        assert [len(batch.messages) for batch in batches if batch.messages] == [1, 1, 1]

    async def test_every_batch_has_a_cursor_to_go_on_from(self, box: Mailbox) -> None:
        for number in range(3):
            box.deliver(f"m{number}")
        reader = box.reader(ReadPlan(start_at=LONG_AGO, batch_messages_max=1))
        batches, _ = await read_all(reader, None)
        again = box.reader(EVERYTHING)
        messages, _ = await read_messages(again, batches[0].cursor)
        assert subjects(messages) == ["m1", "m2"]

    async def test_a_message_over_the_limit_comes_as_its_header(self, box: Mailbox) -> None:
        box.deliver("large", body=b"y" * 60 + b"\r\n" * 2000)
        box.deliver("small")
        reader = box.reader(ReadPlan(start_at=LONG_AGO, message_bytes_max=2000))
        messages, _ = await read_messages(reader, None)
        assert subjects(messages) == ["large", "small"]
        assert messages[0].content is None
        assert messages[0].size_bytes > 2000
        assert messages[1].content is not None

    @pytest.mark.parametrize("newest_first", [None, True, False])
    async def test_what_is_large_has_room_while_it_is_there(self, box: Mailbox, newest_first: bool | None) -> None:
        sent = ["small", "large 1", "large 2", "small, too"]
        for subject in sent:
            box.deliver(subject, body=(b"z" * 70 + b"\r\n") * (75_000 if "large" in subject else 1))
        room = _Watched()
        reader, got = box.reader(ReadPlan(start_at=LONG_AGO, room=room)), list[RawMessage]()
        before = datetime.now(UTC) + timedelta(days=1)
        old = None if newest_first is None else HistoryPlan(before=before, newest_first=newest_first)
        batches = reader.changes(None) if old is None else reader.history(old, None)
        async with contextlib.aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                large = [len(one.content or b"") for one in batch.messages if one.size_bytes > SMALL_BYTES]
                assert sum(large) <= room.held, "there is more in memory than there is room for"
                got += batch.messages
        assert sorted(subjects(got)) == sorted(sent)
        assert newest_first is not None or subjects(got) == sent
        assert room.most > SMALL_BYTES, "the control: the large ones have taken some"
        assert room.held == 0

    async def test_a_message_has_its_bytes_its_date_and_its_place(self, box: Mailbox) -> None:
        box.deliver("whole", body=b"line\r\n.dot\r\n\xff\xfe\r\n")
        reader = box.reader(EVERYTHING)
        (message,), _ = await read_messages(reader, None)
        assert message.content is not None
        assert message.content.endswith(b"\r\n\r\nline\r\n.dot\r\n\xff\xfe\r\n")
        assert message.content.startswith(message.header)
        assert message.size_bytes == len(message.content)
        assert message.folder == "INBOX"
        assert message.received_at.tzinfo is UTC
        assert abs(datetime.now(UTC) - message.received_at) < timedelta(minutes=2)
        again = await reader.fetch(message.locator)
        assert again is not None
        assert again.content == message.content

    async def test_reading_marks_nothing(self, box: Mailbox) -> None:
        box.deliver("untouched")
        await read_messages(box.reader(EVERYTHING), None)
        assert "Seen" not in " ".join(box.server.flags(box.user))

    async def test_wait_ends_when_something_arrives(self, box: Mailbox) -> None:
        reader = box.reader(ReadPlan())
        _, cursor = await read_messages(reader, None)
        waiting = asyncio.create_task(reader.wait(20))
        await asyncio.to_thread(box.deliver, "arrived")
        assert await waiting
        messages, _ = await read_messages(reader, cursor)
        assert subjects(messages) == ["arrived"]

    async def test_wait_ends_with_false_after_its_timeout(self, box: Mailbox) -> None:
        reader = box.reader(ReadPlan())
        await read_messages(reader, None)
        assert not await reader.wait(0.3)
        assert not await reader.wait(0.3)

    async def test_a_wait_is_ended_by_whoever_wakes_it(self, box: Mailbox) -> None:
        reader = box.reader(ReadPlan())
        await read_messages(reader, None)
        assert not await reader.wait(0.3)
        reader.wake()  # nobody waits: the next one ends at once
        async with asyncio.timeout(10):
            assert await reader.wait(60)
        assert not await reader.wait(0.3)
        waiting = asyncio.create_task(reader.wait(60))
        await asyncio.sleep(0.2)
        reader.wake()
        async with asyncio.timeout(10):
            assert await waiting
        assert not await reader.wait(0.3), "the connection is not as it was"

    async def test_a_message_that_is_gone_is_none(self, box: Mailbox) -> None:
        box.deliver("short-lived")
        reader = box.reader(EVERYTHING)
        (message,), _ = await read_messages(reader, None)
        await reader.edit([message.locator], Edit(EditKind.DELETE))
        assert await reader.fetch(message.locator) is None
        for kind in (EditKind.DELETE, EditKind.READ, EditKind.TRASH):
            assert await reader.edit([message.locator], Edit(kind)) == {message.locator: None}

    @pytest.mark.parametrize("kind", [EditKind.TRASH, EditKind.SPAM, EditKind.MOVE])
    async def test_moving_takes_a_message_away_once(self, box: Mailbox, kind: EditKind) -> None:
        box.server.create_folder(box.user, "Fertig/Prüfung")
        target = {EditKind.TRASH: "Trash", EditKind.SPAM: "Junk", EditKind.MOVE: "Fertig/Prüfung"}[kind]
        box.deliver("mover")
        reader = box.reader(EVERYTHING)
        (message,), cursor = await read_messages(reader, None)
        edit = Edit(kind, target if kind is EditKind.MOVE else None)
        moved = (await reader.edit([message.locator], edit))[message.locator]
        assert await reader.edit([message.locator], edit) == {message.locator: None}
        assert len(box.server.mails(box.user, target)) == 1
        assert await reader.fetch(message.locator) is None
        if self.move_gives_locator:
            assert moved is not None
            there = await reader.fetch(moved)
            assert there is not None
            assert there.folder == box.server.name_of(target)
            assert there.content == message.content
        assert (await read_messages(reader, cursor))[0] == []

    async def test_marking_twice_is_marking_once(self, box: Mailbox) -> None:
        box.deliver("marked")
        reader = box.reader(EVERYTHING)
        (message,), _ = await read_messages(reader, None)
        for _ in range(2):
            for edit in (Edit(EditKind.READ), Edit(EditKind.KEYWORD, "ingestd")):
                assert await reader.edit([message.locator], edit) == {message.locator: message.locator}
        flags = box.server.flags(box.user)[0]
        assert "\\Seen" in flags
        assert "ingestd" in flags
        for _ in range(2):
            gone = await reader.edit([message.locator], Edit(EditKind.REMOVE_KEYWORD, "ingestd"))
            assert gone == {message.locator: message.locator}
        flags = box.server.flags(box.user)[0]
        assert "\\Seen" in flags
        assert "ingestd" not in flags

    @pytest.mark.parametrize("cursor", ["", "{}", "[]", '{"v":2,"folders":{}}', '{"v":1,"folders":{"INBOX":1}}'])
    async def test_a_foreign_cursor_is_called_invalid(self, box: Mailbox, cursor: str) -> None:
        with pytest.raises(CursorInvalid):
            await read_messages(box.reader(), cursor)

    async def test_an_expired_token_is_refreshed_once(self, box: Mailbox) -> None:
        box.deliver("behind a token")
        box.auth_server.expire_access_tokens(box.user)
        messages, _ = await read_messages(box.reader(EVERYTHING), None)
        assert subjects(messages) == ["behind a token"]
        assert box.tokens.refreshes == 1

    async def test_a_token_refused_twice_is_an_auth_error(self, box: Mailbox) -> None:
        box.tokens.set("never-issued")
        box.tokens.working = False
        with pytest.raises(AuthError) as error:
            await read_messages(box.reader(), None)
        assert "never-issued" not in str(error.value)
        assert box.user not in str(error.value)
        assert box.tokens.refreshes == 1

    async def test_after_a_loss_reading_goes_on(self, box: Mailbox) -> None:
        reader = box.reader(ReadPlan())
        _, cursor = await read_messages(reader, None)
        box.server.kick(box.user)
        box.deliver("after the kick")
        messages: list[RawMessage] = []
        async with asyncio.timeout(10):
            while not messages:
                with contextlib.suppress(TemporaryError):
                    messages, cursor = await read_messages(reader, cursor)
        assert subjects(messages) == ["after the kick"]


class HistoryContract:
    """The mail that was there before; on the Reader."""

    async def fill(self, box: Mailbox, count: int) -> None:
        for number in range(count):
            await box.append(f"m{number}", LINKED - timedelta(days=count - number))

    async def test_the_newest_batch_comes_first_and_each_in_its_order(self, box: Mailbox) -> None:
        await self.fill(box, 7)
        reader = box.reader(ReadPlan(start_at=LINKED, batch_messages_max=3))
        batches = await read_history(reader, HistoryPlan(before=LINKED))
        read = [subjects(list(batch.messages)) for batch in batches if batch.messages]
        assert read == [["m4", "m5", "m6"], ["m1", "m2", "m3"], ["m0"]]
        assert [batch.seen for batch in batches] == [0, 3, 6, 7, 7]
        assert {batch.total for batch in batches} == {7}
        assert await read_history(reader, HistoryPlan(before=LINKED), batches[-1].cursor) == []

    async def test_oldest_first(self, box: Mailbox) -> None:
        await self.fill(box, 4)
        reader = box.reader(ReadPlan(start_at=LINKED, batch_messages_max=3))
        batches = await read_history(reader, HistoryPlan(before=LINKED, newest_first=False))
        read = [subjects(list(batch.messages)) for batch in batches if batch.messages]
        assert read == [["m0", "m1", "m2"], ["m3"]]

    @pytest.mark.parametrize("newest_first", [True, False])
    async def test_a_history_goes_on_behind_any_of_its_cursors(self, box: Mailbox, newest_first: bool) -> None:
        await self.fill(box, 4)
        plan = HistoryPlan(before=LINKED, newest_first=newest_first)
        cursor, read = None, []
        while batches := await read_history(
            box.reader(ReadPlan(start_at=LINKED, batch_messages_max=1)), plan, cursor, batches=1
        ):
            cursor = batches[0].cursor
            read += subjects(list(batches[0].messages))
        assert read == sorted((f"m{number}" for number in range(4)), reverse=newest_first)

    async def test_a_history_has_two_ends_that_are_exact(self, box: Mailbox) -> None:
        since = LINKED - timedelta(days=30)
        for name, date in (("early", since - timedelta(seconds=1)), ("since", since)):
            await box.append(name, date)
        for name, date in (("last", LINKED - timedelta(seconds=1)), ("linked", LINKED)):
            await box.append(name, date)
        reader = box.reader(ReadPlan(start_at=LINKED))
        batches = await read_history(reader, HistoryPlan(before=LINKED, since=since))
        assert subjects([m for batch in batches for m in batch.messages]) == ["since", "last"]
        assert batches[-1].seen == batches[-1].total == 2
        assert subjects((await read_messages(reader, None))[0]) == ["linked"]

    @pytest.mark.parametrize("newest_first", [True, False])
    @pytest.mark.parametrize(
        "course",
        ["onCH", "CoHnC", "oonCHHoHC", "nCoHoHnHC", "oCHoCnHHC", "onoCnHonHoHC", "CHoHC", "ooooCHoHoHnHHHC"],
    )
    async def test_every_message_is_of_the_one_or_the_other(
        self, box: Mailbox, course: str, newest_first: bool
    ) -> None:
        """o, n: an old or a new message is put there; C: all changes are read; H: a batch of the history."""
        waiting, other = (box.reader(ReadPlan(start_at=LINKED, batch_messages_max=1)) for _ in range(2))
        plan = HistoryPlan(before=LINKED, newest_first=newest_first)
        put: list[str] = []
        read: list[str] = []
        cursor = history = None
        for step in course:
            if step in "on":
                put.append(f"m{len(put)}")
                await box.append(put[-1], LINKED + timedelta(days=-9 if step == "o" else 9))
            elif step == "C":
                messages, cursor = await read_messages(waiting, cursor)
                read += subjects(messages)
            else:
                for batch in await read_history(other, plan, history, batches=1):
                    history = batch.cursor
                    read += subjects(list(batch.messages))
        for batch in await read_history(other, plan, history):
            read += subjects(list(batch.messages))
        assert sorted(set(read)) == put
        # What comes with an old date between the two beginnings belongs to both.
        in_doubt = course[course.index("C") : course.index("H")].count("o")
        assert len(read) == len(put) + in_doubt

    async def test_a_folder_that_is_gone_keeps_no_other_from_its_history(self, box: Mailbox) -> None:
        await self.fill(box, 2)
        reader = box.reader(ReadPlan(folders=("No such folder", "INBOX"), start_at=LINKED))
        batches = await read_history(reader, HistoryPlan(before=LINKED))
        assert subjects([m for batch in batches for m in batch.messages]) == ["m0", "m1"]

    async def test_an_unreadable_cursor_begins_anew(self, box: Mailbox) -> None:
        await self.fill(box, 1)
        for cursor in ("", "{}", '{"v":9,"history":{}}', '{"v":1,"history":{"INBOX":{}}}'):
            batches = await read_history(box.reader(), HistoryPlan(before=LINKED), cursor)
            assert subjects([m for batch in batches for m in batch.messages]) == ["m0"]

    async def test_claimed_is_what_was_read_and_is_still_there(self, box: Mailbox) -> None:
        await box.append("old", LINKED - timedelta(days=3))
        reader = box.reader(ReadPlan(start_at=LINKED, batch_messages_max=2))
        _, cursor = await read_messages(reader, None)
        for name in ("read", "gone", "moved in"):
            await box.append(name, LINKED + timedelta(days=-1 if name == "moved in" else 1))
        messages, cursor = await read_messages(reader, cursor)
        await reader.edit([messages[1].locator], Edit(EditKind.DELETE))
        await box.append("not read yet", LINKED + timedelta(days=2))
        assert cursor is not None
        locators = [locator async for chunk in reader.claimed(cursor) for locator in chunk]
        assert locators == [messages[0].locator, messages[2].locator]

    async def test_a_message_is_found_in_whatever_folder(self, box: Mailbox) -> None:
        box.server.create_folder(box.user, "Elsewhere")
        for folder in ("INBOX", "Elsewhere"):
            box.deliver(f"in {folder}", folder, message_id=f"<in-{folder}@customer.example.net>")
        reader = box.reader(ReadPlan(start_at=LONG_AGO, readonly=True))
        await read_messages(reader, None)
        (found,) = await reader.find("<in-INBOX@customer.example.net>")
        assert (found.folder, found.entry) == ("INBOX", 0)
        message = await reader.fetch(found.locator)
        assert message is not None
        assert subjects([message]) == ["in INBOX"]
        (found,) = await reader.find("<in-Elsewhere@customer.example.net>")
        assert found.entry is None
        message = await reader.fetch(found.locator)
        assert message is not None
        assert subjects([message]) == ["in Elsewhere"]
        assert await reader.find("<nowhere@customer.example.net>") == []

    async def test_many_are_known_by_their_fingerprints(self, box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("connectors.imap_fingerprints.FINGERPRINTS_MAX", 3)
        box.server.create_folder(box.user, "Elsewhere")
        for number in range(5):
            box.deliver(f"m{number}")
        box.deliver("aside", "Elsewhere")
        reader = box.reader(ReadPlan(("INBOX", "Elsewhere"), start_at=LONG_AGO, readonly=True))
        messages, _ = await read_messages(reader, None)
        assert len(messages) == 6
        gone = next(one for one in messages if subject_of(one) == "m2")
        await box.reader(EVERYTHING).edit([gone.locator], Edit(EditKind.DELETE))
        there = [one for one in messages if one is not gone]
        told = await reader.fingerprints([*(one.locator for one in messages), "7:1:No such folder"])
        if messages[0].provider_id is None:
            assert told == {one.locator: Fingerprint(None, one.header) for one in there}
        else:
            assert {one.locator: told[one.locator].provider_id for one in there} == {
                one.locator: one.provider_id for one in there
            }
            assert told.keys() <= {one.locator for one in messages}
        assert "Seen" not in " ".join(box.server.flags(box.user))
        assert await reader.fingerprints([]) == {}

    @pytest.mark.parametrize("newest_first", [True, False])
    async def test_claimed_history_is_what_was_passed_and_is_still_there(
        self, box: Mailbox, newest_first: bool
    ) -> None:
        await self.fill(box, 5)
        await box.append("new", LINKED + timedelta(days=1))
        plan = HistoryPlan(before=LINKED, newest_first=newest_first)
        reader, other = (box.reader(ReadPlan(start_at=LINKED, batch_messages_max=1)) for _ in range(2))
        _, changes = await read_messages(reader, None)
        assert changes is not None
        some = await read_history(other, plan, batches=4)  # the first one tells the total
        await box.append("between", LINKED - timedelta(days=1))
        read = [message.locator for batch in some for message in batch.messages]
        assert read
        claimed = [one async for page in reader.claimed_history(plan, some[-1].cursor, changes) for one in page]
        # The very second of an end is left out.
        assert set(claimed) <= set(read)
        assert len(claimed) >= len(read) - 1
        rest = await read_history(other, plan, some[-1].cursor)
        read += [message.locator for batch in rest for message in batch.messages]
        await reader.edit([read[0]], Edit(EditKind.DELETE))
        claimed = [one async for page in reader.claimed_history(plan, rest[-1].cursor, changes) for one in page]
        assert set(claimed) <= set(read[1:])
        assert len(claimed) >= 4


class EditContract:
    """Many messages at once; on the Reader."""

    async def read(self, box: Mailbox, count: int) -> tuple[Reader, list[str]]:
        for number in range(count):
            box.deliver(f"m{number}")
        reader = box.reader(EVERYTHING)
        messages, _ = await read_messages(reader, None)
        return reader, [message.locator for message in messages]

    async def test_many_are_marked_and_those_that_are_gone_are_told(self, box: Mailbox) -> None:
        reader, locators = await self.read(box, 4)
        await reader.edit([locators[1]], Edit(EditKind.DELETE))
        done = await reader.edit(locators, Edit(EditKind.READ))
        assert done == {locator: None if locator == locators[1] else locator for locator in locators}
        assert ["\\Seen" in flags for flags in box.server.flags(box.user)] == [True, True, True]

    async def test_many_are_moved_into_a_folder_that_is_made_for_them(
        self, box: Mailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("connectors.imap_edit.EDIT_MESSAGES_MAX", 2)
        reader, locators = await self.read(box, 5)
        await reader.edit([locators[1]], Edit(EditKind.DELETE))
        moved = await reader.edit(locators, Edit(EditKind.MOVE, "Done/2026"))
        assert moved.keys() == set(locators)
        assert moved[locators[1]] is None
        for number in (0, 2, 3, 4):
            there = await reader.fetch(moved[locators[number]] or "")
            assert there is not None
            assert subject_of(there) == f"m{number}"
        again = await reader.edit(locators, Edit(EditKind.MOVE, "Done/2026"))
        assert set(again.values()) == {None}
        lying = [locator for locator in moved.values() if locator]
        assert await reader.edit(lying, Edit(EditKind.MOVE, "Done/2026")) == {locator: locator for locator in lying}

    async def test_messages_of_several_folders_are_deleted_and_no_others(self, box: Mailbox) -> None:
        reader, locators = await self.read(box, 3)
        moved = await reader.edit(locators[:1], Edit(EditKind.TRASH))
        there = moved[locators[0]]
        assert there is not None
        gone = await reader.edit([there, locators[1]], Edit(EditKind.DELETE))
        assert gone == {there: None, locators[1]: None}
        assert await reader.fetch(there) is None
        assert len(box.server.mails(box.user)) == 1

    async def test_the_marks_of_others_are_not_expunged(self, box: Mailbox) -> None:
        reader, locators = await self.read(box, 2)
        session = await open_session(box.access, box.tokens, box.tools)
        await session.select("INBOX")
        uid = int(locators[0].split(":")[1])
        await session.run("STORE", lambda client: client.add_flags([uid], ["\\Deleted"]))
        await reader.edit([locators[1]], Edit(EditKind.DELETE))
        await session.close()
        assert len(box.server.mails(box.user)) == 1

    async def test_a_place_that_is_none_is_told_from_a_message_that_is_gone(self, box: Mailbox) -> None:
        """A folder that is missing or numbered anew: the message may lie elsewhere, and its edit is still due."""
        reader, (there, gone) = await self.read(box, 2)
        await reader.edit([gone], Edit(EditKind.DELETE))
        nowhere = ["7:1:No such folder", "7:1:INBOX"]
        for edit in (Edit(EditKind.READ), Edit(EditKind.TRASH), Edit(EditKind.DELETE)):
            assert await reader.edit([*nowhere, gone], edit) == {gone: None}
        assert await reader.edit([*nowhere, there], Edit(EditKind.READ)) == {there: there}

    async def test_a_keyword_must_be_an_atom(self, box: Mailbox) -> None:
        reader, locators = await self.read(box, 1)
        for keyword in ("two words", "\\Seen", "gelöst", "a)"):
            with pytest.raises(ValueError, match="keyword"):
                await reader.edit(locators, Edit(EditKind.KEYWORD, keyword))


class SenderContract:
    """The Sender half."""

    async def test_an_accepted_mail_arrives_once(self, box: Mailbox) -> None:
        sender = box.sender()
        for number in range(2):  # the second over the same connection
            outcome = await sender.send(
                Envelope(box.user, [box.user]), raw_mail(f"reply {number}", body=b".\r\n..\r\n")
            )
            assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.ACCEPTED, "dot", 250)
        messages = await self._arrived(box, 2)
        assert all(mail.endswith(b"\r\n\r\n.\r\n..\r\n") for mail in messages)

    async def _arrived(self, box: Mailbox, count: int) -> Sequence[bytes]:
        async with asyncio.timeout(10):
            while len(mails := await asyncio.to_thread(box.server.mails, box.user)) < count:
                await asyncio.sleep(0.05)
        assert len(mails) == count
        return mails

    async def test_some_refused_recipients_are_told(self, box: Mailbox) -> None:
        envelope = Envelope(box.user, [box.user, "nobody-here@example.com"])
        outcome = await box.sender().send(envelope, raw_mail("partly"))
        assert outcome.status is SendStatus.ACCEPTED
        assert outcome.refused_recipients == {"nobody-here@example.com": Refusal(550, "5.1.1")}

    async def test_all_refused_is_refused(self, box: Mailbox) -> None:
        outcome = await box.sender().send(Envelope(box.user, ["nobody-here@example.com"]), raw_mail("no"))
        assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.REFUSED, "rcpt", 550)
        assert outcome.enhanced_code == "5.1.1"

    async def test_an_expired_token_is_refreshed_once_for_sending(self, box: Mailbox) -> None:
        box.auth_server.expire_access_tokens(box.user)
        outcome = await box.sender().send(Envelope(box.user, [box.user]), raw_mail("fresh"))
        assert outcome.status is SendStatus.ACCEPTED
        assert box.tokens.refreshes == 1

    async def test_a_token_refused_twice_is_an_auth_error_for_sending(self, box: Mailbox) -> None:
        box.tokens.set("never-issued")
        box.tokens.working = False
        with pytest.raises(AuthError):
            await box.sender().send(Envelope(box.user, [box.user]), raw_mail("no"))

    async def test_a_filed_copy_is_found_by_message_id_and_by_our_header(self, box: Mailbox) -> None:
        sender = box.sender()
        sent_at = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
        assert await sender.find_in_sent("<r1@help.example.com>", "token-1") == []
        content = raw_mail("copy", message_id="<r1@help.example.com>", extra=f"{OWN_HEADER}: token-1\r\n".encode())
        filed = await sender.file_in_sent(content, sent_at)
        assert filed.message_id == "<r1@help.example.com>"
        for arguments in (("<r1@help.example.com>", ""), ("<other@help.example.com>", "token-1")):
            found = await sender.find_in_sent(*arguments)
            assert [copy.locator for copy in found] == [filed.locator]
            assert found[0].message_id == "<r1@help.example.com>"
        copy = await box.reader().fetch(filed.locator)
        assert copy is not None
        assert copy.content == content
        assert copy.received_at == sent_at
        assert "\\Seen" in box.server.flags(box.user, copy.folder)[0]
