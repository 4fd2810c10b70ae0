"""Files that are uploaded before the reply they belong to: sealed under the mailbox's key, used once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from config import Settings
from ingestd.desk import Desk
from ingestd.mail.body import InlineImage
from ingestd.mail.compose import AttachmentContent
from ingestd.mail.fields import plain_line
from ingestd.outbound.refused import ReplyRefused
from ingestd.records import UploadRecord
from storage import uploads
from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.requests import Claim, once
from storage.sealing import DataKey
from storage.types import new_id
from storage.uploads import Upload


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file to attach, by its upload."""

    upload_id: UUID


@dataclass(frozen=True, slots=True)
class UploadedImage:
    """An image that the text shows as `cid:NAME`, by its upload."""

    cid: str
    upload_id: UUID


@dataclass(frozen=True, slots=True)
class Files:
    """What goes along with a reply, read."""

    attachments: Sequence[AttachmentContent] = ()
    images: Sequence[InlineImage] = ()
    uploads: frozenset[UUID] = frozenset()
    """Those that are used up with it."""

    def size_bytes(self) -> int:
        return sum(len(one.content) for one in self.attachments) + sum(len(one.content) for one in self.images)


@dataclass(frozen=True, slots=True)
class StoredUpload:
    upload_id: UUID
    name: str
    content_type: str
    size_bytes: int
    sha256: str
    """In hex."""
    expires_at: datetime
    repeated: bool = False


async def store_upload(
    desk: Desk,
    settings: Settings,
    account_id: UUID,
    mailbox_id: UUID,
    record: UploadRecord,
    *,
    request: Callable[[UUID], Awaitable[Claim | None]],
) -> StoredUpload:
    """Keep a file for a reply of the mailbox; `request` returns the claim of the request, for the upload's id.

    Raises NotFound, LimitReached, KeyReused, ComposeError for a name that cannot be, Conflict where the file of a
    repeated request is gone.
    """
    plain_line("the name", record.name)  # a name that no reply could be sent with is refused now
    key = await desk.keys.mailbox(account_id, mailbox_id)
    upload_id, api = new_id(), settings.api
    # In a thread, as is all that handles whole files: 25 MB take a while.
    sealed = await asyncio.to_thread(key.seal_record, UploadRecord.place(upload_id), record)
    done = await desk.content.transaction(
        account_id,
        once,
        await request(upload_id),
        uploads.insert_upload,
        upload_id,
        mailbox_id=mailbox_id,
        size_bytes=len(record.content),
        lifetime=timedelta(hours=api.upload_hours),
        sealed=sealed,
        uploads_max=api.uploads_max,
        bytes_max=api.uploads_bytes_max,
    )
    try:
        found = await desk.content.read(
            account_id, uploads.get_upload, UUID(done.resource) if done.repeated else upload_id
        )
    except NotFound:
        if not done.repeated:
            raise
        raise Conflict("the file of this request was used, or was too old: upload it again with another key") from None
    return await asyncio.to_thread(_stored, key, found, done.repeated)


async def load_files(
    content: Database,
    key: DataKey,
    attachments: Sequence[AttachmentContent | UploadedFile],
    images: Sequence[InlineImage | UploadedImage],
    *,
    bytes_max: int,
) -> Files:
    """Read the files of a reply of the key's mailbox. Raises ReplyRefused where one is not there, or all are larger
    than `bytes_max` together: then none is read."""
    wanted = frozenset(
        one.upload_id for one in (*attachments, *images) if isinstance(one, UploadedFile | UploadedImage)
    )
    records: dict[UUID, UploadRecord] = {}
    if wanted:
        assert key.mailbox_id is not None
        sizes = await content.read(key.account_id, uploads.sizes_of, key.mailbox_id, wanted)
        if len(sizes) < len(wanted):
            raise upload_gone()
        if sum(sizes.values()) > bytes_max:
            raise ReplyRefused(f"the files have {sum(sizes.values())} bytes, the limit of a reply is {bytes_max}")
        records = {one: await _load(content, key, one) for one in wanted}
    return Files(
        attachments=[
            _attachment(records[one.upload_id]) if isinstance(one, UploadedFile) else one for one in attachments
        ],
        images=[_image(one.cid, records[one.upload_id]) if isinstance(one, UploadedImage) else one for one in images],
        uploads=wanted,
    )


def upload_gone() -> ReplyRefused:
    text = "a file that was uploaded is not there: it was used, was too old, or is another mailbox's"
    return ReplyRefused(text, code="upload_gone")


async def _load(content: Database, key: DataKey, upload_id: UUID) -> UploadRecord:
    try:
        found = await content.read(key.account_id, uploads.get_upload, upload_id)
    except NotFound:
        raise upload_gone() from None
    return await asyncio.to_thread(key.open_record, UploadRecord.place(upload_id), found.sealed, UploadRecord)


def _stored(key: DataKey, found: Upload, repeated: bool) -> StoredUpload:
    record = key.open_record(UploadRecord.place(found.upload_id), found.sealed, UploadRecord)
    return StoredUpload(
        upload_id=found.upload_id,
        name=record.name,
        content_type=record.content_type,
        size_bytes=found.size_bytes,
        sha256=hashlib.sha256(record.content).hexdigest(),
        expires_at=found.expires_at,
        repeated=repeated,
    )


def _attachment(record: UploadRecord) -> AttachmentContent:
    return AttachmentContent(record.name, record.content_type, record.content)


def _image(cid: str, record: UploadRecord) -> InlineImage:
    return InlineImage(cid, record.name, record.content_type, record.content)
