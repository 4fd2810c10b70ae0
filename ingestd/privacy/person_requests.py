"""Asking for a person's data to be erased: the intent, written by the command line, the API, or after a restore."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from ingestd.keys import KeyRing
from ingestd.mail.addresses import normalize
from ingestd.mail.international import same_spelling
from ingestd.mail.person import hash_of
from ingestd.records import MailboxRecord, PersonRecord
from storage import mailboxes, persons
from storage.database import Database
from storage.errors import Conflict, KeyDestroyed
from storage.keystore import LedgerEntry
from storage.requests import Claim, once
from storage.types import new_id

PURPOSE: Final = "erased person"
"""Of the account's subkey under which the address is hashed."""
ADDRESS_CHARS_MAX: Final = 320


class AddressWrong(ValueError):
    """That is no address of a person; the text does not repeat it."""


async def request_person(
    content: Database,
    keys: KeyRing,
    account_id: UUID,
    address: str,
    *,
    dry_run: bool = False,
    request: Callable[[UUID], Awaitable[Claim | None]] | None = None,
) -> tuple[UUID, bool]:
    """Write the intent to erase who has the address; return its id, or that of the same one that is under way,
    and whether the same request had been made before: `request` returns its claim.

    With `dry_run` it is only counted. Raises AddressWrong, NotFound, Conflict.
    """
    wanted = normalize(same_spelling(address.strip()))
    local, at, domain = wanted.rpartition("@")
    if not (at and local and domain) or len(wanted) > ADDRESS_CHARS_MAX or any(char.isspace() for char in wanted):
        raise AddressWrong("that is no address")
    key = await keys.account(account_id)
    await _refuse_own(content, keys, account_id, wanted)
    erasure_id = new_id()
    sealed = key.seal_record(PersonRecord.place(erasure_id), PersonRecord((wanted,)))
    claim = None if request is None else await request(erasure_id)
    done = await content.transaction(
        account_id,
        once,
        claim,
        persons.request,
        erasure_id,
        address_key=hash_of(key.subkey(PURPOSE), wanted),
        until_id=new_id(),
        sealed=sealed,
        dry_run=dry_run,
    )
    return (UUID(done.resource), True) if done.value is None else (done.value, False)


async def request_person_again(content: Database, entry: LedgerEntry, address_key: bytes) -> bool:
    """After a restore: write the intent of which the ledger knows; return whether it was missing. Raises NotFound."""
    return await content.transaction(entry.account_id, persons.request_again, entry.owner_id, address_key, new_id())


async def _refuse_own(content: Database, keys: KeyRing, account_id: UUID, address: str) -> None:
    for mailbox in await content.read(account_id, mailboxes.list_mailboxes):
        try:
            key = await keys.mailbox(account_id, mailbox.mailbox_id)
        except KeyDestroyed:
            continue
        place = MailboxRecord.place(mailbox.mailbox_id)
        if key.open_record(place, mailbox.sealed, MailboxRecord).comes_back(address):
            raise Conflict(
                "that is an address of a mailbox of the account: every reply is by it; disconnect it instead"
            )
