"""What a webhook that wants content is told, and that nothing of it stays; what it is told of a forgotten mailbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, select, update

from ingestd.events.desk import Change
from ingestd.privacy.requests import request_disconnect
from storage import erasures
from storage.tables import deliveries, metadata
from tests.events.post import Post, post_office, quick
from tests.events.receiver import NO_CONTENT, Received, Receiver, answer
from tests.office import Office, mail
from tests.privacy.witness import forms
from tests.stores import Stores
from tests.test_maintenance import maintenance

WORDS = ("Quokkaprinter", "marmaladefire", "anna.wombat@example.org", "numbatlist.txt")
MAIL = mail(
    "Quokkaprinter",
    sender="Anna <anna.wombat@example.org>",
    headers='MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\nX-Rest: ',
    text="",
).replace(b"X-Rest: Content-Type: text/plain; charset=utf-8\r\n", b"") + (
    b"--b\r\nContent-Type: text/plain\r\n\r\nA marmaladefire.\r\n"
    b'--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename="numbatlist.txt"\r\n\r\n'
    b"file\r\n--b--\r\n"
)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().serving() as serving:
        yield serving


@pytest.fixture
async def post(stores: Stores, receiver: Receiver) -> AsyncIterator[Post]:
    async with post_office(await Office.open(stores), receiver) as opened:
        yield opened


def everything(conn: Connection) -> bytes:
    """Return all that the content database holds, but for what is sealed (that is never readable) as text."""
    found = []
    for table in metadata.tables.values():
        for row in conn.execute(select(table)):
            found += [bytes(one) if isinstance(one, bytes | memoryview) else str(one).encode() for one in row]
    return b"\0".join(found)


async def test_content_is_delivered_and_nothing_of_it_stays(post: Post, receiver: Receiver, stores: Stores) -> None:
    fail = {"left": 1}

    async def respond(_one: Received) -> bytes:
        fail["left"] -= 1
        return answer(500, body=MAIL) if fail["left"] >= 0 else NO_CONTENT

    receiver.respond = respond
    webhook_id = await post.add(receiver, content=True)
    async with post.delivering():
        await post.office.take(MAIL)
        await post.until_written(webhook_id, 2)
    told = next(one for one in receiver.got[::-1] if one.event["type"] == "message.received")
    message, ticket = told.event["data"]["message"], told.event["data"]["ticket"]
    assert ticket == {
        "number": 1,
        "status": "open",
        "subject": "Quokkaprinter",
        "requester": {"address": "anna.wombat@example.org", "name": "Anna"},
    }
    assert (message["subject"], message["new_text"].strip()) == ("Quokkaprinter", "A marmaladefire.")
    assert message["from"] == [{"address": "anna.wombat@example.org", "name": "Anna"}]
    assert [(one["name"], one["size_bytes"]) for one in message["attachments"]] == [("numbatlist.txt", 4)]
    # The words were there to be found: what went out holds them.
    assert all(word.encode() in told.body for word in WORDS)
    rows = await stores.content.read(None, everything)
    files = b""
    if (path := stores.content.sqlite_path) is not None:
        files = b"".join(one.read_bytes() for one in path.parent.glob(f"{path.name}*"))
    for word in WORDS:
        assert not any(form in rows or form in files for form in forms(word)), word
    await post.office.check()


async def test_long_texts_are_cut(post: Post, receiver: Receiver) -> None:
    async with post_office(post.office, receiver, settings=quick(content_text_bytes_max=1024)) as short:
        webhook_id = await short.add(receiver, content=True, types=["message.received"])
        async with short.delivering():
            await short.office.take(mail(text="Grüße " * 1000))
            await short.until_written(webhook_id, 1)
    message = receiver.got[0].event["data"]["message"]
    assert message["new_text_truncated"]
    assert 1000 < len(message["new_text"].encode()) <= 1024


async def test_a_forgotten_mailbox_is_told_without_content_and_its_end_is_told(
    post: Post, receiver: Receiver, stores: Stores
) -> None:
    webhook_id = await post.add(receiver, content=True)
    await post.desk.change(post.account_id, webhook_id, Change(enabled=False))
    mailbox_id = post.office.held.mailbox_id
    await post.office.take(MAIL)
    # Deliveries of before, which wait while the mailbox is being forgotten.
    await post.desk.change(post.account_id, webhook_id, Change(enabled=True))

    async def away(_one: Received) -> bytes:
        return answer(503)

    receiver.respond = away
    async with post.delivering():
        await receiver.until(lambda: len(receiver.got) >= 1)
    before = len(receiver.got)
    assert b"Quokkaprinter" in receiver.got[0].body
    await stores.content.transaction(post.account_id, request_disconnect, mailbox_id)
    receiver.respond = None
    async with post.delivering():
        await receiver.until(lambda: "mailbox.disconnected" in receiver.types()[before:])
        await post.until_written(webhook_id, 3)
    for one in receiver.got[before:]:
        assert not any(word.encode() in one.body for word in WORDS)
        assert "message" not in one.event["data"]
    # Now it is forgotten, while another batch would wait: what tells of the end itself is not among its rows.
    receiver.respond = away
    async with post.delivering():
        (erasure,) = await stores.content.read(None, erasures.list_erasures)
        await maintenance(post.office).eraser.run(erasure)
        await receiver.until(lambda: receiver.types()[-1] == "erasure.completed")
        receiver.respond = None
        await post.until_written(webhook_id, 2)
    rows = await post.deliveries(webhook_id)
    assert [one.type for one in rows] == ["mailbox.disconnected", "erasure.completed"]
    assert [one.mailbox_id for one in rows] == [None, None]
    assert receiver.got[-1].event["data"]["mailbox_id"] == str(mailbox_id)
    await post.office.check()


async def test_what_waits_goes_with_its_mailbox(post: Post, receiver: Receiver, stores: Stores) -> None:
    """Also from the memory of whoever delivers: nothing is told of a mailbox whose rows have gone."""

    async def away(_one: Received) -> bytes:
        return answer(503)

    receiver.respond = away
    async with post_office(post.office, receiver, settings=quick(retry_seconds=(0.5,) * 9)) as slow:
        webhook_id = await slow.add(receiver)
        async with slow.delivering():
            await slow.office.take(MAIL)
            await receiver.until(lambda: len(receiver.got) >= 1)
            await stores.content.transaction(slow.account_id, request_disconnect, slow.office.held.mailbox_id)
            (erasure,) = await stores.content.read(None, erasures.list_erasures)
            await maintenance(slow.office).eraser.run(erasure)
            receiver.got.clear()
            receiver.respond = None
            await slow.until_written(webhook_id, 2)
    assert [one for one in receiver.types() if not one.startswith(("mailbox.disc", "erasure."))] == []
    await post.office.check()


async def test_deliveries_that_are_done_are_kept_for_a_while(post: Post, receiver: Receiver, stores: Stores) -> None:
    webhook_id = await post.add(receiver)
    async with post.delivering():
        await post.office.take(mail())
        await post.until_written(webhook_id, 2)
    sweeper, at = maintenance(post.office), datetime.now(UTC)
    await sweeper.sweep(at + timedelta(days=29))
    assert len(await post.deliveries(webhook_id)) == 2

    def make_pending(conn: Connection) -> None:
        first = select(deliveries.c.sequence).order_by(deliveries.c.sequence).limit(1).scalar_subquery()
        conn.execute(update(deliveries).where(deliveries.c.sequence == first).values(status="pending", due_at=at))

    await stores.content.transaction(None, make_pending)
    await sweeper.sweep(at + timedelta(days=31))
    assert [one.status for one in await post.deliveries(webhook_id)] == ["pending"]
    await post.desk.delete(post.account_id, webhook_id)
    await sweeper.sweep(at)
    rest = await stores.content.read(None, lambda conn: conn.execute(select(metadata.tables["webhooks"])).all())
    assert rest == []
