"""What a reply is made of, and what is told of one."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import EncodedBytes, EncoderProtocol, Field, model_validator

from ingestd.api.shapes import Author, Shown, Taken, When
from ingestd.desk import ReplyView
from ingestd.mail.body import BodyFormat, InlineImage
from ingestd.mail.compose import AttachmentContent
from ingestd.mail.types import Address
from ingestd.outbound.draft import ReplyDraft
from ingestd.outbound.telling import Waits, doubt, waits_for, why
from ingestd.uploads import UploadedFile, UploadedImage
from storage.outbox import ReplyStatus, SentCopy
from storage.replies import ListedReply

CONTENT_TYPE: Final = r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,80}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,80}$"
NAME_CHARS_MAX: Final = 250
UNKNOWN_TYPE: Final = "application/octet-stream"
_TEXT_CHARS_MAX: Final = 1024 * 1024
_HTML_CHARS_MAX: Final = 64 * 1024 * 1024
"""Images can lie in it."""
_CONTENT_BYTES_MAX: Final = 64 * 1024 * 1024
_RECIPIENTS_MAX: Final = 1000
_FILES_MAX: Final = 200
_UNDO_SECONDS_MAX: Final = 3650 * 86_400


class _StrictBase64(EncoderProtocol):
    """As RFC 4648 §4 has it: what is no base64 is refused, and not passed over."""

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error:
            raise ValueError("must be base64") from None

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return base64.b64encode(value)

    @classmethod
    def get_json_format(cls) -> Literal["base64"]:
        return "base64"


Content = Annotated[bytes, EncodedBytes(encoder=_StrictBase64)]


class AddressTaken(Taken):
    address: Annotated[str, Field(min_length=3, max_length=320, examples=["bob@example.net"])]
    name: Annotated[str, Field(max_length=200)] = Field(default="", examples=["Bob Example"])

    def value(self) -> Address:
        return Address(self.address, self.name)


class FileTaken(Taken):
    """A file: one that was uploaded, or a small one here."""

    upload_id: UUID | None = Field(default=None, description="Of a file that was uploaded for this ticket's mailbox.")
    content_base64: Annotated[Content, Field(max_length=_CONTENT_BYTES_MAX)] | None = Field(
        default=None, examples=["MTsyOzM="], description="In place of an upload."
    )
    name: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)] | None = Field(
        default=None, examples=["list.csv"], description="With `content_base64`."
    )
    content_type: Annotated[str, Field(pattern=CONTENT_TYPE)] | None = Field(
        default=None, examples=["text/csv"], description=f"With `content_base64`; null: {UNKNOWN_TYPE}."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.upload_id is None) is (self.content_base64 is None):
            raise ValueError("give either upload_id or content_base64")
        if self.upload_id is not None and (self.name is not None or self.content_type is not None):
            raise ValueError("an upload has its name and its content_type already")
        if self.content_base64 is not None and self.name is None:
            raise ValueError("content_base64 needs a name")
        return self

    def file(self) -> AttachmentContent | UploadedFile:
        if self.upload_id is not None:
            return UploadedFile(self.upload_id)
        return AttachmentContent(self.name or "", self.content_type or UNKNOWN_TYPE, self.content_base64 or b"")


class ImageTaken(FileTaken):
    """An image that the text shows: HTML as `cid:NAME`, Markdown as `![alt](cid:NAME)`."""

    cid: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["logo"], description="The NAME.")]

    def image(self) -> InlineImage | UploadedImage:
        if self.upload_id is not None:
            return UploadedImage(self.cid, self.upload_id)
        kind, content = self.content_type or UNKNOWN_TYPE, self.content_base64 or b""
        return InlineImage(self.cid, self.name or "", kind, content)


class NewReply(Taken):
    """Exactly one of `text`, `markdown` and `html`."""

    text: Annotated[str, Field(min_length=1, max_length=_TEXT_CHARS_MAX)] | None = Field(
        default=None, examples=["We look into it."]
    )
    markdown: Annotated[str, Field(min_length=1, max_length=_TEXT_CHARS_MAX)] | None = None
    html: Annotated[str, Field(min_length=1, max_length=_HTML_CHARS_MAX)] | None = Field(
        default=None, description="It is sanitized; an image on the network is refused."
    )
    cc: Annotated[list[AddressTaken], Field(max_length=_RECIPIENTS_MAX)] = Field(default_factory=list)
    bcc: Annotated[list[AddressTaken], Field(max_length=_RECIPIENTS_MAX)] = Field(
        default_factory=list, description="Whom no other recipient sees."
    )
    attachments: Annotated[list[FileTaken], Field(max_length=_FILES_MAX)] = Field(default_factory=list)
    images: Annotated[list[ImageTaken], Field(max_length=_FILES_MAX)] = Field(
        default_factory=list, description="Each must be shown by the text."
    )
    author: Author = ""
    quote: bool = Field(default=False, description="Quote what the customer wrote last.")
    signature: bool = Field(default=True, description="Put the mailbox's signature beneath it, where it has one.")
    automatic: bool = Field(default=False, description="No person wrote it: it answers people only, and seldom.")
    send_at: When | None = Field(default=None, description="Not before this time.")
    undo_seconds: Annotated[float, Field(ge=0, le=_UNDO_SECONDS_MAX, allow_inf_nan=False)] | None = Field(
        default=None, examples=[30], description="So long it can be cancelled; null: as configured."
    )

    @model_validator(mode="after")
    def _said(self) -> Self:
        if sum(one is not None for one in (self.text, self.markdown, self.html)) != 1:
            raise ValueError("give exactly one of text, markdown and html")
        return self

    def draft(self) -> ReplyDraft:
        said = {BodyFormat.TEXT: self.text, BodyFormat.MARKDOWN: self.markdown, BodyFormat.HTML: self.html}
        ((form, words),) = ((form, words) for form, words in said.items() if words is not None)
        return ReplyDraft(
            text=words,
            format=form,
            attachments=[one.file() for one in self.attachments],
            images=[one.image() for one in self.images],
            cc=[one.value() for one in self.cc],
            bcc=[one.value() for one in self.bcc],
            author=self.author,
            quote=self.quote,
            signature=self.signature,
            automatic=self.automatic,
            send_at=self.send_at,
            undo_seconds=self.undo_seconds,
        )


class Decider(Taken):
    author: Author = ""


class Resolution(Decider):
    decision: Literal["sent", "resend", "failed"] = Field(description="It was sent; send it again; it was not sent.")


class ReplySummary(Shown):
    message_id: UUID = Field(description="The reply's id: it is a message of its ticket.")
    ticket_number: int = Field(examples=[17])
    mailbox_id: UUID
    status: ReplyStatus
    status_since: datetime
    reason: str | None = Field(examples=["resolved_by_person"], description="Why it stands there; a fixed word.")
    attempts: int
    due_at: datetime | None = Field(description="When its next step is due; null where nothing happens by itself.")
    waits_for: Waits | None = Field(description="What it waits for, beside its turn.")
    send_at: datetime | None
    sent_at: datetime | None
    sent_copy: SentCopy = Field(description="Where its copy in the mailbox's Sent folder stands.")


class ReplyPage(Shown):
    items: list[ReplySummary]
    next: UUID | None = Field(description="`after` of the next page; null on the last one.")


class RecipientShown(Shown):
    address: str = Field(examples=["anna@example.org"])
    bcc: bool = Field(description="Whom no other recipient sees.")
    status: str | None = Field(examples=["accepted"], description="pending, accepted, refused, bounced …")
    since: datetime | None
    code: int | None = Field(examples=[550], description="The server's reply code, where it said no.")
    enhanced_code: str | None = Field(examples=["5.1.1"], description="RFC 3463.")


class AttemptShown(Shown):
    number: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None = Field(examples=["accepted"], description="Null while it is under way.")
    stage: str | None
    code: int | None = Field(examples=[250])
    enhanced_code: str | None


class DecisionShown(Shown):
    at: datetime
    what: str = Field(examples=["resend"])
    by: str = Field(examples=["kim"], description='"" where nobody said.')


class DoubtShown(Shown):
    """Why nobody knows whether it was sent."""

    why: str
    sought: str = Field(description="By what it is looked for.")


class ReplyShown(ReplySummary):
    meaning: str | None = Field(description="For people: why it stands there.")
    sender: str = Field(examples=["support@example.com"])
    author: str = Field(examples=["kim"])
    header_message_id: str = Field(examples=["<a1b2@example.com>"], description="Its Message-ID.")
    filed_message_id: str | None = Field(description="What the provider made of it, where that is another.")
    recipients: list[RecipientShown]
    attempts_made: list[AttemptShown]
    decisions: list[DecisionShown]
    doubt: DoubtShown | None = Field(description="Only where its status is `unknown`.")


def summary_of(one: ListedReply) -> ReplySummary:
    return ReplySummary(**_summary(one))


def shown_of(listed: ListedReply, view: ReplyView, author: str) -> ReplyShown:
    record, in_doubt = view.record, doubt(view)
    hidden = frozenset(record.bcc)
    return ReplyShown(
        **_summary(listed),
        meaning=why(view) or None,
        sender=record.sender,
        author=author,
        header_message_id=record.message_id,
        filed_message_id=record.filed_message_id or None,
        recipients=[
            RecipientShown(
                address=one.address,
                bcc=one.address in hidden,
                status=one.row.status.value if one.row is not None else None,
                since=one.row.status_since if one.row is not None else None,
                code=one.row.code if one.row is not None else one.refused,
                enhanced_code=one.row.enhanced_code if one.row is not None else None,
            )
            for one in view.recipients
        ],
        attempts_made=[
            AttemptShown(
                number=one.number,
                started_at=one.started_at,
                ended_at=one.ended_at,
                outcome=one.outcome,
                stage=one.stage,
                code=one.code,
                enhanced_code=one.enhanced_code,
            )
            for one in view.attempts
        ],
        decisions=[DecisionShown(at=one.at, what=one.what, by=one.by) for one in record.decisions],
        doubt=DoubtShown(why=in_doubt.why, sought=in_doubt.sought) if in_doubt is not None else None,
    )


def _summary(one: ListedReply) -> dict[str, Any]:
    reply = one.reply
    return {
        "message_id": reply.message_id,
        "ticket_number": one.ticket_number,
        "mailbox_id": reply.mailbox_id,
        "status": reply.status,
        "status_since": reply.status_since,
        "reason": reply.reason,
        "attempts": reply.attempts,
        "due_at": reply.due_at,
        "waits_for": waits_for(one),
        "send_at": reply.send_at,
        "sent_at": reply.sent_at,
        "sent_copy": reply.sent_copy,
    }
