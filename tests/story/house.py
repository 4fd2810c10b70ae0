"""One installation of ingestd on the real servers: its configuration, its daemon, and what it stored.

Commands go by the real command line where the story is about them. To wait for something,
a test reads the store beside the daemon, as the command line does: a process for every
look would cost more than all the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import httpx2

from config import Settings, load
from ingestd.access import Scope, make_token
from ingestd.accounts import create_account
from ingestd.build.outside import Outside, new_linking
from ingestd.build.store import Store, open_store
from ingestd.demo.authserver import AuthServer, Client
from ingestd.desk import MailboxView, MessageView, TicketView
from ingestd.linking.link import LinkRequest
from ingestd.mail.compose import AttachmentContent
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.verify.check import verify
from storage import events, flows, schema
from storage.events import Event
from tests.secrecy import SECRECY
from tests.servers.certs import Certificates
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.process import free_port
from tests.stores import StoreUrls
from tests.story.daemon import DaemonProcess
from tests.story.mails import Mail
from tests.story.settings import merged, provider_document, settings_document, write_settings

T = TypeVar("T")

PROVIDER: Final = "local"
WAIT_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05
_LINK = re.compile(r"http://\S+/oauth/start\S+")


@dataclass(frozen=True)
class Servers:
    """The mailboxes' provider."""

    dovecot: Dovecot
    postfix: Postfix
    auth: AuthServer
    certificates: Certificates


