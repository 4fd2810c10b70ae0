"""Every outcome of a send: at Postfix through a proxy that cuts at the exact place, and against scripted replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from connectors.base import (
    AuthError,
    ConnectorError,
    Envelope,
    PermanentError,
    RateLimited,
    SendOutcome,
    SendStatus,
    TemporaryError,
)
from connectors.imap_access import SmtpEndpoint
from ingestd.mail.message_id import own_token
from ingestd.mail.transform import transform
from tests.connectors.mailbox import Mailbox, never, raw_mail
from tests.servers.certs import Certificates
from tests.servers.postfix import BOUNCED, DEFERRED, Postfix
from tests.servers.proxy import Fault, Proxy
from tests.servers.script import Peer, scripted, server_context

MARK = b"a-marker-in-the-middle-of-the-body"
LARGE = b"0123456789" * 7 + b"\r\n"


@pytest.fixture
async def box(mailbox: Mailbox) -> AsyncIterator[Mailbox]:
    yield mailbox
    await mailbox.close()


@pytest.fixture
async def proxy(box: Mailbox, certificates: Certificates) -> AsyncIterator[Proxy]:
    """Between the sender and Postfix, inside TLS."""
    context = server_context(str(certificates.cert_file), str(certificates.key_file))
    async with Proxy(
        box.postfix.port_tls, server_context=context, upstream_context=box.tools.ssl_context
    ).running() as proxy:
        box.change(smtp=SmtpEndpoint("localhost", proxy.port))
        yield proxy


def to_self(box: Mailbox) -> Envelope:
    return Envelope(box.user, [box.user])


async def count_mails(box: Mailbox) -> int:
    return len(await asyncio.to_thread(box.server.mails, box.user))


async def until_mails(box: Mailbox, count: int) -> None:
    async with asyncio.timeout(10):
        while await count_mails(box) != count:
            await asyncio.sleep(0.05)


async def test_starttls_sends_too(box: Mailbox) -> None:
    box.change(smtp=SmtpEndpoint("localhost", box.postfix.port_starttls, "starttls"))
    outcome = await box.sender().send(to_self(box), raw_mail("by starttls"))
    assert outcome.status is SendStatus.ACCEPTED


async def test_a_token_longer_than_a_command_line(box: Mailbox) -> None:
    """Postfix takes 12,288 bytes a line; the token is refused for what it is, not for its length."""
    box.tokens.set("t" * 7000)
    outcome = await box.sender().send(to_self(box), raw_mail("after a long token"))
    assert outcome.status is SendStatus.ACCEPTED
    assert box.tokens.refreshes == 1


async def test_a_loss_in_the_middle_of_the_body_is_never_called_sent(box: Mailbox, proxy: Proxy) -> None:
    """Where the system's buffers took the dot as well, we cannot know that it never left: unknown, not deferred."""
    proxy.fault = Fault("client", marker=MARK)
    sender = box.sender()
    outcome = await sender.send(to_self(box), raw_mail("cut", body=LARGE * 20 + MARK + b"\r\n" + LARGE * 20_000))
    assert proxy.fault.happened
    assert outcome.status in (SendStatus.DEFERRED, SendStatus.UNKNOWN)
    assert (await sender.send(to_self(box), raw_mail("again"))).status is SendStatus.ACCEPTED
    await until_mails(box, 1)


@pytest.mark.parametrize("last_words", [b"", b"421 4.3.0 closing\r\n", b"552 5.3.4 too much\r\n"])
async def test_an_end_while_the_body_is_written_is_before_the_dot(
    box: Mailbox, certificates: Certificates, last_words: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await logged_in(peer)
        for word, reply in ((b"MAIL", b"250 ok"), (b"RCPT", b"250 ok"), (b"DATA", b"354 go")):
            await peer.hear(word)
            await peer.say(reply + b"\r\n")
        await peer.reader.readexactly(100_000)
        await peer.say(last_words)
        if last_words:
            await peer.reader.readexactly(1_000_000)

    outcome = await send_to_script(box, certificates, script, body=LARGE * 400_000)
    expected = (SendStatus.REFUSED, 552) if last_words.startswith(b"5") else (SendStatus.DEFERRED, None)
    assert outcome.status is expected[0]
    assert outcome.stage == "data"
    if last_words:
        assert outcome.code == int(last_words[:3])


async def test_a_lost_dot_is_unknown(box: Mailbox, proxy: Proxy) -> None:
    proxy.fault = Fault("client", marker=b"\r\n.\r\n")
    outcome = await box.sender().send(to_self(box), raw_mail("dotless"))
    assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.UNKNOWN, "dot", None)
    assert await count_mails(box) == 0


