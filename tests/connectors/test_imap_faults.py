"""IMAP when things go wrong: cut connections, changed UIDVALIDITY, expunged mail, mechanisms, hostile servers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import (
    AccessToken,
    AuthError,
    PermanentError,
    RateLimited,
    RawMessage,
    ReadPlan,
    TemporaryError,
    TokenSource,
    Trouble,
)
from connectors.egress import EgressRefused
from connectors.imap import ImapReader
from connectors.imap_access import ImapAccess, ImapEndpoint
from connectors.imap_session import ImapTools, open_session
from tests.connectors.mailbox import EVERYTHING, LONG_AGO, Mailbox, raw_mail, read_all, read_messages, subjects
from tests.connectors.test_imap_idle import access_to, token
from tests.servers.certs import Certificates
from tests.servers.dovecot import Dovecot, Mechanism
from tests.servers.fixtures import introspection_url
from tests.servers.process import free_port
from tests.servers.proxy import Fault, Proxy
from tests.servers.script import Peer, scripted, server_context


@pytest.fixture
async def box(mailbox: Mailbox) -> AsyncIterator[Mailbox]:
    yield mailbox
    await mailbox.close()


@pytest.fixture
async def proxy(box: Mailbox, certificates: Certificates) -> AsyncIterator[Proxy]:
    """Between the reader and Dovecot, inside TLS."""
    context = server_context(str(certificates.cert_file), str(certificates.key_file))
    async with Proxy(
        box.server.port_tls, server_context=context, upstream_context=box.tools.ssl_context
    ).running() as proxy:
        box.change(imap=ImapEndpoint("localhost", proxy.port))
        yield proxy


async def test_a_cut_in_a_literal_is_temporary_and_nothing_is_lost(box: Mailbox, proxy: Proxy) -> None:
    for number in range(3):
        box.deliver(f"m{number}", body=b"z" * 60 + b"\r\n" * 3000)
    reader = box.reader(ReadPlan(start_at=LONG_AGO, batch_messages_max=1))
    proxy.fault = Fault("server", marker=b"Subject: m1", keep=500)
    cursor = None
    got: list[str] = []
    with pytest.raises(TemporaryError) as error:  # noqa: PT012 (what came before the error matters)
        async for batch in reader.changes(None):
            got += subjects(list(batch.messages))
            cursor = batch.cursor
    assert proxy.fault.happened
    assert "Subject" not in str(error.value)
    assert got == ["m0"]
    messages, _ = await read_messages(reader, cursor)
    assert subjects(messages) == ["m1", "m2"]
    assert proxy.connections == 2


async def test_a_server_that_hangs_is_given_up(box: Mailbox, proxy: Proxy) -> None:
    box.deliver("behind a hang")
    box.change(read_seconds=0.5)
    reader = box.reader()
    proxy.fault = Fault("server", marker=b"UIDVALIDITY", action="hang")
    async with asyncio.timeout(5):
        with pytest.raises(TemporaryError):
            await read_messages(reader, None)
    assert subjects((await read_messages(reader, None))[0]) == ["behind a hang"]


async def test_a_cut_while_waiting_wakes(box: Mailbox, proxy: Proxy) -> None:
    reader = box.reader(ReadPlan())
    await read_messages(reader, None)
    waiting = asyncio.create_task(reader.wait(20))
    async with asyncio.timeout(5):
        while b"IDLE" not in proxy.sent_by_client:
            await asyncio.sleep(0.01)
    proxy.cut_all()
    async with asyncio.timeout(5):
        assert await waiting


async def test_a_cancelled_command_does_not_leave_its_answer_to_the_next(box: Mailbox, proxy: Proxy) -> None:
    box.deliver("one")
    reader = box.reader()
    messages, _ = await read_messages(reader, None)
    proxy.delay_seconds = 0.3
    reading = asyncio.create_task(reader.fetch(messages[0].locator))
    await asyncio.sleep(0.1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    proxy.delay_seconds = 0
    again = await reader.fetch(messages[0].locator)
    assert again is not None
    assert again.content == messages[0].content


async def test_a_recreated_folder_is_read_again(box: Mailbox) -> None:
    box.server.create_folder(box.user, "Support")
    plan = ReadPlan(folders=("INBOX", "Support"), start_at=LONG_AGO)
    box.deliver("before", "Support")
    reader = box.reader(plan)
    messages, cursor = await read_messages(reader, None)
    assert subjects(messages) == ["before"]
    await reader.close()
    box.server.delete_folder(box.user, "Support")
    assert (await read_messages(reader, cursor))[0] == []
    assert list(reader.missing_folders()) == [1]
    await asyncio.sleep(1.1)  # Dovecot makes UIDVALIDITY of the time in seconds
    box.server.create_folder(box.user, "Support")
    box.deliver("after", "Support")
    messages, cursor = await read_messages(reader, cursor)
    assert subjects(messages) == ["after"]
    assert (await read_messages(reader, cursor))[0] == []


async def test_a_new_uidvalidity_yields_again_what_was_wanted_and_not_what_was_old(box: Mailbox) -> None:
    old = raw_mail("long ago")
    session = await open_session(box.access, box.tokens, box.tools)
    await session.run("APPEND", lambda client: client.append("INBOX", old, (), datetime(2020, 1, 1, tzinfo=UTC)))
    await session.close()
    reader = box.reader(ReadPlan())
    _, cursor = await read_messages(reader, None)
    box.deliver("wanted")
    messages, cursor = await read_messages(reader, cursor)
    assert subjects(messages) == ["wanted"]
    await reader.close()
    box.dovecot.reset_uidvalidity(box.user)
    again, cursor = await read_messages(reader, cursor)
    assert subjects(again) == ["wanted"]
    assert again[0].locator != messages[0].locator
    assert again[0].content == messages[0].content
    assert (await reader.fetch(messages[0].locator)) is None
    assert (await read_messages(reader, cursor))[0] == []


async def test_what_is_expunged_meanwhile_is_skipped(box: Mailbox) -> None:
    for number in range(3):
        box.deliver(f"m{number}")
    reader = box.reader(ReadPlan(start_at=LONG_AGO, batch_messages_max=1))
    got: list[str] = []
    async for batch in reader.changes(None):
        if not got:
            await asyncio.to_thread(box.server.expunge, box.user, "INBOX", 2)
        got += subjects(list(batch.messages))
    assert got == ["m0", "m2"]


async def test_old_mail_is_told_by_its_date(box: Mailbox) -> None:
    session = await open_session(box.access, box.tokens, box.tools)
    for days in (30, 8, 6, 0):
        date = datetime.now(UTC) - timedelta(days=days)
        mail = raw_mail(f"{days} days")
        await session.run("APPEND", lambda client, m=mail, d=date: client.append("INBOX", m, (), d))  # type: ignore[misc]
    await session.close()
    reader = box.reader(ReadPlan(start_at=datetime.now(UTC) - timedelta(days=7)))
    messages, cursor = await read_messages(reader, None)
    assert subjects(messages) == ["6 days", "0 days"]
    assert cursor is not None
    assert json.loads(cursor)["folders"]["INBOX"]["uid"] == 4


async def test_many_messages_pass_in_windows(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.imap_fetch.WINDOW_UIDS", 2)
    for number in range(7):
        box.deliver(f"m{number}")
    for uid in (2, 3, 4, 5):
        box.server.expunge(box.user, "INBOX", uid)
    batches, _ = await read_all(box.reader(EVERYTHING), None)
    assert subjects([m for batch in batches for m in batch.messages]) == ["m0", "m5", "m6"]
    assert not batches[-1].more


@pytest.mark.parametrize("mechanism", ["xoauth2", "oauthbearer"])
async def test_each_mechanism_logs_in_and_its_refusal_is_read(
    box: Mailbox, certificates: Certificates, mechanism: Mechanism
) -> None:
    server = Dovecot(certificates, introspection_url(box.auth_server), mechanisms=(mechanism,))
    try:
        server.start()
        for tls, port in (("implicit", server.port_tls), ("starttls", server.port_starttls)):
            box.change(imap=ImapEndpoint("localhost", port, tls))  # type: ignore[arg-type]
            session = await open_session(box.access, box.tokens, box.tools)
            assert "MOVE" in session.capabilities
            await session.close()

        async def refused(*, rejected: str | None = None) -> AccessToken:
            return AccessToken("x" * 5000)

        with pytest.raises(AuthError):
            await open_session(box.access, refused, box.tools)
    finally:
        server.destroy()


async def test_an_outage_behind_the_server_is_no_refused_token(box: Mailbox, certificates: Certificates) -> None:
    """Dovecot says [UNAVAILABLE] when it cannot ask the authorization server; the token must not be replaced for it."""
    server = Dovecot(certificates, f"http://a:b@127.0.0.1:{free_port()}/introspect")
    try:
        server.start()
        box.change(imap=ImapEndpoint("localhost", server.port_tls))
        with pytest.raises(TemporaryError) as error:
            await open_session(box.access, box.tokens, box.tools)
        assert "UNAVAILABLE" in str(error.value)
        assert box.tokens.refreshes == 0
    finally:
        server.destroy()


async def open_on(
    tools: ImapTools, certificates: Certificates, script: object, tls: str = "implicit", source: TokenSource = token
) -> None:
    context = server_context(str(certificates.cert_file), str(certificates.key_file)) if tls == "implicit" else None
    async with scripted(script, context) as port:  # type: ignore[arg-type]
        tools.guard.permit("localhost", port)
        access: ImapAccess = access_to(port)
        access = ImapAccess(access.login, ImapEndpoint("localhost", port, tls), access.smtp, read_seconds=3)  # type: ignore[arg-type]
        session = await open_session(access, source, tools)
        session.discard()


async def read_on(tools: ImapTools, certificates: Certificates, script: object) -> list[RawMessage]:
    context = server_context(str(certificates.cert_file), str(certificates.key_file))
    async with scripted(script, context) as port:  # type: ignore[arg-type]
        tools.guard.permit("localhost", port)
        reader = ImapReader(access_to(port, read_seconds=3.0), token, tools, EVERYTHING)
        try:
            return (await read_messages(reader, None))[0]
        finally:
            await reader.close()


@pytest.mark.parametrize(
    ("reply", "error", "trouble"),
    [
        (b"NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", AuthError, Trouble.TOKEN_EXPIRED),
        (b"NO Authentication failed", AuthError, Trouble.TOKEN_EXPIRED),
        (b"NO [UNAVAILABLE] Internal error", TemporaryError, Trouble.TRANSIENT),
        (b"NO [INUSE] busy", TemporaryError, Trouble.TRANSIENT),
        (b"NO [LIMIT] UID Rate limit hit.", TemporaryError, Trouble.THROTTLED),
        (b"NO [ALERT] Too many simultaneous connections. (Failure)", TemporaryError, Trouble.THROTTLED),
        (b"NO Request is throttled. Suggested Backoff Time: 92415 milliseconds", RateLimited, Trouble.THROTTLED),
        (b"NO [CONTACTADMIN] off", PermanentError, Trouble.ADMIN_BLOCKED),
        (b"NO [AUTHORIZATIONFAILED] not yours", PermanentError, Trouble.WRONG_MAILBOX),
    ],
)
@pytest.mark.parametrize("challenge", [b"", b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n"])
async def test_the_response_code_decides(
    tools: ImapTools,
    certificates: Certificates,
    reply: bytes,
    error: type[Exception],
    trouble: Trouble,
    challenge: bytes,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"* OK ready\r\n")
        for _ in range(2):
            await peer._capability()
        tag = await peer.hear(b"AUTHENTICATE XOAUTH2")
        await peer.say(b"+ \r\n")
        await peer.reader.readline()
        if challenge:
            await peer.say(challenge)
            assert await peer.reader.readline() == b"\r\n"
        await peer.say(tag + b" " + reply + b"\r\n")

    with pytest.raises(error) as raised:
        await open_on(tools, certificates, script)
    assert raised.value.trouble is trouble  # type: ignore[attr-defined]
    if isinstance(raised.value, RateLimited):
        assert raised.value.retry_after == pytest.approx(92.415)


THROTTLED = b"* BYE Request is throttled. Suggested Backoff Time: 92415 milliseconds\r\n"
CROWDED = b"* BYE [ALERT] Too many simultaneous connections. (Failure)\r\n"


@pytest.mark.parametrize(("bye", "error"), [(THROTTLED, RateLimited), (CROWDED, TemporaryError)])
@pytest.mark.parametrize("place", ["greeting", "capability", "authenticate", "select", "fetch"])
async def test_a_goodbye_is_understood_wherever_it_comes(
    tools: ImapTools, certificates: Certificates, place: str, bye: bytes, error: type[Exception]
) -> None:
    async def script(peer: Peer) -> None:
        if place == "greeting":
            await peer.say(bye)
            return
        if place in ("capability", "authenticate"):
            await peer.say(b"* OK ready\r\n")
            await peer._capability()
            await (peer.hear(b"CAPABILITY") if place == "capability" else peer._capability())
            if place == "authenticate":
                await peer.hear(b"AUTHENTICATE")
            await peer.say(bye)
            return
        await peer.greet_and_log_in()
        if place == "select":
            await peer.hear(b"SELECT")
            await peer.say(b"* 3 EXISTS\r\n", bye)
            return
        await peer.select(uidnext=2)
        tag = await peer.hear(b"UID SEARCH")
        await peer.say(b"* SEARCH 1\r\n" + tag + b" OK done\r\n")
        await peer.hear(b"UID FETCH")
        await peer.say(b"* 1 FETCH (UID 1 RFC822.SIZE 20 INTER", bye)

    if place == "fetch":
        # In the middle of a line it is no BYE, but a broken answer: a sender's words must not be taken for it.
        error = TemporaryError
    with pytest.raises(error) as raised:
        await read_on(tools, certificates, script)
    if place != "fetch":
        assert raised.value.trouble is Trouble.THROTTLED  # type: ignore[attr-defined]
        if isinstance(raised.value, RateLimited):
            assert raised.value.retry_after == pytest.approx(92.415)


async def test_a_goodbye_between_the_messages_of_an_answer(tools: ImapTools, certificates: Certificates) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet_and_log_in()
        await peer.select(uidnext=3)
        tag = await peer.hear(b"UID SEARCH")
        await peer.say(b"* SEARCH 1 2\r\n" + tag + b" OK done\r\n")
        await peer.hear(b"UID FETCH")
        await peer.say(b'* 1 FETCH (UID 1 RFC822.SIZE 20 INTERNALDATE "01-Mar-2026 00:00:00 +0000")\r\n', THROTTLED)

    with pytest.raises(RateLimited):
        await read_on(tools, certificates, script)


def counting(tools: ImapTools) -> tuple[ImapTools, list[int]]:
    counts: list[int] = []
    return dataclasses.replace(tools, alerted=counts.append), counts


async def test_an_alert_is_counted_and_not_passed_on(
    tools: ImapTools, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    tools, counts = counting(tools)

    async def script(peer: Peer) -> None:
        await peer.greet_and_log_in()
        await peer.say(b"* OK [ALERT] visit alert.example.net today\r\n")
        tag = await peer.hear(b"SELECT")
        await peer.say(b"* NO [ALERT] disk almost full\r\n" + tag + b" NO [ALERT] visit alert.example.net\r\n")
        tag = await peer.hear(b"LOGOUT")
        await peer.say(b"* BYE\r\n" + tag + b" OK bye\r\n")

    with pytest.raises(TemporaryError) as error:
        await read_on(tools, certificates, script)
    assert "alert.example.net" not in str(error.value) + caplog.text
    assert sum(counts) == 3


async def test_an_alert_that_comes_with_a_refused_login_is_counted(
    tools: ImapTools, certificates: Certificates
) -> None:
    """Google's "Please log in via your web browser" comes so, and nobody would know."""

    async def script(peer: Peer) -> None:
        await peer.say(b"* OK ready\r\n")
        for _ in range(2):
            await peer._capability()
        tag = await peer.hear(b"AUTHENTICATE XOAUTH2")
        await peer.say(b"+ \r\n")
        await peer.reader.readline()
        await peer.say(tag + b" NO [ALERT] Please log in via your web browser (Failure)\r\n")

    tools, counts = counting(tools)
    with pytest.raises(AuthError):
        await open_on(tools, certificates, script)
    assert counts == [1, 1]  # the fresh token, too


