"""The keys in use open what they should, and only under the right master key."""

from __future__ import annotations

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
    await stores.keystore.transaction(
        ACCOUNT, keystore.destroy_key, MAILBOX, detail={}, provider="example", wrapped_refresh_token=None
    )
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
