"""A reply as exact bytes, composed once and then never again: what is stored is what is sent.

Everything that varies (date, ids, boundary) is an argument, so equal requests
give equal bytes. The bytes are parsed again before they are returned: a message
that does not say what was asked for is never sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from ingestd.mail import OWN_HEADER
from ingestd.mail.addresses import normalize
from ingestd.mail.fields import ComposeError, address_words, check, fold, id_words, parameter, unstructured
from ingestd.mail.limits import Limits
from ingestd.mail.parse import parse
from ingestd.mail.types import Address, ParsedMail

__all__ = ["AttachmentContent", "ComposeError", "ReplyRequest", "compose_reply", "needs_smtputf8", "reply_subject"]

REFERENCES_MAX = 20
_REPLY_PREFIX = re.compile(
    r"^\s*(?:re|aw|sv|antw|odp|отв|відп|ynt|回复|回覆|답장)\s*(?:\[\d+\])?\s*[:：]", re.IGNORECASE
)
_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,80}/[a-z0-9][a-z0-9!#$&^_.+-]{0,80}")
_BOUNDARY = re.compile(r"[A-Za-z0-9_=.-]{16,60}")
_CHECK_LIMITS = Limits(text_bytes_max=256 * 1024 * 1024, parts_max=10_000, addresses_max=10_000)


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
    boundary: str
    """16–60 characters of random `[A-Za-z0-9_=.-]`; used only where there are attachments."""
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


def needs_smtputf8(addresses: Sequence[str]) -> bool:
    """Tell whether a server must offer SMTPUTF8 (RFC 6531 §3.1) for these addresses.

    >>> needs_smtputf8(["jane@example.com"]), needs_smtputf8(["жанна@example.com"])
    (False, True)
    """
    return not all(one.isascii() for one in addresses)


def compose_reply(request: ReplyRequest) -> bytes:
    """Return the message, all lines ended by CRLF and none longer than 998 bytes.

    Raises ComposeError, which names the field that cannot be written.
    """
    if not request.to and not request.cc:
        raise ComposeError("To", "is empty")
    if "\0" in request.text:
        raise ComposeError("text", "holds a NUL")
    check("text", request.text.replace("\r", "").replace("\n", ""))
    head = _header(request)
    content = _body(request).encode("ascii")
    message = head.encode("utf-8") + content
    _verify(request, message)
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
    if request.automatic:
        out.append("Auto-Submitted: auto-replied\r\n")
    if not re.fullmatch(r"[a-z2-7]{52}", request.own_token):
        raise ComposeError(OWN_HEADER, "is no token")
    out.append(f"{OWN_HEADER}: {request.own_token}\r\n")
    out.append("MIME-Version: 1.0\r\n")
    return "".join(out)


def _subject(request: ReplyRequest) -> str:
    """A subject that came in by mail may hold tabs and runs of spaces; they are shown as one space anyway."""
    check("Subject", request.subject)
    subject = " ".join("".join(char if char.isprintable() else " " for char in request.subject).split())
    return (reply_subject(subject) if request.add_prefix else subject)[:900]


def _body(request: ReplyRequest) -> str:
    text = _text_part(request.text)
    if not request.attachments:
        return text
    if not _BOUNDARY.fullmatch(request.boundary):
        raise ComposeError("boundary", "has the wrong form")
    delimiter = f"--{request.boundary}"
    parts = [text, *(_attachment_part(one) for one in request.attachments)]
    if any(delimiter in part for part in parts):
        raise ComposeError("boundary", "occurs in the message")
    joined = "".join(f"{delimiter}\r\n{part}\r\n" for part in parts)
    return f'Content-Type: multipart/mixed;\r\n boundary="{request.boundary}"\r\n\r\n{joined}{delimiter}--\r\n'


def _text_part(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    data = (lines.replace("\n", "\r\n") + "\r\n").encode("utf-8")
    head = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
    # Mostly non-ASCII text is smaller in base64; the rest stays readable in quoted-printable.
    if sum(byte > 126 for byte in data) * 6 > len(data):
        return f"{head}base64\r\n\r\n{_base64(data)}"
    return f"{head}quoted-printable\r\n\r\n{_quoted_printable(data)}"


def _quoted_printable(data: bytes) -> str:
    out = []
    for line in data.split(b"\r\n")[:-1]:
        encoded = binascii.b2a_qp(line, istext=True).decode("ascii").replace("=\n", "=\r\n")
        # "From " is mangled by mbox writers, and a lone dot by bad SMTP clients (RFC 2049 §3).
        if encoded.startswith("From "):
            encoded = "=46" + encoded[1:]
        elif encoded.startswith("."):
            encoded = "=2E" + encoded[1:]
        out.append(encoded + "\r\n")
    return "".join(out)


def _base64(data: bytes) -> str:
    return base64.encodebytes(data).decode("ascii").replace("\n", "\r\n")


def _attachment_part(attachment: AttachmentContent) -> str:
    kind = attachment.content_type.lower()
    if not _CONTENT_TYPE.fullmatch(kind) or kind.startswith(("multipart/", "message/")):
        # RFC 2046 §5.2.1 forbids base64 on message/*, and a multipart would be read as structure.
        kind = "application/octet-stream"
    words = ["attachment;", *parameter("attachment name", "filename", attachment.name)]
    return (
        f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n{fold('Content-Disposition', words)}\r\n"
        f"{_base64(attachment.content)}"
    )


def _verify(request: ReplyRequest, message: bytes) -> None:
    """Parse our own output and compare. Raises ComposeError for the first field that reads back differently."""
    mail = parse(message, limits=_CHECK_LIMITS)
    wanted_subject = _subject(request)
    checks = (
        ("From", _same(mail.from_, [request.from_])),
        ("To", _same(mail.to, request.to)),
        ("Cc", _same(mail.cc, request.cc)),
        ("Reply-To", _same(mail.reply_to, request.reply_to)),
        ("Subject", mail.subject == wanted_subject),
        ("Message-ID", mail.message_id == request.message_id),
        ("In-Reply-To", mail.in_reply_to == ((request.in_reply_to,) if request.in_reply_to else ())),
        ("References", mail.references == tuple(limit_references(request.references))),
        (OWN_HEADER, mail.own_tokens == (request.own_token,)),
        ("text", _same_text(mail, request.text)),
        ("attachments", _same_attachments(mail, request.attachments)),
        ("line ends", re.search(rb"(?<!\r)\n|\r(?!\n)|[^\n]{999}", message) is None),
    )
    for field, good in checks:
        if not good:
            raise ComposeError(field, "reads back differently")


def _same(found: Sequence[Address], wanted: Sequence[Address]) -> bool:
    return [normalize(one.addr) for one in found] == [normalize(one.addr) for one in wanted]


def _same_text(mail: ParsedMail, text: str) -> bool:
    return mail.text.split() == text.removeprefix("\ufeff").split()


def _same_attachments(mail: ParsedMail, attachments: Sequence[AttachmentContent]) -> bool:
    found = [one.sha256 for one in mail.attachments]
    return found == [hashlib.sha256(one.content).hexdigest() for one in attachments]
