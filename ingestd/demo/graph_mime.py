"""Messages as Microsoft Graph shows them: from MIME to the message resource, and from a draft in JSON to MIME.

Names are those of the published schema (graph/api/resources/message).
"""

from __future__ import annotations

import base64
import email.policy
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser, BytesParser
from email.utils import formatdate, getaddresses, parsedate_to_datetime
from typing import Any

HEADER_PROPERTY = "String {00020386-0000-0000-C000-000000000046} Name "
"""What an `X-` header becomes: a named property of PS_INTERNET_HEADERS, its name in lower case (MS-OXCMAIL)."""
_BY_PROPERTY = {"String 0x1042": "In-Reply-To", "String 0x1039": "References", "String 0x1035": "Message-ID"}
"""Properties that are headers when the message leaves (PidTagInReplyToId, PidTagInternetReferences)."""
_ROW = re.compile(rb"^([!-9;-~]+):[ \t]*((?:[^\n]*\n[ \t])*[^\n]*)\n", re.MULTILINE)


def split(content: bytes) -> tuple[bytes, bytes]:
    """Return the header block, with its last line's end but without the empty line, and the body."""
    found = re.search(rb"\r?\n\r?\n", content)
    if found is None:
        return content, b""
    return content[: found.start()] + b"\r\n", content[found.end() :]


def headers_of(content: bytes) -> list[tuple[str, str]]:
    """Return all header fields, unfolded, in their order."""
    block, _ = split(content)
    rows = _ROW.findall(block)
    return [
        (name.decode("ascii"), re.sub(r"\r?\n([ \t])", r"\1", value.decode("utf-8", "replace")).strip())
        for name, value in rows
    ]


def first(headers: Iterable[tuple[str, str]], name: str) -> str:
    return next((value for one, value in headers if one.lower() == name.lower()), "")


def decoded(value: str) -> str:
    try:
        return str(make_header(decode_header(value)))
    except (ValueError, LookupError):
        return value


def recipients(values: Sequence[str]) -> list[dict[str, Any]]:
    """Return `recipient` resources."""
    return [
        {"emailAddress": {"name": decoded(name) or addr, "address": addr}}
        for name, addr in getaddresses(values)
        if addr
    ]


def addresses(headers: Sequence[tuple[str, str]], *names: str) -> list[str]:
    wanted = {name.lower() for name in names}
    return [addr for _, addr in getaddresses([value for name, value in headers if name.lower() in wanted]) if addr]


def sent_at(headers: Sequence[tuple[str, str]]) -> datetime | None:
    try:
        found = parsedate_to_datetime(first(headers, "Date"))
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def body_of(content: bytes) -> dict[str, str]:
    """Return an `itemBody`."""
    message = BytesParser(policy=email.policy.default).parsebytes(content)
    part = message.get_body(("html", "plain"))
    try:
        text = part.get_content() if part is not None else ""
    except (LookupError, ValueError, KeyError):
        text = ""
    is_html = part is not None and part.get_content_subtype() == "html"
    return {"contentType": "html" if is_html else "text", "content": text}


def has_attachments(content: bytes) -> bool:
    message = BytesParser(policy=email.policy.compat32).parsebytes(content)
    return any(part.get_content_disposition() == "attachment" for part in message.walk())


def without_bcc(content: bytes) -> bytes:
    """Return a message as its recipients get it."""
    block, body = split(content)
    kept = re.sub(rb"(?im)^bcc:[^\n]*\n(?:[ \t][^\n]*\n)*", b"", block)
    return kept + b"\r\n" + body


def with_header(content: bytes, name: str, value: str) -> bytes:
    """Return the message with one field replaced, or added where it is not there."""
    block, body = split(content)
    kept = re.sub(rb"(?im)^" + re.escape(name.encode()) + rb":[^\n]*\n(?:[ \t][^\n]*\n)*", b"", block)
    return kept + f"{name}: {value}\r\n".encode() + b"\r\n" + body


def header_properties(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {HEADER_PROPERTY + name.lower(): value for name, value in headers if name.lower().startswith("x-")}


def mime_of(draft: Mapping[str, Any], sender: str, message_id: str) -> bytes:
    """Write a draft given as JSON. Raises ValueError for a header that is not `x-`, which Graph takes none of."""
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"] = sender
    for name, field in (("To", "toRecipients"), ("Cc", "ccRecipients"), ("Bcc", "bccRecipients")):
        if found := [one["emailAddress"]["address"] for one in draft.get(field) or ()]:
            message[name] = ", ".join(found)
    message["Subject"] = draft.get("subject") or ""
    message["Date"] = formatdate()
    properties = {one["id"]: one["value"] for one in draft.get("singleValueExtendedProperties") or ()}
    message["Message-ID"] = draft.get("internetMessageId") or properties.get("String 0x1035") or message_id
    for tag, name in _BY_PROPERTY.items():
        if tag in properties and name not in message:
            message[name] = properties[tag]
    for header in draft.get("internetMessageHeaders") or ():
        if not header["name"].lower().startswith("x-"):
            raise ValueError(header["name"])
        message[header["name"]] = header["value"]
    body = draft.get("body") or {}
    subtype = "html" if str(body.get("contentType", "text")).lower() == "html" else "plain"
    message.set_content(body.get("content") or "", subtype=subtype)
    content = message.as_bytes()
    for attachment in draft.get("attachments") or ():
        content = with_attachment(content, attachment, base64.b64decode(attachment.get("contentBytes") or ""))
    return content


def with_attachment(content: bytes, attachment: Mapping[str, Any], data: bytes) -> bytes:
    """Return the message with one more attachment; `attachment` is a `fileAttachment` or an `attachmentItem`."""
    message = BytesParser(policy=email.policy.SMTP).parsebytes(content)
    assert isinstance(message, EmailMessage)
    main, _, sub = str(attachment.get("contentType") or "application/octet-stream").partition("/")
    message.add_attachment(
        data,
        maintype=main if main != "message" else "application",
        subtype=sub or "octet-stream",
        filename=attachment.get("name") or "attachment",
        disposition="inline" if attachment.get("isInline") else "attachment",
        cid=f"<{attachment['contentId']}>" if attachment.get("contentId") else None,
    )
    return message.as_bytes()


def header_block(content: bytes) -> Message:
    return BytesHeaderParser(policy=email.policy.compat32).parsebytes(content)
