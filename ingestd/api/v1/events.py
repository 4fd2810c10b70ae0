"""Events: what happened in an account, read by cursor, by long-poll, or as a stream."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response
from pydantic import Field

from ingestd.api.here import Reading
from ingestd.api.line import Line, line_of
from ingestd.api.problems import SECURITY_HEADERS
from ingestd.api.shapes import NUMBER_MAX, Shown
from ingestd.api.streams import MEDIA_TYPE, EventStream
from ingestd.api.v1.event_shapes import EventShown, TypeName
from ingestd.events import polling
from ingestd.events.feed import Page

router = APIRouter(tags=["events"])

_LIMIT_MAX = 1000
_WAIT_MAX = 300.0

_FRAME: Final = {
    "type": "object",
    "description": "One event of the stream.",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "Its sequence.", "examples": ["4711"]},
        "event": {"type": "string", "description": "Its type.", "examples": ["message.received"]},
        "data": {"type": "string", "description": "The event itself, in JSON: as GET …/events has it."},
    },
}

OnLine = Annotated[Line, Depends(line_of)]
Cursor = Annotated[
    int | None,
    Query(
        ge=0, le=NUMBER_MAX, examples=[4711], description="Only events behind this sequence. None: from the oldest on."
    ),
]
LastEventId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=NUMBER_MAX, description="The last `id` that came; it goes before `after`."),
]
EventLimit = Annotated[int, Query(ge=1, le=_LIMIT_MAX, description="At most so many.")]
Wait = Annotated[
    float,
    Query(
        ge=0,
        le=_WAIT_MAX,
        examples=[25],
        description="Where there is nothing yet, wait so long for it; never longer than `events.wait_seconds_max`.",
    ),
]
Types = Annotated[
    list[TypeName],
    Query(max_length=100, examples=[["message.received", "ticket.created"]], description="Only these; none: all."),
]


class EventPage(Shown):
    items: list[EventShown] = Field(description="Oldest first.")
    next: int = Field(ge=0, le=NUMBER_MAX, description="`after` of the next request, also where nothing came.")
    oldest: int = Field(ge=0, le=NUMBER_MAX, description="The least `after` there is: what lies before was deleted.")
    latest: int = Field(ge=0, le=NUMBER_MAX, description="The end of the log: `after` of who wants only what comes.")


@router.get(
    "/accounts/{account_id}/events",
    summary="Read events behind a cursor, and wait for them",
    response_model=EventPage,
    responses={410: {"$ref": "#/components/responses/410"}},
)
async def list_(
    here: Reading,
    request: Request,
    line: OnLine,
    after: Cursor = None,
    limit: EventLimit = 100,
    wait: Wait = 0,
    types: Types = [],  # noqa: B006  (FastAPI's way of a list's default; it is not changed)
) -> Response:
    """Each event once, in the order of `sequence`, if every request goes on with `next` of the one before."""
    feed, api = here.backend.feed, here.backend.settings().api
    page = await polling.look(feed, here.account_id, after, limit, types)
    seconds = min(wait, feed.settings().wait_seconds_max, api.request_seconds_max / 2)
    if seconds > 0 and not page.events:
        with feed.follow(here.account_id, page) as reader, line.stay():
            waiting = polling.wait(reader, page, limit, types, seconds)
            page = await line.while_wanted(request.receive, waiting) or page
    return _answer(page)


@router.get(
    "/accounts/{account_id}/events/stream",
    summary="Read events as they happen",
    status_code=200,
    response_class=EventStream,
    responses={
        200: {"content": {MEDIA_TYPE: {"schema": _FRAME}}, "description": "Server-Sent Events."},
        410: {"$ref": "#/components/responses/410"},
    },
)
async def stream(
    here: Reading,
    line: OnLine,
    after: Cursor = None,
    last_event_id: LastEventId = None,
    types: Types = [],  # noqa: B006  (as above)
) -> Response:
    """Server-Sent Events: `id` is the sequence, `event` the type, `data` the event in JSON. It stays open; after a
    loss, or when the server restarts, begin again with the last `id` as `Last-Event-ID`."""
    feed, access, caller = here.backend.feed, here.backend.access, here.caller
    cursor = after if last_event_id is None else last_event_id
    page = await feed.read(here.account_id, cursor, feed.settings().page_events_max)
    return EventStream(feed, here.account_id, page, types, line, lambda: access.still_opens(caller))


def _answer(page: Page) -> Response:
    items = b",".join(told.json for told in page.events)
    ends = b'"next":%d,"oldest":%d,"latest":%d' % (page.cursor, page.oldest, page.latest)
    return Response(b'{"items":[%s],%s}' % (items, ends), media_type="application/json", headers=dict(SECURITY_HEADERS))
