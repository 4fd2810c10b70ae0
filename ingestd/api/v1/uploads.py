"""Uploads: files that are sent ahead of the reply they belong to."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.requests import ClientDisconnect

from ingestd.api.here import Replying
from ingestd.api.problems import Problem
from ingestd.api.shapes import Number, Shown
from ingestd.api.v1.reply_shapes import CONTENT_TYPE, NAME_CHARS_MAX, UNKNOWN_TYPE
from ingestd.records import UploadRecord
from ingestd.uploads import store_upload
from storage.requests import Claim

router = APIRouter(prefix="/accounts/{account_id}", tags=["replies"])

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of the file, of any content type.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class UploadShown(Shown):
    upload_id: UUID = Field(description="What the attachments and images of a reply name it by.")
    name: str = Field(examples=["list.csv"])
    content_type: str = Field(examples=["text/csv"])
    size_bytes: int
    sha256: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    expires_at: datetime = Field(description="It is forgotten then, if no reply took it before.")


@router.post("/tickets/{number}/uploads", status_code=201, summary="Upload a file", openapi_extra=_BODY)
async def create(
    here: Replying,
    number: Number,
    response: Response,
    name: Annotated[
        str, Query(min_length=1, max_length=NAME_CHARS_MAX, examples=["list.csv"], description="The file's name.")
    ],
    type_: Annotated[
        str, Query(alias="type", pattern=CONTENT_TYPE, examples=["text/csv"], description="The file's media type.")
    ] = UNKNOWN_TYPE,
) -> UploadShown:
    """For a reply to this ticket, or to another of its mailbox; it is used once. The body is the file itself."""
    backend, settings = here.backend, here.backend.settings()
    mailbox_id = await backend.desk.mailbox_of_ticket(here.account_id, number)
    content = await _read(here.request, settings.outbound.reply_bytes_max)

    async def request(upload_id: UUID) -> Claim | None:
        return await here.claim(upload_id, mailbox_id=mailbox_id, body=hashlib.sha256(content).digest())

    record = UploadRecord(name, type_, content)
    stored = await store_upload(backend.desk, settings, here.account_id, mailbox_id, record, request=request)
    here.note_repeated(response, stored.repeated)
    return UploadShown(
        upload_id=stored.upload_id,
        name=stored.name,
        content_type=stored.content_type,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        expires_at=stored.expires_at,
    )


async def _read(request: Request, bytes_max: int) -> bytes:
    """Return the body, as it comes in.

    One that is too large is read to its end, within `api.request_bytes_max`, and not kept: a client whose connection
    is cut while it sends does not read why.
    """
    got, size = bytearray(), 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size <= bytes_max:
                got += piece
            else:
                got.clear()
    except ClientDisconnect:
        raise Problem("bad_request", "the body did not come in whole") from None
    if size > bytes_max:
        raise Problem("body_too_large", f"a file may have {bytes_max} bytes at most (outbound.reply_bytes_max)")
    return bytes(got)
