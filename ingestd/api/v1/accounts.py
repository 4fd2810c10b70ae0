"""Accounts: the customers of the helpdesk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, model_validator
from sqlalchemy import Connection

from ingestd.account_states import hold as hold_account
from ingestd.account_states import release as release_account
from ingestd.account_states import resume as resume_account
from ingestd.account_states import suspend as suspend_account
from ingestd.accounts import create_account, name_of
from ingestd.api.backend import Backend
from ingestd.api.here import OnAccount, Operating, OperatingOn, Reading
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, Shown, Taken
from ingestd.privacy import residency
from ingestd.privacy.account_retention import AccountRetention, rules_of
from ingestd.privacy.closing import Closed, find_closed
from ingestd.privacy.requests import request_close
from ingestd.privacy.statement import signer_of
from storage import accounts, closures, expiry
from storage.accounts import Account, AccountStatus
from storage.requests import once_of_operator

router = APIRouter(tags=["accounts"])


Label = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", examples=["eu"])]


class NewAccount(Taken):
    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Example Ltd"])]
    location: Label | None = Field(
        default=None, description="Where its data are to be, and its webhooks are to lead, alone; null: anywhere."
    )


class AccountChanged(Taken):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"minProperties": 1})

    solved_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(
        default=None,
        examples=[365],
        description="So many days after they were solved and last touched, its tickets are deleted; null: as the "
        "configuration says.",
    )
    location: Label | None = Field(
        default=None, description="Where its data are to be, and its webhooks are to lead, alone; null: anywhere."
    )
    mask_cards: bool | None = Field(
        default=None,
        examples=[True],
        description="Card numbers in the texts and the subject of mail that comes in from now on are masked before "
        "anything of it is stored.",
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name what is to be changed")
        return self


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
    signed: str = Field(
        examples=["eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"],
        description="The same as a JWS (RFC 7515), to be shown to others: `ingestd receipt key` prints the public key.",
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
    location: str | None = Field(description="The location that it is pinned to.", examples=["eu"])
    mask_cards: bool = Field(description="Card numbers in mail that comes in are masked.")
    closing: ClosingShown | None = Field(description="Null where nobody closed it.")


class AccountPage(Shown):
    items: list[AccountShown]
    next: UUID | None = Field(description="`after` of the next page; null on the last one.")


@router.post("/accounts", status_code=201, summary="Make an account")
async def create(asked: Operating, body: NewAccount, response: Response) -> AccountShown:
    """The operator's. The account gets a key of its own."""
    backend = asked.backend
    residency.check_pin(backend.settings().locations, body.location)
    made = await create_account(
        backend.content, backend.keys, body.name, location=body.location, idempotency_key=asked.idempotency_key
    )
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
    """The operator's: for how long its solved tickets are kept, where its data are to be, and whether card numbers are
    masked.

    A location that the stores are not in, as the configuration has it, is refused.
    """
    locations = asked.backend.settings().locations

    def write(conn: Connection, account_id: UUID) -> None:
        if "location" in body.model_fields_set:
            residency.set_location(conn, account_id, locations, body.location)
        accounts.hold(conn, account_id)
        if "solved_days" in body.model_fields_set:
            expiry.set_solved_days(conn, account_id, body.solved_days)
        if body.mask_cards is not None:
            accounts.set_mask_cards(conn, account_id, body.mask_cards)

    return await _change(asked, write, response)


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
        location=one.location,
        mask_cards=one.mask_cards,
        erased_at=await _erased_at(backend, one) if one.status is AccountStatus.SUSPENDED else None,
        closing=None if one.status in accounts.OPEN else await _closing(backend, one.account_id),
    )


async def _erased_at(backend: Backend, one: Account) -> datetime | None:
    engine = AccountRetention(backend.content, lambda: rules_of(backend.settings()))
    planned = await engine.plan_one(one.account_id, datetime.now(UTC))
    return None if planned is None else planned.verdict.erase_at


async def _closing(backend: Backend, account_id: UUID) -> ClosingShown:
    erasure, left = await backend.content.read(account_id, closures.find_progress)
    closed = await find_closed(backend.keystore, account_id)
    return ClosingShown(
        step=erasure.step,  # type: ignore[arg-type]  # checked by pydantic
        requested_at=erasure.requested_at,
        step_at=erasure.step_at,
        mailboxes_left=left,
        receipt=None if closed is None else _receipt(backend, closed),
    )


def _receipt(backend: Backend, closed: Closed) -> AccountReceiptShown:
    one = closed.receipt
    return AccountReceiptShown(
        unreadable_at=one.unreadable_at,
        deleted_at=one.deleted_at,
        key_fingerprint=one.key_fingerprint,
        mailboxes=list(one.mailboxes),
        deleted=one.deleted,
        left=one.left,
        blob_versions=one.blob_versions,
        signed=signer_of(backend.keys).sign_account(closed, datetime.now(UTC)),
    )
