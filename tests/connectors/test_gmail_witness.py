"""Our Gmail connector, with Google's own library, against a Gmail that others wrote: the npm package `emulate`.

What the emulator has is held here: listing, the history with its labels, labels, raw mails, sending into a thread,
finding in Sent by Message-ID, and changes of labels. Two things that it has not, a front gives it (`emulated_gmail`):
batches, and `getProfile`.

What it lacks, and the fake of our own (`ingestd.demo.gmailserver`) stands in for: batches of HTTP, `getProfile`,
uploads by pieces, a 404 for a history that is not kept any more (it keeps all of it), units and their refusals,
Retry-After, Message-IDs rewritten on sending, scopes (whatever a token was granted, it may do all), tokens that end
or are refused (an unknown one opens the first mailbox), header fields other than the usual ones where a mail's are
asked for, so that our own is not found by it, Pub/Sub, and connections that break. Ids of its messages are random, as
no order of theirs is promised; and it delivers nothing: what is sent lies in Sent.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from connectors.base import OWN_HEADER, AccessToken, Edit, EditKind, Envelope, ReadPlan, SendStatus
from connectors.egress import EgressGuard
from connectors.gmail import GmailReader
from connectors.gmail_access import GmailAccess
from connectors.gmail_mailbox import gmail_reader, gmail_sender, gmail_tools
from connectors.gmail_sender import GmailSender
from connectors.gmail_session import GmailTools
from connectors.tls import client_context
from ingestd.demo.gmailwire import Request
from tests.connectors.emulated_gmail import GmailFront
from tests.connectors.mailbox import EVERYTHING, LONG_AGO, raw_mail, read_messages, subjects
from tests.servers.emulate import Emulator
from tests.servers.fixtures import started

ADDRESSES = tuple(f"box{number}@example.com" for number in range(20))
TO = "customer@example.net"
_addresses = itertools.cycle(ADDRESSES)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    seed = {"users": [{"email": one} for one in ADDRESSES]}
    tokens = {f"token-of-{one}": {"login": one} for one in ADDRESSES}
    yield from started(lambda: Emulator("google", seed, tokens))


@dataclass
class Emulated:
    """A mailbox of the emulator's."""

    address: str
    front: GmailFront
    tools: GmailTools

    async def token(self, *, rejected: str | None = None) -> AccessToken:
        assert rejected is None
        return AccessToken(f"token-of-{self.address}")

    @property
    def access(self) -> GmailAccess:
        return GmailAccess(
            login=self.address, connect_seconds=10, read_seconds=10, poll_seconds_min=0.1, poll_seconds=1
        )

    def reader(self, plan: ReadPlan = EVERYTHING) -> GmailReader:
        return gmail_reader(self.access, self.token, tools=self.tools, plan=plan)

    def sender(self) -> GmailSender:
        return gmail_sender(self.access, self.token, tools=self.tools)

    async def deliver(self, raw: bytes, *labels: str) -> dict[str, Any]:
        """Put a message into the mailbox as it is; return what Gmail says of it."""
        body = {"raw": base64.urlsafe_b64encode(raw).decode(), "labelIds": labels or ("INBOX", "UNREAD")}
        return await self.ask("POST", "messages", body)

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> dict[str, Any]:
        headers = {"authorization": f"Bearer token-of-{self.address}", "content-type": "application/json"}
        named = {name: [value] for name, value in query.items()}
        content = b"" if body is None else json.dumps(body).encode()
        answer = await self.front.ask(Request(method, f"/gmail/v1/users/me/{path}", named, headers, content))
        assert answer.status == 200, answer.body
        found: dict[str, Any] = json.loads(answer.body)
        return found

    async def labels_of(self, message: dict[str, Any]) -> set[str]:
        return set((await self.ask("GET", f"messages/{message['id']}", format="minimal"))["labelIds"])


@pytest.fixture
async def box(emulator: Emulator) -> AsyncIterator[Emulated]:
    with ThreadPoolExecutor(4) as executor:
        async with GmailFront(emulator.port).running() as front:
            tools = gmail_tools(
                ssl_context=client_context(),
                guard=EgressGuard([("127.0.0.1", front.port)]),
                executor=executor,
                root_url=front.root,
            )
            yield Emulated(next(_addresses), front, tools)