async def test_a_mail_cannot_alert(tools: ImapTools, certificates: Certificates) -> None:
    mail = b"Subject: * OK [ALERT] x\r\n\r\n* OK [ALERT] x\r\nA1 NO [ALERT] x\r\n"

    async def script(peer: Peer) -> None:
        await peer.greet_and_log_in()
        await peer.select(uidnext=2)
        tag = await peer.hear(b"UID SEARCH")
        await peer.say(b"* SEARCH 1\r\n" + tag + b" OK done\r\n")
        tag = await peer.hear(b"UID FETCH")
        row = b'* 1 FETCH (UID 1 RFC822.SIZE %d INTERNALDATE " 1-Mar-2026 00:00:00 +0000")\r\n' % len(mail)
        await peer.say(row, tag, b" OK done\r\n")
        tag = await peer.hear(b"UID FETCH")
        await peer.say(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\n" % (len(mail), mail), tag, b" OK done\r\n")
        tag = await peer.hear(b"LOGOUT")
        await peer.say(b"* BYE\r\n" + tag + b" OK bye\r\n")

    tools, counts = counting(tools)
    messages = await read_on(tools, certificates, script)
    assert [message.content for message in messages] == [mail]
    assert counts == []


@pytest.mark.parametrize("refusal", [b"NO not now", b"BAD what", b"NO [UNAVAILABLE] no", b"OK but nothing told"])
async def test_what_a_server_can_do_is_not_guessed(
    tools: ImapTools, certificates: Certificates, refusal: bytes
) -> None:
    """Taken for "nothing", a mailbox would be polled only, and what is deleted in it only be marked."""

    async def script(peer: Peer) -> None:
        await peer.say(b"* OK ready\r\n")
        for _ in range(2):
            await peer._capability()
        tag = await peer.hear(b"AUTHENTICATE XOAUTH2")
        await peer.say(b"+ \r\n")
        await peer.reader.readline()
        await peer.say(tag + b" OK done\r\n")
        tag = await peer.hear(b"CAPABILITY")
        await peer.say(tag + b" " + refusal + b"\r\n")
        assert await peer.reader.read() == b"", "the client went on"

    with pytest.raises(TemporaryError, match=r"CAPABILITY|connect"):
        await open_on(tools, certificates, script)


async def test_a_broken_answer_is_no_refusal_and_what_it_quotes_is_not_read(
    tools: ImapTools, certificates: Certificates
) -> None:
    """imapclient's ProtocolError quotes the answer: a sender's words must not make us wait an hour."""

    async def script(peer: Peer) -> None:
        await peer.greet_and_log_in()
        await peer.select(uidnext=2)
        tag = await peer.hear(b"UID SEARCH")
        await peer.say(b"* SEARCH 1\r\n" + tag + b" OK done\r\n")
        tag = await peer.hear(b"UID FETCH")
        subject = b'"Request is throttled. Suggested Backoff Time: 3600000 milliseconds"'
        await peer.say(b"* 1 FETCH (UID 1 X (" + subject + b" 2 )\r\n" + tag + b" OK done\r\n")
        assert await peer.reader.read() == b"", "the client went on"

    with pytest.raises(TemporaryError) as error:
        await read_on(tools, certificates, script)
    assert error.value.trouble is Trouble.TRANSIENT


async def test_an_answer_in_single_bytes_is_an_answer(tools: ImapTools, certificates: Certificates) -> None:
    mail = b"Subject: torn\r\n\r\n* BYE\r\n)\r\n"

    def bytewise(*lines: bytes) -> list[bytes]:
        return [bytes([byte]) for byte in b"".join(lines)]

    async def script(peer: Peer) -> None:
        await peer.greet_and_log_in()
        tag = await peer.hear(b"SELECT")
        await peer.say(
            *bytewise(b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 2] ok\r\n", tag, b" OK done\r\n")
        )
        tag = await peer.hear(b"UID SEARCH")
        await peer.say(*bytewise(b"* SEARCH 1\r\n", tag, b" OK done\r\n"))
        tag = await peer.hear(b"UID FETCH")
        row = b'* 1 FETCH (UID 1 RFC822.SIZE %d INTERNALDATE " 1-Mar-2026 00:00:00 +0000")\r\n' % len(mail)
        await peer.say(*bytewise(row, tag, b" OK done\r\n"))
        tag = await peer.hear(b"UID FETCH")
        row = b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\n" % (len(mail), mail)
        await peer.say(*bytewise(row, tag, b" OK done\r\n"))
        tag = await peer.hear(b"LOGOUT")
        await peer.say(b"* BYE\r\n" + tag + b" OK bye\r\n")

    messages = await read_on(tools, certificates, script)
    assert [message.content for message in messages] == [mail]


@pytest.mark.parametrize(
    "answer",
    [
        b"* 1 FETCH (UID 1 BODY[] {99999999999}\r\n",
        b"* 1 FETCH (UID 1 BODY[] {4294967296}\r\nx)\r\n",
        b"* " + b"x" * 5_000_000,
    ],
)
async def test_a_server_cannot_fill_the_memory(tools: ImapTools, certificates: Certificates, answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet_and_log_in()
        await peer.hear(b"SELECT")
        await peer.say(answer)
        await peer.reader.read()

    with pytest.raises(TemporaryError):
        await read_on(tools, certificates, script)


async def test_plain_bytes_behind_starttls_end_the_connection(tools: ImapTools, certificates: Certificates) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"* OK ready\r\n")
        tag = await peer.hear(b"CAPABILITY")
        await peer.say(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK done\r\n")
        tag = await peer.hear(b"STARTTLS")
        await peer.say(tag + b" OK go\r\n* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\n")
        assert await peer.reader.read(1) == b"", "the client went on"

    with pytest.raises(TemporaryError):
        await open_on(tools, certificates, script, "starttls")


async def test_preauth_is_refused_under_tls_too(tools: ImapTools, certificates: Certificates) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"* PREAUTH welcome\r\n")
        tag = await peer.hear(b"CAPABILITY")
        await peer.say(b"* CAPABILITY IMAP4rev1\r\n" + tag + b" OK done\r\n")
        assert await peer.reader.read() == b"", "the client went on"

    with pytest.raises(PermanentError):
        await open_on(tools, certificates, script)


@pytest.mark.parametrize(
    ("greeting", "capability"),
    [(b"* PREAUTH welcome\r\n", b"IMAP4rev1 STARTTLS"), (b"* OK ready\r\n", b"IMAP4rev1 AUTH=XOAUTH2")],
)
async def test_no_token_goes_out_in_plain_text(
    tools: ImapTools, certificates: Certificates, greeting: bytes, capability: bytes
) -> None:
    """PREAUTH and a hidden STARTTLS are how somebody in the middle keeps us from TLS."""
    heard = b""

    async def script(peer: Peer) -> None:
        nonlocal heard
        await peer.say(greeting)
        tag = await peer.hear(b"CAPABILITY")
        await peer.say(b"* CAPABILITY " + capability + b"\r\n" + tag + b" OK done\r\n")
        heard = await peer.reader.read()

    with pytest.raises(PermanentError):
        await open_on(tools, certificates, script, "starttls")
    assert heard == b""


async def test_a_certificate_of_somebody_else_is_refused(box: Mailbox) -> None:
    tools = ImapTools(ssl.create_default_context(), box.tools.guard, box.tools.executor)
    with pytest.raises(PermanentError) as error:
        await open_session(box.access, box.tokens, tools)
    assert error.value.trouble is Trouble.ADMIN_BLOCKED


async def test_a_host_that_is_not_configured_is_not_contacted(box: Mailbox) -> None:
    access = ImapAccess(box.user, ImapEndpoint("mail.example.org"), box.access.smtp)
    with pytest.raises(EgressRefused):
        await open_session(access, box.tokens, box.tools)


async def test_a_lie_about_the_size_costs_one_body_only(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A literal over the wire's limit breaks the connection; the message then comes as its header."""
    monkeypatch.setattr("connectors.imap_session.LITERAL_BYTES_MAX", 5000)
    box.deliver("fits")
    box.deliver("larger than told", body=b"q" * 60 + b"\r\n" * 5000)
    box.deliver("fits too")
    messages, _ = await read_messages(box.reader(EVERYTHING), None)
    assert subjects(messages) == ["fits", "larger than told", "fits too"]
    assert [message.content is None for message in messages] == [False, True, False]


async def test_nothing_of_the_mail_or_the_token_is_logged(box: Mailbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret = (await box.tokens()).value
    box.deliver("a-subject-to-hide", message_id="<hide-me@customer.example.net>")
    messages, _ = await read_messages(box.reader(), None)
    sender = box.sender()
    assert messages[0].content is not None
    await sender.file_in_sent(messages[0].content, messages[0].received_at)
    await sender.find_in_sent("<hide-me@customer.example.net>", "hidden-hmac")
    for word in (secret, "a-subject-to-hide", "hide-me", "hidden-hmac", box.user):
        assert word not in caplog.text