async def test_a_message_that_is_no_longer_ours_is_stopped_before_the_dot(box: Mailbox) -> None:
    sender = box.sender()
    outcome = await sender.send(to_self(box), raw_mail("not any more"), still_ours=never)
    assert (outcome.status, outcome.stage) == (SendStatus.DEFERRED, "data")
    assert (await sender.send(to_self(box), raw_mail("ours again"))).status is SendStatus.ACCEPTED
    await until_mails(box, 1)


async def test_a_lost_answer_to_the_dot_is_unknown_and_the_mail_was_sent(box: Mailbox, proxy: Proxy) -> None:
    proxy.fault = Fault("server", marker=b"250 2.0.0 Ok: queued")
    outcome = await box.sender().send(to_self(box), raw_mail("sent all the same"))
    assert (outcome.status, outcome.stage) == (SendStatus.UNKNOWN, "dot")
    await until_mails(box, 1)


async def test_no_answer_to_the_dot_is_unknown(box: Mailbox, proxy: Proxy) -> None:
    proxy.fault = Fault("server", marker=b"250 2.0.0 Ok: queued", action="hang")
    box.change(dot_seconds=0.5)
    outcome = await box.sender().send(to_self(box), raw_mail("silence"))
    assert (outcome.status, outcome.stage) == (SendStatus.UNKNOWN, "dot")


@pytest.mark.parametrize(("marker", "stage"), [(b"MAIL FROM", "mail"), (b"RCPT TO", "rcpt"), (b"DATA\r\n", "data")])
async def test_a_loss_before_the_body_is_deferred(box: Mailbox, proxy: Proxy, marker: bytes, stage: str) -> None:
    proxy.fault = Fault("client", marker=marker)
    outcome = await box.sender().send(to_self(box), raw_mail("early"))
    assert (outcome.status, outcome.stage) == (SendStatus.DEFERRED, stage)
    assert await count_mails(box) == 0


async def test_a_loss_before_mail_raises(box: Mailbox, proxy: Proxy) -> None:
    proxy.fault = Fault("client", marker=b"AUTH ")
    with pytest.raises(TemporaryError):
        await box.sender().send(to_self(box), raw_mail("earliest"))


async def test_a_recipient_refused_for_now_is_deferred(box: Mailbox) -> None:
    outcome = await box.sender().send(Envelope(box.user, [DEFERRED]), raw_mail("later"))
    assert (outcome.status, outcome.stage, outcome.code) == (SendStatus.DEFERRED, "rcpt", 450)
    assert outcome.enhanced_code == "4.2.1"


async def test_a_mail_over_the_servers_size_is_refused_without_sending_it(box: Mailbox, proxy: Proxy) -> None:
    outcome = await box.sender().send(to_self(box), raw_mail("large", body=LARGE * 40_000))
    assert (outcome.status, outcome.stage, outcome.enhanced_code) == (SendStatus.REFUSED, "mail", "5.3.4")
    assert b"MAIL FROM" not in proxy.sent_by_client


async def test_utf8_addresses_are_sent_where_the_server_can(box: Mailbox, proxy: Proxy) -> None:
    outcome = await box.sender().send(Envelope(box.user, ["grüße@example.com"]), raw_mail("utf8"))
    assert (outcome.status, outcome.stage) == (SendStatus.REFUSED, "rcpt")  # no such user, but the server was asked
    assert b"SMTPUTF8" in proxy.sent_by_client


async def test_utf8_addresses_are_refused_where_it_cannot(box: Mailbox, certificates: Certificates) -> None:
    server = Postfix(certificates, box.dovecot, [box.user], smtputf8=False)
    try:
        server.start()
        box.change(smtp=SmtpEndpoint("localhost", server.port_tls))
        outcome = await box.sender().send(Envelope(box.user, ["grüße@example.com"]), raw_mail("utf8"))
        assert (outcome.status, outcome.stage, outcome.enhanced_code) == (SendStatus.REFUSED, "mail", "5.6.7")
    finally:
        server.destroy()


async def test_a_connection_is_kept_and_one_that_died_is_replaced(box: Mailbox, proxy: Proxy) -> None:
    sender = box.sender()
    for number in range(2):
        assert (await sender.send(to_self(box), raw_mail(f"m{number}"))).status is SendStatus.ACCEPTED
    assert proxy.connections == 1
    proxy.cut_all()
    assert (await sender.send(to_self(box), raw_mail("m2"))).status is SendStatus.ACCEPTED
    assert proxy.connections == 2
    await until_mails(box, 3)


