"""Merging tickets: one becomes a part of another one of its mailbox."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from ingestd.api.here import Replying
from ingestd.api.shapes import NUMBER_MAX, Number, Shown, Taken
from ingestd.merging import merge, target_of

router = APIRouter(tags=["tickets"])


class Merging(Taken):
    into: Annotated[
        int,
        Field(ge=1, le=NUMBER_MAX, examples=[17], description="The number of the ticket that is to have its messages."),
    ]


class MergedTicket(Shown):
    ticket_id: UUID
    mailbox_id: UUID
    number: int = Field(examples=[23])
    status: str = Field(examples=["merged"])
    merged_into: int = Field(
        examples=[17],
        description="The number of the ticket that has its messages, and gets what is still written to it.",
    )


@router.post("/accounts/{account_id}/tickets/{number}/merge", summary="Merge a ticket into another one")
async def merge_ticket(here: Replying, number: Number, body: Merging, response: Response) -> MergedTicket:
    """All its messages come to the other ticket, which must be of the same mailbox, and open or closed.

    It cannot be undone. The ticket only leads to the other one from then on: mail that is still written to it joins
    that one, and whatever else is asked of it is refused as a `conflict` whose detail names that one. Where the two
    are different people's, both can write to the other ticket; replies go to its requester alone. Merging it into
    the same ticket again changes nothing.
    """
    backend = here.backend
    mailbox_id = await backend.desk.mailbox_of_ticket(here.account_id, number)
    claim = await here.claim(number, mailbox_id=mailbox_id)
    done = await merge(backend.desk, backend.settings(), here.account_id, number, body.into, claim=claim)
    if done.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    ticket, into = await backend.content.read(here.account_id, target_of, number)
    return MergedTicket(
        ticket_id=ticket.ticket_id,
        mailbox_id=ticket.mailbox_id,
        number=ticket.number,
        status=ticket.status,
        merged_into=into.number,
    )