async def test_what_lies_there_is_listed_and_what_comes_is_told_by_the_history(box: Emulated) -> None:
    raws = [raw_mail(f"m{number}", body=b"caf\xe9 \xff\r\n") for number in range(5)]
    for raw in raws:
        await box.deliver(raw)
    reader = box.reader(ReadPlan(start_at=LONG_AGO, batch_messages_max=2))
    found, cursor = await read_messages(reader, None)
    assert sorted(subjects(found)) == [f"m{number}" for number in range(5)]
    assert sorted(one.content or b"" for one in found) == sorted(raws), "byte for byte"

    await box.deliver(raw_mail("news"))
    await box.deliver(raw_mail("elsewhere"), "SPAM")
    listed = box.front.calls["GET messages"]
    found, cursor = await read_messages(reader, cursor)
    assert subjects(found) == ["news"]
    assert box.front.calls["GET messages"] == listed + 1, "the history names it; it alone is read"
    assert (await read_messages(reader, cursor))[0] == []
    await reader.close()


async def test_a_label_that_a_message_gets_later_brings_it(box: Emulated) -> None:
    box_of_team = await box.ask("POST", "labels", {"name": "Team"})
    reader = box.reader(ReadPlan(folders=("INBOX", "Team"), start_at=LONG_AGO))
    _, cursor = await read_messages(reader, None)
    archived = await box.deliver(raw_mail("archived"), "UNREAD")
    found, cursor = await read_messages(reader, cursor)
    assert found == []
    await box.ask("POST", f"messages/{archived['id']}/modify", {"addLabelIds": [box_of_team["id"]]})
    found, _ = await read_messages(reader, cursor)
    assert subjects(found) == ["archived"]
    assert found[0].locator == f"{box_of_team['id']}:{archived['id']}"
    await reader.close()


async def test_news_end_the_wait(box: Emulated) -> None:
    reader = box.reader()
    await read_messages(reader, None)
    waiting = asyncio.create_task(reader.wait(10))
    await box.deliver(raw_mail("news"))
    assert await waiting
    await reader.close()


async def test_a_reply_goes_into_the_thread_and_is_found_in_sent(box: Emulated) -> None:
    asked = await box.deliver(raw_mail("Printer", message_id="<asked@customer.example.net>"))
    other = await box.deliver(raw_mail("Other"))
    head = f"{OWN_HEADER}: token-1\r\nIn-Reply-To: <asked@customer.example.net>\r\n".encode()
    reply = raw_mail("Re: Printer", message_id="<reply@help.example.com>", extra=head)
    sender = box.sender()
    outcome = await sender.send(Envelope(box.address, [TO]), reply)
    assert outcome.status is SendStatus.ACCEPTED
    (sent,) = (await box.ask("GET", "messages", labelIds="SENT"))["messages"]
    assert sent["threadId"] == asked["threadId"] != other["threadId"]
    assert outcome.provider_id == sent["id"]
    another = box.sender()  # as another process would look for it, which does not remember the answer
    (copy,) = await another.find_in_sent("<reply@help.example.com>", "token-1")
    assert (copy.locator, copy.message_id) == (f"SENT:{sent['id']}", "<reply@help.example.com>")
    assert await another.find_in_sent("<never@help.example.com>", "token-2") == []
    await another.close()
    raw = (await box.ask("GET", f"messages/{sent['id']}", format="raw"))["raw"]
    left = base64.urlsafe_b64decode(raw + "==")
    assert left.endswith(b"\r\n\r\nHello\r\n")
    assert f"{OWN_HEADER}: token-1".encode() in left
    await sender.close()


async def test_edits_are_labels(box: Emulated) -> None:
    made = {name: await box.deliver(raw_mail(name)) for name in ("read", "tagged", "moved", "spam", "trashed")}
    reader = box.reader()
    found, _ = await read_messages(reader, None)
    places = dict(zip(subjects(found), [one.locator for one in found], strict=True))
    edits = {
        "read": (Edit(EditKind.READ), {"INBOX"}),
        "tagged": (Edit(EditKind.KEYWORD, "Solved"), {"INBOX", "UNREAD", "Solved"}),
        "moved": (Edit(EditKind.MOVE, "Done"), {"UNREAD", "Done"}),
        "spam": (Edit(EditKind.SPAM), {"UNREAD", "SPAM"}),
        "trashed": (Edit(EditKind.TRASH), {"UNREAD", "TRASH"}),
    }
    for name, (edit, _) in edits.items():
        done = await reader.edit([places[name]], edit)
        assert list(done) == [places[name]]
        assert done[places[name]] is not None
    names = {one["id"]: one["name"] for one in (await box.ask("GET", "labels"))["labels"]}
    for name, (_, labels) in edits.items():
        assert {names[one] for one in await box.labels_of(made[name])} == labels, name
    await reader.close()
