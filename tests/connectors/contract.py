"""What every connector must do, whatever its protocol. A connector's test module makes a subclass with a `box`.

A `box` has: reader(plan), sender(), deliver(subject, folder=…, body=…), access to tokens, and close().
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
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
    RawMessage,
    ReadPlan,
    SendStatus,
    StartFrom,
    TemporaryError,
)
from tests.connectors.mailbox import EVERYTHING, Mailbox, raw_mail, read_all, read_messages, subjects


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
        reader = box.reader(ReadPlan(start_from=StartFrom.EVERYTHING, batch_messages_max=3))
        batches, _ = await read_all(reader, None)
        assert [len(batch.messages) for batch in batches if batch.messages] == [3, 3, 1]
        assert [batch.more for batch in batches if batch.messages] == [True, True, False]
        assert subjects([m for batch in batches for m in batch.messages]) == sent

    async def test_the_bytes_of_a_batch_are_limited_but_one_message_always_passes(self, box: Mailbox) -> None:
        for number in range(3):
            box.deliver(f"m{number}", body=b"x" * 70 + b"\r\n" * 500)
        reader = box.reader(ReadPlan(start_from=StartFrom.EVERYTHING, batch_bytes_max=100))
        batches, _ = await read_all(reader, None)
        assert [len(batch.messages) for batch in batches if batch.messages] == [1, 1, 1]

    async def test_every_batch_has_a_cursor_to_go_on_from(self, box: Mailbox) -> None:
        for number in range(3):
            box.deliver(f"m{number}")
        reader = box.reader(ReadPlan(start_from=StartFrom.EVERYTHING, batch_messages_max=1))
        batches, _ = await read_all(reader, None)
        again = box.reader(EVERYTHING)
        messages, _ = await read_messages(again, batches[0].cursor)
        assert subjects(messages) == ["m1", "m2"]

    async def test_a_message_over_the_limit_comes_as_its_header(self, box: Mailbox) -> None:
        box.deliver("large", body=b"y" * 60 + b"\r\n" * 2000)
        box.deliver("small")
        reader = box.reader(ReadPlan(start_from=StartFrom.EVERYTHING, message_bytes_max=2000))
        messages, _ = await read_messages(reader, None)
        assert subjects(messages) == ["large", "small"]
        assert messages[0].content is None
        assert messages[0].size_bytes > 2000
        assert messages[1].content is not None

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
        assert "Seen" not in " ".join(box.dovecot.flags(box.user))

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

    async def test_a_message_that_is_gone_is_none(self, box: Mailbox) -> None:
        box.deliver("short-lived")
        reader = box.reader(EVERYTHING)
        (message,), _ = await read_messages(reader, None)
        await reader.edit(message.locator, Edit(EditKind.DELETE))
        assert await reader.fetch(message.locator) is None
        assert await reader.edit(message.locator, Edit(EditKind.DELETE)) is None
        assert await reader.edit(message.locator, Edit(EditKind.READ)) is None

    @pytest.mark.parametrize("kind", [EditKind.TRASH, EditKind.SPAM, EditKind.MOVE])
    async def test_moving_takes_a_message_away_once(self, box: Mailbox, kind: EditKind) -> None:
        box.dovecot.create_folder(box.user, "Fertig/Prüfung")
        target = {EditKind.TRASH: "Trash", EditKind.SPAM: "Junk", EditKind.MOVE: "Fertig/Prüfung"}[kind]
        box.deliver("mover")
        reader = box.reader(EVERYTHING)
        (message,), cursor = await read_messages(reader, None)
        edit = Edit(kind, target if kind is EditKind.MOVE else None)
        moved = await reader.edit(message.locator, edit)
        assert await reader.edit(message.locator, edit) is None
        assert len(box.dovecot.mails(box.user, target)) == 1
        assert await reader.fetch(message.locator) is None
        if self.move_gives_locator:
            assert moved is not None
            there = await reader.fetch(moved)
            assert there is not None
            assert there.folder == target
            assert there.content == message.content
        assert (await read_messages(reader, cursor))[0] == []

    async def test_marking_twice_is_marking_once(self, box: Mailbox) -> None:
        box.deliver("marked")
        reader = box.reader(EVERYTHING)
        (message,), _ = await read_messages(reader, None)
        for _ in range(2):
            assert await reader.edit(message.locator, Edit(EditKind.READ)) == message.locator
            assert await reader.edit(message.locator, Edit(EditKind.KEYWORD, "ingestd")) == message.locator
        flags = box.dovecot.flags(box.user)[0]
        assert "\\Seen" in flags
        assert "ingestd" in flags

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
        box.dovecot.kick(box.user)
        box.deliver("after the kick")
        messages: list[RawMessage] = []
        async with asyncio.timeout(10):
            while not messages:
                with contextlib.suppress(TemporaryError):
                    messages, cursor = await read_messages(reader, cursor)
        assert subjects(messages) == ["after the kick"]


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
            while len(mails := await asyncio.to_thread(box.dovecot.mails, box.user)) < count:
                await asyncio.sleep(0.05)
        assert len(mails) == count
        return mails

    async def test_some_refused_recipients_are_told(self, box: Mailbox) -> None:
        envelope = Envelope(box.user, [box.user, "nobody-here@example.com"])
        outcome = await box.sender().send(envelope, raw_mail("partly"))
        assert outcome.status is SendStatus.ACCEPTED
        assert outcome.refused_recipients == {"nobody-here@example.com": 550}

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
        assert "\\Seen" in box.dovecot.flags(box.user, copy.folder)[0]
