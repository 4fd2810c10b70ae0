"""Receipts: how far the forgetting of mailboxes has come, and the proof that it leaves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from ingestd.api.here import Here, Reading
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, MailboxId, Shown
from ingestd.privacy.receipts import Forgetting, find_forgetting, list_forgetting
from ingestd.privacy.statement import signer_of

router = APIRouter(prefix="/accounts/{account_id}/receipts", tags=["receipts"])


class ReceiptShown(Shown):
    """A proof without personal data."""

    provider: str = Field(examples=["google"])
    unreadable_at: datetime = Field(description="Since then nobody can read its content, wherever it lies.")
    deleted_at: datetime
    key_fingerprint: str = Field(description="Of the key that was destroyed; tells nothing about it.")
    deleted: dict[str, int] = Field(examples=[{"messages": 12, "tickets": 7}], description="Rows, by table; blobs.")
    left: dict[str, int] = Field(description="Rows that a scan found afterwards; empty when all is well.")
    blob_versions: str = Field(
        examples=["none"],
        description="Older versions of large mails: none (they lay where nothing keeps any), not_deleted (they lay in "
        "a bucket, and versions that it may keep stay there, as ciphertext without a key, until a lifecycle rule "
        "deletes them) or unknown (the receipt is older than this field).",
    )
    revocation: str = Field(
        examples=["revoked"],
        description="What came of the revocation of the grant: revoked, unsupported, pending, failed or "
        "nothing_to_revoke (there was no grant, or application permissions opened the mailbox). Where it is not "
        "revoked, the owner, or an administrator, can take our access away at `removal_page`.",
    )
    refresh_after: str = Field(
        examples=["refused"],
        description="What came of a refresh that was tried after the revocation: refused (the proof), accepted (the "
        "grant lived on), unknown (no answer), not_tried (nothing was revoked) or no_refresh_token (application "
        "permissions have none).",
    )
    signed: str | None = Field(
        examples=["eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"],
        description="The same as a JWS (RFC 7515), to be shown to others: `ingestd receipt key` prints the public key.",
    )
    removal_page: str | None = Field(examples=["https://myaccount.example.com/connections"])


class ForgettingShown(Shown):
    mailbox_id: UUID
    step: Literal["requested", "unreadable", "deleted", "done"] = Field(
        description="From `unreadable` on its content cannot be read any more, in backups of the database too."
    )
    requested_at: datetime
    step_at: datetime = Field(description="When this step was reached.")
    receipt: ReceiptShown | None = Field(description="Null before it is written.")


class ForgettingPage(Shown):
    items: list[ForgettingShown]
    next: UUID | None = Field(description="`after` of the next page; null on the last one.")


@router.get("", summary="List the receipts")
async def list_(here: Reading, after: AfterId = None, limit: Limit = PAGE_DEFAULT) -> ForgettingPage:
    """Of all mailboxes that were disconnected, by their ids."""
    backend = here.backend
    found = await list_forgetting(backend.content, backend.keystore, here.account_id, after=after, limit=limit + 1)
    items = [_shown(here, one) for one in found[:limit]]
    return ForgettingPage(items=items, next=items[-1].mailbox_id if len(found) > limit else None)


@router.get("/{mailbox_id}", summary="Show a receipt")
async def show(here: Reading, mailbox_id: MailboxId) -> ForgettingShown:
    """How far the forgetting of a mailbox has come, and its receipt once it is written."""
    return await show_forgetting(here, mailbox_id)


async def show_forgetting(here: Here, mailbox_id: UUID) -> ForgettingShown:
    backend = here.backend
    return _shown(here, await find_forgetting(backend.content, backend.keystore, here.account_id, mailbox_id))


def receipt_path(account_id: UUID, mailbox_id: UUID) -> str:
    return f"/v1/accounts/{account_id}/receipts/{mailbox_id}"


def _shown(here: Here, one: Forgetting) -> ForgettingShown:
    return ForgettingShown(
        mailbox_id=one.erasure.mailbox_id,
        step=one.erasure.step,  # type: ignore[arg-type]  # checked by pydantic
        requested_at=one.erasure.requested_at,
        step_at=one.erasure.step_at,
        receipt=_receipt(here, one),
    )


def _receipt(here: Here, one: Forgetting) -> ReceiptShown | None:
    receipt, settings = one.receipt, here.backend.settings()
    if receipt is None:
        return None
    known = receipt.provider in settings.providers
    return ReceiptShown(
        provider=receipt.provider,
        unreadable_at=receipt.unreadable_at,
        deleted_at=receipt.deleted_at,
        key_fingerprint=receipt.key_fingerprint,
        deleted=receipt.deleted,
        left=receipt.left,
        blob_versions=receipt.blob_versions,
        revocation=one.revocation or receipt.revocation,
        refresh_after=one.refresh_after or receipt.refresh_after,
        signed=signer_of(here.backend.keys).sign(here.account_id, one, datetime.now(UTC)),
        removal_page=settings.provider(receipt.provider).removal_page if known else one.removal_page,
    )
