"""Replies: write one, see where each stands, cancel, try again, decide."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from ingestd.api.here import Here, Reading, Replying
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, Number
from ingestd.api.v1.reply_shapes import Decider, NewReply, ReplyPage, ReplyShown, Resolution, shown_of, summary_of
from ingestd.outbound.reply import create_reply
from ingestd.outbound.resolve import DECISIONS, decide
from ingestd.outbound.statuses import ReplyEvent
from storage.outbox import ReplyStatus
from storage.requests import Claim

router = APIRouter(prefix="/accounts/{account_id}", tags=["replies"])

MessageId = Annotated[UUID, Path(description="The reply's id.")]


@router.post("/tickets/{number}/replies", status_code=201, summary="Reply to a ticket")
async def create(here: Replying, number: Number, body: NewReply, response: Response) -> ReplyShown:
    """Queue a reply to the ticket's requester. It is composed once, now; whatever happens later sends these bytes or
    none. Uploads are used up by it. What cannot be taken is `reply_refused`."""
    backend = here.backend
    created = await create_reply(
        backend.desk,
        backend.settings().outbound,
        here.account_id,
        number,
        body.draft(),
        idempotency_key=here.idempotency_key,
    )
    here.note_repeated(response, created.repeated)
    response.headers["Location"] = f"/v1/accounts/{here.account_id}/replies/{created.message_id}"
    return await _show(here, created.message_id)


@router.get("/replies", summary="List replies")
async def list_(
    here: Reading,
    status: Annotated[
        list[ReplyStatus] | None, Query(max_length=len(ReplyStatus), description="Only those that stand there.")
    ] = None,
    mailbox_id: Annotated[UUID | None, Query(description="Only those of this mailbox.")] = None,
    waiting_for_person: Annotated[
        bool, Query(description="Only those of which nobody but a person can tell whether they were sent.")
    ] = False,
    after: AfterId = None,
    limit: Limit = PAGE_DEFAULT,
) -> ReplyPage:
    """Oldest first."""
    found = await here.backend.desk.replies(
        here.account_id,
        statuses=tuple(status or ReplyStatus),
        mailbox_id=mailbox_id,
        waiting_for_person=waiting_for_person,
        after=after,
        limit=limit + 1,
    )
    items = [summary_of(one) for one in found[:limit]]
    return ReplyPage(items=items, next=items[-1].message_id if len(found) > limit else None)


@router.get("/replies/{message_id}", summary="Show a reply")
async def show(here: Reading, message_id: MessageId) -> ReplyShown:
    """Where it stands: for each recipient, after each attempt, and who decided what."""
    return await _show(here, message_id)


@router.post("/replies/{message_id}/cancel", summary="Cancel a reply")
async def cancel(here: Replying, message_id: MessageId, body: Decider, response: Response) -> ReplyShown:
    """One that still waits to be sent: it never will be."""
    return await _decide(here, message_id, ReplyEvent.CANCEL, body.author, response)


@router.post("/replies/{message_id}/retry", summary="Try a reply again")
async def retry(here: Replying, message_id: MessageId, body: Decider, response: Response) -> ReplyShown:
    """Now: one that failed, or one that waits, for another attempt or for its time."""
    return await _decide(here, message_id, ReplyEvent.PERSON_RETRY, body.author, response)


@router.post("/replies/{message_id}/resolve", summary="Decide on a reply")
async def resolve(here: Replying, message_id: MessageId, body: Resolution, response: Response) -> ReplyShown:
    """One of which nobody knows whether it was sent. Look into the mailbox's Sent folder first: what is sent again may
    reach its recipients twice."""
    return await _decide(here, message_id, DECISIONS[body.decision], body.author, response)


async def _decide(here: Here, message_id: UUID, event: ReplyEvent, author: str, response: Response) -> ReplyShown:
    async def request(mailbox_id: UUID) -> Claim | None:
        return await here.claim(message_id, mailbox_id=mailbox_id)

    decided = await decide(here.backend.desk, here.account_id, message_id, event, author=author, request=request)
    here.note_repeated(response, decided.repeated)
    return await _show(here, message_id)


async def _show(here: Here, message_id: UUID) -> ReplyShown:
    listed, view, author = await here.backend.desk.reply_with_author(here.account_id, message_id)
    return shown_of(listed, view, author)
