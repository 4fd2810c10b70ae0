"""The keys in use: read from the key store, unwrapped by the master key, kept for a while.

A key in this cache serves nothing once its mailbox is being disconnected: every read
of content checks the mailbox's state in the database as well, every write its fence.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from storage import keystore
from storage.database import Database
from storage.errors import MasterKeyWrong
from storage.sealing import DataKey, MasterKey, new_key

_PAGE = 100
_PURPOSE = "data key"
_TOKEN_PURPOSE = "revocation token"  # noqa: S105  (a purpose, not a password)


@dataclass(frozen=True, slots=True)
class Rotated:
    """What was wrapped anew."""

    keys: int
    tokens: int
    """That wait to be revoked."""


class KeyRing:
    """Gives data keys. Holds at most `keys_max` of them, the longest unused goes first.

    What is wrapped by the `previous` master key opens too, until all is wrapped anew (`rotate`).
    """

    def __init__(
        self, store: Database, master_key: MasterKey, previous: MasterKey | None = None, *, keys_max: int = 10_000
    ) -> None:
        self._store = store
        self._master_key = master_key
        self._previous = previous
        self._keys_max = keys_max
        self._keys: OrderedDict[UUID, DataKey] = OrderedDict()

    @property
    def master_key_id(self) -> str:
        """Which master key it is, without telling anything about it."""
        return self._master_key.id

    def seed(self, purpose: str) -> bytes:
        """Return 32 bytes that come of the master key, for a purpose of their own."""
        return self._master_key.seed(purpose)

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
        """Raises MasterKeyWrong."""
        return self._open(_TOKEN_PURPOSE, account_id, mailbox_id, wrapped).decode()

    async def rotate(self, told: Callable[[int], None] = lambda _more: None) -> Rotated:
        """Wrap by the master key whatever is wrapped by another; `told` is called with how many more keys are done.

        Others may go on meanwhile, if they have the previous key too; what is interrupted goes on when it is called
        again. Raises MasterKeyWrong where neither key opens something: the rest is done before.
        """
        done, wrong, after = 0, 0, None
        while page := await self._store.read(None, keystore.page_of_other_keys, self._master_key.id, after, _PAGE):
            rewrapped = []
            for row in page:
                try:
                    plain = self._open(_PURPOSE, row.account_id, row.owner_id, row.wrapped)
                except MasterKeyWrong:
                    wrong += 1
                    continue
                rewrapped.append((row, self._master_key.wrap(_PURPOSE, row.account_id, row.owner_id, plain)))
            done += await self._store.transaction(None, keystore.rewrap_keys, self._master_key.id, rewrapped)
            told(len(page))
            after = (page[-1].account_id, page[-1].owner_id)
        tokens = 0
        for waiting in await self._store.read(None, keystore.list_revocations):
            where = (waiting.account_id, waiting.mailbox_id)
            if self._master_key.opens(_TOKEN_PURPOSE, *where, waiting.wrapped):
                continue
            try:
                wrapped = self.wrap_token(*where, self.unwrap_token(*where, waiting.wrapped))
            except MasterKeyWrong:
                wrong += 1
                continue
            tokens += await self._store.transaction(where[0], keystore.rewrap_revocation, waiting, wrapped)
        if wrong:
            raise MasterKeyWrong(f"neither master key opens {wrong} of the keys; those that it opens are wrapped anew")
        return Rotated(done, tokens)

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
        plain = self._open(_PURPOSE, row.account_id, row.owner_id, row.wrapped)
        return DataKey(row.account_id, mailbox_id, plain)

    def _open(self, purpose: str, account_id: UUID, owner_id: UUID, wrapped: bytes) -> bytes:
        if self._previous is not None and not self._master_key.opens(purpose, account_id, owner_id, wrapped):
            return self._previous.unwrap(purpose, account_id, owner_id, wrapped)
        return self._master_key.unwrap(purpose, account_id, owner_id, wrapped)

    async def _create(self, account_id: UUID, owner_id: UUID, mailbox_id: UUID | None) -> DataKey:
        plain = new_key()
        wrapped = self._master_key.wrap(_PURPOSE, account_id, owner_id, plain)
        await self._store.transaction(
            account_id, keystore.insert_key, owner_id, master_key_id=self._master_key.id, wrapped=wrapped
        )
        return DataKey(account_id, mailbox_id, plain)
