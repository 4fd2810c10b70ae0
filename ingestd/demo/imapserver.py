"""The demo's IMAP server: pymap's in-memory backend, with XOAUTH2 over implicit TLS.

pymap knows no SPECIAL-USE: a client finds Sent by its name.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ssl import SSLContext
from typing import Final

from proxyprotocol.sock import SocketInfoLocal
from pymap.backend.dict import Config, Login
from pymap.backend.dict import Identity as DictIdentity
from pymap.backend.dict.filter import FilterSet
from pymap.backend.dict.mailbox import MailboxData, MailboxSet, Message
from pymap.concurrent import Subsystem
from pymap.exceptions import InvalidAuth
from pymap.imap import IMAPServer
from pymap.parsing.message import AppendMessage
from pymap.parsing.specials import FetchRequirement
from pymap.parsing.specials.flag import Flag
from pymap.user import UserMetadata
from pysasl import SASLAuth
from pysasl.creds.external import ExternalCredentials
from pysasl.creds.server import ServerCredentials
from pysasl.mechanism import ChallengeResponse, ServerChallenge, ServerMechanism

from ingestd.demo.xoauth2 import CHALLENGE, CheckToken, authenticated_user

FOLDERS: Final = ("Sent", "Drafts", "Archive", "Junk", "Trash")
APPEND_BYTES_MAX: Final = 64 * 1024 * 1024
SHUTDOWN_SECONDS_MAX: Final = 1.0


class _XOAuth2(ServerMechanism):
    """XOAUTH2 with the JSON challenge that real servers send before they refuse."""

    def __init__(self, check: CheckToken) -> None:
        super().__init__(b"XOAUTH2")
        self._check = check

    def server_attempt(self, responses: Sequence[ChallengeResponse]) -> tuple[ServerCredentials, bytes | None]:
        if not responses:
            raise ServerChallenge(b"")
        user = authenticated_user(responses[0].response, self._check)
        if user is None and len(responses) == 1:
            raise ServerChallenge(CHALLENGE)
        return ExternalCredentials(user or ""), None


class _Config(Config):
    """pymap's settings, without its name service look-ups and its passwords."""

    def __init__(self, ssl_context: SSLContext, check: CheckToken) -> None:
        super().__init__(
            Namespace(passlib_cfg=None, proxy_protocol=None),
            host="127.0.0.1",
            port=0,
            demo_data=False,
            demo_user="",
            demo_password="",
            ssl_context=ssl_context,
            tls_enabled=False,
            reject_dnsbl=False,
            cpu_subsystem=Subsystem.for_asyncio(),
            max_append_len=APPEND_BYTES_MAX,
        )
        self._auth = SASLAuth([_XOAuth2(check)])

    @property
    def tls_auth(self) -> SASLAuth:
        return self._auth

    @property
    def initial_auth(self) -> SASLAuth:
        return self._auth

    @property
    def greeting(self) -> bytes:
        return b"Demo provider ready."


class _Login(Login):
    """Takes whom the mechanism has let in."""

    async def authenticate(self, credentials: ServerCredentials) -> DictIdentity:
        if not isinstance(credentials, ExternalCredentials) or credentials.authzid not in self.users_dict:
            raise InvalidAuth()
        return DictIdentity(credentials.authzid, self, None, frozenset())


class DemoImap:
    """Mailboxes in memory, and the server that shows them."""

    def __init__(self, addresses: Iterable[str], ssl_context: SSLContext, check: CheckToken) -> None:
        self.port = 0
        self._ssl_context = ssl_context
        self._config = _Config(ssl_context, check)
        self._login = _Login(self._config)
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        for address in addresses:
            self._login.users_dict[address] = UserMetadata(self._config, address)

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[None]:
        """Serve on 127.0.0.1; the mailboxes are empty at every start."""
        self._config.apply_context()
        await self._make_mailboxes()
        listener = await asyncio.start_server(
            self._connected, "127.0.0.1", port, ssl=self._ssl_context, ssl_shutdown_timeout=SHUTDOWN_SECONDS_MAX
        )
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listener.close()
            connections = dict(self._connections)
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            for writer in connections.values():
                writer.transport.abort()
            await listener.wait_closed()

    async def append(
        self, address: str, folder: str, content: bytes, *, seen: bool = False, received_at: datetime | None = None
    ) -> None:
        """File a message, as one that came at `received_at` (None: now). Raises KeyError for an unknown address
        or folder."""
        flags = frozenset({Flag(b"\\Seen")}) if seen else frozenset[Flag]()
        mailbox = await self._mailbox(address, folder)
        await mailbox.append(AppendMessage(content, received_at or datetime.now(UTC), flags), recent=True)

    async def messages(self, address: str, folder: str) -> list[bytes]:
        """Return a folder's messages, oldest first. Raises KeyError for an unknown address or folder."""
        mailbox = await self._mailbox(address, folder)
        return [await _content(message) async for message in mailbox.messages()]

    async def folders(self, address: str) -> list[str]:
        """Return the names of a mailbox's folders. Raises KeyError for an unknown address."""
        tree = await self._config.set_cache[address][0].list_mailboxes()
        return [entry.name for entry in tree.list()]

    async def _make_mailboxes(self) -> None:
        for address in self._login.users_dict:
            mailboxes = MailboxSet()
            for folder in FOLDERS:
                await mailboxes.add_mailbox(folder)
            self._config.set_cache[address] = (mailboxes, FilterSet())

    async def _mailbox(self, address: str, folder: str) -> MailboxData:
        return await self._config.set_cache[address][0].get_mailbox(folder)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            await IMAPServer(self._login, self._config)(reader, writer, SocketInfoLocal(writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client went away; it owes us no goodbye.
        finally:
            del self._connections[task]


async def _content(message: Message) -> bytes:
    loaded = await message.load_content(FetchRequirement.CONTENT)
    return bytes(loaded)
