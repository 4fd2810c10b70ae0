"""Erasures of persons: what an account has of somebody is deleted, and in others' mail they are replaced."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import Field

from ingestd.api.here import Administering, Here, Reading
from ingestd.api.problems import Problem
from ingestd.api.shapes import Shown, Taken
from ingestd.privacy.person_receipts import PersonProgress, find_person_progress
from ingestd.privacy.person_requests import ADDRESS_CHARS_MAX, AddressWrong, request_person
from ingestd.privacy.statement import signer_of

router = APIRouter(prefix="/accounts/{account_id}/erasures", tags=["erasures"])

ErasureId = Annotated[UUID, Path(description="The erasure's id.")]


class NewErasure(Taken):
    address: Annotated[str, Field(min_length=3, max_length=ADDRESS_CHARS_MAX, examples=["anna@example.com"])]
    dry_run: bool = Field(default=False, description="Only count what would be deleted and rewritten.")


class PersonReceiptShown(Shown):
    """A proof without personal data."""

    erased_at: datetime
    counts: dict[str, int] = Field(
        examples=[{"messages_deleted": 3, "messages_rewritten": 1, "tickets_deleted": 1}],
        description="What was deleted, rewritten and not searched, by kind.",
    )
    not_searched: str = Field(examples=["attachments that are files, and what is encrypted"])
    signed: str = Field(
        examples=["eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"],
        description="The same as a JWS (RFC 7515), to be shown to others: `ingestd receipt key` prints the public key.",
    )


class ErasureShown(Shown):
    erasure_id: UUID
    dry_run: bool
    step: Literal["requested", "names", "tickets", "messages", "quarantine", "erased", "done"] = Field(
        description="What is looked through now."
    )
    requested_at: datetime
    step_at: datetime = Field(description="When this step was reached.")
    checked: int = Field(examples=[120], description="So many were looked at, tickets once and messages twice.")
    total: int = Field(examples=[400], description="Of about so many; 0 before they are counted.")
    counts: dict[str, int] = Field(
        examples=[{"messages_deleted": 3}],
        description="What was, or in a preview would be, deleted and rewritten, by kind. Attachments that are files "
        "are not searched: those of messages that stay are counted.",
    )
    receipt: PersonReceiptShown | None = Field(description="Null before it is written, and for a preview.")


@router.post("", status_code=202, summary="Erase a person")
async def erase(here: Administering, body: NewErasure, response: Response) -> ErasureShown:
    """Their messages and the tickets that they requested are deleted, as far as they came before this request; in
    others' mail the address, and the name in headers and attribution lines, are replaced. What was deleted is not
    imported again; new mail of theirs comes in. It cannot be undone; with `dry_run` it is only counted.

    Asked for again while it is under way, it answers how far it has come.
    """
    backend = here.backend
    try:
        erasure_id, repeated = await request_person(
            backend.content, backend.keys, here.account_id, body.address, dry_run=body.dry_run, request=here.claim
        )
    except AddressWrong as error:
        raise Problem("invalid", str(error)) from error
    here.note_repeated(response, repeated)
    return await show(here, erasure_id)


@router.get("/{erasure_id}", summary="Show a person's erasure")
async def show(here: Reading, erasure_id: ErasureId) -> ErasureShown:
    """How far it has come, and its receipt once it is written."""
    backend = here.backend
    found = await find_person_progress(backend.content, backend.keystore, here.account_id, erasure_id)
    return _shown(here, found)


def _shown(here: Here, found: PersonProgress) -> ErasureShown:
    one, receipt = found.erasure, None
    if found.receipt is not None and found.position is not None:
        signer = signer_of(here.backend.keys)
        receipt = PersonReceiptShown(
            erased_at=found.receipt.erased_at,
            counts=found.receipt.counts,
            not_searched=found.receipt.not_searched,
            signed=signer.sign_person(here.account_id, found.receipt, found.position, datetime.now(UTC)),
        )
    return ErasureShown(
        erasure_id=one.erasure_id,
        dry_run=one.dry_run,
        step=one.step,  # type: ignore[arg-type]  # checked by pydantic
        requested_at=one.requested_at,
        step_at=one.step_at,
        checked=one.checked,
        total=one.total,
        counts=one.done,
        receipt=receipt,
    )
