"""Where is my mail? What became of a mail, by its Message-ID."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from ingestd.api.here import Here, Reading
from ingestd.api.problems import Problem
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, Shown, Taken
from ingestd.inbound.explain import Explained, Stored, There, Why, explain, with_brackets
from storage import mailboxes
from storage.audits import HeldMessage
from storage.errors import KeyDestroyed
from storage.mailboxes import Mailbox
from storage.tickets import TicketStatus

router = APIRouter(tags=["messages"])


class MailSought(Taken):
    message_id_header: Annotated[
        str,
        Field(
            min_length=3,
            max_length=998,
            examples=["<q1@example.com>"],
            description="The mail's Message-ID, with or without its angle brackets.",
        ),
    ]
    mailbox_id: UUID | None = Field(default=None, description="Look into this mailbox only.")
    ask_provider: bool = Field(
        default=False,
        description="Where it is neither in a ticket nor in quarantine, ask the mailbox's provider for it, in all "
        "folders and without marking anything. Needs a `mailbox_id`; it takes seconds.",
    )


class StoredMailShown(Shown):
    message_id: UUID = Field(description="The message's id, by which its own route shows it.")
    ticket_number: int
    ticket_status: TicketStatus
    direction: str = Field(examples=["in"], description="in: it came; out: it is a reply of ours, or its copy.")
    kind: str = Field(examples=["customer"], description="As of a message.")
    received_at: datetime = Field(description="When the mailbox received it; for a reply, when it was queued.")
    taken_at: datetime = Field(description="When it was taken in here.")
    folder: str = Field(examples=["INBOX"], description='Where it lay then; "" for a reply.')
    evidence: list[str] = Field(description="Why it is in this ticket.")
    muted: bool = Field(description="It came beyond a limit, or to spam: it is kept, and nobody was told.")
    merged: bool = Field(description="It was in another ticket, which was merged into this one.")


class HeldMailShown(Shown):
    quarantine_id: UUID
    reason: str = Field(examples=["timeout"], description="Why it was given up on, last.")
    received_at: datetime
    quarantined_at: datetime


class PlacedMailShown(Shown):
    folder: str = Field(examples=["Archive"], description="The folder of the mailbox that it lies in.")
    received_at: datetime | None
    why: Why = Field(
        description="What it is here, or why it is not. taken: a message of a ticket, known by what it holds. sent: a "
        "reply of ours. quarantined. dropped: it was in quarantine, and its bytes were deleted. forgotten: its ticket "
        "was deleted, and it does not come again. folder_not_followed. before_start: it came before its folder was "
        "followed, and no backfill reads so far back. waiting: it is to be read and was not yet."
    )


class MailExplained(Shown):
    mailbox_id: UUID
    stored: list[StoredMailShown] = Field(description="In tickets, those that came first before others.")
    quarantined: list[HeldMailShown] = Field(description="In quarantine, the newest first.")
    at_provider: list[PlacedMailShown] | None = Field(
        description="Where it lies in the mailbox; null where the provider was not asked."
    )
    provider_error: str | None = Field(
        description="Why the provider could not be asked: a mailbox's trouble (`transient`, `grant_revoked` …), its "
        "state where nothing is read from it (`paused`, `suspended`, `reauth_required`), or `not_configured`."
    )


class MailExplainedPage(Shown):
    items: list[MailExplained]
    next: UUID | None = Field(description="`after` of the next page; null on the last one.")


@router.post("/accounts/{account_id}/explain", summary="Tell where a mail is")
async def explain_mail(
    here: Reading, body: MailSought, after: AfterId = None, limit: Limit = PAGE_DEFAULT
) -> MailExplainedPage:
    """By its Message-ID, mailbox by mailbox: in which ticket and why, whether it waits in quarantine, or, where the
    provider is asked, where it lies and why it was not taken. It changes nothing. The id is in the body, as addresses
    of requests end up in logs.
    """
    if body.ask_provider and body.mailbox_id is None:
        raise Problem("invalid", "one mailbox's provider can be asked: name its `mailbox_id`")
    asked, behind = await _mailboxes(here, body.mailbox_id, after, limit)
    wanted = with_brackets(body.message_id_header)
    items = []
    for one in asked:
        try:
            found = await explain(here.backend.desk, one, wanted, among=len(asked))
        except KeyDestroyed:
            continue  # it was disconnected meanwhile
        if body.ask_provider and not found.is_here:
            found = await here.backend.looks.ask(one, wanted)
        items.append(_show(found))
    return MailExplainedPage(items=items, next=behind)


async def _mailboxes(
    here: Here, mailbox_id: UUID | None, after: UUID | None, limit: int
) -> tuple[Sequence[Mailbox], UUID | None]:
    content, account_id = here.backend.content, here.account_id
    if mailbox_id is not None:
        return [(await here.backend.desk.linked_mailbox(account_id, mailbox_id)).mailbox], None
    found = await content.read(account_id, mailboxes.page_of_mailboxes, after=after, limit=limit + 1)
    return found[:limit], found[limit - 1].mailbox_id if len(found) > limit else None


def _show(one: Explained) -> MailExplained:
    return MailExplained(
        mailbox_id=one.mailbox_id,
        stored=[_stored(found) for found in one.stored],
        quarantined=[_held(held) for held in one.held],
        at_provider=None if one.there is None else [_placed(place) for place in one.there],
        provider_error=one.failed,
    )


def _stored(one: Stored) -> StoredMailShown:
    row = one.row
    return StoredMailShown(
        message_id=row.message_id,
        ticket_number=row.ticket_number,
        ticket_status=TicketStatus(row.ticket_status),
        direction=row.direction,
        kind=row.kind,
        received_at=row.received_at,
        taken_at=row.created_at,
        folder=one.folder,
        evidence=list(one.evidence),
        muted=row.muted,
        merged=row.merged_from_id is not None,
    )


def _held(one: HeldMessage) -> HeldMailShown:
    return HeldMailShown(
        quarantine_id=one.quarantine_id,
        reason=one.reason,
        received_at=one.received_at,
        quarantined_at=one.created_at,
    )


def _placed(one: There) -> PlacedMailShown:
    return PlacedMailShown(folder=one.place.folder, received_at=one.place.received_at, why=one.why)
