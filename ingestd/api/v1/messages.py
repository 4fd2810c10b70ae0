"""Messages: what was written to a ticket and from it, with attachments and the raw mail."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import Field

from ingestd.api.downloads import HARMLESS_TYPES, UNKNOWN_TYPE, attachment_response, describe_download, mail_response
from ingestd.api.here import Here, Reading
from ingestd.api.shapes import PAGE_DEFAULT, Address, AfterId, Limit, Number, Shown
from ingestd.api.v1.tickets import address
from ingestd.desk import AttachmentView, MessageView, ReplyView
from ingestd.mirror import where_lost

router = APIRouter(tags=["messages"])

MessageId = Annotated[UUID, Path(description="The message's id, not its Message-ID header.")]
Position = Annotated[int, Path(ge=0, le=10_000, description="The attachment's place in its message, from 0.")]


class AttachmentShown(Shown):
    position: int = Field(description="Its place in the message, from 0.")
    name: str = Field(examples=["invoice.pdf"], description="Safe to show and to save under.")
    content_type: str = Field(examples=["application/pdf"], description="What the mail says that it is.")
    size_bytes: int
    sha256: str = Field(description="Of its bytes, in hex.")
    content_id: str | None = Field(description="By which the HTML shows it, as `cid:`.")
    inline: bool
    url: str | None = Field(description="Where its bytes are; null where that is not known.")


class EditShown(Shown):
    cause: str = Field(examples=["solved"], description="Why: import, read, spam, delete, solved, reopen.")
    edit: str = Field(examples=["keyword"])
    status: str = Field(examples=["due"], description="due: it is still to be done; failed: it was given up.")
    reason: str | None


class RecipientShown(Shown):
    address: str = Field(examples=["anna@example.com"])
    status: str | None = Field(
        examples=["accepted"], description="pending, accepted, refused or bounced; null for replies of old versions."
    )
    code: int | None = Field(description="The server's reply code, where it said no.")
    enhanced_code: str | None = Field(examples=["5.1.1"], description="The same by RFC 3463.")


class ReplyStatusShown(Shown):
    status: str = Field(examples=["sent"])
    reason: str | None
    sent_at: datetime | None
    sent_copy: str = Field(description="What became of the copy in the Sent folder.")
    recipients: list[RecipientShown] = Field(description="All of them, hidden ones too.")


class MessageShown(Shown):
    message_id: UUID
    ticket_number: int
    mailbox_id: UUID
    direction: str = Field(examples=["in"], description="in: it came; out: a reply of ours.")
    kind: str = Field(
        examples=["customer"],
        description="customer, auto_reply, bounce, delay_notice, complaint, receipt, bulk, own, or reply.",
    )
    kind_evidence: list[str] = Field(examples=[["header Auto-Submitted"]], description="Why it is of this kind.")
    evidence: list[str] = Field(description="Why it is in this ticket.")
    received_at: datetime = Field(description="When the mailbox received it; for a reply, when it was queued.")
    from_: list[Address] = Field(serialization_alias="from")
    to: list[Address]
    cc: list[Address]
    bcc: list[str] = Field(description="Of a reply: whom no other recipient sees.")
    subject: str
    message_id_header: str = Field(examples=["<q1@example.com>"], description='"" where it has none.')
    text: str = Field(description="The whole text, as a reader sees it.")
    new_text: str = Field(description="The text without quoted history and signature; when in doubt the whole.")
    html: str = Field(
        description="Sanitized already: no scripts, forms or styles that reach out of it, and nothing is loaded from "
        'the network. "" where there is none. Show it in a sandboxed frame all the same.'
    )
    defects: list[str] = Field(description="What was wrong with the mail, and how it was read all the same.")
    truncated: bool = Field(description="It was over the size limit, or withheld: only its header was taken.")
    altered: bool = Field(
        description="It is not stored as it was: card numbers in it are masked, as the account asks for, or it named a "
        "person who was erased."
    )
    muted: bool = Field(description="It came beyond a limit, or to spam: it is kept, and nobody was told.")
    size_bytes: int = Field(description="Of the raw mail.")
    raw_url: str = Field(description="Where the raw mail is.")
    attachments: list[AttachmentShown]
    folder: str | None = Field(description="The folder of the mailbox that it came from.")
    in_mailbox: str | None = Field(description="What became of it in the mailbox, in words, where it is not there.")
    edits: list[EditShown] = Field(description="What is still to be done to it in the mailbox, or was given up.")
    reply: ReplyStatusShown | None = Field(description="For a reply: where it stands.")
    author: str = Field(description='Who wrote the reply, as the helpdesk names its agent; "" for other messages.')


class MessagePage(Shown):
    items: list[MessageShown]
    next: UUID | None = Field(description="`after` of the next page; null on the last one.")


@router.get("/accounts/{account_id}/tickets/{number}/messages", summary="List a ticket's messages")
async def list_(here: Reading, number: Number, after: AfterId = None, limit: Limit = PAGE_DEFAULT) -> MessagePage:
    """In the order in which they came. A page may have fewer than `limit`, where their texts are long: go on while
    there is a `next`."""
    chars_max = here.backend.settings().api.page_chars_max
    found, more = await here.backend.desk.messages(
        here.account_id, number, after=after, limit=limit, chars_max=chars_max
    )
    items = [_show(here, number, one) for one in found]
    return MessagePage(items=items, next=items[-1].message_id if more else None)


@router.get("/accounts/{account_id}/messages/{message_id}", summary="Show a message")
async def show(here: Reading, message_id: MessageId) -> MessageShown:
    ticket, one = await here.backend.desk.message(here.account_id, message_id)
    return _show(here, ticket.number, one)


@router.get(
    "/accounts/{account_id}/messages/{message_id}/raw",
    summary="Get the raw mail",
    response_class=Response,
    responses=describe_download("message/rfc822", what="The mail, byte for byte as the mailbox gave it."),
)
async def raw(here: Reading, message_id: MessageId) -> Response:
    """As an attachment that a browser saves and does not show."""
    stream = await here.backend.desk.raw_stream(here.account_id, message_id)
    return mail_response(stream, name=f"{message_id}.eml")


@router.get(
    "/accounts/{account_id}/messages/{message_id}/attachments/{position}",
    summary="Get an attachment",
    response_class=Response,
    responses=describe_download(*HARMLESS_TYPES, UNKNOWN_TYPE, what="The bytes of the attachment, decoded."),
)
async def attachment(here: Reading, message_id: MessageId, position: Position) -> Response:
    """Under its own type only where no browser takes that for a page or a script; else as application/octet-stream.

    Always as an attachment that a browser saves and does not show.
    """
    part, content = await here.backend.desk.attachment(here.account_id, message_id, position)
    return attachment_response(content, name=part.name, content_type=part.content_type)


def _show(here: Here, number: int, one: MessageView) -> MessageShown:
    row, record, mail = one.row, one.record, one.record.mail
    base = f"{here.backend.settings().api.public_url}/v1/accounts/{here.account_id}/messages/{row.message_id}"
    return MessageShown(
        message_id=row.message_id,
        ticket_number=number,
        mailbox_id=row.mailbox_id,
        direction=row.direction,
        kind=row.kind,
        kind_evidence=list(mail.evidence),
        evidence=list(record.evidence),
        received_at=row.received_at,
        from_=[address(other) for other in mail.from_],
        to=[address(other) for other in mail.to],
        cc=[address(other) for other in mail.cc],
        bcc=[] if one.reply is None else list(one.reply.record.bcc),
        subject=mail.subject,
        message_id_header=mail.message_id,
        text=mail.text,
        new_text=mail.new_text,
        html=mail.html,
        defects=list(mail.defects),
        truncated=record.truncated,
        altered=row.altered,
        muted=row.muted,
        size_bytes=row.size_bytes,
        raw_url=f"{base}/raw",
        attachments=[_attachment(base, part) for part in one.attachments],
        folder=record.folder if row.direction == "in" else None,
        in_mailbox=where_lost(record),
        edits=[EditShown(cause=e.cause, edit=e.kind, status=e.status, reason=e.reason) for e in one.edits],
        reply=None if one.reply is None else _reply(one.reply),
        author=record.author,
    )


def _attachment(base: str, one: AttachmentView) -> AttachmentShown:
    known: Any = one.attachment
    return AttachmentShown(
        position=one.row.position,
        name=known.name,
        content_type=known.content_type,
        size_bytes=known.size_bytes,
        sha256=known.sha256,
        content_id=known.content_id,
        inline=known.inline,
        url=f"{base}/attachments/{one.row.position}" if known.offset >= 0 else None,
    )


def _reply(one: ReplyView) -> ReplyStatusShown:
    return ReplyStatusShown(
        status=one.reply.status,
        reason=one.reply.reason,
        sent_at=one.reply.sent_at,
        sent_copy=one.reply.sent_copy,
        recipients=[
            RecipientShown(
                address=to.address,
                status=None if to.row is None else to.row.status,
                code=to.refused if to.row is None else to.row.code,
                enhanced_code=None if to.row is None else to.row.enhanced_code,
            )
            for to in one.recipients
        ],
    )
