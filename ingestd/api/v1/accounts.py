"""Accounts: the customers of the helpdesk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy import Connection

from ingestd.account_states import hold as hold_account
from ingestd.account_states import release as release_account
from ingestd.account_states import resume as resume_account
from ingestd.account_states import suspend as suspend_account
from ingestd.accounts import create_account, name_of
from ingestd.api.backend import Backend
from ingestd.api.here import OnAccount, Operating, OperatingOn, Reading
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, Shown, Taken
from ingestd.privacy.account_retention import AccountRetention, rules_of
from ingestd.privacy.closing import find_receipt
from ingestd.privacy.requests import request_close
from storage import accounts, closures, expiry
from storage.accounts import Account, AccountStatus
from storage.requests import once_of_operator

router = APIRouter(tags=["accounts"])


class NewAccount(Taken):
    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Example Ltd"])]


class AccountChanged(Taken):
    solved_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(
        examples=[365],
        description="So many days after they were solved and last touched, its tickets are deleted; null: as the "
        "configuration says.",
    )


class AccountReceiptShown(Shown):
    """A proof without personal data, beside the receipts of its mailboxes."""

    unreadable_at: datetime = Field(description="Since then nobody can read what is the account's own.")
    deleted_at: datetime
    key_fingerprint: str = Field(description="Of the account's own key; tells nothing about it.")
    mailboxes: list[UUID] = Field(description="All that were ever forgotten: each has a receipt of its own.")
    deleted: dict[str, int] = Field(examples=[{"webhooks": 1, "events": 40}], description="Rows, by table.")
    left: dict[str, int] = Field(description="Rows that a scan found afterwards; empty when all is well.")
    blob_versions: str = Field(
        examples=["none"],
        description="Older versions of large mails: none, not_deleted or unknown, as in the receipts of its mailboxes.",
    )


class ClosingShown(Shown):
    step: Literal["requested", "unreadable", "deleted", "done"]
    requested_at: datetime
    step_at: datetime = Field(description="When this step was reached.")
    mailboxes_left: int = Field(description="Those that are not forgotten yet.")
    receipt: AccountReceiptShown | None = Field(description="Null before it is written.")


class AccountShown(Shown):
    account_id: UUID
    name: str | None = Field(examples=["Example Ltd"], description="Null where it is closed: nobody knows it any more.")
    status: AccountStatus = Field(
        examples=["active"], description="suspended: its mailboxes are neither read nor sent from; everything is kept."
    )
    since: datetime = Field(description="Since when it has this status.")
    created_at: datetime
    held_since: datetime | None = Field(description="Since when the operator keeps it from being erased.")
    erased_at: datetime | None = Field(description="Where it is suspended: when it is erased, as the rules are now.")
    solved_days: int | None = Field(
        description="So many days after they were solved its tickets are deleted; null: as the configuration says."
    )
    closing: ClosingShown | None = Field(description="Null where nobody closed it.")


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
    return await _show(backend, await backend.content.read(made.account_id, accounts.get_account))


@router.get("/accounts", summary="List the accounts")
async def list_(asked: Operating, after: AfterId = None, limit: Limit = PAGE_DEFAULT) -> AccountPage:
    """The operator's. Oldest first."""
    backend = asked.backend
    found = await backend.content.read(None, accounts.list_accounts, after=after, limit=limit + 1)
    items = [await _show(backend, one) for one in found[:limit]]
    return AccountPage(items=items, next=items[-1].account_id if len(found) > limit else None)


@router.get("/accounts/{account_id}", summary="Show an account")
async def show(here: Reading) -> AccountShown:
    return await _show(here.backend, await here.backend.content.read(here.account_id, accounts.get_account))


@router.patch("/accounts/{account_id}", summary="Change an account")
async def change(asked: OperatingOn, body: AccountChanged, response: Response) -> AccountShown:
    """The operator's: for how long its solved tickets are kept."""
    return await _change(asked, partial(expiry.set_solved_days, days=body.solved_days), response)


@router.post("/accounts/{account_id}/suspend", summary="Suspend an account")
async def suspend(asked: OperatingOn, response: Response) -> AccountShown:
    """The operator's: its paid term is over. Its mailboxes are neither read nor sent from; everything is kept, and
    replies that are asked for wait."""
    return await _change(asked, suspend_account, response)


@router.post("/accounts/{account_id}/resume", summary="Resume an account")
async def resume(asked: OperatingOn, response: Response) -> AccountShown:
    """The operator's. Its mailboxes go on where they stopped; one that was paused stays paused."""
    return await _change(asked, resume_account, response)


@router.post("/accounts/{account_id}/hold", summary="Hold an account")
async def hold(asked: OperatingOn, response: Response) -> AccountShown:
    """The operator's. It is not erased, however long it is suspended, until it is released."""
    return await _change(asked, hold_account, response)


@router.post("/accounts/{account_id}/release", summary="Release an account")
async def release(asked: OperatingOn, response: Response) -> AccountShown:
    """The operator's. Its hold is over; where its time is over, too, it is warned again before it is erased."""
    return await _change(asked, release_account, response)


@router.delete("/accounts/{account_id}", status_code=202, summary="Close an account")
async def close(asked: OperatingOn, response: Response) -> AccountShown:
    """The operator's. Forget it for good: all its mailboxes are disconnected, then its own key is destroyed, and
    everything of it deleted. Its tokens open nothing from now on.

    It cannot be undone. Asked for again, also once it is forgotten, it answers how far it has come.
    """
    return await _change(asked, partial(request_close, cause="operator"), response)


async def _change(asked: OnAccount, write: Callable[[Connection, UUID], object], response: Response) -> AccountShown:
    backend, account_id = asked.backend, asked.account_id

    def change(conn: Connection, _: None) -> None:
        write(conn, account_id)

    done = await backend.content.transaction(None, once_of_operator, await asked.claim(account_id), change)
    asked.note_repeated(response, done.repeated)
    return await _show(backend, await backend.content.read(account_id, accounts.get_account))


async def _show(backend: Backend, one: Account) -> AccountShown:
    return AccountShown(
        account_id=one.account_id,
        name=await name_of(backend.keys, one),
        status=one.status,
        since=one.since,
        created_at=one.created_at,
        held_since=one.held_since,
        solved_days=one.solved_days,
        erased_at=await _erased_at(backend, one) if one.status is AccountStatus.SUSPENDED else None,
        closing=None if one.status in accounts.OPEN else await _closing(backend, one.account_id),
    )


async def _erased_at(backend: Backend, one: Account) -> datetime | None:
    engine = AccountRetention(backend.content, lambda: rules_of(backend.settings()))
    planned = await engine.plan_one(one.account_id, datetime.now(UTC))
    return None if planned is None else planned.verdict.erase_at


async def _closing(backend: Backend, account_id: UUID) -> ClosingShown:
    erasure, left = await backend.content.read(account_id, closures.find_progress)
    receipt = await find_receipt(backend.keystore, account_id)
    return ClosingShown(
        step=erasure.step,  # type: ignore[arg-type]  # checked by pydantic
        requested_at=erasure.requested_at,
        step_at=erasure.step_at,
        mailboxes_left=left,
        receipt=None if receipt is None else AccountReceiptShown.model_validate(receipt, from_attributes=True),
    )
