"""Edits that are cut short and repeated, and targets that are not there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from connectors.base import Edit, EditKind, TemporaryError
from connectors.imap_access import ImapEndpoint
from connectors.imap_session import open_session
from tests.connectors.mailbox import EVERYTHING, Mailbox, raw_mail, read_messages
from tests.connectors.test_imap_restored import Serve, put, serve
from tests.servers.certs import Certificates
from tests.servers.proxy import Fault, Proxy
from tests.servers.script import ScriptedFolder, server_context

__all__ = ["serve"]

DONE = Edit(EditKind.MOVE, "Done")
Behind = Callable[[Mailbox], AbstractAsyncContextManager[Proxy]]


@pytest.fixture
def behind(certificates: Certificates) -> Behind:
    """A proxy between the reader and its server, inside TLS."""

    @contextlib.asynccontextmanager
    async def running(box: Mailbox) -> AsyncIterator[Proxy]:
        context = server_context(str(certificates.cert_file), str(certificates.key_file))
        async with Proxy(
            box.server.port_tls, server_context=context, upstream_context=box.tools.ssl_context
        ).running() as proxy:
            box.change(imap=ImapEndpoint("localhost", proxy.port))
            yield proxy

    return running


@pytest.fixture(params=["plain_mailbox", "courier_mailbox"])
async def poor(request: pytest.FixtureRequest) -> AsyncIterator[Mailbox]:
    """Without MOVE."""
    poor: Mailbox = request.getfixturevalue(request.param)
    yield poor
    await poor.close()


def lost_before(command: bytes) -> Fault:
    return Fault("client", marker=b" " + command)


def lost_after(command: bytes) -> Fault:
    """The server does it, and its answer is lost."""
    return Fault("client", marker=b" " + command, keep=10_000, action="cut_after_upstream_answers")


@pytest.mark.parametrize(
    "fault",
    [lost_before(b"UID COPY"), lost_after(b"UID COPY"), lost_before(b"UID STORE"), lost_before(b"UID EXPUNGE")],
    ids=["before COPY", "after COPY", "before STORE", "before EXPUNGE"],
)
async def test_a_move_that_was_cut_short_makes_no_second_copy(poor: Mailbox, behind: Behind, fault: Fault) -> None:
    fault.happened = False
    async with behind(poor) as proxy:
        for name in ("m1", "m2", "m3"):
            poor.deliver(name, body=b"x" * (70_000 if name == "m2" else 1) + b"\r\n")
        reader = poor.reader(EVERYTHING)
        messages, _ = await read_messages(reader, None)
        locators = [message.locator for message in messages[:2]]
        # Something of the same size lies there already, and is none of them.
        poor.server.create_folder(poor.user, "Done")
        other = (messages[0].content or b"").replace(b"Subject: m1", b"Subject: zz")
        poor.server.deliver(poor.user, other, "Done")
        proxy.fault = fault
        with pytest.raises(TemporaryError):
            await reader.edit(locators, DONE)
        assert fault.happened
        moved = await reader.edit(locators, DONE)
        there = [await reader.fetch(place or "") for place in moved.values()]
        assert [message and message.content for message in there] == [message.content for message in messages[:2]]
        assert len(poor.server.mails(poor.user, "Done")) == 3
        assert poor.server.mails(poor.user) == [messages[2].content]
        assert await reader.edit(locators, DONE) == dict.fromkeys(locators)
        await reader.close()


async def test_a_copy_stands_for_one_message(poor: Mailbox) -> None:
    """Of two that are alike and one copy, the second is still to be moved."""
    twin = raw_mail("twin", message_id="<twin@example.com>")
    poor.server.create_folder(poor.user, "Done")
    poor.server.deliver(poor.user, twin, "Done")
    for _ in range(2):
        poor.server.deliver(poor.user, twin)
    reader = poor.reader(EVERYTHING)
    messages, _ = await read_messages(reader, None)
    await reader.edit([message.locator for message in messages], DONE)
    assert len(poor.server.mails(poor.user, "Done")) == 2
    assert poor.server.mails(poor.user) == []


async def test_what_others_have_marked_as_deleted_stays(poor: Mailbox) -> None:
    poor.deliver("marked")
    reader = poor.reader(EVERYTHING)
    (message,), _ = await read_messages(reader, None)
    session = await open_session(poor.access, poor.tokens, poor.tools)
    await session.select("INBOX")
    await session.run("STORE", lambda client: client.add_flags([1], ["\\Deleted"]))
    await session.close()
    assert await reader.edit([message.locator], DONE) == {message.locator: None}
    assert len(poor.server.mails(poor.user)) == 1
    assert poor.server.name_of("Done") not in poor.server.folders(poor.user)


@pytest.mark.parametrize("answer", [b"NO [TRYCREATE] no such folder", b"NO [NONEXISTENT] no such folder"])
async def test_a_target_that_the_server_wants_made_is_made(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """LIST shows it, and it is gone all the same; or it is gone since."""
    monkeypatch.setattr("tests.servers.script.CAPABILITIES", b"IMAP4rev1 UIDPLUS MOVE AUTH=XOAUTH2")
    folder = ScriptedFolder(refusals=[(b"UID MOVE", answer), (b"CREATE", b"NO [ALREADYEXISTS] it is there")])
    put(folder, "m1")
    async with serve(folder) as reader:
        await reader.edit(["7:1:INBOX"], DONE)
    words = [line.split()[1].upper() for line in folder.commands if b"CREATE" in line or b"MOVE" in line]
    assert words == [b"CREATE", b"UID", b"CREATE", b"UID"]


@pytest.mark.parametrize("answer", [b"NO [OVERQUOTA] full", b"NO [TRYCREATE] no", b"NO no"])
async def test_a_move_that_is_refused_for_now_is_to_be_tried_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr("tests.servers.script.CAPABILITIES", b"IMAP4rev1 UIDPLUS MOVE AUTH=XOAUTH2")
    folder = ScriptedFolder(refusals=[(b"UID MOVE", answer), (b"UID MOVE", answer)])
    put(folder, "m1")
    async with serve(folder) as reader:
        with pytest.raises(TemporaryError):
            await reader.edit(["7:1:INBOX"], DONE)
