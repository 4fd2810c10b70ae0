"""The contract suite on Microsoft Graph, and where Graph is another kind of server than IMAP and SMTP."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.base import OWN_HEADER, Envelope, PermanentError, SendStatus
from ingestd.demo.graph_faults import Fault
from tests.connectors.contract import EditContract, HistoryContract, ReaderContract, SenderContract
from tests.connectors.graphbox import GraphBox, box, mail_to
from tests.servers.graph import graph

__all__ = ["box", "graph"]


class TestGraph(ReaderContract, HistoryContract, EditContract, SenderContract):
    # Graph has no mark of deletion that others could set: nothing is deleted but what is named.
    test_the_marks_of_others_are_not_expunged = None  # type: ignore[assignment]

    # Graph takes the recipients from the header, tells of each by a bounce alone, and answers in HTTP.

    async def test_an_accepted_mail_arrives_once(self, box: GraphBox) -> None:  # type: ignore[override]
        sender = box.sender()
        for number in range(2):
            outcome = await sender.send(
                Envelope(box.user, [box.user]), mail_to([box.user], f"reply {number}", body=b".\r\n..\r\n")
            )
            assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.ACCEPTED, "dot", 202)
        arrived = box.server.mails(box.user)
        assert len(arrived) == 2
        assert all(mail.endswith(b"\r\n\r\n.\r\n..\r\n") for mail in arrived)

    async def test_some_refused_recipients_are_told(self, box: GraphBox) -> None:  # type: ignore[override]
        recipients = [box.user, "nobody-here@example.com"]
        outcome = await box.sender().send(Envelope(box.user, recipients), mail_to(recipients, "partly"))
        assert outcome.status is SendStatus.ACCEPTED
        assert outcome.refused_recipients == {}
        assert (box.user, "nobody-here@example.com") in box.graph.undeliverable

    async def test_all_refused_is_refused(self, box: GraphBox) -> None:  # type: ignore[override]
        box.fail(Fault(400, "ErrorInvalidRecipients", match="POST .*/send$"))
        outcome = await box.sender().send(Envelope(box.user, [box.user]), mail_to([box.user], "no"))
        assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.REFUSED, "dot", 400)
        assert box.server.mails(box.user, "Drafts") == []

    async def test_an_expired_token_is_refreshed_once_for_sending(  # type: ignore[override]
        self, box: GraphBox
    ) -> None:
        box.auth_server.expire_access_tokens(box.user)
        outcome = await box.sender().send(Envelope(box.user, [box.user]), mail_to([box.user], "fresh"))
        assert outcome.status is SendStatus.ACCEPTED
        assert box.tokens.refreshes == 1

    async def test_a_filed_copy_is_found_by_message_id_and_by_our_header(  # type: ignore[override]
        self, box: GraphBox
    ) -> None:
        """The provider files it; nobody else can."""
        sender = box.sender()
        assert await sender.find_in_sent("<r1@help.example.com>", "token-1") == []
        extra = f"{OWN_HEADER}: token-1\r\n".encode()
        content = mail_to([box.user], "copy", message_id="<r1@help.example.com>", extra=extra)
        outcome = await sender.send(Envelope(box.user, [box.user]), content)
        for arguments in (("<r1@help.example.com>", ""), ("<other@help.example.com>", "token-1")):
            (found,) = await sender.find_in_sent(*arguments)
            assert found.message_id == "<r1@help.example.com>"
            assert found.provider_id == outcome.provider_id
            copy = await box.reader().fetch(found.locator)
            assert copy is not None
            assert copy.content == content
            assert "\\Seen" in box.server.flags(box.user, "Sent")[0]
        with pytest.raises(PermanentError):
            await sender.file_in_sent(content, datetime(2026, 3, 1, tzinfo=UTC))
