"""A reply as exact bytes, composed once and then never again: what is stored is what is sent.

Everything that varies (date, ids, boundary) is an argument, so equal requests give equal bytes. The bytes are parsed
again before they are returned (`compose_check`): a message that does not say what was asked for is never sent.

The parts are mixed(related(alternative(text, html), images), attachments), each level only where it has more than one
part. RFC 2387 would allow related inside of alternative as well; related outside is what Gmail and Outlook send, so
that every client is used to it, and Outlook, which shows an image that lies deeper as an attachment, is content.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from ingestd.mail import OWN_HEADER
from ingestd.mail.addresses import domain_of
from ingestd.mail.body import Body, BodyFormat, InlineImage, Words, write_body
from ingestd.mail.compose_check import Expected, verify
from ingestd.mail.entities import Entity, attachment_entity, image_entity, multipart, text_entity
from ingestd.mail.fields import ComposeError, address_words, fold, id_words, plain_line, unstructured
from ingestd.mail.international import needs_smtputf8
from ingestd.mail.quoting import Quoted
from ingestd.mail.types import Address

__all__ = ["AttachmentContent", "ComposeError", "ReplyRequest", "compose_reply", "needs_smtputf8", "reply_subject"]

REFERENCES_MAX = 20
_SUBJECT_CHARS_MAX = 900
_REPLY_PREFIX = re.compile(
    r"^\s*(?:re|aw|sv|antw|odp|отв|відп|ynt|回复|回覆|답장)\s*(?:\[\d+\])?\s*[:：]", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class AttachmentContent:
    """A file to attach."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """All that a reply is made of."""

    message_id: str
    """With angle brackets."""
    own_token: str
    """The value of OWN_HEADER, for providers that rewrite Message-IDs."""
    from_: Address
    to: Sequence[Address]
    subject: str
    """Of the ticket; "Re: " is put before it once."""
    date: datetime
    """Aware."""
    text: str
    """What the agent wrote, in `format`."""
    boundary: str
    """16–60 characters of random `[A-Za-z0-9_=.-]`; used only where there are several parts."""
    cc: Sequence[Address] = ()
    reply_to: Sequence[Address] = ()
    in_reply_to: str | None = None
    references: Sequence[str] = ()
    """The parent's References and its Message-ID, oldest first."""
    attachments: Sequence[AttachmentContent] = ()
    automatic: bool = False
    """Written by a machine: adds `Auto-Submitted: auto-replied` (RFC 3834 §5)."""
    add_prefix: bool = True
    """False for a message that is the first of its conversation."""
    format: BodyFormat = BodyFormat.TEXT
    signature: str = ""
    """Plain text, put beneath `text` behind "-- "."""
    quoted: Quoted | None = None
    images: Sequence[InlineImage] = ()
    """Each must be shown by `text`."""
    thread_index: str = ""
    """Of this message, as `thread_index.reply_thread_index` makes it; "" for none."""
    text_bytes_max: int = 512 * 1024


def reply_subject(subject: str) -> str:
    """Return the subject of a reply: "Re: " once, whatever language the last client spoke.

    >>> reply_subject("Invoice"), reply_subject("RE: Invoice"), reply_subject("AW: Invoice")
    ('Re: Invoice', 'RE: Invoice', 'AW: Invoice')
    """
    return subject if _REPLY_PREFIX.match(subject) else f"Re: {subject}".rstrip()


def limit_references(references: Sequence[str], count_max: int = REFERENCES_MAX) -> list[str]:
    """Return at most `count_max` ids: the root and the newest. Without the root, clients lose the conversation.

    >>> limit_references(["<a@x>", "<b@x>", "<c@x>"], 2)
    ['<a@x>', '<c@x>']
    """
    ids = list(dict.fromkeys(references))
    return ids if len(ids) <= count_max else [ids[0], *ids[len(ids) - count_max + 1 :]]


def thread_topic(subject: str) -> str:
    """Return what Outlook compares with Thread-Topic: the subject without its prefixes.

    >>> thread_topic("AW: Re: Invoice")
    'Invoice'
    """
    while (prefix := _REPLY_PREFIX.match(subject)) is not None:
        subject = subject[prefix.end() :]
    return subject.strip()


def compose_reply(request: ReplyRequest) -> bytes:
    """Return the message, all lines ended by CRLF and none longer than 998 bytes.

    Raises ComposeError, which names the field that cannot be written.
    """
    if not request.to and not request.cc:
        raise ComposeError("To", "is empty")
    head = _header(request)
    body = _body(request)
    entity = _entity(request, body)
    message = head.encode("utf-8") + entity.text.encode("ascii")
    expected = Expected(
        from_=(request.from_,),
        to=request.to,
        cc=request.cc,
        reply_to=request.reply_to,
        subject=_subject(request),
        message_id=request.message_id,
        in_reply_to=(request.in_reply_to,) if request.in_reply_to else (),
        references=limit_references(request.references),
        own_token=request.own_token,
        thread_index=request.thread_index,
        leaves=entity.leaves,
    )
    verify(message, expected)
    return message


def _header(request: ReplyRequest) -> str:
    if request.date.tzinfo is None:
        raise ComposeError("Date", "has no zone")
    subject = _subject(request)
    out = [fold("Message-ID", id_words("Message-ID", [request.message_id]))]
    out.append(fold("Date", [format_datetime(request.date)]))
    out.append(fold("From", address_words("From", [request.from_])))
    for name, addresses in (("To", request.to), ("Cc", request.cc), ("Reply-To", request.reply_to)):
        if addresses:
            out.append(fold(name, address_words(name, addresses)))
    out.append(unstructured("Subject", subject))
    if request.in_reply_to is not None:
        out.append(fold("In-Reply-To", id_words("In-Reply-To", [request.in_reply_to])))
    if request.references:
        out.append(fold("References", id_words("References", limit_references(request.references))))
    if request.thread_index:
        out.append(unstructured("Thread-Index", request.thread_index))
        if topic := thread_topic(subject):
            out.append(unstructured("Thread-Topic", topic))
    if request.automatic:
        out.append("Auto-Submitted: auto-replied\r\n")
    if not re.fullmatch(r"[a-z2-7]{52}", request.own_token):
        raise ComposeError(OWN_HEADER, "is no token")
    out.append(f"{OWN_HEADER}: {request.own_token}\r\n")
    out.append("MIME-Version: 1.0\r\n")
    return "".join(out)


def _subject(request: ReplyRequest) -> str:
    subject = plain_line("Subject", request.subject)
    return (reply_subject(subject) if request.add_prefix else subject)[:_SUBJECT_CHARS_MAX].rstrip()


def _body(request: ReplyRequest) -> Body:
    words = Words(
        format=request.format,
        source=request.text,
        signature=request.signature,
        quoted=request.quoted,
        images=request.images,
        bytes_max=request.text_bytes_max,
    )
    return write_body(words, f"{request.own_token[-20:]}@{domain_of(request.from_.addr)}")


def _entity(request: ReplyRequest, body: Body) -> Entity:
    """Return the body with its header: see the structure above. No boundary begins as another does."""
    entity = text_entity("plain", body.text)
    if body.html:
        entity = multipart("alternative", f"a.{request.boundary}", [entity, text_entity("html", body.html)])
    if body.images:
        images = [image_entity(one.cid, one.name, one.content_type.lower(), one.content) for one in body.images]
        entity = multipart("related", f"r.{request.boundary}", [entity, *images])
    if request.attachments:
        files = [attachment_entity(one.name, one.content_type, one.content) for one in request.attachments]
        entity = multipart("mixed", f"m.{request.boundary}", [entity, *files])
    return entity
