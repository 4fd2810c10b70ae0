"""The keys in use: read from the key store, unwrapped by the master key, kept for a while.

A key in this cache serves nothing once its mailbox is being disconnected: every read
of content checks the mailbox's state in the database as well, every write its fence.
"""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID

from storage import keystore
from storage.database import Database
from storage.sealing import DataKey, MasterKey, new_key

_PURPOSE = "data key"
_TOKEN_PURPOSE = "revocation token"  # noqa: S105  (a purpose, not a password)


class KeyRing:
    """Gives data keys. Holds at most `keys_max` of them, the longest unused goes first."""

    def __init__(self, store: Database, master_key: MasterKey, *, keys_max: int = 10_000) -> None:
        self._store = store
        self._master_key = master_key
        self._keys_max = keys_max
        self._keys: OrderedDict[UUID, DataKey] = OrderedDict()

    async def account(self, account_id: UUID) -> DataKey:
        """Return the account's own key. Raises KeyDestroyed, MasterKeyWrong."""
        return await self._get(account_id, account_id, None)

    async def mailbox(self, account_id: UUID, mailbox_id: UUID) -> DataKey:
        """Return the mailbox's key. Raises KeyDestroyed, MasterKeyWrong."""
        return await self._get(account_id, mailbox_id, mailbox_id)

    async def create_account_key(self, account_id: UUID) -> DataKey:
        return await self._create(account_id, account_id, None)

    async def create_mailbox_key(self, account_id: UUID, mailbox_id: UUID) -> DataKey:
        """Make the key of a mailbox that is about to be linked."""
        return await self._create(account_id, mailbox_id, mailbox_id)

    def forget(self, owner_id: UUID) -> None:
        self._keys.pop(owner_id, None)

    def wrap_token(self, account_id: UUID, mailbox_id: UUID, token: str) -> bytes:
        """Wrap a refresh token by the master key, to be kept until it is revoked."""
        return self._master_key.wrap(_TOKEN_PURPOSE, account_id, mailbox_id, token.encode())

    def unwrap_token(self, account_id: UUID, mailbox_id: UUID, wrapped: bytes) -> str:
        return self._master_key.unwrap(_TOKEN_PURPOSE, account_id, mailbox_id, wrapped).decode()

    async def _get(self, account_id: UUID, owner_id: UUID, mailbox_id: UUID | None) -> DataKey:
        key = self._keys.get(owner_id)
        if key is not None and key.account_id == account_id:
            self._keys.move_to_end(owner_id)
            return key
        row = await self._store.read(account_id, keystore.get_key, owner_id)
        key = self.unwrap(row, mailbox_id)
        self._keys[owner_id] = key
        while len(self._keys) > self._keys_max:
            self._keys.popitem(last=False)
        return key

    def unwrap(self, row: keystore.WrappedKey, mailbox_id: UUID | None) -> DataKey:
        """Open one wrapped key. Raises MasterKeyWrong."""
        plain = self._master_key.unwrap(_PURPOSE, row.account_id, row.owner_id, row.wrapped)
        return DataKey(row.account_id, mailbox_id, plain)

    async def _create(self, account_id: UUID, owner_id: UUID, mailbox_id: UUID | None) -> DataKey:
        plain = new_key()
        wrapped = self._master_key.wrap(_PURPOSE, account_id, owner_id, plain)
        await self._store.transaction(
            account_id, keystore.insert_key, owner_id, master_key_id=self._master_key.id, wrapped=wrapped
        )
        return DataKey(account_id, mailbox_id, plain)
