"""One authenticated IMAP connection: opening it, running commands in the thread pool, losing it.

Theory of operation. A connection is open or gone; there is no repair. Whatever
leaves its state in doubt (a loss, a timeout, a cancellation in the middle of a
command) breaks it, and the next use opens another. imapclient is not
thread-safe, so one command runs at a time; its owner is one task.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import math
import re
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from connectors import sasl
from connectors.base import (
    AccessToken,
    AuthError,
    ConnectorError,
    PermanentError,
    TemporaryError,
    TokenSource,
    Trouble,
)
from connectors.egress import EgressGuard, dial
from connectors.imap_access import ImapAccess
from connectors.imap_errors import FolderExists, TargetMissing, command_refusal, login_refusal
from connectors.imap_folders import ListedFolder, find_folder, is_listed, name_to_create, personal_prefix
from connectors.imap_places import HostPlaces
from connectors.imap_thread import run_in_thread
from connectors.imap_wire import Wire, WireClient

T = TypeVar("T")
_STATUS = re.compile(r"[A-Za-z0-9_]{1,30}")
LITERAL_BYTES_MAX = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImapTools:
    """What every connection of the process shares."""

    ssl_context: ssl.SSLContext
    guard: EgressGuard
    executor: Executor
    """The bounded pool that blocking commands run in."""
    alerted: Callable[[int], None] = lambda _: None
    """Told in the event loop how many [ALERT]s a server has sent; never what they say."""
    places: HostPlaces = field(default_factory=HostPlaces)
    """How many of its threads one server may have."""


@dataclass(frozen=True, slots=True)
class Selected:
    """What SELECT said."""

    folder: str
    uidvalidity: int
    uidnext: int
    uidnext_told: bool
    """Whether the server told it. If not, it is what lies behind the last message, and can go back by an EXPUNGE."""
    exists: int
    modseq: int | None
    """HIGHESTMODSEQ (RFC 7162 §3.1.2.1); None where the server has no CONDSTORE, or not in this folder."""
    permanent_flags: frozenset[str] | None
    r"""What can be set on messages, in lower case; `\*` stands for new keywords. None: all, as nothing is said."""


class FolderMissing(PermanentError):
    """There is no such folder at present."""


class ImapSession:
    """An authenticated connection. Use `open_session`."""

    def __init__(self, client: WireClient, tools: ImapTools, access: ImapAccess) -> None:
        self.client = client
        self.capabilities: frozenset[str] = frozenset()
        self.selected: Selected | None = None
        self.alive = True
        self.renew_at = math.inf
        """When it is to be opened anew, as its token is about to end (time.monotonic)."""
        self.refuses_idle = False
        """Whether IDLE was offered and refused."""
        self.compared: set[str] = set()
        """Folders that were found to be, on this connection, those that were read (see imap_changed)."""
        self.where = f"{access.imap.host}:{access.imap.port}"
        self._tools = tools
        self._places = tools.places.threads(access.imap)
        self._command_seconds = access.command_seconds
        self._lock = asyncio.Lock()
        self._folders: list[ListedFolder] = []
        self._prefix: str | None = None

    async def run(self, command: str, work: Callable[[WireClient], T]) -> T:
        """Run blocking `work` on the connection in a thread; `command` names it in errors.

        Raises RateLimited, TemporaryError or PermanentError. After anything that
        is not a plain refusal the connection is gone (`alive` is False).
        """
        async with self._lock:
            if not self.alive:
                raise TemporaryError(f"{command} at {self.where}: connection lost")
            try:
                return await run_in_thread(
                    self._tools.executor,
                    lambda: work(self.client),
                    wire=self.client.wire,
                    places=self._places,
                    said=f"{command} at {self.where}",
                    seconds=self._command_seconds,
                    refusal=lambda text: command_refusal(command, text, self.where),
                )
            finally:
                self.alive = self.alive and not self.client.wire.aborted

    async def enable_condstore(self) -> None:
        """Have SELECT tell HIGHESTMODSEQ: servers may keep it to themselves until somebody asks (Dovecot does)."""
        if {"CONDSTORE", "ENABLE"} <= self.capabilities:
            with contextlib.suppress(TemporaryError, PermanentError):
                await self.run("ENABLE", lambda client: client.enable("CONDSTORE"))

    async def select(self, folder: str, *, readonly: bool = False) -> Selected:
        """SELECT `folder`. Raises FolderMissing where it does not exist."""
        self.selected = None
        try:
            answer = await self.run("SELECT", lambda client: client.select_folder(folder, readonly=readonly))
        except (TemporaryError, PermanentError):
            # Servers refuse a folder that is gone with a bare NO (Dovecot), like one that is busy: LIST knows.
            if self.alive and folder != "INBOX" and not is_listed(folder, await self.list_folders()):
                raise FolderMissing(f"SELECT at {self.where}: no such folder") from None
            raise
        self.take_news()
        uidvalidity, uidnext, exists = answer.get(b"UIDVALIDITY"), answer.get(b"UIDNEXT"), answer.get(b"EXISTS", 0)
        if uidvalidity is None:
            # RFC 3501 §6.3.1: such a server has no lasting UIDs, and nothing here can work without.
            raise PermanentError(f"SELECT at {self.where}: no UIDVALIDITY")
        flags = answer.get(b"PERMANENTFLAGS")
        self.selected = Selected(
            folder,
            uidvalidity,
            await self._behind_the_last(exists) if uidnext is None else uidnext,
            uidnext is not None,
            exists,
            answer.get(b"HIGHESTMODSEQ") if "CONDSTORE" in self.capabilities else None,
            None if flags is None else frozenset(flag.decode("utf-8", "replace").lower() for flag in flags),
        )
        return self.selected

    async def _behind_the_last(self, exists: int) -> int:
        """Return the UID that lies behind the last message in sight, for servers that leave UIDNEXT out of SELECT.

        They may (RFC 3501 §6.3.1; Courier does). STATUS would tell it, but of another moment than SELECT: a lower
        one is late by a reading, and a higher one passes over a message that is not in sight yet.
        """
        if not exists:
            return 1
        # By its sequence number; "UID n:*" should do too (RFC 3501 §6.4.8), and finds nothing at Courier's.
        found = await self.run("SEARCH", lambda client: client.search([str(exists)]))
        return max(found, default=0) + 1

    def take_news(self) -> bool:
        """Whether the server has announced new messages since the last call.

        An EXISTS can come with the answer to any command, and IDLE does not say
        it again: who ignores it waits for the message after.
        """
        return bool(self.take_untagged("EXISTS"))

    def take_untagged(self, name: str) -> list[Any]:
        """Remove and return what the server said under `name`: responses, or codes as APPENDUID."""
        responses: dict[str, list[Any]] = self.client._imap.untagged_responses
        return [value for value in responses.pop(name, []) if value is not None]

    async def list_folders(self) -> list[ListedFolder]:
        """Return all folders, by XLIST where roles are told in no other way (Mail.ru, Yandex)."""
        xlist = "XLIST" in self.capabilities and "SPECIAL-USE" not in self.capabilities
        rows = await self.run("LIST", lambda client: client.xlist_folders() if xlist else client.list_folders())
        self._folders = [
            ListedFolder(
                frozenset(flag.decode("ascii", "replace").lower() for flag in flags),
                delimiter.decode("ascii", "replace") if delimiter else "",
                # XLIST gives INBOX its localized name; on the wire it stays INBOX (RFC 3501 §5.1).
                "INBOX" if b"\\inbox" in {flag.lower() for flag in flags} else str(name),
            )
            for flags, delimiter, name in rows
        ]
        return self._folders

    async def find_folder(self, wanted: str, role_folders: Mapping[str, str]) -> str | None:
        r"""Return the server's name of a folder that is named by a path or a role (`\Junk`), None where there is none.

        The list is remembered and asked for again where it does not hold the folder.
        """
        if wanted.upper() == "INBOX":
            return "INBOX"
        prefix = await self._personal_prefix()
        for known in (True, False):
            folders = self._folders if known else await self.list_folders()
            if (name := find_folder(wanted, folders, prefix=prefix, overrides=role_folders)) is not None:
                return name
        return None

    async def ensure_folder(self, wanted: str, role_folders: Mapping[str, str]) -> str:
        """Return the folder as `find_folder` does; where there is none, create it and subscribe to it."""
        name = await self.find_folder(wanted, role_folders)
        # What is remembered may be gone; a server that is asked for a folder it lacks says so in many ways.
        if name is not None and (name == "INBOX" or is_listed(name, await self.list_folders())):
            return name
        new = name_to_create(wanted, self._folders, prefix=await self._personal_prefix(), overrides=role_folders)
        await self._create(new)
        return new

    async def run_into(self, folder: str, command: str, work: Callable[[WireClient], T]) -> T:
        """Run a command that puts messages into `folder`; where the server says that it lacks it, make it first.

        LIST can show a folder that is none any more, or a place where one can be (RFC 3501 §6.4.7: TRYCREATE).
        """
        try:
            return await self.run(command, work)
        except TargetMissing:
            await self._create(folder)
            return await self.run(command, work)

    async def _create(self, name: str) -> None:
        with contextlib.suppress(FolderExists):
            await self.run("CREATE", lambda client: client.create_folder(name))
        await self.run("SUBSCRIBE", lambda client: client.subscribe_folder(name))
        self._folders = []

    async def _personal_prefix(self) -> str:
        """Return what the names of all folders but INBOX begin with: NAMESPACE (RFC 2342), else what LIST shows."""
        if self._prefix is None:
            self._prefix = personal_prefix(self._folders or await self.list_folders())
            if "NAMESPACE" in self.capabilities:
                with contextlib.suppress(TemporaryError, PermanentError):  # LIST shows it, too, where there are folders
                    personal = (await self.run("NAMESPACE", lambda client: client.namespace())).personal
                    self._prefix = str(personal[0][0]) if personal else ""
        return self._prefix

    def discard(self) -> None:
        """Break the connection at once; never raises. A running command fails and closes the socket itself."""
        self.alive = False
        self.client.wire.abort()
        if not self._lock.locked():
            self.client.wire.close()

    async def close(self) -> None:
        """Log out politely, for at most two seconds."""
        if self.alive:
            with contextlib.suppress(ConnectorError, TimeoutError):
                async with asyncio.timeout(2):
                    await self.run("LOGOUT", lambda client: client.logout())
        self.discard()


async def open_session(access: ImapAccess, token_source: TokenSource, tools: ImapTools) -> ImapSession:
    """Connect and authenticate. A refused token is replaced once.

    Raises AuthError (also the fresh token is refused), RateLimited, TemporaryError, PermanentError.
    """
    token = await token_source()
    try:
        return await _open_with(access, token, tools)
    except AuthError:
        token = await token_source(rejected=token.value)
        return await _open_with(access, token, tools)


async def _open_with(access: ImapAccess, token: AccessToken, tools: ImapTools) -> ImapSession:
    async with tools.places.logins(access.imap):
        session = await _log_in(access, token, tools)
    await session.enable_condstore()
    session.renew_at = time.monotonic() + access.lasts_seconds(token, datetime.now(UTC))
    return session


async def _log_in(access: ImapAccess, token: AccessToken, tools: ImapTools) -> ImapSession:
    endpoint = access.imap
    where = f"{endpoint.host}:{endpoint.port}"
    sock = await dial(tools.guard, endpoint.host, endpoint.port, connect_seconds=access.connect_seconds)
    wire = Wire(sock, read_seconds=access.read_seconds, literal_bytes_max=LITERAL_BYTES_MAX, alerted=tools.alerted)

    def open_in_thread() -> tuple[WireClient, frozenset[str]]:
        client = _greet(wire, access, tools.ssl_context, where)
        _authenticate(client, access, token.value, where)
        return client, _ask_capabilities(client, where)

    client, capabilities = await run_in_thread(
        tools.executor,
        open_in_thread,
        wire=wire,
        places=tools.places.threads(endpoint),
        said=f"connect to {where}",
        seconds=access.connect_seconds + access.read_seconds,
        refusal=lambda text: command_refusal("connect", text, where),
        close_on_refusal=True,
    )
    session = ImapSession(client, tools, access)
    session.capabilities = capabilities
    return session


def _greet(wire: Wire, access: ImapAccess, context: ssl.SSLContext, where: str) -> WireClient:
    """Read the greeting under TLS, or before STARTTLS; nothing learned in plain text is kept."""
    endpoint = access.imap
    if endpoint.tls == "implicit":
        wire.start_tls(context, endpoint.host)
    client = WireClient(wire, endpoint.host, endpoint.port, access.read_seconds)
    if client._imap.state != "NONAUTH":
        # PREAUTH: STARTTLS is not legal then, and somebody in the middle wants it so.
        raise PermanentError(f"{where} greets with PREAUTH")
    if endpoint.tls == "starttls":
        if "STARTTLS" not in client._imap.capabilities:
            raise PermanentError(f"{where} offers no STARTTLS")
        status, data = client._imap._simple_command("STARTTLS")
        if status != "OK":
            raise command_refusal("STARTTLS", _text(data), where)
        wire.start_tls(context, endpoint.host)
        client._imap.sock = wire.sock
        client._imap.untagged_responses.clear()
    return client


class _Answers:
    """Answers the server's challenges, and keeps the error that the second one holds."""

    def __init__(self, mechanism: str, first: bytes) -> None:
        self._mechanism = mechanism
        self._first: bytes | None = first
        self.error_status: str | None = None

    def __call__(self, challenge: bytes) -> bytes:
        if self._first is not None:
            answer, self._first = self._first, None
            return sasl.encode(answer)
        self.error_status = _challenge_status(challenge)
        return sasl.encode(sasl.error_answer(self._mechanism))

    # imaplib takes a callable literal only if it is a bound method.
    def answer(self, challenge: bytes) -> bytes:
        return self(challenge)


