"""Tickets: list, show, change their status, mark as read."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import ConfigDict, Field

from ingestd.api.cursors import CURSOR_CHARS_MAX, decode_place, encode_place
from ingestd.api.here import Reading, Replying
from ingestd.api.shapes import NUMBER_MAX, PAGE_DEFAULT, PAGE_MAX, Address, Number, Shown, Taken, When
from ingestd.desk import TicketHead, TicketSummary
from ingestd.inbound import mirroring
from ingestd.listing import page_of_tickets
from ingestd.mail import types as mail_types
from ingestd.relations import Related, Relation
from ingestd.ticketing import mirroring_of, read_ticket, set_status, version_of
from storage.requests import once
from storage.ticket_lists import TicketFilter, TicketOrder
from storage.tickets import AT_WORK, TicketStatus

router = APIRouter(tags=["tickets"])

_TAG: Final = re.compile(r'(W/)?"([^"]*)"')


class TicketQuery(Taken):
    """Which tickets are listed: those for which all of it holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[
        tuple[TicketStatus, ...],
        Field(max_length=10, description="Only those with one of these; may be given several times."),
    ] = AT_WORK
    mailbox_id: UUID | None = Field(default=None, description="Only those of this mailbox.")
    requester: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=320,
            description="Only those of exactly this address, upper and lower case alike.",
            examples=["anna@example.com"],
        ),
    ] = None
    created_since: When | None = Field(default=None, description="Only those made at this time or later.")
    created_before: When | None = Field(default=None, description="Only those made before this time.")
    updated_since: When | None = Field(default=None, description="Only those last changed at this time or later.")
    updated_before: When | None = Field(default=None, description="Only those last changed before this time.")
    number_from: Annotated[int, Field(ge=1, le=NUMBER_MAX, description="Only those with this number or a higher.")] = 1
    number_to: Annotated[int, Field(ge=1, le=NUMBER_MAX, description="Only those with this number or a lower one.")] = (
        NUMBER_MAX
    )
    sort: Literal["number", "-number", "updated_at", "-updated_at"] = Field(
        default="number", description="By number or by last change; with - the highest or newest first."
    )
    after: Annotated[
        str | None,
        Field(max_length=CURSOR_CHARS_MAX, description="`next` of the page before, of the same list and order."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX, description="At most so many.")] = PAGE_DEFAULT

    def filter(self) -> TicketFilter:
        return TicketFilter(
            statuses=self.status or AT_WORK,
            mailbox_id=self.mailbox_id,
            created_since=self.created_since,
            created_before=self.created_before,
            updated_since=self.updated_since,
            updated_before=self.updated_before,
            number_from=self.number_from,
            number_to=self.number_to,
        )


class TicketShown(Shown):
    number: int = Field(examples=[1], description="Of its account; it never changes.")
    ticket_id: UUID = Field(description="By which events name it.")
    mailbox_id: UUID
    status: TicketStatus = Field(examples=["open"])
    subject: str = Field(examples=["The printer does not print"])
    requester: Address
    created_at: datetime
    updated_at: datetime = Field(description="When a mail, a reply or an action last changed it.")
    closed_at: datetime | None = Field(
        description="Since when it is closed, spam, deleted or merged; null while it is open."
    )


class RelationShown(Shown):
    relation: Relation = Field(
        description="suspected: it may belong to that one, the evidence was too weak. follows, followed_by: a "
        "conversation that went on after its ticket had been closed for long. twin: the same mail in another mailbox. "
        "merged_into, merged_from: its messages, or that one's, are in the other one now."
    )
    number: int
    mailbox_id: UUID


class TicketDetail(TicketShown):
    merged_into: int | None = Field(
        description="The number of the ticket that has its messages, and what is still written to it; then it has none."
    )
    offered_requester: Address | None = Field(
        description="Whom the mail is from that an agent forwarded: a person decides whether it is the requester."
    )
    related: list[RelationShown]


class TicketPage(Shown):
    items: list[TicketShown]
    next: str | None = Field(description="`after` of the next page; null on the last one.")


class TicketChange(Taken):
    status: Literal["open", "closed", "spam", "deleted"]


class MirroredShown(Shown):
    edits: int = Field(description="Edits that are planned in the mailbox; they are done soon, as often as it takes.")
    messages_lost: int = Field(
        description="Mails of the ticket that lie where nobody knows: somebody moved or deleted them in the mailbox."
    )


class TicketChanged(Shown):
    ticket: TicketDetail
    changed: bool = Field(description="False where it was so already.")
    mirrored: MirroredShown | None = Field(
        description="What is done in the mailbox, as configured. Null where the request was repeated: it was told then."
    )


class TicketRead(Shown):
    number: int
    mirrored: MirroredShown | None = Field(description="As of a change of the status.")