@dataclass
class House:
    """Use `open_house`."""

    folder: Path
    servers: Servers
    settings: Settings
    daemon: DaemonProcess
    store: Store
    account_id: UUID
    port: int
    words: set[str] = field(default_factory=set)
    """What no log may show."""

    # -- linking ---------------------------------------------------------------------------------

    async def link_by_cli(self, user: str, *options: object) -> UUID:
        """Link by `ingestd mailbox link` and a browser; return the mailbox."""
        async with self.daemon.command("mailbox", "link", PROVIDER, "--json", "--wait", 30, *options) as command:
            assert command.stdout is not None
            assert command.stderr is not None
            seen = ""
            async with asyncio.timeout(WAIT_SECONDS):
                while not (found := _LINK.search(seen)):
                    line = await command.stderr.readline()
                    assert line, f"no address to open: {seen}"
                    seen += line.decode()
            await self.browse(found[0], user)
            out, err = await command.communicate()
        assert command.returncode == 0, (out, err)
        return UUID(json.loads(out)["mailbox"])

    async def linked(self, user: str, **request: Any) -> UUID:
        """Link, and wait for the first reading."""
        mailbox_id = await self.link(user, **request)
        await self.settled(mailbox_id)
        return mailbox_id

    async def link(self, user: str, *, again: UUID | None = None, **request: Any) -> UUID:
        """As `link_by_cli`, with the request made in this process; the daemon serves the browser all the same."""
        flow_id, mailbox_id = await self.try_link(user, again=again, **request)
        flow = await self.read(flows.get_flow, flow_id)
        assert flow.status == "completed", flow.reason
        return mailbox_id

    async def try_link(self, user: str, *, again: UUID | None = None, **request: Any) -> tuple[UUID, UUID]:
        """Walk through a linking, however it ends; return the flow and the mailbox."""
        outside = Outside(self.settings)
        try:
            started = await new_linking(self.store, outside).start(
                self.account_id, LinkRequest(provider=PROVIDER, mailbox_id=again, **request)
            )
        finally:
            await outside.close()
        await self.browse(started.address, user)
        return started.flow_id, started.mailbox_id

    async def browse(self, address: str, user: str) -> str:
        """Be the browser of `user`, who consents; return the last page."""
        self.words.add(user)
        self.servers.auth.consent_as = user
        async with httpx2.AsyncClient(follow_redirects=True, trust_env=False, timeout=WAIT_SECONDS) as browser:
            answer = await browser.get(address)
        return answer.text

    # -- mail ------------------------------------------------------------------------------------

    def deliver(self, user: str, mail: Mail, folder: str = "INBOX") -> None:
        self.words.update(mail.words)
        self.servers.dovecot.deliver(user, mail.raw, folder)

    async def received(self, user: str, count: int = 1, folder: str = "INBOX") -> list[bytes]:
        """Wait until a customer's folder holds `count` mails."""

        async def look() -> list[bytes] | None:
            found = await asyncio.to_thread(self.servers.dovecot.mails, user, folder)
            return found if len(found) >= count else None

        return await until(look, f"{count} mails in {folder}")

    async def explained(self, message_id: str, mailbox_id: UUID) -> dict[str, Any]:
        """Ask the daemon where a mail of a mailbox is, its provider too, as a helpdesk does."""
        made = await make_token(
            self.store.content, self.account_id, label="story", scopes=[Scope.READ], expires_at=None, tokens_max=100
        )
        self.words.add(made.text)
        body = {"message_id_header": message_id, "mailbox_id": str(mailbox_id), "ask_provider": True}
        async with httpx2.AsyncClient(trust_env=False, timeout=WAIT_SECONDS) as client:
            answer = await client.post(
                f"http://127.0.0.1:{self.port}/v1/accounts/{self.account_id}/explain",
                headers={"Authorization": f"Bearer {made.text}"},
                json=body,
            )
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["items"]
        return dict(found)

    # -- the store -------------------------------------------------------------------------------

    async def read(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self.store.content.read(self.account_id, function, *args, **kwargs)

    async def mailbox(self, mailbox_id: UUID) -> MailboxView:
        return await self.store.desk.mailbox(self.account_id, mailbox_id)

    async def state(self, mailbox_id: UUID, wanted: str) -> MailboxView:
        """Wait until a mailbox is in this state."""

        async def look() -> MailboxView | None:
            view = await self.mailbox(mailbox_id)
            return view if view.mailbox.state.value == wanted else None

        return await until(look, f"mailbox {wanted}")

    async def settled(self, mailbox_id: UUID) -> None:
        """Wait until a mailbox was read for the first time: what comes from now on is new."""

        async def look() -> bool:
            one = (await self.mailbox(mailbox_id)).mailbox
            return one.cursor_sealed is not None and one.state.value == "active"

        await until(look, "first reading")

    async def tickets(self, mailbox_id: UUID, count: int = 1) -> list[TicketView]:
        """Wait until a mailbox has `count` tickets; return them in the order of their numbers."""

        async def look() -> list[TicketView] | None:
            found = await self.store.desk.tickets(self.account_id, mailbox_id=mailbox_id, limit=1000)
            if len(found) < count:
                return None
            return [await self.store.desk.ticket(self.account_id, one.ticket.number) for one in found]

        found = await until(look, f"{count} tickets")
        assert len(found) == count, [one.record.subject for one in found]
        return found

    async def ticket(self, number: int, messages: int = 1) -> TicketView:
        """Wait until a ticket has `messages` messages."""

        async def look() -> TicketView | None:
            view = await self.store.desk.ticket(self.account_id, number)
            return view if len(view.messages) >= messages else None

        view = await until(look, f"{messages} messages in ticket {number}")
        assert len(view.messages) == messages
        return view

    async def reply(self, number: int, text: str, files: Sequence[tuple[str, bytes]] = ()) -> UUID:
        """Queue a reply, as `ingestd ticket reply` does."""
        self.words.add(text)
        attachments = [AttachmentContent(name, "application/octet-stream", content) for name, content in files]
        draft = ReplyDraft(text=text, attachments=attachments)
        created = await create_reply(self.store.desk, self.settings.outbound, self.account_id, number, draft)
        return created.message_id

    async def reply_at(self, number: int, message_id: UUID, *wanted: str, seconds: float = WAIT_SECONDS) -> MessageView:
        """Wait until a reply has one of these statuses; a Sent copy's status counts as `copy:filed`."""

        async def look() -> MessageView | None:
            view = await self.store.desk.ticket(self.account_id, number)
            one = next(one for one in view.messages if one.row.message_id == message_id)
            assert one.reply is not None
            seen = {one.reply.reply.status.value, f"copy:{one.reply.reply.sent_copy.value}"}
            return one if seen & set(wanted) else None

        return await until(look, f"reply {'/'.join(wanted)}", seconds)

    async def repaired(self, *, recovered: int) -> None:
        """Wait until a lost cursor was repaired, and so many messages were found to be missing."""

        async def look() -> list[Event]:
            return [one for one in await self.events() if one.type == "mailbox.repaired"]

        assert [one.detail for one in await until(look, "a repair")] == [str(recovered)]

    async def events(self) -> list[Event]:
        return await self.read(events.list_events, 0, 10_000)

    async def verify(self) -> None:
        """Every promise holds over the store; with fresh keys, as they may be destroyed meanwhile."""
        async with open_store(self.settings) as store:
            report = await verify(store.content, store.keystore, store.blobs, store.keys)
        assert report.clean, report.violations

    async def look_at_metrics(self) -> None:
        """Have the page of metrics searched as the logs are, where the daemon runs yet."""
        if not self.daemon.running:
            return
        async with httpx2.AsyncClient(trust_env=False, timeout=WAIT_SECONDS) as client:
            with contextlib.suppress(httpx2.HTTPError):  # it may be stopped, or have metrics elsewhere
                page = await client.get(f"http://127.0.0.1:{self.port}/metrics")
                SECRECY.note("a daemon's metrics", page.content)

    def check_logs(self) -> None:
        """No log shows an address, subject, body or token that was used."""
        grants = self.servers.auth.grants
        secrets = {*self.words, *grants._access, *grants._refresh, *grants._codes}
        logged = self.daemon.log_text()
        shown = {word for word in secrets if word in logged}
        assert not shown, shown
        assert "@example" not in logged


async def until(look: Callable[[], Awaitable[T | None]], said: str, seconds: float = WAIT_SECONDS) -> T:
    """Wait for a look that finds something."""
    deadline = time.monotonic() + seconds
    while not (found := await look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{said}: not within {seconds} s")
        await asyncio.sleep(_POLL_SECONDS)
    return found


@contextlib.asynccontextmanager
async def open_house(
    folder: Path,
    urls: StoreUrls,
    servers: Servers,
    *,
    imap_port: int | None = None,
    smtp_port: int | None = None,
    provider: dict[str, Any] | None = None,
    by_cli: bool = False,
    program: Sequence[str] = (),
    port: int | None = None,
    **sections: Any,
) -> AsyncIterator[House]:
    """Set an installation up, not started yet. At its end every promise and the logs are checked.

    `by_cli` makes the store by `ingestd init`, else it is made in this process. `program` runs `ingestd`.
    """
    port = port or free_port()
    client = Client(f"ingestd-{port}", f"story-secret-{port}", (f"http://127.0.0.1:{port}/oauth/callback",))
    servers.auth.clients[client.client_id] = client
    assert client.client_secret is not None
    document = provider_document(
        imap_port=imap_port or servers.dovecot.port_tls,
        smtp_port=smtp_port or servers.postfix.port_tls,
        ca_file=servers.certificates.ca_file,
        issuer=servers.auth.issuer,
        client_id=client.client_id,
        client_secret=client.client_secret,
    )
    providers = {PROVIDER: merged(document, provider or {})}
    document = settings_document(urls, folder, port=port, providers=providers, **sections)
    config = write_settings(folder / "ingestd.yaml", document)
    settings = load(config)
    async with DaemonProcess(config, program=program) as daemon:
        account_id = await (_init_by_cli(daemon) if by_cli else _init(settings))
        async with open_store(settings) as store:
            house = House(folder, servers, settings, daemon, store, account_id, port, {client.client_secret})
            yield house
            await house.verify()
            await house.look_at_metrics()
            house.check_logs()


async def _init_by_cli(daemon: DaemonProcess) -> UUID:
    done = await daemon.run_cli("init")
    assert done.status == 0, done.err
    found = re.search(r"account: +(\S+)", done.out)
    assert found, done.out
    return UUID(found[1])


async def _init(settings: Settings) -> UUID:
    settings.storage.blobs_dir.mkdir(mode=0o700, exist_ok=True)
    async with open_store(settings, check=False) as store:
        await store.content.transaction(None, schema.upgrade, schema.CONTENT)
        await store.keystore.transaction(None, schema.upgrade, schema.KEYSTORE)
        return (await create_account(store.content, store.keys, "story")).account_id
