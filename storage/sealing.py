"""Sealing: content and personal data are stored encrypted under the key of their mailbox.

A sealed record is `version (1 byte) | nonce (12) | ciphertext and tag`, AES-256-GCM
(NIST SP 800-38D). Table, account, mailbox, row and format are associated data: a
record that is copied to another row, or read as another format, does not open.

Keyed hashes for look-ups come from the same key by HKDF (RFC 5869), one subkey a
purpose: they let equal values be found, tell nothing without the key, and die with it.

The master key wraps each mailbox's and account's key; it never seals content.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage.errors import MasterKeyWrong, SealBroken
from storage.packing import pack, unpack

KEY_BYTES = 32
HASH_BYTES = 16
"""Keyed hashes are cut to 128 bits: collisions within a mailbox stay out of reach."""
_NONCE_BYTES = 12
_VERSION = 1
_NOWHERE = UUID(int=0)

T = TypeVar("T")


def new_key() -> bytes:
    return os.urandom(KEY_BYTES)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed record belongs. Part of what is authenticated."""

    table: str
    row_id: UUID
    format: int = 1
    position: int = 0
    """For records that are one of a row's many, such as the chunks of a raw message."""
    last: bool = True


SEAL_BYTES = 1 + _NONCE_BYTES + 16
"""What sealing adds: version, nonce, and the tag of AES-GCM."""


class DataKey:
    """The key of one mailbox (or, with `mailbox_id` None, of one account). Never printed, never pickled."""

    __slots__ = ("_aead", "_key", "_subkeys", "account_id", "mailbox_id")

    def __init__(self, account_id: UUID, mailbox_id: UUID | None, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a data key has 32 bytes")
        self.account_id = account_id
        self.mailbox_id = mailbox_id
        self._key = key
        self._aead = AESGCM(key)
        self._subkeys: dict[str, bytes] = {}  # a handful of fixed purposes

    def __repr__(self) -> str:
        return f"<DataKey of {self.mailbox_id or self.account_id}>"

    def __reduce__(self) -> str:
        raise TypeError("a data key does not leave its process")

    def seal(self, place: Place, plain: bytes) -> bytes:
        """Return the sealed bytes: SEAL_BYTES more."""
        nonce = os.urandom(_NONCE_BYTES)
        return bytes([_VERSION]) + nonce + self._aead.encrypt(nonce, plain, self._associated(place))

    def open(self, place: Place, sealed: bytes) -> bytes:
        """Return the plain bytes. Raises SealBroken."""
        if len(sealed) < SEAL_BYTES or sealed[0] != _VERSION:
            raise SealBroken(f"a record of {place.table} is damaged or of an unknown version")
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, body, self._associated(place))
        except InvalidTag:
            raise SealBroken(f"a record of {place.table} does not open, row {place.row_id}") from None

    def seal_record(self, place: Place, record: msgspec.Struct) -> bytes:
        return self.seal(place, pack(record))

    def open_record(self, place: Place, sealed: bytes, kind: type[T]) -> T:
        """Return the opened record. Raises SealBroken, also where it is no `kind`."""
        packed = self.open(place, sealed)
        try:
            return unpack(packed, kind)
        except ValueError:
            raise SealBroken(f"a record of {place.table} has another form, row {place.row_id}") from None

    def hash(self, purpose: str, value: bytes) -> bytes:
        """Return the 16-byte keyed hash of `value` for one purpose, e.g. "address"."""
        return hmac.digest(self.subkey(purpose), value, "sha256")[:HASH_BYTES]

    def subkey(self, purpose: str) -> bytes:
        """Return the 32-byte key derived for one purpose."""
        subkey = self._subkeys.get(purpose)
        if subkey is None:
            subkey = self._subkeys[purpose] = _derive(self._key, purpose)
        return subkey

    def fingerprint(self) -> str:
        """Return a name for the key that tells nothing about it, for receipts."""
        return _derive(self._key, "fingerprint")[:16].hex()

    def _associated(self, place: Place) -> bytes:
        table = place.table.encode()
        return b"ingestd\x00" + struct.pack(
            f">B{len(table)}s16s16s16sHI?",
            len(table),
            table,
            self.account_id.bytes,
            (self.mailbox_id or _NOWHERE).bytes,
            place.row_id.bytes,
            place.format,
            place.position,
            place.last,
        )


@dataclass(frozen=True, slots=True, repr=False)
class MasterKey:
    """The key that wraps all others; it comes from a file, the environment or a systemd credential."""

    _key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self._key) != KEY_BYTES:
            raise MasterKeyWrong("the master key must have 32 bytes")

    def __repr__(self) -> str:
        return "<MasterKey>"

    @property
    def id(self) -> str:
        """Which master key it is, without telling anything about it."""
        return _derive(self._key, "master key id")[:8].hex()

    def seed(self, purpose: str) -> bytes:
        """Return 32 bytes for a purpose of their own, the same each time."""
        return _derive(self._key, purpose)

    def wrap(self, purpose: str, account_id: UUID, owner_id: UUID, plain: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        body = AESGCM(_derive(self._key, purpose)).encrypt(nonce, plain, account_id.bytes + owner_id.bytes)
        return bytes([_VERSION]) + nonce + body

    def opens(self, purpose: str, account_id: UUID, owner_id: UUID, wrapped: bytes) -> bool:
        """Whether it is this key that wrapped it."""
        try:
            self.unwrap(purpose, account_id, owner_id, wrapped)
        except MasterKeyWrong:
            return False
        return True

    def unwrap(self, purpose: str, account_id: UUID, owner_id: UUID, wrapped: bytes) -> bytes:
        """Return what was wrapped. Raises MasterKeyWrong."""
        nonce, body = wrapped[1 : 1 + _NONCE_BYTES], wrapped[1 + _NONCE_BYTES :]
        try:
            return AESGCM(_derive(self._key, purpose)).decrypt(nonce, body, account_id.bytes + owner_id.bytes)
        except (InvalidTag, ValueError):
            raise MasterKeyWrong(
                "the master key does not open the key store: is it the one that was made by `ingestd init`?"
            ) from None


def fingerprint_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"ingestd " + purpose.encode()).derive(key)
