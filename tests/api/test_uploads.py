"""Files that are sent ahead of their reply: sealed, bounded, used once, forgotten."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select, update

from storage.tables import uploads
from tests.api.desk import ApiDesk, api_desk, assert_problem, settings
from tests.api.test_replies import REPLIES, composed, replying
from tests.office import Office, mail
from tests.stores import Stores
from tests.test_maintenance import maintenance

pytestmark = pytest.mark.postgresql_is_long  # what the database has to do with it is shown in tests/storage

UPLOADS = "/tickets/1/uploads"
CONTENT = bytes(range(256)) * 300


@pytest.fixture
async def desk(stores: Stores) -> AsyncIterator[ApiDesk]:
    async with replying(stores) as opened:
        yield opened


async def upload(desk: ApiDesk, content: bytes = CONTENT, name: str = "list.bin", **more: Any) -> dict[str, Any]:
    answer = await desk.ask("POST", f"{UPLOADS}?name={name}&type=application/x-list", content=content, **more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def count(desk: ApiDesk) -> int:
    query = select(func.count()).select_from(uploads)
    return await desk.backend.content.read(None, lambda conn: conn.execute(query).scalar_one())


def with_files(*made: dict[str, Any], text: str = "See there.") -> dict[str, Any]:
    return {"text": text, "attachments": [{"upload_id": one["upload_id"]} for one in made]}


async def test_a_file_goes_with_its_reply_and_is_used_once(desk: ApiDesk) -> None:
    made = await upload(desk)
    assert (made["size_bytes"], made["sha256"]) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert (made["name"], made["content_type"]) == ("list.bin", "application/x-list")
    assert datetime.fromisoformat(made["expires_at"]) > datetime.now(UTC) + timedelta(hours=23)
    await desk.verified()
    (sealed,) = await desk.backend.content.read(
        None, lambda conn: conn.execute(select(uploads.c.sealed)).scalars().all()
    )
    assert CONTENT[:64] not in bytes(sealed)
    assert b"list.bin" not in bytes(sealed)
    reply = await desk.post(REPLIES, with_files(made))
    (attached,) = (await composed(desk, reply)).iter_attachments()
    assert (attached.get_content(), attached.get_filename()) == (CONTENT, "list.bin")
    assert await count(desk) == 0
    refused = assert_problem(await desk.ask("POST", REPLIES, json=with_files(made)), 422, "reply_refused")
    assert refused["reason"] == "upload_gone"
    await desk.verified()


async def test_a_repeated_reply_is_the_same_although_its_files_are_used(desk: ApiDesk) -> None:
    made, other = await upload(desk), await upload(desk)
    first = await desk.post(REPLIES, with_files(made), key="r")
    again = await desk.ask("POST", REPLIES, json=with_files(made), key="r")
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first, "true")
    # Another file is another request, be its content the same.
    clash = await desk.ask("POST", REPLIES, json=with_files(other), key="r")
    assert_problem(clash, 409, "idempotency_key_reused")
    gone = await desk.ask("POST", REPLIES, json=with_files(made, text="Else."), key="r")
    assert_problem(gone, 409, "idempotency_key_reused")
    assert await count(desk) == 1
    await desk.verified()


async def test_of_two_replies_at_once_one_gets_the_file(desk: ApiDesk) -> None:
    made = await upload(desk)
    answers = await asyncio.gather(
        *(desk.ask("POST", REPLIES, json=with_files(made, text=f"{n}"), key=f"{n}") for n in range(4))
    )
    assert sorted(one.status_code for one in answers) == [201, 422, 422, 422]
    same = await upload(desk)
    twins = await asyncio.gather(*(desk.ask("POST", REPLIES, json=with_files(same), key="t") for _ in range(4)))
    assert {(one.status_code, one.json().get("message_id")) for one in twins} == {(201, twins[0].json()["message_id"])}
    assert await count(desk) == 0
    await desk.verified()


async def test_an_inline_image_is_uploaded(desk: ApiDesk) -> None:
    answer = await desk.ask("POST", f"{UPLOADS}?name=logo.png&type=image/png", content=CONTENT)
    image = {"cid": "logo", "upload_id": answer.json()["upload_id"]}
    reply = await desk.post(REPLIES, {"html": '<p>Hi <img src="cid:logo"></p>', "images": [image]})
    parts = {part.get_content_type(): part for part in (await composed(desk, reply)).walk()}
    assert parts["image/png"].get_content() == CONTENT
    assert await count(desk) == 0


async def test_a_repeated_upload_is_one_file(desk: ApiDesk) -> None:
    first = await upload(desk, key="u")
    assert await upload(desk, key="u") == first
    other = await desk.ask("POST", f"{UPLOADS}?name=list.bin&type=application/x-list", content=b"other", key="u")
    assert_problem(other, 409, "idempotency_key_reused")
    named = await desk.ask("POST", f"{UPLOADS}?name=else.bin&type=application/x-list", content=CONTENT, key="u")
    assert_problem(named, 409, "idempotency_key_reused")
    await desk.post(REPLIES, with_files(first))
    used = await desk.ask("POST", f"{UPLOADS}?name=list.bin&type=application/x-list", content=CONTENT, key="u")
    assert "was used" in assert_problem(used, 409, "conflict")["detail"]


async def test_what_cannot_be_uploaded(desk: ApiDesk) -> None:
    for query in ("", "name=", f"name={'x' * 251}", "name=a&type=text", "name=a&type=a/b%0d%0ac"):
        assert_problem(await desk.ask("POST", f"{UPLOADS}?{query}", content=b"x"), 422, "invalid")
    refused = await desk.ask("POST", f"{UPLOADS}?name=a%0d%0ab", content=b"x")
    assert_problem(refused, 422, "reply_refused")
    assert_problem(await desk.ask("POST", "/tickets/9/uploads?name=a", content=b"x"), 404, "not_found")
    # An empty file is a file; any content type will do, also that of a form or of JSON.
    assert (await upload(desk, b""))["size_bytes"] == 0
    for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        made = await upload(desk, b"{}", headers={"Content-Type": kind})
        assert made["sha256"] == hashlib.sha256(b"{}").hexdigest()


async def test_sizes_and_numbers_are_bounded(stores: Stores) -> None:
    given = settings(
        api={"uploads_max": 3, "uploads_bytes_max": 5000}, outbound={"reply_bytes_max": 4096, "text_bytes_max": 1024}
    )
    async with replying(stores, given) as desk:

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield bytes(1000)

        for content in (bytes(4097), pieces()):
            refused = await desk.ask("POST", f"{UPLOADS}?name=a", content=content)
            assert "4096" in assert_problem(refused, 413, "body_too_large")["detail"]
        one, two = await upload(desk, bytes(2600)), await upload(desk, bytes(2000))
        full = await desk.ask("POST", f"{UPLOADS}?name=a", content=bytes(500))
        assert "5000" in assert_problem(full, 429, "limit_reached")["detail"]
        await upload(desk, b"x")
        many = await desk.ask("POST", f"{UPLOADS}?name=a", content=b"")
        assert "limit is 3" in assert_problem(many, 429, "limit_reached")["detail"]
        large = await desk.ask("POST", REPLIES, json=with_files(one, two))
        assert "4096" in assert_problem(large, 422, "reply_refused")["detail"]
        assert await count(desk) == 3  # a reply that is refused uses up nothing
        await desk.post(REPLIES, with_files(two))
        await upload(desk, bytes(2000))
        await desk.verified()


async def test_files_stay_in_their_mailbox(desk: ApiDesk) -> None:
    beside = await Office.open(desk.office.stores, address="sales@example.com", beside=desk.office)
    await beside.take(mail(message_id="<q2@example.org>"))
    made = await upload(desk)
    elsewhere = await desk.ask("POST", "/tickets/2/replies", json=with_files(made))
    assert assert_problem(elsewhere, 422, "reply_refused")["reason"] == "upload_gone"
    assert await count(desk) == 1


async def test_old_files_are_forgotten(stores: Stores) -> None:
    async with replying(stores, settings(api={"uploads_max": 5, "upload_hours": 1})) as desk:
        for _ in range(5):
            made = await upload(desk)
        await maintenance(desk.office).sweep(datetime.now(UTC) + timedelta(minutes=59))
        assert await count(desk) == 5
        await desk.backend.content.transaction(None, _age, UUID(made["upload_id"]))
        # It is not there any more, and takes no place, although its row is.
        refused = await desk.ask("POST", REPLIES, json=with_files(made))
        assert assert_problem(refused, 422, "reply_refused")["reason"] == "upload_gone"
        await upload(desk)
        await maintenance(desk.office).sweep(datetime.now(UTC) + timedelta(minutes=61))
        assert await count(desk) == 0
        await desk.verified()


def _age(conn: Connection, upload_id: UUID) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    conn.execute(update(uploads).where(uploads.c.upload_id == upload_id).values(expires_at=past))


async def test_a_client_that_goes_away_leaves_nothing(desk: ApiDesk) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await desk.ask("POST", f"{UPLOADS}?name=a", content=half())
    await upload(desk)
    assert await count(desk) == 1


async def test_no_file_is_left_of_a_mailbox_that_is_forgotten(stores: Stores) -> None:
    async with api_desk(await Office.open(stores)) as desk:
        await desk.office.take(mail())
        await upload(desk)
        await desk.ask("DELETE", f"/mailboxes/{desk.office.held.mailbox_id}")
        late = await desk.ask("POST", f"{UPLOADS}?name=a", content=b"x")
        assert_problem(late, 404, "not_found")
        await desk.verified()
