"""A Gmail with mail in it, in a process of its own, as the figures measure against it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bench.corpus import corpus
from connectors.base import AccessToken
from connectors.egress import EgressGuard
from connectors.gmail_mailbox import GmailAccess, GmailTools, gmail_tools
from connectors.tls import client_context
from ingestd.demo.gmailserver import GmailServer
from ingestd.demo.grants import TokenInfo

LATENCY_SECONDS = 0.06
_START_SECONDS_MAX = 60.0


def user(number: int) -> str:
    """Return the address of a mailbox, from 1 on."""
    return f"support{number}@example.com"


@dataclass(frozen=True, slots=True)
class Served:
    """What a figure needs of the server."""

    tools: GmailTools
    parent: Connection

    def access(self, number: int) -> GmailAccess:
        return GmailAccess(login=user(number))

    def highest(self) -> int:
        """Return the most units that any user has spent in any minute; raises where one was refused."""
        self.parent.send("quota")
        highest, refused = self.parent.recv()
        if refused:
            raise RuntimeError(f"{refused} calls went over the quota")
        return int(highest)


class Token:
    """The token source of a mailbox: its address is its token."""

    def __init__(self, number: int) -> None:
        self._token = AccessToken(user(number))

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        if rejected is not None:
            raise RuntimeError("the server refused a token")
        return self._token


@contextlib.contextmanager
def running_gmail(mailboxes: int, mails: int, *, units_per_minute: int, threads: int) -> Iterator[Served]:
    """Serve `mailboxes` with `mails` each of the corpus, and refuse what goes over the quota."""
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=_serve, args=(child, mailboxes, mails, units_per_minute), daemon=True)
    process.start()
    try:
        if not parent.poll(_START_SECONDS_MAX):
            raise RuntimeError("the server did not start")
        root, port = parent.recv()
        with ThreadPoolExecutor(threads) as executor:
            tools = gmail_tools(
                ssl_context=client_context(),
                guard=EgressGuard([("127.0.0.1", port)]),
                executor=executor,
                root_url=root,
                units_per_user_minute=units_per_minute,
            )
            yield Served(tools, parent)
    finally:
        process.terminate()
        process.join()
        parent.close()


def _serve(child: Connection, mailboxes: int, mails: int, units_per_minute: int) -> None:
    asyncio.run(_run(child, mailboxes, mails, units_per_minute))


async def _run(child: Connection, mailboxes: int, mails: int, units_per_minute: int) -> None:
    server = GmailServer(
        lambda token: TokenInfo(token, "bench", ("mail",), 0.0),
        units_per_minute=units_per_minute,
        latency_seconds=LATENCY_SECONDS,
    )
    raws = [mail.raw for mail in corpus(min(mails, 500))]
    chance = random.Random(1)  # noqa: S311  (no secret)
    for number in range(1, mailboxes + 1):
        _fill(server, number, mails, raws, chance)
    async with server.running() as root:
        child.send((root, server.port))
        loop = asyncio.get_running_loop()
        asked: asyncio.Queue[Any] = asyncio.Queue()
        loop.add_reader(child.fileno(), lambda: asked.put_nowait(child.recv()))
        while await asked.get():
            quotas = [server.quota(user(number)) for number in range(1, mailboxes + 1)]
            child.send((max(one.highest for one in quotas), sum(one.refused for one in quotas)))


def _fill(server: GmailServer, number: int, mails: int, raws: Sequence[bytes], chance: random.Random) -> None:
    box = server.box(user(number))
    for _ in range(mails):
        box.add(chance.choice(raws))
