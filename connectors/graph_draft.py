"""What is handed to Graph for a message that was composed already: MIME that fits, and attachments that do not. Pure.

A draft is made from MIME, as JSON takes no In-Reply-To (graph/api/resources/internetmessageheader: `x-` alone). MIME
travels in base64 in one call of 4 MB; of a larger message the attachments are cut out and put to the draft one by one.
"""

from __future__ import annotations

import email.policy
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.utils import getaddresses
from typing import Any, Final

from connectors.imap_fetch import header_of

MIME_BYTES_MAX: Final = 3_000_000
"""In base64 that is 4,000,000 bytes, just below what one call takes."""
UPLOAD_BYTES_MIN: Final = 3 * 1024 * 1024
"""Attachments from here on need an upload session; smaller ones must not have one."""
UPLOAD_BYTES_MAX: Final = 150 * 1024 * 1024
CHUNK_BYTES: Final = 12 * 320 * 1024
"""A piece of an upload: a multiple of 320 KiB below 4 MB (graph/outlook-large-attachments)."""


@dataclass(frozen=True, slots=True)
class Attachment:
    name: str
    content_type: str
    data: bytes = field(repr=False)
    content_id: str | None = None
    inline: bool = False


def split(content: bytes, bytes_max: int = MIME_BYTES_MAX) -> tuple[bytes, Sequence[Attachment]] | None:
    """Return the MIME of a draft and the attachments that are put to it afterwards, in their order; None where the
    message does not fit in that way either.

    The header block and what stays are the same bytes as before.
    """
    if len(content) <= bytes_max:
        return content, ()
    header = header_of(content)
    top = BytesParser(policy=email.policy.compat32).parsebytes(header, headersonly=True)
    boundary = top.get_boundary()
    if top.get_content_type() != "multipart/mixed" or boundary is None:
        return None
    mark = re.escape(boundary.encode("utf-8", "surrogateescape"))
    pieces = re.split(rb"(?:\A|\r?\n)--" + mark + rb"(?=[ \t]*\r?\n|--)", content[len(header) :])
    preamble, parts, end = pieces[0], pieces[1:-1], pieces[-1]
    if not end.startswith(b"--"):
        return None
    kept, attachments = [], []
    for part in parts:
        parsed = BytesParser(policy=email.policy.compat32).parsebytes(re.sub(rb"\A[ \t]*\r?\n", b"", part))
        if parsed.get_content_disposition() == "attachment":
            attachments.append(_attachment(parsed))
        else:
            kept.append(part)
    start = b"--" + boundary.encode("utf-8", "surrogateescape")
    body = preamble + b"".join((b"\r\n" if at or preamble else b"") + start + part for at, part in enumerate(kept))
    draft = header + body + b"\r\n" + start + end
    fits = len(draft) <= bytes_max and all(len(one.data) <= UPLOAD_BYTES_MAX for one in attachments)
    return (draft, attachments) if kept and fits else None


def _attachment(part: Message) -> Attachment:
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        # message/rfc822 and multiparts: as they are written.
        data = b"".join(one.as_bytes() for one in part.get_payload() if isinstance(one, Message))
    content_id = str(part.get("Content-ID") or "").strip().strip("<>")
    return Attachment(_name_of(part), part.get_content_type(), data, content_id or None)


def _name_of(part: Message) -> str:
    """Return the file name, decoded (RFC 2231, and encoded words as many write them)."""
    from_bytes = BytesParser(policy=email.policy.default)
    block = "".join(f"{name}: {value}\r\n" for name, value in part.items() if name.lower().startswith("content-"))
    found = from_bytes.parsebytes(block.encode("utf-8", "surrogateescape") + b"\r\n", headersonly=True).get_filename()
    return found or "attachment"


def with_blind_copies(content: bytes, recipients: Sequence[str]) -> bytes:
    r"""Return the message with a Bcc for those that its header does not name: Graph takes recipients from there.

    Exchange takes the field out before the message leaves.

    >>> with_blind_copies(b"To: a@example.com\r\n\r\nHi", ["a@example.com", "b@example.com"])
    b'Bcc: b@example.com\r\nTo: a@example.com\r\n\r\nHi'
    """
    header = BytesParser(policy=email.policy.compat32).parsebytes(header_of(content), headersonly=True)
    fields = [str(value) for name in ("To", "Cc", "Bcc") for value in header.get_all(name, [])]
    named = {address.lower() for _, address in getaddresses(fields)}
    blind = [one for one in dict.fromkeys(recipients) if one.lower() not in named]
    if not blind:
        return content
    return b"Bcc: " + ",\r\n ".join(blind).encode() + b"\r\n" + content


def recipients_of(draft: Any) -> Collection[str]:
    """Return the addresses of a `message` resource, in lower case."""
    found: set[str] = set()
    for name in ("toRecipients", "ccRecipients", "bccRecipients"):
        rows = draft.get(name)
        for row in rows if isinstance(rows, list) else ():
            address = row.get("emailAddress", {}).get("address") if isinstance(row, dict) else None
            if isinstance(address, str):
                found.add(address.lower())
    return found


def message_id_of(content: bytes) -> str:
    """Return the Message-ID with its brackets, "" where there is none."""
    header = BytesParser(policy=email.policy.compat32).parsebytes(header_of(content), headersonly=True)
    return str(header.get("Message-ID") or "").strip()
