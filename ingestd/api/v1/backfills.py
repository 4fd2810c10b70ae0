"""Backfills: the reading of the mail that was in a mailbox before it was linked."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field, model_validator

from ingestd.api.here import Here, Managing, Reading
from ingestd.api.problems import Problem
from ingestd.api.shapes import MailboxId, Taken
from ingestd.api.v1.mailbox_shapes import BackfillShown, backfill_of
from ingestd.inbound import backfill_steps
from ingestd.inbound.backfill_steps import Wish
from storage.requests import once

router = APIRouter(prefix="/accounts/{account_id}/mailboxes/{mailbox_id}/backfill", tags=["mailboxes"])


class BackfillWanted(Taken):
    """How far back. Without `start_from`, one that was stopped or given up goes on."""

    start_from: Literal["days", "everything"] | None = None
    start_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(
        default=None, description="With `days`: so many days before the mailbox was linked."
    )
    order: Literal["newest", "oldest"] | None = Field(
        default=None, description="Which mail comes first; null: as before, or as configured."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.start_from == "days") is not (self.start_days is not None):
            raise ValueError("start_days goes with start_from: days")
        return self


@router.get("", summary="Show a backfill")
async def show(here: Reading, mailbox_id: MailboxId) -> BackfillShown:
    """How far it has come; 404 where nobody asked for one."""
    return await _show(here, mailbox_id)


@router.post("", status_code=202, summary="Read old mail")
async def ask(here: Managing, mailbox_id: MailboxId, body: BackfillWanted, response: Response) -> BackfillShown:
    """Read the mail that was there before the mailbox was linked. It becomes closed tickets, beside new mail and never
    before it, and nobody is answered. One that runs already is a conflict."""
    wish = Wish(
        days=body.start_days,
        everything=body.start_from == "everything",
        newest_first=None if body.order is None else body.order == "newest",
    )
    done = await here.backend.content.transaction(
        here.account_id,
        once,
        await here.claim(mailbox_id, mailbox_id=mailbox_id),
        backfill_steps.ask_for,
        mailbox_id,
        wish,
        newest_first=here.backend.settings().backfill.order == "newest",
    )
    here.note_repeated(response, done.repeated)
    return await _show(here, mailbox_id)


@router.delete("", summary="Stop a backfill")
async def stop(here: Managing, mailbox_id: MailboxId, response: Response) -> BackfillShown:
    """What is in stays. Asked for again, it goes on where it was. One that does not run is a conflict."""
    claim = await here.claim(mailbox_id, mailbox_id=mailbox_id)
    done = await here.backend.content.transaction(here.account_id, once, claim, backfill_steps.stop, mailbox_id)
    here.note_repeated(response, done.repeated)
    return await _show(here, mailbox_id)


async def _show(here: Here, mailbox_id: UUID) -> BackfillShown:
    await here.backend.desk.linked_mailbox(here.account_id, mailbox_id)
    found = await here.backend.desk.backfill(here.account_id, mailbox_id)
    if found is None:
        raise Problem("not_found")
    return backfill_of(found)
