"""Keys: whoever has content has a key, and a key without an owner is not kept."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import exists, select

from ingestd.verify.look import UNDER_WAY, AnyRow, Look
from ingestd.verify.report import Findings
from storage.accounts import OPEN
from storage.errors import MasterKeyWrong
from storage.keystore import WrappedKey
from storage.keystore_tables import wrapped_keys
from storage.mailboxes import MailboxState
from storage.tables import accounts, erasures, mailboxes


async def keys_open(look: Look, found: Findings) -> None:
    """Every data key opens under the master key."""
    async for page in look.pages(look.keystore, wrapped_keys):
        for row in page:
            found.checked += 1
            try:
                look.keys.unwrap(WrappedKey(**row._mapping), row.owner_id)
            except MasterKeyWrong:
                found.add(row.account_id, row.owner_id, "the data key does not open under the master key")


async def keys_have_an_owner(look: Look, found: Findings) -> None:
    """Every data key older than an hour is the key of an account or of a mailbox of that account."""
    async for page in look.pages(look.keystore, wrapped_keys):
        owners = await _owners(look, [row.owner_id for row in page])
        for row in page:
            found.checked += 1
            is_old = row.created_at < look.now - UNDER_WAY
            if is_old and (row.account_id, row.owner_id) not in owners:
                found.add(row.account_id, row.owner_id, "the data key belongs to no mailbox and no account")


async def mailboxes_have_a_key(look: Look, found: Findings) -> None:
    """Every account has its key, unless it is closed or being closed, and every mailbox too, unless it is being
    erased."""
    erased = exists().where(
        erasures.c.account_id == mailboxes.c.account_id, erasures.c.mailbox_id == mailboxes.c.mailbox_id
    )
    async for page in look.pages(look.content, accounts, accounts.c.status.in_(OPEN)):
        await _find_keys(look, found, page, "account_id")
    async for page in look.pages(look.content, mailboxes, mailboxes.c.state != MailboxState.DISCONNECTING, ~erased):
        await _find_keys(look, found, page, "mailbox_id")


async def _find_keys(look: Look, found: Findings, page: list[AnyRow], id_column: str) -> None:
    wanted = [(row.account_id, getattr(row, id_column)) for row in page]
    query = select(wrapped_keys.c.account_id, wrapped_keys.c.owner_id)
    query = query.where(wrapped_keys.c.owner_id.in_([owner_id for _, owner_id in wanted]))
    present = {tuple(row) for row in await look.rows(query, database=look.keystore)}
    found.checked += len(wanted)
    for account_id, owner_id in wanted:
        if (account_id, owner_id) not in present:
            found.add(account_id, owner_id, "there is no data key")


async def _owners(look: Look, owner_ids: list[UUID]) -> set[tuple[UUID, UUID]]:
    """Return which of the ids are mailboxes or accounts, with the account that they belong to."""
    linked = select(mailboxes.c.account_id, mailboxes.c.mailbox_id).where(mailboxes.c.mailbox_id.in_(owner_ids))
    known = select(accounts.c.account_id, accounts.c.account_id).where(accounts.c.account_id.in_(owner_ids))
    return {(row[0], row[-1]) for query in (linked, known) for row in await look.rows(query)}
