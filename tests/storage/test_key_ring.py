"""The keys in use open what they should, and only under the right master key."""

from __future__ import annotations

from uuid import UUID

import pytest

from ingestd.keys import KeyRing
from storage import keystore
from storage.errors import KeyDestroyed, MasterKeyWrong
from storage.sealing import MasterKey, Place, new_key
from storage.types import new_id
from tests.stores import Stores

MASTER = MasterKey(bytes(range(32)))
ACCOUNT, MAILBOX = new_id(), new_id()


async def test_a_key_is_the_same_after_a_restart(stores: Stores) -> None:
    made = await KeyRing(stores.keystore, MASTER).create_mailbox_key(ACCOUNT, MAILBOX)
    read = await KeyRing(stores.keystore, MASTER).mailbox(ACCOUNT, MAILBOX)
    place = Place("messages", new_id())
    assert read.open(place, made.seal(place, b"words")) == b"words"


async def test_another_master_key_opens_nothing(stores: Stores) -> None:
    await KeyRing(stores.keystore, MASTER).create_mailbox_key(ACCOUNT, MAILBOX)
    with pytest.raises(MasterKeyWrong):
        await KeyRing(stores.keystore, MasterKey(new_key())).mailbox(ACCOUNT, MAILBOX)


async def test_a_key_is_given_to_its_account_only(stores: Stores) -> None:
    ring = KeyRing(stores.keystore, MASTER)
    await ring.create_mailbox_key(ACCOUNT, MAILBOX)
    await ring.mailbox(ACCOUNT, MAILBOX)  # it is in the ring now
    with pytest.raises(KeyDestroyed):
        await ring.mailbox(new_id(), MAILBOX)


async def test_a_destroyed_key_is_gone_once_forgotten(stores: Stores) -> None:
    ring = KeyRing(stores.keystore, MASTER)
    await ring.create_mailbox_key(ACCOUNT, MAILBOX)
    await ring.mailbox(ACCOUNT, MAILBOX)
    await destroy(stores, MAILBOX)
    ring.forget(MAILBOX)
    with pytest.raises(KeyDestroyed):
        await ring.mailbox(ACCOUNT, MAILBOX)


async def test_the_ring_is_bounded(stores: Stores) -> None:
    ring = KeyRing(stores.keystore, MASTER, keys_max=2)
    mailbox_ids = [new_id() for _ in range(4)]
    for one in mailbox_ids:
        await ring.create_mailbox_key(ACCOUNT, one)
        await ring.mailbox(ACCOUNT, one)
    assert list(ring._keys) == mailbox_ids[2:]


async def test_a_token_is_wrapped_for_its_mailbox(stores: Stores) -> None:
    ring = KeyRing(stores.keystore, MASTER)
    wrapped = ring.wrap_token(ACCOUNT, MAILBOX, "refresh")
    assert b"refresh" not in wrapped
    assert ring.unwrap_token(ACCOUNT, MAILBOX, wrapped) == "refresh"
    with pytest.raises(MasterKeyWrong):
        ring.unwrap_token(ACCOUNT, new_id(), wrapped)


NEW = MasterKey(bytes(32))


async def some_keys(stores: Stores, count: int) -> list[UUID]:
    ring, made = KeyRing(stores.keystore, MASTER), [new_id() for _ in range(count)]
    for one in made:
        await ring.create_mailbox_key(ACCOUNT, one)
    return made


async def destroy(stores: Stores, mailbox_id: UUID, token: bytes | None = None) -> None:
    await stores.keystore.transaction(
        ACCOUNT, keystore.destroy_key, mailbox_id, detail={}, provider="example", wrapped_refresh_token=token
    )


async def test_all_keys_are_wrapped_anew_and_stay_the_same(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestd.keys._PAGE", 2)
    mailbox_ids = await some_keys(stores, 5)
    before = KeyRing(stores.keystore, MASTER)
    prints = [(await before.mailbox(ACCOUNT, one)).fingerprint() for one in mailbox_ids]
    await destroy(stores, mailbox_ids.pop(), before.wrap_token(ACCOUNT, MAILBOX, "not this one's"))
    prints.pop()
    gone = (await some_keys(stores, 1))[0]
    await destroy(stores, gone, before.wrap_token(ACCOUNT, gone, "refresh"))

    both = KeyRing(stores.keystore, NEW, MASTER)
    assert [(await both.mailbox(ACCOUNT, one)).fingerprint() for one in mailbox_ids] == prints
    made_meanwhile = new_id()
    await both.create_mailbox_key(ACCOUNT, made_meanwhile)
    told: list[int] = []
    with pytest.raises(MasterKeyWrong, match="opens 1 of the keys"):
        await both.rotate(told.append)
    assert sum(told) == 4
    assert await stores.keystore.read(None, keystore.count_other_keys, NEW.id) == 0

    after = KeyRing(stores.keystore, NEW)
    assert [(await after.mailbox(ACCOUNT, one)).fingerprint() for one in mailbox_ids] == prints
    await after.mailbox(ACCOUNT, made_meanwhile)
    waiting = {one.mailbox_id: one for one in await stores.keystore.read(None, keystore.list_revocations)}
    assert after.unwrap_token(ACCOUNT, gone, waiting[gone].wrapped) == "refresh"
    with pytest.raises(MasterKeyWrong):
        await KeyRing(stores.keystore, MASTER).mailbox(ACCOUNT, mailbox_ids[0])


async def test_a_key_that_is_destroyed_while_keys_are_wrapped_stays_destroyed(stores: Stores) -> None:
    (mailbox_id,) = await some_keys(stores, 1)
    row = await stores.keystore.read(ACCOUNT, keystore.get_key, mailbox_id)
    await destroy(stores, mailbox_id)
    assert await stores.keystore.transaction(None, keystore.rewrap_keys, NEW.id, [(row, b"anew")]) == 0
    with pytest.raises(KeyDestroyed):
        await stores.keystore.read(ACCOUNT, keystore.get_key, mailbox_id)
