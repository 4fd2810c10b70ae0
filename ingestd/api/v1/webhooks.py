"""Webhooks: addresses of yours that events are delivered to, after Standard Webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field, WithJsonSchema

from ingestd.api.here import Here, Managing
from ingestd.api.shapes import NUMBER_MAX, PAGE_DEFAULT, AfterId, Limit, Shown, Taken
from ingestd.events.catalogue import EVENTS
from ingestd.events.desk import Change, NewWebhook, WebhookView
from ingestd.events.envelope import event_id
from ingestd.events.urls import URL_CHARS_MAX
from storage.deliveries import Delivery, DeliveryStatus
from storage.types import new_id
from storage.webhooks import EVERYTHING

router = APIRouter(tags=["webhooks"])

_TYPES: Final = (EVERYTHING, *EVENTS)


def _known(value: str) -> str:
    if value not in _TYPES:
        raise ValueError("must be the type of an event, or *")
    return value


EventName = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(_TYPES)})]
Types = Annotated[
    frozenset[EventName],
    Field(
        min_length=1,
        max_length=len(_TYPES),
        examples=[["message.received", "reply.bounced"]],
        description="The types of events that it is told; `*` for all, also those that are added later.",
    ),
]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=URL_CHARS_MAX,
        examples=["https://desk.example.com/hooks/mail"],
        description="Where events are posted to: https, on port 443 or one from 1024 on, at a public address. Hosts "
        "that the operator allowed (`egress.allow`) may be private, and have http.",
    ),
]
Content = Annotated[
    bool,
    Field(description="Deliver `message` and `ticket` beside the ids: subject, sender, the new text, files' names."),
]
Description = Annotated[str, Field(max_length=200, examples=["the helpdesk"])]
After = Annotated[int, Field(ge=0, le=NUMBER_MAX, description="The sequence of an event; what is behind it is told.")]
WebhookId = Annotated[UUID, Path(description="The webhook's id.")]


class NewWebhookTaken(Taken):
    url: Url
    types: Types = frozenset({EVERYTHING})
    content: Content = False
    description: Description = ""
    after: After | None = Field(default=None, description="Begin behind this event; null: at the newest one.")


class WebhookChange(Taken):
    """What is null, or left out, stays."""

    url: Url | None = None
    types: Types | None = None
    content: Content | None = None
    description: Description | None = None
    enabled: bool | None = Field(
        default=None, description="true: go on where it stopped, and try at once what waits. false: deliver nothing."
    )


class Replay(Taken):
    after: After


class LagShown(Shown):
    """What it was not told yet."""

    events: int = Field(ge=0, description="At most so many events, of any type.", examples=[0])
    seconds: float = Field(ge=0, description="Since the oldest of them.", examples=[0.0])


class WebhookShown(Shown):
    webhook_id: UUID
    url: str = Field(examples=["https://desk.example.com/hooks/mail"])
    types: list[str] = Field(examples=[["*"]])
    content: bool
    description: str = Field(examples=["the helpdesk"])
    status: str = Field(description="enabled or disabled.", examples=["enabled"])
    reason: str | None = Field(
        description="Why it is disabled. `gone`: it answered 410. `given_up`: a delivery failed at its last attempt. "
        "`failing`: it took nothing for `webhooks.disable_after_seconds`. `by_hand`: somebody did so."
    )
    withheld: Literal["location_differs"] | None = Field(
        description="Why nothing is delivered all the same: its host is not known to be in the location that the "
        "account is pinned to (`locations.webhooks` of the configuration). What happens waits in the log."
    )
    status_since: datetime
    failing_since: datetime | None = Field(description="Since when nothing was taken; null where the last one was.")
    cursor: int = Field(ge=0, description="Events up to here are in its deliveries; later ones wait in the log.")
    lag: LagShown
    previous_secret_until: datetime | None = Field(
        description="Until then each delivery has a signature by an older secret as well."
    )
    created_at: datetime


class WebhookMade(WebhookShown):
    secret: str | None = Field(
        description="What signatures are checked with, this once; who has lost it, rotates it. Null where the request "
        "was repeated.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw…"],
    )


class WebhookPage(Shown):
    items: list[WebhookShown]
    next: UUID | None = Field(description="`after` of the next page; null on the last one.")


class TestShown(Shown):
    """How the sending of one `webhook.test` went."""

    delivered: bool
    code: int | None = Field(description="The status of the answer; null where there was none.", examples=[204])
    reason: str | None = Field(
        description="Why it is no success: timeout, name_not_found, address_refused, not_connected, tls_failed, "
        "disconnected, redirect, refused, gone or location_differs.",
    )
    duration_seconds: float = Field(ge=0, examples=[0.042])


class DeliveryShown(Shown):
    sequence: int = Field(ge=1, description="Of the event.")
    webhook_event_id: str | None = Field(
        description="The `webhook-id` it comes with, each time; null where its event was deleted."
    )
    type: str | None = Field(examples=["message.received"])
    mailbox_id: UUID | None
    ticket_id: UUID | None
    status: DeliveryStatus
    attempts: int = Field(ge=0)
    code: int | None = Field(description="The status of the last answer.")
    reason: str | None = Field(description="Why the last attempt failed.", examples=[None])
    created_at: datetime
    attempted_at: datetime | None
    due_at: datetime | None = Field(description="When it is tried, or was to be; earlier ones of its ticket first.")


class DeliveryPage(Shown):
    items: list[DeliveryShown]
    next: int | None = Field(description="`after` of the next page; null on the last one.")


@router.post("/accounts/{account_id}/webhooks", status_code=201, summary="Make a webhook")
async def create(here: Managing, body: NewWebhookTaken, response: Response) -> WebhookMade:
    """Its `secret` is shown this once. Events come at least once, in order per ticket; `webhook-id` tells repeats."""
    webhook_id = new_id()
    new = NewWebhook(body.url, body.types, body.content, body.description, body.after)
    done, secret = await here.backend.webhooks.create(
        here.account_id, webhook_id, new, claim=await here.claim(webhook_id)
    )
    _replayed(response, repeated=done.repeated)
    shown = await _fields(here, UUID(done.resource) if done.repeated else webhook_id)
    return WebhookMade(**shown, secret=None if done.repeated else secret)


@router.get("/accounts/{account_id}/webhooks", summary="List the webhooks")
async def list_(here: Managing, after: AfterId = None, limit: Limit = PAGE_DEFAULT) -> WebhookPage:
    """Oldest first."""
    found = await here.backend.webhooks.list(here.account_id, after=after, limit=limit + 1)
    items = [WebhookShown(**_shape(one)) for one in found[:limit]]
    return WebhookPage(items=items, next=items[-1].webhook_id if len(found) > limit else None)


@router.get("/accounts/{account_id}/webhooks/{webhook_id}", summary="Show a webhook")
async def show(here: Managing, webhook_id: WebhookId) -> WebhookShown:
    return WebhookShown(**await _fields(here, webhook_id))


@router.patch("/accounts/{account_id}/webhooks/{webhook_id}", summary="Change a webhook")
async def change(here: Managing, webhook_id: WebhookId, body: WebhookChange, response: Response) -> WebhookShown:
    """Where it leads, what it is told, whether it is enabled."""
    wanted = Change(body.url, body.types, body.content, body.description, body.enabled)
    claim = await here.claim(webhook_id)
    _replayed(response, repeated=await here.backend.webhooks.change(here.account_id, webhook_id, wanted, claim=claim))
    return WebhookShown(**await _fields(here, webhook_id))


@router.delete("/accounts/{account_id}/webhooks/{webhook_id}", status_code=204, summary="Delete a webhook")
async def delete(here: Managing, webhook_id: WebhookId) -> None:
    """Nothing more is delivered to it, and its deliveries are deleted."""
    await here.backend.webhooks.delete(here.account_id, webhook_id, claim=await here.claim(webhook_id))


@router.post("/accounts/{account_id}/webhooks/{webhook_id}/rotate-secret", summary="Give a webhook a new secret")
async def rotate(here: Managing, webhook_id: WebhookId, response: Response) -> WebhookMade:
    """The new `secret` is shown this once. The old one signs beside it for `webhooks.secret_overlap_seconds`."""
    done, secret = await here.backend.webhooks.rotate(here.account_id, webhook_id, claim=await here.claim(webhook_id))
    _replayed(response, repeated=done.repeated)
    return WebhookMade(**await _fields(here, webhook_id), secret=None if done.repeated else secret)


@router.post("/accounts/{account_id}/webhooks/{webhook_id}/test", summary="Try a webhook")
async def test(here: Managing, webhook_id: WebhookId) -> TestShown:
    """Posts a `webhook.test`, signed as all events are, now and once, and answers how that went.

    It is in no log, and each request sends one: an Idempotency-Key changes nothing here.
    """
    answer = await here.backend.webhooks.test(here.account_id, webhook_id)
    return TestShown(
        delivered=answer.delivered,
        code=answer.code,
        reason=answer.reason,
        duration_seconds=answer.duration_seconds,
    )


@router.post("/accounts/{account_id}/webhooks/{webhook_id}/replay", summary="Tell a webhook events again")
async def replay(here: Managing, webhook_id: WebhookId, body: Replay, response: Response) -> WebhookShown:
    """Everything behind `after` is delivered again, in order and under the same ids; a disabled one is enabled."""
    claim = await here.claim(webhook_id)
    _replayed(
        response, repeated=await here.backend.webhooks.replay(here.account_id, webhook_id, body.after, claim=claim)
    )
    return WebhookShown(**await _fields(here, webhook_id))


@router.get("/accounts/{account_id}/webhooks/{webhook_id}/deliveries", summary="List the deliveries of a webhook")
async def list_deliveries(
    here: Managing,
    webhook_id: WebhookId,
    status: Annotated[DeliveryStatus | None, Query(description="Only those.")] = None,
    after: Annotated[
        int | None, Query(ge=1, le=NUMBER_MAX, description="Only those behind this one: `next` of the page before.")
    ] = None,
    limit: Limit = PAGE_DEFAULT,
) -> DeliveryPage:
    """Newest event first. Those that are done are kept for `webhooks.retention_days`."""
    found = await here.backend.webhooks.deliveries(
        here.account_id, webhook_id, status=status, before=after, limit=limit + 1
    )
    items = [_delivery(here.account_id, one) for one in found[:limit]]
    return DeliveryPage(items=items, next=items[-1].sequence if len(found) > limit else None)


async def _fields(here: Here, webhook_id: UUID) -> dict[str, Any]:
    return _shape(await here.backend.webhooks.show(here.account_id, webhook_id))


def _shape(view: WebhookView) -> dict[str, Any]:
    row, now = view.webhook, datetime.now(UTC)
    since = view.lag.since
    return {
        "webhook_id": row.webhook_id,
        "url": view.record.url,
        "types": row.types.split(),
        "content": row.content,
        "description": view.record.description,
        "status": row.status,
        "reason": row.reason,
        "withheld": "location_differs" if view.withheld else None,
        "status_since": row.status_since,
        "failing_since": row.failing_since,
        "cursor": row.cursor_sequence,
        "lag": LagShown(
            events=view.lag.events, seconds=0.0 if since is None else max(0.0, (now - since).total_seconds())
        ),
        "previous_secret_until": view.previous_secret_until(now),
        "created_at": row.created_at,
    }


def _delivery(account_id: UUID, one: Delivery) -> DeliveryShown:
    return DeliveryShown(
        sequence=one.sequence,
        webhook_event_id=None if one.at is None else event_id(account_id, one.sequence, one.at),
        type=one.type,
        mailbox_id=one.mailbox_id,
        ticket_id=one.ticket_id,
        status=one.status,
        attempts=one.attempts,
        code=one.code,
        reason=one.reason,
        created_at=one.created_at,
        attempted_at=one.attempted_at,
        due_at=one.due_at,
    )


def _replayed(response: Response, *, repeated: bool) -> None:
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
