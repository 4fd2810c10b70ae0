"""The quarantine: messages that could not be understood, with their bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from ingestd.api.downloads import describe_download, mail_response
from ingestd.api.here import Here, Reading, Replying
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, Shown
from ingestd.desk import QuarantineView
from ingestd.inbound.replay import drop_once, replay_once
from storage.quarantine import Quarantined, QuarantineStatus

router = APIRouter(tags=["quarantine"])

QuarantineId = Annotated[UUID, Path(description="The id of the message in quarantine.")]


class QuarantinedShown(Shown):
    quarantine_id: UUID
    mailbox_id: UUID
    status: QuarantineStatus = Field(
        description="held: it waits for a person; taken: it is a ticket message now, of the same id; dropped: its "
        "bytes are gone, or the mailbox had it already."
    )
    reason: str = Field(examples=["timeout"], description="Why it was given up on, last.")
    received_at: datetime
    quarantined_at: datetime
    size_bytes: int
    replays: int = Field(description="How often a replay failed.")
    replayed_at: datetime | None


class QuarantinedDetail(QuarantinedShown):
    folder: str = Field(description='The folder of the mailbox that it came from; "" once its bytes have gone.')
    truncated: bool = Field(description="Only its header was taken.")
    ticket_number: int | None = Field(description="The ticket that it is in, where it was taken.")


class QuarantinePage(Shown):
    items: list[QuarantinedShown]
    next: UUID | None = Field(description="`after` of the next page; null on the last one.")


@router.get("/accounts/{account_id}/quarantine", summary="List the quarantine")
async def list_(
    here: Reading,
    mailbox_id: Annotated[UUID | None, Query(description="Only those of this mailbox.")] = None,
    status: Annotated[
        tuple[QuarantineStatus, ...],
        Query(max_length=10, description="Only those with one of these; may be given several times."),
    ] = (QuarantineStatus.HELD,),
    after: AfterId = None,
    limit: Limit = PAGE_DEFAULT,
) -> QuarantinePage:
    """Those that are held, where no other status is asked for; oldest first. What they say is never shown."""
    found = await here.backend.desk.quarantine(
        here.account_id, mailbox_id=mailbox_id, statuses=status, after=after, limit=limit + 1
    )
    items = [QuarantinedShown(**_fields(one)) for one in found[:limit]]
    return QuarantinePage(items=items, next=items[-1].quarantine_id if len(found) > limit else None)


@router.get("/accounts/{account_id}/quarantine/{quarantine_id}", summary="Show a message in quarantine")
async def show(here: Reading, quarantine_id: QuarantineId) -> QuarantinedDetail:
    """Why it is there, and what was tried; never what it says."""
    return await _show(here, quarantine_id)


@router.get(
    "/accounts/{account_id}/quarantine/{quarantine_id}/raw",
    summary="Get the raw mail of a message in quarantine",
    response_class=Response,
    responses=describe_download("message/rfc822", what="The mail, byte for byte as the mailbox gave it."),
)
async def raw(here: Reading, quarantine_id: QuarantineId) -> Response:
    """As an attachment that a browser saves and does not show. Nobody understood it: treat it with care."""
    stream = await here.backend.desk.quarantined_stream(here.account_id, quarantine_id)
    return mail_response(stream, name=f"{quarantine_id}.eml")


@router.post("/accounts/{account_id}/quarantine/{quarantine_id}/replay", summary="Parse it again")
async def replay(here: Replying, quarantine_id: QuarantineId, response: Response) -> QuarantinedDetail:
    """What is understood now becomes a ticket message: `taken`. Else it stays `held`, with the `reason`."""
    backend = here.backend
    row = (await backend.desk.quarantined(here.account_id, quarantine_id)).row
    claim = await here.claim(quarantine_id, mailbox_id=row.mailbox_id)
    ticket_status = backend.settings().backfill.ticket_status
    repeated = await replay_once(
        backend.desk, backend.open_context, backend.parser, row, claim, ticket_status=ticket_status
    )
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return await _show(here, quarantine_id)


@router.post("/accounts/{account_id}/quarantine/{quarantine_id}/drop", summary="Delete its bytes")
async def drop(here: Replying, quarantine_id: QuarantineId, response: Response) -> QuarantinedDetail:
    """For ever. It does not come back, although its mailbox may still have it."""
    row = (await here.backend.desk.quarantined(here.account_id, quarantine_id)).row
    claim = await here.claim(quarantine_id, mailbox_id=row.mailbox_id)
    if await drop_once(here.backend.desk, row, claim):
        response.headers["Idempotency-Replayed"] = "true"
    return await _show(here, quarantine_id)


async def _show(here: Here, quarantine_id: UUID) -> QuarantinedDetail:
    view: QuarantineView = await here.backend.desk.quarantined(here.account_id, quarantine_id)
    number = None
    if view.row.status is QuarantineStatus.TAKEN:
        number = await here.backend.desk.number_of_message(here.account_id, quarantine_id)
    return QuarantinedDetail(
        **_fields(view.row), folder=view.record.folder, truncated=view.record.truncated, ticket_number=number
    )


def _fields(one: Quarantined) -> dict[str, Any]:
    return {
        "quarantine_id": one.quarantine_id,
        "mailbox_id": one.mailbox_id,
        "status": one.status,
        "reason": one.reason,
        "received_at": one.received_at,
        "quarantined_at": one.created_at,
        "size_bytes": one.size_bytes,
        "replays": one.replays,
        "replayed_at": one.replayed_at,
    }
