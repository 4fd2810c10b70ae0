"""The yardstick of the transform: the standard library's parser in the place of ours, and nothing else changed."""

from __future__ import annotations

import email
import email.policy
import hashlib
from email.headerregistry import AddressHeader, DateHeader
from email.message import EmailMessage

import msgspec

from ingestd.mail.auth import parse_auth
from ingestd.mail.blobs import compress_chunks
from ingestd.mail.bounces import read_bounce
from ingestd.mail.classify import classify
from ingestd.mail.content import Piece, join_html, join_text
from ingestd.mail.forwarded import forwarded_from
from ingestd.mail.headers import message_ids
from ingestd.mail.html_safe import SafeHtml, sanitize
from ingestd.mail.limits import DEFAULT_LIMITS
from ingestd.mail.mime import Part
from ingestd.mail.new_text import read_new_text
from ingestd.mail.parse import parse
from ingestd.mail.stubs import is_stub
from ingestd.mail.transform import Transformed
from ingestd.mail.types import Address, ParsedMail

_EMPTY = parse(b"")


def transform_by_stdlib(raw: bytes) -> Transformed:
    """Return what `transform` does, with headers, parts and texts as `email.policy.default` reads them."""
    return Transformed(_parse(raw), compress_chunks(raw), hashlib.sha256(raw).digest(), len(raw))


def _parse(raw: bytes) -> ParsedMail:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    parts = [_part(part) for part in message.walk()]
    plain, html = "", ""
    for part in message.walk():
        if part.is_multipart():
            continue
        assert isinstance(part, EmailMessage)
        content = part.get_content()
        if isinstance(content, bytes):
            part.get_filename()
            hashlib.sha256(content).hexdigest()
        elif part.get_content_subtype() == "html" and not html:
            html = content
        elif not plain:
            plain = content
    safe = sanitize(html) if html else SafeHtml("", (), 0, 0)
    pieces = [Piece(plain, safe.html)]
    if plain and safe.html and is_stub(plain, safe.html):
        pieces = [Piece("", safe.html)]
    text = join_text(pieces)
    subject = str(message["Subject"] or "")
    answered, references = (message_ids(str(message[name] or "")) for name in ("In-Reply-To", "References"))
    senders = _addresses(message, "From")
    author = senders[0].name if senders else ""
    notice = read_bounce(raw, parts[0], parts, text)
    kind, evidence = classify(parts[0], parts, notice, text)
    new = read_new_text(pieces, text, safe.html, subject, answers=bool(answered or references), sender=author)
    date = message["Date"]
    results = (parse_auth(str(value)) for value in message.get_all("Authentication-Results", []))
    return msgspec.structs.replace(
        _EMPTY,
        subject=subject,
        from_=senders,
        **{name.replace("-", "_"): _addresses(message, name) for name in ("reply-to", "to", "cc")},
        message_id=str(message["Message-ID"] or ""),
        in_reply_to=answered,
        references=references,
        date=date.datetime if isinstance(date, DateHeader) else None,
        text=text,
        new_text=new.text,
        html=join_html(pieces),
        kind=kind,
        evidence=evidence,
        auth_results=tuple(one for one in results if one is not None),
        body_sha256=hashlib.sha256(raw.partition(b"\r\n\r\n")[2]).digest(),
        forwarded_from=forwarded_from(raw, parts, subject, text, DEFAULT_LIMITS),
        remote_images=safe.remote_images,
        mismatched_links=safe.mismatched_links,
    )


def _part(part: EmailMessage) -> Part:
    """Give the judges of kinds and bounces a part as they know it."""
    fields = [(name.lower(), str(value).encode("utf-8", "replace")) for name, value in part.items()]
    disposition = part.get_content_disposition() or ""
    return Part(
        fields, part.get_content_type(), {}, disposition, {}, str(part["Content-Transfer-Encoding"] or ""), 0, 0
    )


def _addresses(message: EmailMessage, name: str) -> tuple[Address, ...]:
    header = message[name]
    if not isinstance(header, AddressHeader):
        return ()
    return tuple(Address(addr=one.addr_spec, name=one.display_name) for one in header.addresses)