async def test_a_kept_connection_is_not_asked_whether_it_is_there_right_after_it_answered(
    box: Mailbox, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = box.sender()
    for number in range(2):
        assert (await sender.send(to_self(box), raw_mail(f"m{number}"))).status is SendStatus.ACCEPTED
    assert b"RSET" not in proxy.sent_by_client
    monkeypatch.setattr("connectors.smtp._ANSWERS_SECONDS", 0.0)
    assert (await sender.send(to_self(box), raw_mail("m2"))).status is SendStatus.ACCEPTED
    assert (proxy.sent_by_client.count(b"RSET"), proxy.connections) == (1, 1)


async def test_a_kept_connection_that_dies_at_mail_is_replaced(box: Mailbox, proxy: Proxy) -> None:
    sender = box.sender()
    assert (await sender.send(to_self(box), raw_mail("m0"))).status is SendStatus.ACCEPTED
    proxy.fault = Fault("client", marker=b"MAIL FROM")
    assert (await sender.send(to_self(box), raw_mail("m1"))).status is SendStatus.ACCEPTED
    assert proxy.connections == 2
    await until_mails(box, 2)


async def test_after_a_refusal_the_next_mail_begins_anew(box: Mailbox, proxy: Proxy) -> None:
    sender = box.sender()
    assert (await sender.send(Envelope(box.user, [DEFERRED]), raw_mail("m0"))).status is SendStatus.DEFERRED
    assert (await sender.send(to_self(box), raw_mail("m1"))).status is SendStatus.ACCEPTED
    assert (proxy.sent_by_client.count(b"RSET"), proxy.connections) == (1, 1)


async def test_an_idle_connection_is_closed(box: Mailbox, proxy: Proxy) -> None:
    box.change(connection_idle_seconds=0.2)
    sender = box.sender()
    await sender.send(to_self(box), raw_mail("once"))
    async with asyncio.timeout(5):
        while b"QUIT" not in proxy.sent_by_client:
            await asyncio.sleep(0.02)


async def test_a_cancelled_send_closes_the_connection(box: Mailbox, proxy: Proxy) -> None:
    proxy.fault = Fault("server", marker=b"250 2.0.0 Ok: queued", action="hang")
    sender = box.sender()
    sending = asyncio.create_task(sender.send(to_self(box), raw_mail("cancelled")))
    async with asyncio.timeout(5):
        while not proxy.fault.happened:
            await asyncio.sleep(0.02)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert (await sender.send(to_self(box), raw_mail("next"))).status is SendStatus.ACCEPTED
    assert proxy.connections == 2


async def test_dots_and_line_ends_cannot_end_the_mail_early(box: Mailbox) -> None:
    body = b"one\n.\nMAIL FROM:<evil@example.net>\r.\r\n\r\n.\r\nlast\r\n"
    outcome = await box.sender().send(to_self(box), raw_mail("smuggled", body=body))
    assert outcome.status is SendStatus.ACCEPTED
    await until_mails(box, 1)
    (mail,) = await asyncio.to_thread(box.server.mails, box.user)
    assert mail.endswith(b"one\r\n.\r\nMAIL FROM:<evil@example.net>\r\n.\r\n\r\n.\r\nlast\r\n")


@pytest.mark.parametrize(
    "address", ["", "a@example.com>\r\nRCPT TO:<b@example.com", "a b@example.com", "<a@example.com>"]
)
async def test_an_envelope_that_would_inject_is_an_error_of_ours(box: Mailbox, address: str) -> None:
    with pytest.raises(ValueError, match="envelope"):
        await box.sender().send(Envelope(box.user, [address]), raw_mail("never"))


async def test_a_report_names_the_envelope_id_and_returns_the_header_alone(box: Mailbox) -> None:
    token = own_token(bytes(32), bytes(16))
    content = raw_mail("away", body=b"what was said\r\n")
    outcome = await box.sender().send(Envelope(box.user, [BOUNCED], token), content)
    assert outcome.status is SendStatus.ACCEPTED
    await until_mails(box, 1)
    (report,) = await asyncio.to_thread(box.server.mails, box.user)
    assert b"what was said" not in report
    bounce = transform(report).mail.bounce
    assert bounce is not None
    assert (bounce.own_tokens, bounce.recipients) == ((token,), (BOUNCED,))


async def test_an_envelope_id_that_would_inject_is_an_error_of_ours(box: Mailbox) -> None:
    with pytest.raises(ValueError, match="envelope"):
        await box.sender().send(Envelope(box.user, [box.user], "id RET=FULL"), raw_mail("never"))


Script = Callable[[Peer], Awaitable[None]]


async def send_to_script(
    box: Mailbox, certificates: Certificates, script: Script, body: bytes = b"Hello\r\n"
) -> SendOutcome:
    context = server_context(str(certificates.cert_file), str(certificates.key_file))
    async with scripted(script, context) as port:
        box.change(smtp=SmtpEndpoint("localhost", port))
        return await box.sender().send(to_self(box), raw_mail("scripted", body=body))


async def logged_in(peer: Peer) -> None:
    await peer.say(b"220 ready\r\n")
    await peer.hear(b"EHLO")
    await peer.say(b"250-mail.example.com\r\n250 AUTH XOAUTH2\r\n")
    await peer.hear(b"AUTH XOAUTH2")
    await peer.say(b"235 2.7.0 ok\r\n")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"535 5.7.8 no", AuthError),
        (b"454 4.7.0 later", TemporaryError),
        (
            b"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant",
            PermanentError,
        ),
        (b"421 4.7.0 Too many login attempts", RateLimited),
        (b"bad line", TemporaryError),
    ],
)
@pytest.mark.parametrize("challenge", [False, True])
async def test_refusals_at_login_raise(
    box: Mailbox, certificates: Certificates, reply: bytes, error: type[ConnectorError], challenge: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"220 ready\r\n")
        await peer.hear(b"EHLO")
        await peer.say(b"250-mail.example.com\r\n250 AUTH XOAUTH2\r\n")
        await peer.hear(b"AUTH XOAUTH2")
        if challenge:
            await peer.say(b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n")
            assert await peer.reader.readline() == b"\r\n"
        await peer.say(reply + b"\r\n")

    with pytest.raises(error) as raised:
        await send_to_script(box, certificates, script)
    assert type(raised.value) is error
    assert box.tokens.refreshes == (1 if error is AuthError else 0)


@pytest.mark.parametrize(
    ("replies", "status", "stage", "code", "wait"),
    [
        ([b"421 4.3.2 closing"], SendStatus.DEFERRED, "mail", 421, None),
        ([b"432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"], SendStatus.DEFERRED, "mail", 432, 60.0),
        ([b"550 5.7.1 not yours"], SendStatus.REFUSED, "mail", 550, None),
        ([b"250 ok", b"421 4.7.0 closing"], SendStatus.DEFERRED, "rcpt", 421, None),
        ([b"250 ok", b"250 ok", b"554 5.5.1 no"], SendStatus.REFUSED, "data", 554, None),
        ([b"250 ok", b"250 ok", b"451 4.3.0 later"], SendStatus.DEFERRED, "data", 451, None),
        ([b"250 ok", b"250 ok", b"354 go", b"554 5.7.1 spam"], SendStatus.REFUSED, "dot", 554, None),
        ([b"250 ok", b"250 ok", b"354 go", b"452 4.3.1 full"], SendStatus.DEFERRED, "dot", 452, None),
        (
            [b"250 ok", b"250 ok", b"354 go", b"451 Request is throttled. Suggested Backoff Time: 5000 milliseconds"],
            SendStatus.DEFERRED,
            "dot",
            451,
            5.0,
        ),
        ([b"250 ok", b"250 ok", b"354 go", b"what"], SendStatus.UNKNOWN, "dot", None, None),
    ],
)
async def test_replies_decide(
    box: Mailbox,
    certificates: Certificates,
    replies: list[bytes],
    status: SendStatus,
    stage: str,
    code: int | None,
    wait: float | None,
) -> None:
    async def script(peer: Peer) -> None:
        await logged_in(peer)
        for word, reply in zip((b"MAIL", b"RCPT", b"DATA"), replies, strict=False):
            await peer.hear(word)
            await peer.say(reply + b"\r\n")
        if len(replies) == 4:
            await peer.reader.readuntil(b"\r\n.\r\n")
            await peer.say(replies[3] + b"\r\n")
        await peer.reader.read(1)

    outcome = await send_to_script(box, certificates, script)
    assert (outcome.status, outcome.stage, outcome.retry_after) == (status, stage, wait)
    assert outcome.code == code
