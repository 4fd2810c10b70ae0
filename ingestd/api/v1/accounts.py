"""Accounts: the customers of the helpdesk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy import Connection

from ingestd.account_states import resume as resume_account
from ingestd.account_states import suspend as suspend_account
from ingestd.accounts import create_account, open_account
from ingestd.api.here import OnAccount, Operating, OperatingOn, Reading
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, Shown, Taken
from ingestd.keys import KeyRing
from storage import accounts
from storage.accounts import Account, AccountStatus
from storage.requests import once_of_operator

router = APIRouter(tags=["accounts"])


class NewAccount(Taken):
    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Example Ltd"])]


class AccountShown(Shown):
    account_id: UUID
    name: str = Field(examples=["Example Ltd"])
    status: AccountStatus = Field(
        examples=["active"], description="suspended: its mailboxes are neither read nor sent from; everything is kept."
    )
    since: datetime = Field(description="Since when it has this status.")
    created_at: datetime


class AccountPage(Shown):
    items: list[AccountShown]
    next: UUID | None = Field(description="`after` of the next page; null on the last one.")


@router.post("/accounts", status_code=201, summary="Make an account")
async def create(asked: Operating, body: NewAccount, response: Response) -> AccountShown:
    """The operator's. The account gets a key of its own."""
    backend = asked.backend
    made = await create_account(backend.content, backend.keys, body.name, idempotency_key=asked.idempotency_key)
    if made.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return await _show(backend.keys, await backend.content.read(made.account_id, accounts.get_account))


@router.get("/accounts", summary="List the accounts")
async def list_(asked: Operating, after: AfterId = None, limit: Limit = PAGE_DEFAULT) -> AccountPage:
    """The operator's. Oldest first."""
    backend = asked.backend
    found = await backend.content.read(None, accounts.list_accounts, after=after, limit=limit + 1)
    items = [await _show(backend.keys, one) for one in found[:limit]]
    return AccountPage(items=items, next=items[-1].account_id if len(found) > limit else None)


@router.get("/accounts/{account_id}", summary="Show an account")
async def show(here: Reading) -> AccountShown:
    return await _show(here.backend.keys, await here.backend.content.read(here.account_id, accounts.get_account))


@router.post("/accounts/{account_id}/suspend", summary="Suspend an account")
async def suspend(asked: OperatingOn, response: Response) -> AccountShown:
    """The operator's: its paid term is over. Its mailboxes are neither read nor sent from; everything is kept, and
    replies that are asked for wait."""
    return await _change(asked, suspend_account, response)


@router.post("/accounts/{account_id}/resume", summary="Resume an account")
async def resume(asked: OperatingOn, response: Response) -> AccountShown:
    """The operator's. Its mailboxes go on where they stopped; one that was paused stays paused."""
    return await _change(asked, resume_account, response)


async def _change(asked: OnAccount, write: Callable[[Connection, UUID], object], response: Response) -> AccountShown:
    backend, account_id = asked.backend, asked.account_id

    def change(conn: Connection, _: None) -> None:
        write(conn, account_id)

    done = await backend.content.transaction(None, once_of_operator, await asked.claim(account_id), change)
    asked.note_repeated(response, done.repeated)
    return await _show(backend.keys, await backend.content.read(account_id, accounts.get_account))


async def _show(keys: KeyRing, one: Account) -> AccountShown:
    record = await open_account(keys, one)
    return AccountShown(
        account_id=one.account_id, name=record.name, status=one.status, since=one.since, created_at=one.created_at
    )