@router.get("/accounts/{account_id}/tickets", summary="List tickets")
async def list_(here: Reading, query: Annotated[TicketQuery, Query()]) -> TicketPage:
    """Spam and deleted ones only where they are asked for.

    While tickets change between two pages, a list by number has no gaps and none twice. In one by `updated_at` a
    ticket that changes moves: to the end of an ascending list, where it comes again with its new state, and to
    the top of a descending one. To follow what happens, read the events.
    """
    order, descending = TicketOrder(query.sort.removeprefix("-")), query.sort.startswith("-")
    page = await page_of_tickets(
        here.backend.desk,
        here.account_id,
        query.filter(),
        requester=query.requester,
        order=order,
        descending=descending,
        after=None if query.after is None else decode_place(query.after, order, descending=descending),
        limit=query.limit,
    )
    following = None if page.next is None else encode_place(page.next, order, descending=descending)
    return TicketPage(items=[TicketShown(**_fields(one)) for one in page.items], next=following)


@router.get("/accounts/{account_id}/tickets/{number}", summary="Show a ticket")
async def show(here: Reading, number: Number, response: Response) -> TicketDetail:
    """Its ETag changes with every mail, reply and action: send it as If-Match with a change."""
    return _show(await here.backend.desk.ticket_alone(here.account_id, number), response)


@router.patch("/accounts/{account_id}/tickets/{number}", summary="Change a ticket's status")
async def change(
    here: Replying,
    number: Number,
    body: TicketChange,
    response: Response,
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            max_length=1000,
            description="The ETag that the decision was made on: with another one nothing is done (412). Without it, "
            "the change is made in any case.",
        ),
    ] = None,
) -> TicketChanged:
    """Close it, open it again, call it spam or delete it: each can follow any other, and nothing of it is gone.

    The mailbox is told as configured (`mailbox_defaults.mirror`); opening a ticket again undoes that.
    """
    backend = here.backend
    mailbox_id, how = await mirroring_of(backend.desk, backend.settings(), here.account_id, number)
    done = await backend.content.transaction(
        here.account_id,
        once,
        await here.claim(number, mailbox_id=mailbox_id),
        set_status,
        number,
        body.status,
        how,
        versions=_versions(if_match),
    )
    if done.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    ticket = _show(await backend.desk.ticket_alone(here.account_id, number), response)
    if done.value is None:
        return TicketChanged(ticket=ticket, changed=False, mirrored=None)
    return TicketChanged(ticket=ticket, changed=done.value.changed, mirrored=_mirrored(done.value.mirrored))


@router.post("/accounts/{account_id}/tickets/{number}/read", summary="Mark a ticket as read")
async def read(here: Replying, number: Number, response: Response) -> TicketRead:
    """Tell the mailbox, as configured, that an agent has read it. The ticket itself does not change."""
    backend = here.backend
    mailbox_id, how = await mirroring_of(backend.desk, backend.settings(), here.account_id, number)
    claim = await here.claim(number, mailbox_id=mailbox_id)
    done = await backend.content.transaction(here.account_id, once, claim, read_ticket, number, how)
    if done.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return TicketRead(number=number, mirrored=None if done.value is None else _mirrored(done.value))


def _versions(if_match: str | None) -> frozenset[str] | None:
    """Return the versions that If-Match names; None where any will do. A weak one never matches (RFC 9110 §13.1.1)."""
    if if_match is None or if_match.strip() == "*":
        return None
    return frozenset(tag for weak, tag in _TAG.findall(if_match) if not weak)


def _mirrored(done: mirroring.Mirrored) -> MirroredShown:
    return MirroredShown(edits=done.planned, messages_lost=done.lost)


def _show(one: TicketHead, response: Response) -> TicketDetail:
    response.headers["ETag"] = f'"{version_of(one.ticket)}"'
    offered = one.record.offered_requester
    return TicketDetail(
        **_fields(one),
        merged_into=next(
            (other.ticket.number for other in one.related if other.relation is Relation.MERGED_INTO), None
        ),
        offered_requester=None if offered is None else address(offered),
        related=[_related(other) for other in one.related],
    )


def _related(one: Related) -> RelationShown:
    return RelationShown(relation=one.relation, number=one.ticket.number, mailbox_id=one.ticket.mailbox_id)


def _fields(one: TicketSummary) -> dict[str, Any]:
    ticket = one.ticket
    return {
        "number": ticket.number,
        "ticket_id": ticket.ticket_id,
        "mailbox_id": ticket.mailbox_id,
        "status": ticket.status,
        "subject": one.record.subject,
        "requester": address(one.record.requester),
        "created_at": ticket.created_at,
        "updated_at": ticket.updated_at,
        "closed_at": ticket.closed_at,
    }


def address(one: mail_types.Address) -> Address:
    return Address(address=one.addr, name=one.name)
