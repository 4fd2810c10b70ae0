"""Servers in a mood: IMAP with an empty INBOX, and SMTP that accepts all, which refuse as real providers do.

They write down when they were connected to: what asks us to wait can see whether we did.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import enum
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.servers.process import free_port

BACKOFF_SECONDS = 0.8


class Mood(enum.Enum):
    """What the server says, word by word as the provider that is named."""

    WELL = "all is well"
    OFF = "Yandex: IMAP is switched off, or the token is bad"
    NOT_CONNECTED = "Microsoft: the login works, no command after it does"
    THROTTLED = "Microsoft: wait so long"
    TENANT = "Microsoft: no SMTP for anybody in the tenant"


class Moody(abc.ABC):
    """Listens on one port, TLS from the first byte, and drops all connections when its mood changes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.port = free_port()
        self.mood = Mood.WELL
        self.connected_at: list[float] = []
        self.hinted_at: list[float] = []
        """When we were asked to wait for BACKOFF_SECONDS."""
        self._context = context
        self._writers: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._context)
        try:
            yield
        finally:
            server.close()
            self.drop()

    def turn(self, mood: Mood) -> None:
        self.mood = mood
        self.drop()

    def drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    @abc.abstractmethod
    async def serve(self, reader: asyncio.StreamReader, say: Callable[[str], Awaitable[None]]) -> None:
        """Answer on one connection until it ends."""

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected_at.append(time.monotonic())
        self._writers.add(writer)

        async def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")
            await writer.drain()

        try:
            await self.serve(reader, say)
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


class MoodyImap(Moody):
    async def serve(self, reader: asyncio.StreamReader, say: Callable[[str], Awaitable[None]]) -> None:
        await say("* OK ready")
        while words := (await reader.readline()).decode().split():
            tag, command = words[0], words[1].upper()
            if command == "CAPABILITY":
                await say("* CAPABILITY IMAP4rev1 UIDPLUS AUTH=XOAUTH2")
                await say(f"{tag} OK done")
            elif command == "AUTHENTICATE":
                await say("+ ")
                await reader.readline()
                refused = "NO [AUTHENTICATIONFAILED] LOGIN invalid credentials or IMAP is disabled sc=1"
                await say(f"{tag} {refused if self.mood is Mood.OFF else 'OK done'}")
            elif command == "LOGOUT":
                return await say(f"{tag} OK done")
            elif self.mood is Mood.NOT_CONNECTED:
                await say(f"{tag} BAD User is authenticated but not connected.")
            elif self.mood is Mood.THROTTLED:
                self.hinted_at.append(time.monotonic())
                milliseconds = round(BACKOFF_SECONDS * 1000)
                await say(f"{tag} BAD Request is throttled. Suggested Backoff Time: {milliseconds} milliseconds")
                return await say("* BYE Connection closed.")
            else:
                await self._empty(tag, command, say)
        return None

    async def _empty(self, tag: str, command: str, say: Callable[[str], Awaitable[None]]) -> None:
        if command in {"SELECT", "EXAMINE"}:
            await say("* 0 EXISTS")
            await say("* OK [UIDVALIDITY 7] ok")
            await say("* OK [UIDNEXT 1] ok")
        elif command in {"LIST", "XLIST"}:
            await say('* LIST () "/" INBOX')
            await say('* LIST (\\Sent) "/" Sent')
        elif command == "UID":
            await say("* SEARCH")
        await say(f"{tag} OK done")


class MoodySmtp(Moody):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context)
        self.accepted: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, say: Callable[[str], Awaitable[None]]) -> None:
        await say("220 ready")
        while words := (await reader.readline()).decode().upper().split():
            if words[0] == "EHLO":
                await say("250-ready")
                await say("250 AUTH XOAUTH2")
            elif words[0] == "AUTH" and self.mood is Mood.TENANT:
                await say(
                    "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant."
                )
            elif words[0] == "AUTH":
                await say("235 2.7.0 done")
            elif words[0] == "DATA":
                await say("354 go on")
                self.accepted.append(await reader.readuntil(b"\r\n.\r\n"))
                await say("250 2.0.0 taken")
            elif words[0] == "QUIT":
                return await say("221 bye")
            else:
                await say("250 2.0.0 done")
        return None
