"""The contract suite on the Gmail API, as the demo's Gmail speaks it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.base import OWN_HEADER, Edit, EditKind, Envelope, SendStatus
from ingestd.demo.gmailfaults import Fault, Faults
from tests.connectors.contract import EditContract, HistoryContract, ReaderContract, SenderContract
from tests.connectors.gmail_box import GmailMailbox
from tests.connectors.mailbox import Mailbox, raw_mail


class TestGmail(ReaderContract, HistoryContract, EditContract, SenderContract):
    """What is overridden is told by Google in another way than by SMTP, or cannot be."""

    @pytest.fixture
    def box(self, gmail_mailbox: GmailMailbox) -> GmailMailbox:
        return gmail_mailbox

    async def test_the_marks_of_others_are_not_expunged(self, box: Mailbox) -> None:
        """Gmail has no such marks: what one deletes is all that goes."""
        reader, locators = await self.read(box, 2)
        await reader.edit([locators[1]], Edit(EditKind.DELETE))
        assert len(box.server.mails(box.user)) == 1

    async def test_an_accepted_mail_arrives_once(self, box: Mailbox) -> None:
        sender = box.sender()
        for number in range(2):
            outcome = await sender.send(_to_itself(box), raw_mail(f"reply {number}", body=b".\r\n..\r\n"))
            assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.ACCEPTED, "dot", 200)
        messages = await self._arrived(box, 2)
        assert all(mail.endswith(b"\r\n\r\n.\r\n..\r\n") for mail in messages)

    async def test_some_refused_recipients_are_told(self, box: Mailbox) -> None:
        """Google takes a mail for all of them, and bounces come back: who is not named gets it all the same."""
        envelope = Envelope(box.user, ["help@example.com", box.user, "hidden@example.com"])
        outcome = await box.sender().send(envelope, raw_mail("partly"))
        assert outcome.status is SendStatus.ACCEPTED
        assert outcome.refused_recipients == {}
        (arrived,) = await self._arrived(box, 1)
        assert f"Bcc: {box.user},\r\n hidden@example.com\r\n".encode() in arrived  # the sender's own copy has it

    async def test_all_refused_is_refused(self, box: Mailbox) -> None:
        mail = raw_mail("no").replace(b"To: <help@example.com>\r\n", b"")
        faults_of(box).next("messages.send", Fault(400, "invalidArgument"))
        outcome = await box.sender().send(Envelope(box.user, ["nobody-here@example.com"]), mail)
        assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.REFUSED, "data", 400)

    async def test_a_filed_copy_is_found_by_message_id_and_by_our_header(self, box: Mailbox) -> None:
        sender = box.sender()
        sent_at = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
        assert await sender.find_in_sent("<r1@help.example.com>", "token-1") == []
        extra = f"{OWN_HEADER}: token-1\r\nDate: Sun, 01 Mar 2026 12:30:15 +0000\r\n".encode()
        content = raw_mail("copy", message_id="<r1@help.example.com>", extra=extra)
        filed = await sender.file_in_sent(content, sent_at)
        assert filed.message_id == "<r1@help.example.com>"
        for arguments in (("<r1@help.example.com>", ""), ("<other@help.example.com>", "token-1")):
            for looking in (sender, box.sender()):
                found = await looking.find_in_sent(*arguments)
                assert [copy.locator for copy in found] == [filed.locator]
                assert found[0].message_id == "<r1@help.example.com>"
        copy = await box.reader().fetch(filed.locator)
        assert copy is not None
        assert copy.content == content
        assert copy.received_at == sent_at
        assert "\\Seen" in box.server.flags(box.user, copy.folder)[0]


def faults_of(box: object) -> Faults:
    assert isinstance(box, GmailMailbox)
    return box.gmail.faults


def _to_itself(box: Mailbox) -> Envelope:
    return Envelope(box.user, ["help@example.com", box.user])
