"""Accounts, the customers of the helpdesk: each has a key of its own, under which its name is sealed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from ingestd.keys import KeyRing
from ingestd.records import AccountRecord
from storage import accounts, requests
from storage.accounts import Account, AccountStatus
from storage.database import Database
from storage.errors import KeyDestroyed, KeyReused
from storage.requests import Claim
from storage.sealing import DataKey
from storage.types import new_id


@dataclass(frozen=True, slots=True)
class CreatedAccount:
    account_id: UUID
    repeated: bool = False
    """The same request had been made before: this is its account."""


async def create_account(
    content: Database,
    keys: KeyRing,
    name: str,
    *,
    location: str | None = None,
    idempotency_key: str | None = None,
) -> CreatedAccount:
    """Make an account, pinned to a location that was checked (`residency.check_pin`), or to none.

    Raises KeyReused where the idempotency key came with another name or location.
    """
    asked = name if location is None else f"{name}\0{location}"
    request_key = None
    if idempotency_key is not None:
        # No account has a key for it yet; who asks is always the operator.
        request_key = hashlib.sha256(f"account\0{idempotency_key}".encode()).digest()
        if (first := await _find(content, keys, request_key, asked)) is not None:
            return first
    account_id = new_id()
    key = await keys.create_account_key(account_id)
    claim = None if request_key is None else Claim(request_key, _hash(key, asked), str(account_id))
    try:
        sealed = key.seal_record(_place(account_id), AccountRecord(name))
        await content.transaction(account_id, _insert, claim, sealed, location)
    except _Overtaken:
        assert request_key is not None
        first = await _find(content, keys, request_key, asked)
        assert first is not None
        return first
    return CreatedAccount(account_id)


async def name_of(keys: KeyRing, account: Account) -> str | None:
    """Return an account's name; None where it is closed: then nobody knows it any more."""
    if account.status is AccountStatus.CLOSED:
        return None
    try:
        key = await keys.account(account.account_id)
    except KeyDestroyed:  # being closed
        return None
    return key.open_record(_place(account.account_id), account.sealed, AccountRecord).name


class _Overtaken(Exception):
    """The same request came twice at once, and the other one was first."""


def _insert(conn: Connection, account_id: UUID, claim: Claim | None, sealed: bytes, location: str | None) -> None:
    accounts.insert_account(conn, account_id, sealed, location=location)
    if claim is not None and not requests.remember(conn, account_id, claim):
        raise _Overtaken


async def _find(content: Database, keys: KeyRing, request_key: bytes, asked: str) -> CreatedAccount | None:
    found = await content.read(None, requests.find_anywhere, request_key)
    if found is None:
        return None
    account_id, request_hash = found
    if _hash(await keys.account(account_id), asked) != request_hash:
        raise KeyReused("this idempotency key was used for another request")
    return CreatedAccount(account_id, repeated=True)


def _hash(key: DataKey, asked: str) -> bytes:
    return key.hash("idempotent request", asked.encode())


_place = AccountRecord.place
