"""An account and a mailbox for storage tests; what is sealed in them does not matter here."""

from __future__ import annotations

from uuid import UUID

import pytest

from storage import accounts, mailboxes
from storage.types import new_id
from tests.stores import Stores


@pytest.fixture
async def account(stores: Stores) -> UUID:
    account_id = new_id()
    await stores.content.transaction(account_id, accounts.insert_account, b"sealed")
    return account_id


@pytest.fixture
async def mailbox(stores: Stores, account: UUID) -> UUID:
    return await add_mailbox(stores, account)


async def add_mailbox(stores: Stores, account_id: UUID) -> UUID:
    mailbox_id = new_id()
    await stores.content.transaction(
        account_id,
        mailboxes.insert_mailbox,
        mailbox_id,
        provider="example",
        start_from="now",
        start_days=0,
        sealed=b"sealed",
    )
    return mailbox_id
