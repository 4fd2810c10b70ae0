"""Exports: what an account has, as streams. `ingestd export` writes the same to files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from ingestd.api.downloads import describe_download
from ingestd.api.here import Reading
from ingestd.api.problems import SECURITY_HEADERS
from ingestd.api.shapes import NUMBER_MAX
from ingestd.listing import TicketPage
from ingestd.privacy.export import Walk
from ingestd.privacy.export_lines import encode, message_line, ticket_line
from storage.errors import KeyDestroyed, NotFound

router = APIRouter(tags=["exports"])

LINES: Final = "application/x-ndjson"
MAILS: Final = "application/mbox"
TICKETS_MAX: Final = 1000

AfterNumber = Annotated[
    int, Query(ge=0, le=NUMBER_MAX, description="Only tickets with a higher number: the last that was had.")
]
Tickets = Annotated[int, Query(ge=1, le=TICKETS_MAX, description="Of at most so many tickets.")]


@router.get(
    "/accounts/{account_id}/export",
    summary="Export tickets and messages",
    response_class=Response,
    responses=describe_download(LINES, what="One JSON object a line, as docs/export.md describes them."),
)
async def lines(here: Reading, after: AfterNumber = 0, limit: Tickets = 100) -> Response:
    """Each ticket, of every status, by number, as a line of `"type": "ticket"`, and behind it each of its messages as
    one of `"type": "message"`. The last line is `"type": "end"`: `after` of the next request, null where there is no
    more. An answer without it was cut short: ask for it again."""
    walk = Walk(here.backend.desk, here.account_id)
    return _stream(_lines(walk, await walk.tickets(after, limit)), LINES)


@router.get(
    "/accounts/{account_id}/export/mail",
    summary="Export mails",
    response_class=Response,
    responses=describe_download(MAILS, what="Mails one behind the other, as mbox (mboxrd)."),
)
async def mail(here: Reading, after: AfterNumber = 0, limit: Tickets = 100) -> Response:
    """All mails of these tickets, of every status, with their attachments, in the order of the export's lines.

    An answer that is cut short has come to a mail whose bytes the store has lost: `ingestd verify` names it, and
    `ingestd export` goes on behind it."""
    walk = Walk(here.backend.desk, here.account_id)
    return _stream(_mails(walk, await walk.tickets(after, limit)), MAILS)


async def _lines(walk: Walk, page: TicketPage) -> AsyncIterator[bytes]:
    addresses = await walk.mailbox_addresses()
    for one in page.items:
        number = one.ticket.number
        try:
            yield encode({"type": "ticket", **ticket_line(one, addresses.get(one.ticket.mailbox_id, ""))})
            async for message in walk.messages(number):
                yield encode({"type": "message", **message_line(number, message)})
        except (NotFound, KeyDestroyed):  # its mailbox is being forgotten since it was found
            continue
    yield encode({"type": "end", "after": page.next.number if page.next is not None else None})


async def _mails(walk: Walk, page: TicketPage) -> AsyncIterator[bytes]:
    for one in page.items:
        try:
            async for message in walk.messages(one.ticket.number):
                async for portion in walk.mail(message):
                    yield portion
        except (NotFound, KeyDestroyed):
            continue


def _stream(content: AsyncIterator[bytes], content_type: str) -> Response:
    headers: dict[str, Any] = {**SECURITY_HEADERS, "Content-Type": content_type, "X-Accel-Buffering": "no"}
    return StreamingResponse(content, headers=headers)
