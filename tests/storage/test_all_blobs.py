"""What is so of blobs wherever they lie: they come back as they were, and go with their mailbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from storage.blobs import Blobs, FolderBlobs
from storage.errors import NotFound
from storage.types import new_id
from tests.servers.s3 import serving

ACCOUNT, MAILBOX, OWNER = new_id(), new_id(), new_id()
CHUNKS = [b"first", b"", b"third" * 1000]


@pytest.fixture(params=["folder", "bucket", "bucket without prefix"], scope="module")
def blobs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blobs]:
    if request.param == "folder":
        yield FolderBlobs(tmp_path_factory.mktemp("store") / "blobs")
        return
    with serving() as s3:
        yield s3.blobs(prefix="" if "without" in request.param else "ingestd/")


@pytest.fixture(autouse=True)
def empty(blobs: Blobs) -> Iterator[None]:
    yield
    for account_id, mailbox_id in blobs.mailboxes():
        blobs.delete_mailbox(account_id, mailbox_id)


def test_chunks_come_back(blobs: Blobs) -> None:
    blobs.put(ACCOUNT, MAILBOX, OWNER, CHUNKS)
    assert blobs.get(ACCOUNT, MAILBOX, OWNER) == CHUNKS
    assert blobs.get(ACCOUNT, MAILBOX, OWNER, first=1, last=1) == [b""]
    assert blobs.get(ACCOUNT, MAILBOX, OWNER, first=2) == [CHUNKS[2]]
    assert blobs.get(ACCOUNT, MAILBOX, OWNER, first=3) == []


def test_a_missing_blob_is_not_found(blobs: Blobs) -> None:
    with pytest.raises(NotFound):
        blobs.get(ACCOUNT, MAILBOX, OWNER)
    blobs.put(ACCOUNT, MAILBOX, OWNER, CHUNKS)
    with pytest.raises(NotFound):
        blobs.get(new_id(), MAILBOX, OWNER)
    with pytest.raises(NotFound):
        blobs.get(ACCOUNT, new_id(), OWNER)


def test_deleting_is_repeatable(blobs: Blobs) -> None:
    blobs.delete(ACCOUNT, MAILBOX, OWNER)
    blobs.put(ACCOUNT, MAILBOX, OWNER, CHUNKS)
    blobs.delete(ACCOUNT, MAILBOX, OWNER)
    blobs.delete(ACCOUNT, MAILBOX, OWNER)
    assert list(blobs.list()) == []


def test_an_empty_store_lists_nothing(blobs: Blobs) -> None:
    assert list(blobs.list()) == []
    assert blobs.sweep_temporary(datetime.now(UTC)) == 0


def test_a_blob_is_replaced_whole(blobs: Blobs) -> None:
    """A worker that died after its blob writes it again, under the same id."""
    blobs.put(ACCOUNT, MAILBOX, OWNER, CHUNKS)
    blobs.put(ACCOUNT, MAILBOX, OWNER, [b"again"])
    assert blobs.get(ACCOUNT, MAILBOX, OWNER) == [b"again"]


def test_any_part_of_a_large_one_comes_back(blobs: Blobs) -> None:
    chunks = [bytes([number % 256]) * (number * 7 % 50) for number in range(6000)]  # the index is over 16 KiB
    blobs.put(ACCOUNT, MAILBOX, OWNER, chunks)
    assert blobs.get(ACCOUNT, MAILBOX, OWNER) == chunks
    for first, last in ((0, 0), (0, 1), (3, 9), (5999, 5999), (5990, 6010), (7000, 7001)):
        assert blobs.get(ACCOUNT, MAILBOX, OWNER, first=first, last=last) == chunks[first : last + 1]
    assert blobs.get(ACCOUNT, MAILBOX, OWNER, first=5000) == chunks[5000:]


def test_a_mailbox_goes_with_all_its_blobs_and_no_others(blobs: Blobs) -> None:
    neighbour, other = new_id(), new_id()
    for owner_id in (OWNER, new_id()):
        blobs.put(ACCOUNT, MAILBOX, owner_id, CHUNKS)
    blobs.put(ACCOUNT, neighbour, OWNER, CHUNKS)
    blobs.put(other, MAILBOX, OWNER, CHUNKS)
    assert sorted(blobs.mailboxes()) == sorted([(ACCOUNT, MAILBOX), (ACCOUNT, neighbour), (other, MAILBOX)])
    assert blobs.count(ACCOUNT, MAILBOX) == 2
    assert blobs.delete_mailbox(ACCOUNT, MAILBOX) == 2
    assert blobs.delete_mailbox(ACCOUNT, MAILBOX) == 0
    assert blobs.count(ACCOUNT, MAILBOX) == 0
    left = sorted(blobs.list(), key=lambda one: one.account_id)
    assert {(one.account_id, one.mailbox_id, one.owner_id) for one in left} == {
        (ACCOUNT, neighbour, OWNER),
        (other, MAILBOX, OWNER),
    }
    assert blobs.delete_account(ACCOUNT) == 1
    assert [one.account_id for one in blobs.list()] == [other]
    assert blobs.delete_account(ACCOUNT) == 0
    for one in left:
        assert abs(datetime.now(UTC) - one.modified_at) < timedelta(minutes=5)
