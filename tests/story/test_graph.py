"""A mailbox whose grant is for Microsoft Graph: linked, read, answered from and forgotten, with no word to a mail
server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingestd.demo.graphserver import GraphServer
from tests.servers.postgres import PostgresServer
from tests.stores import StoreUrls, postgres_urls, sqlite_urls
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import header_of, mail

OUTLOOK = ("https://outlook.office.com/IMAP.AccessAsUser.All", "https://outlook.office.com/SMTP.Send")
SCOPES = ("https://graph.microsoft.com/Mail.ReadWrite", "https://graph.microsoft.com/Mail.Send")


def provider(graph: GraphServer, scopes: Sequence[str] = SCOPES, **more: Any) -> dict[str, Any]:
    """Return Microsoft with the servers of the test. The library for its sign-in wants https, which those have not."""
    oauth = {
        "client": "standard",
        "address_claim": "email",
        "scopes": ["openid", "email", "offline_access", *scopes],
        "scopes_needed": list(scopes),
    }
    uploads = [graph.url.removesuffix("/v1.0")]
    return {"kind": "microsoft", "graph_url": graph.url, "upload_urls": uploads, "oauth": oauth, **more}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> StoreUrls:
    if request.param == "sqlite":
        return sqlite_urls(tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return postgres_urls(server.create_database, tmp_path)


async def test_the_story_by_graph(
    urls: StoreUrls,
    servers: Servers,
    graph: GraphServer,
    new_user: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers.auth, "scopes", (*servers.auth.scopes, *SCOPES))
    support, anna = new_user(), new_user()
    async with open_house(tmp_path, urls, servers, provider=provider(graph)) as house:
        await house.daemon.start()
        await house.daemon.wait_ready(house.port)
        mailbox_id = await house.linked(support)
        shown = await house.daemon.cli("mailbox", "show", mailbox_id)
        assert (shown["read_by"], shown["send_by"], shown["access_warnings"]) == ("graph", "graph", [])
        assert (await house.mailbox(mailbox_id)).mailbox.read_way == "graph"

        written = mail(anna, support, "Printer on fire", "It burns since Monday.")
        house.words.update(written.words)
        await asyncio.to_thread(graph.deliver, support, written.raw)
        (ticket,) = await house.tickets(mailbox_id)
        number = ticket.ticket.number
        reply_id = await house.reply(number, "Use the extinguisher.", [("plan.bin", b"%PDF" * 999)])
        await house.reply_at(number, reply_id, "copy:filed")

        (arrived,) = await inbox(graph, anna, 1)
        assert b"Use the extinguisher." in arrived
        answer = mail(anna, support, "Re: Printer on fire", "It helped.", in_reply_to=header_of(arrived, "Message-ID"))
        house.words.update(answer.words)
        await asyncio.to_thread(graph.deliver, support, answer.raw)
        view = await house.ticket(number, messages=3)
        assert [one.row.direction for one in view.messages] == ["in", "out", "in"]
        assert len(await inbox(graph, anna, 1)) == 1, "the reply left once"
        assert await asyncio.to_thread(servers.dovecot.mails, support, "Sent") == []

        # Graph has forgotten how far we were: only what is new to us is fetched.
        def fetched() -> int:
            return sum(address == support and path.endswith("$value") for address, _, path in graph.log)

        before = fetched()
        missed = mail(anna, support, "Another printer on fire", "That one, too.")
        house.words.update(missed.words)
        with graph.mailboxes[support].lock:  # nobody reads in between
            graph.mailboxes[support].expire_deltas()
            graph.deliver(support, missed.raw)
        await house.tickets(mailbox_id, 2)
        await house.repaired(recovered=1)
        assert fetched() == before + 1
        await forget(house, str(mailbox_id))


async def test_a_reply_leaves_by_graph_where_smtp_is_switched_off(
    urls: StoreUrls,
    servers: Servers,
    graph: GraphServer,
    new_user: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read by IMAP, sent by Graph: SMTP refuses every login as Microsoft does for a whole tenant."""
    both = (*OUTLOOK, *SCOPES)
    monkeypatch.setattr(servers.auth, "scopes", (*servers.auth.scopes, *both))
    support, anna = new_user(), new_user()
    mixed = provider(graph, both, read_by=["imap"], send_by=["smtp", "graph"], smtp={"tls": "implicit"})
    async with (
        switched_off(servers) as smtp,
        open_house(tmp_path, urls, servers, smtp_port=smtp.port, provider=mixed) as house,
    ):
        await house.daemon.start()
        await house.daemon.wait_ready(house.port)
        mailbox_id = await house.linked(support)
        shown = await house.daemon.cli("mailbox", "show", mailbox_id)
        assert [shown[name] for name in ("read_by", "send_by", "send_by_instead")] == ["imap", "smtp", "graph"]
        house.deliver(support, mail(anna, support, "Printer on fire", "It burns since Monday."))
        (ticket,) = await house.tickets(mailbox_id)
        number = ticket.ticket.number
        for text in ("Use the extinguisher.", "And open a window."):
            await house.reply_at(number, await house.reply(number, text), "copy:filed")
        arrived = await inbox(graph, anna, 2)
        assert [text in one for one, text in zip(arrived, (b"extinguisher", b"window"), strict=True)] == [True, True]
        assert smtp.logins == 1, "it is not asked for each reply"
        assert "mailbox.send_fell_back" in house.daemon.log_text()
        assert (await house.daemon.cli("mailbox", "show", mailbox_id))["send_trouble"] is None


_REFUSAL = b"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.\r\n"


@dataclass
class SwitchedOff:
    """A submission server whose tenant has no SMTP AUTH."""

    port: int = 0
    logins: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example.com\r\n")
        while line := await reader.readline():
            if line.upper().startswith(b"EHLO"):
                writer.write(b"250-smtp.example.com\r\n250 AUTH XOAUTH2\r\n")
            elif line.upper().startswith(b"AUTH"):
                self.logins += 1
                writer.write(_REFUSAL)
            else:
                writer.write(b"250 OK\r\n")
        writer.close()


@contextlib.asynccontextmanager
async def switched_off(servers: Servers) -> AsyncIterator[SwitchedOff]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(servers.certificates.cert_file, servers.certificates.key_file)
    made = SwitchedOff()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


async def inbox(graph: GraphServer, user: str, count: int) -> list[bytes]:
    """Wait until an inbox holds so many mails."""
    mailbox = graph.mailboxes[user]

    async def look() -> list[bytes] | None:
        found = [item.content for item in mailbox.in_folder(mailbox.at_path("Inbox").id)]
        return found if len(found) >= count else None

    return await until(look, f"{count} mails in the inbox")


async def forget(house: House, mailbox_id: str) -> None:
    receipt = await house.daemon.cli("mailbox", "disconnect", mailbox_id)
    assert (receipt["revocation"], receipt["refresh_after"], receipt["left"]) == ("revoked", "refused", {})
