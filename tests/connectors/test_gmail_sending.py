"""Sending by the Gmail API: what is known after each way that it can fail, and that nothing is ever sent twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import (
    OWN_HEADER,
    AuthError,
    Envelope,
    PermanentError,
    PlaceMissing,
    RateLimited,
    SendOutcome,
    SendStatus,
    TemporaryError,
)
from ingestd.demo.gmailbox import Stored, message_id_of
from ingestd.demo.gmailfaults import Fault, Loss
from tests.connectors.gmail_box import GmailMailbox
from tests.connectors.mailbox import raw_mail, read_messages

TO = "customer@example.net"
LARGE = b"l\xe4rge\r\n" * 900_000


def reply(token: str = "token-1", body: bytes = b"") -> bytes:
    mail = raw_mail("reply", message_id="<r1@help.example.com>", extra=f"{OWN_HEADER}: {token}\r\n".encode())
    return mail.replace(b"<help@example.com>", f"<{TO}>".encode()) + body


def in_sent(box: GmailMailbox) -> list[Stored]:
    return box.box.find(labels=["SENT"])


async def send(box: GmailMailbox, content: bytes) -> SendOutcome:
    return await box.sender().send(Envelope(box.user, [TO]), content)


@pytest.mark.parametrize("body", [b"", LARGE], ids=["small", "large"])
async def test_an_answer_that_is_lost_is_looked_for_and_never_sent_again(
    gmail_mailbox: GmailMailbox, body: bytes
) -> None:
    box = gmail_mailbox
    box.gmail.faults.next("messages.send", Loss.AFTER)
    before = box.gmail.calls["messages.send"]
    outcome = await send(box, reply(body=body))
    assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.UNKNOWN, "dot", None)
    assert box.gmail.calls["messages.send"] == before + 1
    (sent,) = in_sent(box)
    # Google gave it another Message-ID: it is found by our own header, by a sender that knows nothing of it.
    (found,) = await box.sender().find_in_sent("<r1@help.example.com>", "token-1")
    assert found.locator == f"SENT:{sent.id}"
    assert found.message_id == message_id_of(sent.raw) != "<r1@help.example.com>"
    assert found.provider_id == str(int(sent.id, 16))


async def test_a_connection_that_ends_before_anything_was_done_is_as_unknown(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    box.gmail.faults.next("messages.send", Loss.BEFORE)
    before = box.gmail.calls["messages.send"]
    assert (await send(box, reply())).status is SendStatus.UNKNOWN
    assert box.gmail.calls["messages.send"] == before + 1
    assert await box.sender().find_in_sent("<r1@help.example.com>", "token-1") == []


@pytest.mark.parametrize("limit", ["read_seconds", "call_seconds"])
async def test_no_answer_at_all_is_unknown(gmail_mailbox: GmailMailbox, limit: str) -> None:
    box = gmail_mailbox
    box.change(**{limit: 0.3})
    box.gmail.faults.next("messages.send", Loss.HANG)
    assert (await send(box, reply())).status is SendStatus.UNKNOWN
    assert len(in_sent(box)) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_servers_error_says_nothing_about_the_mail(gmail_mailbox: GmailMailbox, status: int) -> None:
    gmail_mailbox.gmail.faults.next("messages.send", Fault(status, retry_after=5))
    outcome = await send(gmail_mailbox, reply())
    assert (outcome.status, outcome.code) == (SendStatus.UNKNOWN, status)


@pytest.mark.parametrize(
    ("fault", "status", "wait"),
    [
        (Fault(429, "rateLimitExceeded", 9), SendStatus.DEFERRED, 9),
        (Fault(403, "userRateLimitExceeded", 8), SendStatus.DEFERRED, 8),
        (Fault(403, "dailyLimitExceeded"), SendStatus.DEFERRED, 3600),
        (Fault(400, "invalidArgument"), SendStatus.REFUSED, None),
        (Fault(413, "uploadTooLarge"), SendStatus.REFUSED, None),
    ],
)
async def test_a_refusal_is_an_outcome(
    gmail_mailbox: GmailMailbox, fault: Fault, status: SendStatus, wait: float | None
) -> None:
    gmail_mailbox.gmail.faults.next("messages.send", fault)
    outcome = await send(gmail_mailbox, reply())
    assert (outcome.status, outcome.code, outcome.retry_after) == (status, fault.status, wait)
    assert in_sent(gmail_mailbox) == []


async def test_google_says_in_words_when_mail_may_leave_again(gmail_mailbox: GmailMailbox) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=500)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    said = f"User-rate limit exceeded.  Retry after {at} (Mail sending)"
    gmail_mailbox.gmail.faults.next("messages.send", Fault(429, "rateLimitExceeded", message=said))
    outcome = await send(gmail_mailbox, reply())
    assert outcome.status is SendStatus.DEFERRED
    assert 480 < (outcome.retry_after or 0) <= 500


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(403, "domainPolicy"), PermanentError),
        (Fault(403, "insufficientPermissions"), PermanentError),
        (Fault(400, "failedPrecondition"), PermanentError),
        (Fault(401, "authError"), AuthError),
    ],
)
async def test_the_mailboxs_own_trouble_is_raised(
    gmail_mailbox: GmailMailbox, fault: Fault, expected: type[Exception]
) -> None:
    gmail_mailbox.gmail.faults.next("messages.send", fault, times=2)
    with pytest.raises(expected):
        await send(gmail_mailbox, reply())
    assert in_sent(gmail_mailbox) == []


async def test_what_fails_before_the_mail_is_raised(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    content = b"In-Reply-To: <a@example.net>\r\n" + reply()
    for fault, expected in ((Fault(503), TemporaryError), (Fault(429, "rateLimitExceeded", 0), RateLimited)):
        box.gmail.faults.next("messages.list", fault)
        with pytest.raises(expected):
            await send(box, content)
    assert in_sent(box) == []


@pytest.mark.parametrize("body", [b"", LARGE], ids=["small", "large"])
async def test_a_mail_that_is_not_ours_any_more_does_not_leave(gmail_mailbox: GmailMailbox, body: bytes) -> None:
    box = gmail_mailbox
    asked_in: list[asyncio.AbstractEventLoop] = []

    async def still_ours() -> bool:
        asked_in.append(asyncio.get_running_loop())  # raises in another thread
        return False

    outcome = await box.sender().send(Envelope(box.user, [TO]), reply(body=body), still_ours=still_ours)
    assert (outcome.status, outcome.stage) == (SendStatus.DEFERRED, "data")
    assert asked_in == [asyncio.get_running_loop()]
    assert in_sent(box) == []


async def test_a_send_that_is_cancelled_before_it_left_never_leaves(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    sender = box.sender()

    async def still_ours() -> bool:
        sending.cancel()
        return True

    sending = asyncio.ensure_future(sender.send(Envelope(box.user, [TO]), reply(), still_ours=still_ours))
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert (await sender.send(Envelope(box.user, [TO]), reply("token-2"))).status is SendStatus.ACCEPTED
    tokens = [one.raw.partition(f"{OWN_HEADER}: ".encode())[2][:7] for one in in_sent(box)]
    # Cancelled at the very moment at which it leaves, it may leave or not; it leaves once at most.
    assert tokens.count(b"token-1") <= 1
    assert tokens.count(b"token-2") == 1


async def test_a_large_mail_is_uploaded_by_pieces(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    outcome = await send(box, reply(body=LARGE + LARGE))
    assert outcome.status is SendStatus.ACCEPTED
    (sent,) = in_sent(box)
    assert sent.raw.endswith(LARGE)
    assert outcome.provider_id == str(int(sent.id, 16))


async def test_a_mail_that_google_would_not_take_is_not_offered(gmail_mailbox: GmailMailbox) -> None:
    before = gmail_mailbox.gmail.calls["messages.send"]
    outcome = await send(gmail_mailbox, reply(body=b"x" * 36_700_161))
    assert (outcome.status, outcome.code, outcome.enhanced_code) == (SendStatus.REFUSED, 552, "5.3.4")
    assert gmail_mailbox.gmail.calls["messages.send"] == before


async def test_a_reply_joins_the_thread_of_what_it_answers(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    asked = box.box.add(raw_mail("question", message_id="<q1@example.net>"))
    content = b"References: <q0@example.net>\r\n <q1@example.net>\r\n" + reply()
    outcome = await send(box, content)
    assert outcome.status is SendStatus.ACCEPTED
    assert in_sent(box)[0].thread_id == asked.thread_id
    # A thread that is gone when the mail is sent is no reason not to send it.
    box.gmail.faults.next("messages.send", Fault(404, "notFound"))
    assert (await send(box, content)).status is SendStatus.ACCEPTED


async def test_the_senders_own_mail_is_found_by_its_id(gmail_mailbox: GmailMailbox) -> None:
    """One cheap look, however much lies in Sent."""
    box = gmail_mailbox
    sender = box.sender()
    await sender.send(Envelope(box.user, [TO]), reply())
    for number in range(60):
        box.box.add(raw_mail(f"other {number}"), ("SENT",))
    before = box.gmail.calls["messages.get"]
    (found,) = await sender.find_in_sent("<r1@help.example.com>", "token-1")
    assert found.message_id is not None
    assert found.message_id.endswith("@mail.gmail.com>")
    assert box.gmail.calls["messages.get"] == before + 1
    box.box.delete(found.locator.removeprefix("SENT:"))


async def test_absence_is_not_claimed_where_more_lies_in_sent_than_is_looked_at(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    box.change(sent_looked_at_max=5)
    for number in range(4):
        box.box.add(raw_mail(f"other {number}"), ("SENT",))
    sender = box.sender()
    assert await sender.find_in_sent("<r1@help.example.com>", "token-1") == []
    box.box.add(raw_mail("one more"), ("SENT",))
    with pytest.raises(PlaceMissing):
        await sender.find_in_sent("<r1@help.example.com>", "token-1")


async def test_a_filed_copy_is_no_new_mail(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    reader = box.reader()
    _, cursor = await read_messages(reader, None)
    await box.sender().file_in_sent(reply(body=b"Date"), datetime.now(UTC))
    assert (await read_messages(reader, cursor))[0] == []


@pytest.mark.parametrize("recipient", ["", "a b@example.com", "a@example.com\r\nBcc: x@example.com", "a@b,c@d"])
async def test_an_address_that_cannot_be_sent_is_none(gmail_mailbox: GmailMailbox, recipient: str) -> None:
    with pytest.raises(ValueError, match="envelope"):
        await gmail_mailbox.sender().send(Envelope(gmail_mailbox.user, [recipient]), reply())
