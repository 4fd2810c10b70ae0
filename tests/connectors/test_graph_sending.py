"""Sending by Graph: what is known after each fault, and that nothing leaves twice."""

from __future__ import annotations

import base64
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from connectors.base import OWN_HEADER, AuthError, Envelope, PlaceMissing, RateLimited, SendStatus, TemporaryError
from connectors.graph_draft import MIME_BYTES_MAX, split
from connectors.graph_sender import GraphSender
from ingestd.demo.graph_faults import Fault, dropped, gateway_timeout, lost_answer, throttled
from tests.connectors.graphbox import GraphBox, box, mail_to
from tests.connectors.mailbox import never
from tests.servers.graph import graph

__all__ = ["box", "graph"]

MESSAGE_ID = "<r1@help.example.com>"
SEND = "POST .*/send$"
CREATE = "POST messages$"


def reply(box: GraphBox, subject: str = "reply", *, body: bytes = b"Hello\r\n") -> bytes:
    extra = f"{OWN_HEADER}: token-1\r\nIn-Reply-To: <q@customer.example.net>\r\n".encode()
    return mail_to([box.user], subject, message_id=MESSAGE_ID, body=body, extra=extra)


def envelope(box: GraphBox) -> Envelope:
    return Envelope(box.user, [box.user])


async def found(sender: GraphSender) -> int:
    return len(await sender.find_in_sent(MESSAGE_ID, "token-1"))


class TestOutcomes:
    async def test_202_with_retry_after_is_accepted_and_never_repeated(self, box: GraphBox) -> None:
        box.fail(Fault(202, retry_after="1", handled=True, match=SEND))
        sender = box.sender()
        outcome = await sender.send(envelope(box), reply(box))
        assert (outcome.status, outcome.code) == (SendStatus.ACCEPTED, 202)
        assert box.calls("POST", "/send") == 1
        assert len(box.server.mails(box.user)) == 1

    @pytest.mark.parametrize("handled", [True, False])
    async def test_504_is_unknown_and_resolved_by_looking(self, box: GraphBox, handled: bool) -> None:
        box.fail(gateway_timeout(SEND, handled=handled))
        sender = box.sender()
        outcome = await sender.send(envelope(box), reply(box))
        assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.UNKNOWN, "dot", 504)
        assert await found(sender) == (1 if handled else 0)
        # What was not sent cannot be sent by somebody who finds its draft.
        assert box.server.mails(box.user, "Drafts") == []
        assert len(box.server.mails(box.user)) == (1 if handled else 0)

    @pytest.mark.parametrize("fault", [lost_answer(SEND), dropped(SEND)], ids=["done", "not done"])
    async def test_a_lost_answer_is_unknown_and_not_repeated(self, box: GraphBox, fault: Fault) -> None:
        box.fail(Fault(drop=True, handled=fault.handled, match=SEND))
        sender = box.sender()
        outcome = await sender.send(envelope(box), reply(box))
        assert (outcome.status, outcome.stage) == (SendStatus.UNKNOWN, "dot")
        assert box.calls("POST", "/send") == 1
        assert await found(sender) == (1 if fault.handled else 0)

    async def test_an_answer_that_does_not_come_is_unknown(self, box: GraphBox) -> None:
        box.change(send_seconds=0.3)
        box.fail(Fault(202, handled=True, match=SEND, seconds=1.0))
        outcome = await box.sender().send(envelope(box), reply(box))
        assert outcome.status is SendStatus.UNKNOWN

    async def test_what_is_lost_before_the_send_is_not_sent(self, box: GraphBox) -> None:
        box.fail(lost_answer(CREATE))
        sender = box.sender()
        with pytest.raises(TemporaryError):
            await sender.send(envelope(box), reply(box))
        assert len(box.server.mails(box.user, "Drafts")) == 1
        outcome = await sender.send(envelope(box), reply(box))
        assert outcome.status is SendStatus.ACCEPTED
        assert box.server.mails(box.user, "Drafts") == []
        assert len(box.server.mails(box.user)) == 1

    async def test_a_draft_that_a_crash_has_left_is_removed_when_it_is_looked_for(self, box: GraphBox) -> None:
        box.mailbox.put(reply(box), "drafts", is_draft=True)
        box.mailbox.put(mail_to(["x@example.com"], "somebody's own"), "drafts", is_draft=True)
        assert await found(box.sender()) == 0
        (left,) = box.server.mails(box.user, "Drafts")
        assert b"somebody's own" in left

    async def test_throttling_defers_and_is_obeyed(self, box: GraphBox) -> None:
        box.fail(throttled("300", match=SEND))
        sender = box.sender()
        outcome = await sender.send(envelope(box), reply(box))
        assert (outcome.status, outcome.code, outcome.retry_after) == (SendStatus.DEFERRED, 429, 300)
        assert not outcome.of_message
        with pytest.raises(RateLimited):
            await sender.send(envelope(box), reply(box))
        assert box.server.mails(box.user) == []

    async def test_a_short_throttling_is_waited_out(self, box: GraphBox) -> None:
        box.fail(throttled("1", match=SEND))
        outcome = await box.sender().send(envelope(box), reply(box))
        assert outcome.status is SendStatus.ACCEPTED
        assert len(box.server.mails(box.user)) == 1

    async def test_who_may_not_send_as_this_address_is_refused_for_good(self, box: GraphBox) -> None:
        box.fail(Fault(403, "ErrorSendAsDenied", match=SEND))
        outcome = await box.sender().send(envelope(box), reply(box))
        assert (outcome.status, outcome.code) == (SendStatus.REFUSED, 403)
        assert box.server.mails(box.user, "Drafts") == []

    async def test_what_is_ours_no_more_does_not_leave(self, box: GraphBox) -> None:
        outcome = await box.sender().send(envelope(box), reply(box), still_ours=never)
        assert outcome.status is SendStatus.DEFERRED
        assert box.server.mails(box.user) == box.server.mails(box.user, "Drafts") == []
        assert box.calls("POST", "/send") == 0

    async def test_a_token_refused_at_the_send_is_an_auth_error_and_leaves_nothing(self, box: GraphBox) -> None:
        box.fail(Fault(401, "InvalidAuthenticationToken", match=SEND, times=2))
        with pytest.raises(AuthError):
            await box.sender().send(envelope(box), reply(box))
        assert box.server.mails(box.user) == box.server.mails(box.user, "Drafts") == []


