"""The demo's mail provider, used by the clients that ingestd uses: imapclient and aiosmtplib."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from typing import Literal, TypeVar

import aiosmtplib
import pytest
from imapclient import IMAPClient
from imapclient.exceptions import LoginError

from ingestd.demo.provider import DemoProvider

T = TypeVar("T")
DESK = "desk@example.com"
CUSTOMER = "customer@example.org"
RAW = (
    b"From: customer@example.org\r\nTo: desk@example.com\r\nSubject: caf\xe9\r\nMessage-ID: <a@example.org>\r\n"
    b"\r\n.\r\nx\r\n"
)


@pytest.fixture
async def provider() -> AsyncIterator[DemoProvider]:
    async with DemoProvider([DESK, CUSTOMER]).running() as running:
        yield running


@contextmanager
def _imap(provider: DemoProvider, token: str, user: str = DESK) -> Iterator[IMAPClient]:
    context = ssl.create_default_context(cafile=str(provider.ca_file))
    client = IMAPClient(provider.host, provider.imap_port, ssl_context=context, timeout=10)
    try:
        client.oauth2_login(user, token)
        yield client
    finally:
        client.shutdown()


async def _in_imap(provider: DemoProvider, work: Callable[[IMAPClient], T]) -> T:
    token = provider.auth.issue(DESK).access_token

    def run() -> T:
        with _imap(provider, token) as client:
            return work(client)

    return await asyncio.to_thread(run)


async def _send(provider: DemoProvider, token: str, message: EmailMessage, *, sender: str = DESK) -> None:
    context = ssl.create_default_context(cafile=str(provider.ca_file))
    implicit = provider.smtp_tls == "implicit"
    smtp = aiosmtplib.SMTP(
        hostname=provider.host,
        port=provider.smtp_port,
        use_tls=implicit,
        start_tls=not implicit,
        tls_context=context,
        timeout=10,
    )
    async with smtp:
        await smtp.auth_xoauth2(sender, token)
        await smtp.sendmail(sender, [str(message["To"])], message.as_bytes())


def _reply(to: str = CUSTOMER) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = DESK, to, "Re: help"
    message["Message-ID"] = "<reply@example.com>"
    message.set_content("Of course.\n.\nBye")
    return message


async def test_read_search_append_and_move(provider: DemoProvider) -> None:
    await provider.deliver(DESK, RAW)

    def work(client: IMAPClient) -> None:
        assert {b"IDLE", b"UIDPLUS", b"MOVE"} <= set(client.capabilities())
        client.select_folder("INBOX")
        assert client.search(["HEADER", "Message-ID", "<nobody@example.org>"]) == []
        (uid,) = client.search(["HEADER", "Message-ID", "<a@example.org>"])
        assert client.fetch([uid], ["BODY.PEEK[]"])[uid][b"BODY[]"] == RAW
        assert b"APPENDUID" in client.append("Sent", _reply().as_bytes(), [b"\\Seen"])
        client.move([uid], "Archive")

    await _in_imap(provider, work)
    assert await provider.mails(DESK) == []
    assert await provider.mails(DESK, "Archive") == [RAW]
    assert len(await provider.mails(DESK, "Sent")) == 1


async def test_idle_tells_of_a_delivery(provider: DemoProvider) -> None:
    loop = asyncio.get_running_loop()
    waiting = asyncio.Event()

    def work(client: IMAPClient) -> bytes:
        client.select_folder("INBOX")
        client.idle()
        loop.call_soon_threadsafe(waiting.set)
        # Whole lines, within the socket's limit of time: `idle_check` loses the half of one that is still on its way.
        while not (line := client._imap.readline()).endswith(b"EXISTS\r\n"):
            assert line, "the server hung up"
        client.idle_done()
        return bytes(line)

    asked = asyncio.create_task(_in_imap(provider, work))
    await waiting.wait()
    await provider.deliver(DESK, RAW)
    assert await asked == b"* 1 EXISTS\r\n"


@pytest.mark.parametrize("spoil", ["expire_access_tokens", "revoke"])
async def test_dead_tokens_are_refused(provider: DemoProvider, spoil: str) -> None:
    token = provider.auth.issue(DESK).access_token
    getattr(provider.auth, spoil)(DESK)
    await _is_refused(provider, token, DESK)


async def test_other_peoples_and_narrow_tokens_are_refused(provider: DemoProvider) -> None:
    await _is_refused(provider, provider.auth.issue(CUSTOMER).access_token, DESK)
    await _is_refused(provider, provider.auth.issue(DESK, ["openid", "email"]).access_token, DESK)
    await _is_refused(provider, "invented", DESK)


async def _is_refused(provider: DemoProvider, token: str, user: str) -> None:
    def log_in() -> None:
        with _imap(provider, token, user):
            pass

    with pytest.raises(LoginError, match="Invalid authentication credentials"):
        await asyncio.to_thread(log_in)
    with pytest.raises(aiosmtplib.SMTPAuthenticationError) as refused:
        await _send(provider, token, _reply(), sender=user)
    assert refused.value.code == 535


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("files", [True, False])
async def test_submission_delivers_and_files(tls: Literal["implicit", "starttls"], files: bool) -> None:
    provider = DemoProvider([DESK, CUSTOMER], files_sent_copy=files, smtp_tls=tls)
    async with provider.running():
        await _send(provider, provider.auth.issue(DESK).access_token, _reply())
        (got,) = await provider.mails(CUSTOMER)
        sent = await provider.mails(DESK, "Sent")
    assert got.startswith(b"Return-Path: <desk@example.com>\r\nDelivered-To: customer@example.org\r\n")
    assert b"dmarc=pass header.from=example.com" in got
    assert got.endswith(b"\r\n\r\nOf course.\r\n.\r\nBye\r\n")
    assert provider.submissions[0].recipients == (CUSTOMER,)
    assert sent == ([provider.submissions[0].content] if files else [])
    assert got.endswith(provider.submissions[0].content)


async def test_submission_refuses_strangers(provider: DemoProvider) -> None:
    token = provider.auth.issue(DESK).access_token
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
        await _send(provider, token, _reply("nobody@example.net"))
    context = ssl.create_default_context(cafile=str(provider.ca_file))
    smtp = aiosmtplib.SMTP(hostname=provider.host, port=provider.smtp_port, use_tls=True, tls_context=context)
    async with smtp:
        with pytest.raises(aiosmtplib.SMTPSenderRefused) as unknown:
            await smtp.mail(DESK)
        assert unknown.value.code == 530
        await smtp.rset()
        await smtp.auth_xoauth2(DESK, token)
        with pytest.raises(aiosmtplib.SMTPSenderRefused) as other:
            await smtp.mail(CUSTOMER)
        assert other.value.code == 553
    assert not provider.submissions


async def test_an_author_who_did_not_log_in_fails_dmarc(provider: DemoProvider) -> None:
    message = _reply()
    del message["From"]
    message["From"] = "boss@example.com"
    await _send(provider, provider.auth.issue(DESK).access_token, message)
    (got,) = await provider.mails(CUSTOMER)
    assert b"dmarc=fail" in got


async def test_the_certificate_is_checked(provider: DemoProvider) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(provider.host, provider.imap_port, ssl=ssl.create_default_context())
    assert (provider.ca_file.parent / "server.key").stat().st_mode & 0o777 == 0o600


async def test_it_stops_with_clients_connected() -> None:
    provider = DemoProvider([DESK])
    context: ssl.SSLContext
    async with provider.running():
        context = ssl.create_default_context(cafile=str(provider.ca_file))
        streams = [
            await asyncio.open_connection(provider.host, port, ssl=context)
            for port in (provider.imap_port, provider.smtp_port)
        ]
        for reader, _ in streams:
            assert await reader.readline()
    for reader, writer in streams:
        async with asyncio.timeout(5):
            with suppress(ConnectionError, ssl.SSLError):
                await reader.read()
        writer.transport.abort()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(provider.host, provider.imap_port)
