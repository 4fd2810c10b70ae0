"""What can go wrong in storage, typed by what the caller does next."""

from __future__ import annotations


class StorageError(Exception):
    """Base of all storage errors. Texts hold ids and table names, never content."""


class StorageUnavailable(StorageError):
    """The database cannot be reached, is locked, or its disk is full. Retry later; nothing was committed
    or, where the connection was lost at the commit, the caller must read the state again."""


class SchemaMismatch(StorageError):
    """The database has another schema than this version. Run `ingestd migrate`."""


class FenceLost(StorageError):
    """Another worker has the mailbox, or it is being disconnected: stop working on it, write nothing."""


class CursorMoved(StorageError):
    """The cursor in the database is not the one this batch started from. Read the state again."""


class NotFound(StorageError):
    """No such object in this account."""


class Conflict(StorageError):
    """The request contradicts what is stored ."""


class KeyReused(Conflict):
    """An idempotency key came with another request than before."""


class LimitReached(StorageError):
    """The account has as many of these as it may have: wait until some are done."""


class EventsGone(StorageError):
    """Events behind this sequence were deleted, as they were too old. Begin at `oldest`."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"events up to {oldest} were deleted")
        self.oldest = oldest


class SealBroken(StorageError):
    """A sealed record does not open: damaged, moved to another row, or under another key."""


class KeyDestroyed(StorageError):
    """The mailbox's key is gone; its content is unreadable for ever."""


class MasterKeyWrong(StorageError):
    """The master key does not open the key store's records."""


class LedgerStale(StorageError):
    """The key store is older than the content database knows it to be: a stale copy was restored."""


class StoreLocked(StorageError):
    """Another process has this SQLite store to itself."""