class TestWhatLeaves:
    async def test_the_headers_that_make_a_thread_leave_as_they_are(self, box: GraphBox) -> None:
        await box.sender().send(envelope(box), reply(box))
        (arrived,) = box.server.mails(box.user)
        assert arrived == reply(box)

    async def test_blind_copies_are_sent_and_not_shown(self, box: GraphBox) -> None:
        outcome = await box.sender().send(
            Envelope(box.user, [box.user, "hidden@elsewhere.example"]), mail_to([box.user], "with a blind copy")
        )
        assert outcome.status is SendStatus.ACCEPTED
        assert (box.user, "hidden@elsewhere.example") in box.graph.undeliverable
        (arrived,) = box.server.mails(box.user)
        assert b"hidden" not in arrived

    async def test_recipients_that_the_envelope_does_not_name_get_nothing(self, box: GraphBox) -> None:
        """Graph sends to whom the header names: rather than to one too many, it is not sent."""
        mail = mail_to([box.user, "too-many@example.com"], "to one too many")
        outcome = await box.sender().send(envelope(box), mail)
        assert (outcome.status, outcome.stage) == (SendStatus.REFUSED, "rcpt")
        assert box.server.mails(box.user) == box.server.mails(box.user, "Drafts") == []

    async def test_a_message_id_that_was_rewritten_is_found_by_our_header(
        self, box: GraphBox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(box.graph.calls, "rewrites_message_ids", True)
        sender = box.sender()
        await sender.send(envelope(box), reply(box))
        (copy,) = await sender.find_in_sent(MESSAGE_ID, "token-1")
        assert copy.message_id is not None
        assert copy.message_id != MESSAGE_ID

    async def test_where_there_is_no_sent_nothing_is_known(self, box: GraphBox) -> None:
        box.fail(Fault(404, "ErrorItemNotFound", match="sentitems"))
        with pytest.raises(PlaceMissing):
            await box.sender().find_in_sent(MESSAGE_ID, "")


def large(box: GraphBox, *sizes: int) -> bytes:
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["To"], message["Message-ID"] = box.user, box.user, MESSAGE_ID
    message["Subject"], message["In-Reply-To"] = "large", "<q@customer.example.net>"
    message.set_content("See the attachments: größer.\r\n")
    for number, size in enumerate(sizes):
        data = bytes([65 + number]) * size
        message.add_attachment(data, maintype="application", subtype="pdf", filename=f"Übersicht {number}.pdf")
    return message.as_bytes()


def attachments(content: bytes) -> list[tuple[str | None, int]]:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return [(part.get_filename(), len(part.get_content())) for part in message.iter_attachments()]


class TestLarge:
    async def test_attachments_are_put_to_the_draft(self, box: GraphBox) -> None:
        """A small one in one call, a large one in pieces."""
        content = large(box, 1000, 8_000_000)
        outcome = await box.sender().send(envelope(box), content)
        assert outcome.status is SendStatus.ACCEPTED
        (arrived,) = box.server.mails(box.user)
        assert (
            attachments(arrived) == attachments(content) == [("Übersicht 0.pdf", 1000), ("Übersicht 1.pdf", 8_000_000)]
        )
        message = message_from_bytes(arrived, policy=policy.default)
        assert (message["Message-ID"], message["In-Reply-To"]) == (MESSAGE_ID, "<q@customer.example.net>")

    async def test_an_upload_that_fails_leaves_nothing(self, box: GraphBox) -> None:
        box.fail(Fault(500, "ErrorInternalServerError", match="createUploadSession"))
        outcome = await box.sender().send(envelope(box), large(box, 4_000_000))
        assert (outcome.status, outcome.stage) == (SendStatus.DEFERRED, "data")
        assert box.server.mails(box.user) == box.server.mails(box.user, "Drafts") == []

    async def test_an_upload_that_leads_elsewhere_is_not_followed(
        self, box: GraphBox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sender = box.sender()
        sender._access = type(box.access)(base_url="https://graph.example.com/v1.0")
        with pytest.raises(TemporaryError, match="elsewhere"):
            await sender.send(envelope(box), large(box, 4_000_000))
        assert box.server.mails(box.user) == []

    async def test_a_text_that_does_not_fit_is_refused(self, box: GraphBox) -> None:
        outcome = await box.sender().send(envelope(box), reply(box, body=b"x" * (MIME_BYTES_MAX + 1)))
        assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.REFUSED, "data", 413)

    def test_what_stays_is_the_same_bytes(self, box: GraphBox) -> None:
        content = large(box, 1000, 4_000_000)
        parts = split(content)
        assert parts is not None
        mime, cut = parts
        assert content.startswith(mime[: mime.index(b"See the")])
        assert len(mime) < 2000
        assert [one.data for one in cut] == [b"A" * 1000, b"B" * 4_000_000]
        message = message_from_bytes(mime, policy=policy.default)
        assert not message.defects
        assert base64.b64encode(mime)