def _authenticate(client: WireClient, access: ImapAccess, token: str, where: str) -> None:
    offered = _ask_capabilities(client, where)
    mechanism = sasl.choose_mechanism([name[5:] for name in offered if name.startswith("AUTH=")], access.mechanisms)
    if mechanism is None:
        raise PermanentError(
            f"{where} does not offer {' or '.join(access.mechanisms)}", trouble=Trouble.PROTOCOL_DISABLED
        )
    endpoint = access.imap
    first = sasl.initial_response(mechanism, login=access.login, token=token, host=endpoint.host, port=endpoint.port)
    answers = _Answers(mechanism, first)
    client._imap.literal = answers.answer
    status, data = client._imap._simple_command("AUTHENTICATE", mechanism)
    if status != "OK":
        raise login_refusal(_text(data), where, answers.error_status)
    client._imap.state = "AUTH"


def _ask_capabilities(client: WireClient, where: str) -> frozenset[str]:
    """Ask CAPABILITY anew: servers offer more after login than before (and less before TLS than after).

    Raises TemporaryError and the like where there is no answer to go by. Taken for a server that can do nothing,
    it would be one without IDLE and MOVE, whose deleted messages are only marked.
    """
    client._imap.untagged_responses.pop("CAPABILITY", None)
    status, data = client._imap.capability()
    if status != "OK":
        raise command_refusal("CAPABILITY", _text(data), where)
    names = _text(data).upper().split()
    if not names:
        raise TemporaryError(f"CAPABILITY at {where}: no answer")
    client._imap.capabilities = tuple(names)
    client._cached_capabilities = tuple(name.encode() for name in names)
    return frozenset(names)


def _challenge_status(challenge: bytes) -> str | None:
    """Return "status" of the error challenge's JSON (RFC 7628 §3.2.2), where it is a plain word or number."""
    try:
        document = json.loads(base64.b64decode(challenge))
    except ValueError:
        return None
    status = str(document.get("status", "")) if isinstance(document, dict) else ""
    return status if _STATUS.fullmatch(status) else None


def _text(data: Any) -> str:
    last = data[-1] if data else b""
    return last.decode("utf-8", "replace") if isinstance(last, bytes) else ""
