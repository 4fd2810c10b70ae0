"""Accounts: the customers of the helpdesk."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from ingestd.accounts import create_account, open_account
from ingestd.api.here import Operating, Reading
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, Shown, Taken
from ingestd.keys import KeyRing
from storage import accounts
from storage.accounts import Account

router = APIRouter(tags=["accounts"])


class NewAccount(Taken):
    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Example Ltd"])]


class AccountShown(Shown):
    account_id: UUID
    name: str = Field(examples=["Example Ltd"])
    status: str = Field(examples=["active"])
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


async def _show(keys: KeyRing, one: Account) -> AccountShown:
    record = await open_account(keys, one)
    return AccountShown(account_id=one.account_id, name=record.name, status=one.status, created_at=one.created_at)
