"""Change notifications of the fake of Microsoft Graph (graph/change-notifications-delivery-webhooks).

A subscription is made only after its address has answered the validation token in plain text. Each message that comes
into a subscribed folder is told of; `lifecycle` tells of the three events that concern the subscription itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx2
from starlette.responses import JSONResponse, Response

from ingestd.demo.graph_faults import error
from ingestd.demo.graph_resources import moment
from ingestd.demo.graph_store import Item, Mailbox, NotFound

MINUTES_MAX: Final = 10_080
"""The longest that a subscription to messages lasts."""
CLIENT_STATE_MAX: Final = 128
_RESOURCE = re.compile(
    r"/?(?:me|users/[^/]+)/(?:mailFolders(?:/|\(')(?P<folder>[^/']+)(?:'\))?/)?messages", re.IGNORECASE
)
_SHOWN = ("id", "resource", "changeType", "notificationUrl", "lifecycleNotificationUrl", "expirationDateTime")


@dataclass
class Subscription:
    mailbox: Mailbox
    fields: dict[str, Any]
    folder: str | None

    @property
    def shown(self) -> dict[str, Any]:
        # clientState is never told (graph/api/resources/subscription).
        return {name: self.fields.get(name) for name in _SHOWN} | {"clientState": None, "applicationId": "demo"}

    @property
    def expires_at(self) -> datetime:
        return _moment(str(self.fields["expirationDateTime"]))


class Subscriptions:
    """Those that stand. All methods but `arrived` are called in the server's loop."""

    def __init__(self) -> None:
        self.standing: dict[str, Subscription] = {}
        self.told: list[Mapping[str, Any]] = []
        """Notifications that were sent."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def create(self, mailbox: Mailbox, fields: dict[str, Any]) -> Response:
        found = _RESOURCE.fullmatch(str(fields.get("resource", "")))
        state = fields.get("clientState")
        if found is None or not fields.get("changeType") or not fields.get("notificationUrl"):
            return error(400, "InvalidRequest")
        if state is not None and len(str(state)) > CLIENT_STATE_MAX:
            return error(400, "InvalidRequest")
        try:
            expires_at = _moment(str(fields.get("expirationDateTime")))
            folder = mailbox.folder(found.group("folder")).id if found.group("folder") else None
        except (ValueError, NotFound):
            return error(400, "InvalidRequest")
        if not timedelta() < expires_at - mailbox.now <= timedelta(minutes=MINUTES_MAX):
            return error(400, "InvalidRequest")
        for name in ("notificationUrl", "lifecycleNotificationUrl"):
            if fields.get(name) and not await _validates(str(fields[name])):
                return error(400, "ValidationError")
        subscription = Subscription(mailbox, {**fields, "id": secrets.token_hex(16)}, folder)
        self.standing[subscription.fields["id"]] = subscription
        return JSONResponse(subscription.shown, 201)

    def renew(self, identity: str, address: str, fields: Mapping[str, Any]) -> Response:
        found = self._of(identity, address)
        if found is None:
            return error(404, "ResourceNotFound")
        try:
            expires_at = _moment(str(fields.get("expirationDateTime")))
        except ValueError:
            return error(400, "InvalidRequest")
        if not timedelta() < expires_at - found.mailbox.now <= timedelta(minutes=MINUTES_MAX):
            return error(400, "InvalidRequest")
        found.fields["expirationDateTime"] = moment(expires_at)
        return JSONResponse(found.shown)

    def delete(self, identity: str, address: str) -> Response:
        if self._of(identity, address) is None:
            return error(404, "ResourceNotFound")
        del self.standing[identity]
        return Response(status_code=204)

    def _of(self, identity: str, address: str) -> Subscription | None:
        found = self.standing.get(identity)
        return found if found is not None and found.mailbox.address == address else None

    def mailbox_of(self, identity: str) -> str:
        """Return the address of a subscription's mailbox, "" where there is none."""
        found = self.standing.get(identity)
        return found.mailbox.address if found is not None else ""

    def arrived(self, mailbox: Mailbox, item: Item) -> None:
        """Tell of a message that came; may be called from any thread."""
        if self.loop is not None and self.standing:
            self.loop.call_soon_threadsafe(self._tell_of, mailbox, item.folder, item.id(immutable=True))

    def _tell_of(self, mailbox: Mailbox, folder: str, message_id: str) -> None:
        for identity, one in list(self.standing.items()):
            if one.mailbox is not mailbox or one.folder not in (None, folder):
                continue
            if one.expires_at <= mailbox.now:
                del self.standing[identity]
                continue
            data = {"@odata.type": "#Microsoft.Graph.Message", "id": message_id}
            told = self._common(one) | {"changeType": "created", "resourceData": data}
            self._post(str(one.fields["notificationUrl"]), told)

    def lifecycle(self, identity: str, event: str) -> None:
        """Send reauthorizationRequired, subscriptionRemoved or missed; may be called from any thread."""
        assert self.loop is not None
        one = self.standing[identity]
        if event == "subscriptionRemoved":
            del self.standing[identity]
        url = str(one.fields.get("lifecycleNotificationUrl") or "")
        told = self._common(one) | {"lifecycleEvent": event}
        if url:
            self.loop.call_soon_threadsafe(self._post, url, told)

    def _common(self, one: Subscription) -> dict[str, Any]:
        return {
            "subscriptionId": one.fields["id"],
            "subscriptionExpirationDateTime": one.fields["expirationDateTime"],
            "clientState": one.fields.get("clientState"),
            "tenantId": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
            "resource": one.fields["resource"],
        }

    def _post(self, url: str, told: Mapping[str, Any]) -> None:
        async def post() -> None:
            with contextlib.suppress(httpx2.HTTPError):
                async with httpx2.AsyncClient(trust_env=False) as http:
                    await http.post(url, json={"value": [told]})
            self.told.append(told)

        task = asyncio.ensure_future(post())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _validates(url: str) -> bool:
    token = f"Validation: {secrets.token_hex(8)} & more"
    glue = "&" if "?" in url else "?"
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
            answer = await http.post(f"{url}{glue}validationToken={quote(token)}", content=b"")
    except httpx2.HTTPError:
        return False
    is_plain = answer.headers.get("content-type", "").startswith("text/plain")
    return answer.status_code == 200 and is_plain and answer.text == token


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
