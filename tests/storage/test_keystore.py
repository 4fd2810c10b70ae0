"""The key store: a destroyed key is gone, and the ledger says so in an unbroken chain."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import Connection, delete, update

from storage import keystore
from storage.database import now
from storage.errors import KeyDestroyed
from storage.keystore import START, LedgerPosition
from storage.keystore_tables import ledger
from storage.types import new_id
from tests.stores import Stores

ACCOUNT = new_id()


async def _key(stores: Stores) -> UUID:
    mailbox_id = new_id()
    await stores.keystore.transaction(ACCOUNT, keystore.insert_key, mailbox_id, master_key_id="one", wrapped=b"wrapped")
    return mailbox_id


async def _destroy(stores: Stores, mailbox_id: UUID, token: bytes | None = b"token") -> bool:
    return await stores.keystore.transaction(
        ACCOUNT,
        keystore.destroy_key,
        mailbox_id,
        detail={"reason": "asked"},
        provider="example",
        wrapped_refresh_token=token,
    )


async def _ledger(stores: Stores) -> list[keystore.LedgerEntry]:
    return await stores.keystore.read(None, keystore.list_ledger)


async def test_a_key_is_found_by_its_account_only(stores: Stores) -> None:
    mailbox_id = await _key(stores)
    assert (await stores.keystore.read(ACCOUNT, keystore.get_key, mailbox_id)).wrapped == b"wrapped"
    with pytest.raises(KeyDestroyed):
        await stores.keystore.read(new_id(), keystore.get_key, mailbox_id)


async def test_destroying_is_one_step_and_happens_once(stores: Stores) -> None:
    mailbox_id = await _key(stores)
    assert await _destroy(stores, mailbox_id) is True
    assert await _destroy(stores, mailbox_id) is False
    with pytest.raises(KeyDestroyed):
        await stores.keystore.read(ACCOUNT, keystore.get_key, mailbox_id)
    assert [(one.entry, one.owner_id) for one in await _ledger(stores)] == [("destroyed", mailbox_id)]
    (kept,) = await stores.keystore.read(None, keystore.list_revocations)
    assert (kept.mailbox_id, kept.wrapped) == (mailbox_id, b"token")
    assert kept.expires_at - kept.created_at == keystore.REVOCATION_LIFETIME


async def test_without_a_token_nothing_is_kept(stores: Stores) -> None:
    await _destroy(stores, await _key(stores), None)
    assert await stores.keystore.read(None, keystore.list_revocations) == []


async def test_an_unused_key_goes_without_a_trace(stores: Stores) -> None:
    mailbox_id = await _key(stores)
    await stores.keystore.transaction(ACCOUNT, keystore.forget_unused_key, mailbox_id)
    assert await stores.keystore.read(None, keystore.list_keys) == []
    assert await _ledger(stores) == []


async def test_a_revocation_is_postponed_and_ends_once(stores: Stores) -> None:
    mailbox_id = await _key(stores)
    await _destroy(stores, mailbox_id)
    await stores.keystore.transaction(ACCOUNT, keystore.postpone_revocation, mailbox_id, 60.0, b"wrapped anew")
    (kept,) = await stores.keystore.read(None, keystore.list_revocations)
    assert (kept.attempts, kept.wrapped) == (1, b"wrapped anew")
    assert kept.due_at > await stores.keystore.read(None, now)
    for _ in range(2):
        await stores.keystore.transaction(ACCOUNT, keystore.end_revocation, mailbox_id, {"outcome": "revoked"})
    assert [one.entry for one in await _ledger(stores)] == ["destroyed", "revocation"]
    assert await stores.keystore.read(None, keystore.list_revocations) == []


async def test_the_chain_starts_at_nothing_and_holds(stores: Stores) -> None:
    assert await stores.keystore.read(None, keystore.ledger_head) == START
    for number in range(5):
        await stores.keystore.transaction(ACCOUNT, keystore.append_ledger, new_id(), "receipt", {"number": number})
    entries = await _ledger(stores)
    assert keystore.broken_links(entries) == []
    head = await stores.keystore.read(None, keystore.ledger_head)
    assert head == LedgerPosition(5, entries[-1].hash)
    assert LedgerPosition.parse(str(head)) == head


async def test_a_chain_is_checked_in_pieces_too(stores: Stores) -> None:
    for _ in range(5):
        await stores.keystore.transaction(ACCOUNT, keystore.append_ledger, new_id(), "receipt", {})
    first = await stores.keystore.read(None, keystore.list_ledger, 0, limit=2)
    after = LedgerPosition(2, first[-1].hash)
    rest = await stores.keystore.read(None, keystore.list_ledger, 2)
    assert [len(first), len(rest)] == [2, 3]
    assert keystore.broken_links(first) == []
    assert keystore.broken_links(rest, after) == []
    assert keystore.broken_links(rest, LedgerPosition(2, bytes(32))) == [3]


@pytest.mark.parametrize("column", ["account_id", "owner_id", "entry", "at", "detail", "previous_hash", "hash"])
async def test_a_changed_entry_shows(stores: Stores, column: str) -> None:
    for _ in range(3):
        await stores.keystore.transaction(ACCOUNT, keystore.append_ledger, new_id(), "receipt", {})

    def change(conn: Connection) -> None:
        values = {
            "account_id": new_id(),
            "owner_id": new_id(),
            "entry": "revocation",
            "at": now(conn),
            "detail": '{"more": 1}',
            "previous_hash": bytes(32),
            "hash": bytes(32),
        }
        conn.execute(update(ledger).where(ledger.c.sequence == 2).values({column: values[column]}))

    await stores.keystore.transaction(None, change)
    assert keystore.broken_links(await _ledger(stores))[0] == 2


async def test_a_lost_entry_shows(stores: Stores) -> None:
    for _ in range(3):
        await stores.keystore.transaction(ACCOUNT, keystore.append_ledger, new_id(), "receipt", {})

    def lose(conn: Connection) -> None:
        conn.execute(delete(ledger).where(ledger.c.sequence == 2))

    await stores.keystore.transaction(None, lose)
    assert keystore.broken_links(await _ledger(stores)) == [3]


async def test_entries_written_at_once_make_one_chain(stores: Stores) -> None:
    await asyncio.gather(
        *(
            stores.keystore.transaction(ACCOUNT, keystore.append_ledger, new_id(), "receipt", {"number": number})
            for number in range(10)
        )
    )
    entries = await _ledger(stores)
    assert [one.sequence for one in entries] == list(range(1, 11))
    assert keystore.broken_links(entries) == []


async def test_the_latest_receipt_is_found(stores: Stores) -> None:
    mailbox_id = new_id()
    assert await stores.keystore.read(ACCOUNT, keystore.find_receipt, mailbox_id) is None
    for number in range(2):
        await stores.keystore.transaction(ACCOUNT, keystore.append_ledger, mailbox_id, "receipt", {"number": number})
    found = await stores.keystore.read(ACCOUNT, keystore.find_receipt, mailbox_id)
    assert found is not None
    assert found.detail == '{"number": 1}'
    assert await stores.keystore.read(new_id(), keystore.find_receipt, mailbox_id) is None
