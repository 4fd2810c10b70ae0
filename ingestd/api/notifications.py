"""The route that Microsoft Graph posts its change notifications to: open to everybody, and cheap.

Each mailbox has an address of its own, which names it by its id. Who posts is known by a secret in the body; whatever
came of it, the answer is 202, so that who forges learns nothing (connectors.graph_subscriptions).
"""

from __future__ import annotations

import math
import time
from typing import Final
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from connectors.graph_subscriptions import BODY_BYTES_MAX, validation_answer
from ingestd.access import Buckets
from ingestd.api.edge import NotificationsEdge
from ingestd.api.problems import SECURITY_HEADERS, problem
from ingestd.inbound.push import NOTIFICATIONS_PATH

_BURST_SECONDS: Final = 5
_ALL: Final = "all"
"""There is one budget for everybody: behind a proxy, all come from one address."""


def notification_routes(notifications: NotificationsEdge, *, per_second_max: float) -> APIRouter:
    """Return the route; faster posts than `per_second_max` get 429, and what they tell of is found by polling."""
    router = APIRouter(include_in_schema=False)
    budget = Buckets(per_second_max, max(1, math.ceil(per_second_max * _BURST_SECONDS)), time.monotonic)

    @router.post(f"{NOTIFICATIONS_PATH}/{{mailbox_id}}")
    async def graph(mailbox_id: str, request: Request) -> Response:
        if wait := budget.wait(_ALL):
            return Response(status_code=429, headers={**SECURITY_HEADERS, "Retry-After": str(math.ceil(wait))})
        budget.take(_ALL)
        if (token := validation_answer(request.query_params)) is not None:
            return PlainTextResponse(token, headers=dict(SECURITY_HEADERS))
        try:
            mailbox = UUID(mailbox_id)
        except ValueError:
            return problem(404)
        await notifications.take(mailbox, await _body(request))
        return Response(status_code=202, headers=dict(SECURITY_HEADERS))

    return router


async def _body(request: Request) -> bytes:
    """Read a body within its limit. Raises HTTPException."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > BODY_BYTES_MAX:
            raise HTTPException(413)
    return bytes(found)
