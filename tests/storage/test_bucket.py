"""Blobs in a bucket: what is so of these alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from ingestd.privacy.requests import request_disconnect
from storage import erasures
from storage.errors import SealBroken, StorageUnavailable
from storage.types import new_id
from tests.backup.copies import back_up, bring_back, check, opened
from tests.office import Office, mail
from tests.servers.s3 import S3, serving
from tests.stores import Stores, sqlite_urls
from tests.test_maintenance import maintenance

ACCOUNT, MAILBOX, OWNER = new_id(), new_id(), new_id()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with serving() as server:
        yield server


@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff\xff\xff\xff", b"\0\0\0\2\0\0\0\1", b"\0\0\0\1\0\0\0\4one", b"\0\0\0\1\0\0\0\1one"],
)
def test_damage_is_seen(s3: S3, damage: bytes) -> None:
    bucket = s3.make_bucket()
    httpx2.put(f"{s3.endpoint}/{bucket}/{ACCOUNT}/{MAILBOX}/{OWNER}", content=damage).raise_for_status()
    blobs = s3.blobs(bucket, prefix="")
    with pytest.raises(SealBroken):
        blobs.get(ACCOUNT, MAILBOX, OWNER)


def test_what_is_none_of_ours_is_passed_over(s3: S3) -> None:
    bucket = s3.make_bucket()
    for name in ("notes.txt", "a/b/c", f"{ACCOUNT}/notes", f"{ACCOUNT}/x/{OWNER}"):
        httpx2.put(f"{s3.endpoint}/{bucket}/{name}", content=b"mine").raise_for_status()
    blobs = s3.blobs(bucket, prefix="")
    blobs.put(ACCOUNT, MAILBOX, OWNER, [b"ours"])
    assert [one.owner_id for one in blobs.list()] == [OWNER]
    assert blobs.mailboxes() == [(ACCOUNT, MAILBOX)]


def test_a_store_that_is_away_is_told_as_that(s3: S3) -> None:
    away = s3.blobs("mail", endpoint="http://127.0.0.1:9")
    for call in (
        lambda: away.put(ACCOUNT, MAILBOX, OWNER, [b"one"]),
        lambda: away.get(ACCOUNT, MAILBOX, OWNER),
        lambda: away.delete_mailbox(ACCOUNT, MAILBOX),
        lambda: list(away.list()),
        lambda: s3.blobs("nobodys-bucket").put(ACCOUNT, MAILBOX, OWNER, [b"one"]),
    ):
        with pytest.raises(StorageUnavailable) as told:
            call()
        assert "127.0.0.1" not in str(told.value)


def test_no_proxy_is_taken_from_the_environment(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can set one would see every sealed mail, and when it comes."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    bucket = s3.make_bucket()
    blobs = s3.blobs(bucket)
    assert os.environ["HTTP_PROXY"] == "http://127.0.0.1:9"
    blobs.put(ACCOUNT, MAILBOX, OWNER, [b"one"])
    assert blobs.get(ACCOUNT, MAILBOX, OWNER) == [b"one"]


class TestAnOffice:
    @pytest.fixture
    async def office(self, stores: Stores, s3: S3) -> Office:
        stores.blobs = s3.blobs()
        return await Office.open(stores)

    @pytest.mark.postgresql_is_long
    async def test_what_no_row_names_is_swept_once_it_is_old(self, office: Office) -> None:
        office.desk.blob_bytes_min = 0  # every mail is large
        await office.take(mail())
        blobs, account_id, mailbox_id = office.stores.blobs, office.held.account_id, office.held.mailbox_id
        (kept,) = [one.owner_id for one in blobs.list()]
        orphan = new_id()
        blobs.put(account_id, mailbox_id, orphan, [b"left by a crash"])
        sweeper = maintenance(office)
        await sweeper.sweep(datetime.now(UTC) + timedelta(minutes=58))
        assert {one.owner_id for one in blobs.list()} == {kept, orphan}
        await sweeper.sweep(datetime.now(UTC) + timedelta(hours=2))
        assert {one.owner_id for one in blobs.list()} == {kept}
        await office.check()

    @pytest.mark.postgresql_is_long
    async def test_a_backup_of_a_bucket_is_restored_into_a_bucket(self, office: Office, s3: S3, tmp_path: Path) -> None:
        office.desk.blob_bytes_min = 0
        await office.take(mail())
        content, keys = await back_up(office.stores, tmp_path / "backup")
        (tmp_path / "copy").mkdir()
        async with opened(sqlite_urls(tmp_path / "copy")) as copy:
            copy.blobs = s3.blobs()
            await bring_back(copy, content, keys)
            assert (await check(copy)).violations == []
            (one,) = office.stores.blobs.list()
            where = (one.account_id, one.mailbox_id, one.owner_id)
            assert copy.blobs.get(*where) == office.stores.blobs.get(*where)

    @pytest.mark.postgresql_is_long
    async def test_large_mails_come_and_go_with_their_mailbox(self, office: Office) -> None:
        # What does not compress.
        text = "\r\n".join(os.urandom(36).hex() for _ in range(4000))
        raw = mail("large", text=text)
        await office.take(raw)
        blobs, account_id, mailbox_id = office.stores.blobs, office.held.account_id, office.held.mailbox_id
        assert blobs.count(account_id, mailbox_id) == 1
        view = await office.ticket(1)
        assert await office.desk.raw(account_id, view.messages[0].row.message_id) == raw
        stream = await office.desk.raw_stream(account_id, view.messages[0].row.message_id)
        assert b"".join([one async for one in stream.portions]) == raw
        await office.check()
        await office.stores.content.transaction(account_id, request_disconnect, mailbox_id)
        (erasure,) = await office.stores.content.read(None, erasures.list_erasures)
        receipt = await maintenance(office).eraser.run(erasure)
        assert (receipt.deleted["blobs"], receipt.left) == (1, {})
        assert blobs.count(account_id, mailbox_id) == 0
        await office.check()
