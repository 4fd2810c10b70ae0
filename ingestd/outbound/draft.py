"""What is asked for with a reply, and by what a repeated request is recognised. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ingestd.mail.body import BodyFormat, InlineImage
from ingestd.mail.compose import AttachmentContent
from ingestd.mail.types import Address
from ingestd.uploads import UploadedFile, UploadedImage
from storage.sealing import DataKey


@dataclass(frozen=True, slots=True)
class ReplyDraft:
    """What the agent wants to say."""

    text: str
    """In `format`."""
    attachments: Sequence[AttachmentContent | UploadedFile] = ()
    cc: Sequence[Address] = ()
    author: str = ""
    automatic: bool = False
    """No person wrote it; it answers people only, and seldom (`ingestd.outbound.caps`)."""
    send_at: datetime | None = None
    """Not before this time (aware); None: now."""
    undo_seconds: float | None = None
    """So long it can still be cancelled before it is sent; None: as the settings say."""
    format: BodyFormat = BodyFormat.TEXT
    bcc: Sequence[Address] = ()
    images: Sequence[InlineImage | UploadedImage] = ()
    """What `text` shows, in Markdown or HTML, as `cid:NAME`."""
    quote: bool = False
    """Quote what the customer wrote last."""
    signature: bool = True
    """Put the mailbox's signature beneath it, where it has one."""


def request_key(key: DataKey, number: int, idempotency_key: str) -> bytes:
    return key.hash("idempotency", f"reply {number} {idempotency_key}".encode())


def request_hash(number: int, draft: ReplyDraft) -> bytes:
    """Return what two requests under one key are compared by. What is as it always was adds nothing: a request that
    is repeated after an update is the same one.

    A file that was uploaded counts by its upload's id: it never changes, and is gone once the first request used it.
    """
    digest = hashlib.sha256(f"{number}\0{draft.author}\0".encode() + draft.text.encode("utf-8", "replace"))
    if draft.automatic:
        digest.update(b"\0automatic")
    if draft.send_at is not None or draft.undo_seconds is not None:
        digest.update(f"\0delay {draft.send_at} {draft.undo_seconds}".encode())
    for address in draft.cc:
        digest.update(f"\0cc {address.addr} {address.name}".encode("utf-8", "replace"))
    for one in draft.attachments:
        digest.update(_told_file(one))
    if draft.format is not BodyFormat.TEXT:
        digest.update(f"\0format {draft.format.value}".encode())
    for address in draft.bcc:
        digest.update(f"\0bcc {address.addr} {address.name}".encode("utf-8", "replace"))
    for image in draft.images:
        digest.update(_told_image(image))
    if draft.quote:
        digest.update(b"\0quote")
    if not draft.signature:
        digest.update(b"\0no signature")
    return digest.digest()


def _told_file(one: AttachmentContent | UploadedFile) -> bytes:
    if isinstance(one, UploadedFile):
        return b"\0uploaded file " + one.upload_id.bytes
    told = f"\0file {one.name}\0{one.content_type}\0".encode("utf-8", "replace")
    return told + hashlib.sha256(one.content).digest()


def _told_image(one: InlineImage | UploadedImage) -> bytes:
    if isinstance(one, UploadedImage):
        return f"\0uploaded image {one.cid}\0".encode("utf-8", "replace") + one.upload_id.bytes
    told = f"\0image {one.cid}\0{one.name}\0{one.content_type}\0".encode("utf-8", "replace")
    return told + hashlib.sha256(one.content).digest()
