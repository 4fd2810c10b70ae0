"""Change notifications of Microsoft Graph: subscriptions, and the checks of what is posted to us.

A subscription says that something has changed, never what: what has come is read by delta, and polling goes on beneath,
so that a notification that is lost or forged costs nothing. Who posts to the route is known by `clientState` alone, a
secret of each subscription, which is compared in constant time.

The route (graph/change-notifications-delivery-webhooks) answers the validation token within 10 seconds as plain text,
and every notification with 202 within 3 seconds, before it works on it.
"""

from __future__ import annotations

import enum
import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx2

from connectors.base import TemporaryError, TokenSource
from connectors.graph_access import GraphAccess
from connectors.graph_client import GraphClient, Request
from connectors.graph_cursor import literal, moment
from connectors.graph_errors import ItemMissing
from connectors.graph_limiter import MailboxLimiter

LIFETIME_MAX: Final = timedelta(minutes=10_080)
"""Of a subscription to messages (graph/api/resources/subscription)."""
BODY_BYTES_MAX: Final = 1024 * 1024
NOTIFICATIONS_MAX: Final = 1000
"""Of one post; more are not looked at: polling finds what they tell of."""
VALIDATION_TOKEN_CHARS_MAX: Final = 4096


class Lifecycle(enum.StrEnum):
    """What happens to a subscription itself (graph/change-notifications-lifecycle-events)."""

    REAUTHORIZATION_REQUIRED = "reauthorizationRequired"
    """Renew it, or notifications stop."""
    SUBSCRIPTION_REMOVED = "subscriptionRemoved"
    """Make a new one, and read."""
    MISSED = "missed"
    """Notifications were lost: read."""


@dataclass(frozen=True, slots=True)
class Subscription:
    id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Notification:
    """One that was posted by whoever knows the subscription's secret."""

    subscription_id: str
    lifecycle: Lifecycle | None
    """None: something has changed in the mailbox."""


class Subscriptions:
    """Makes, renews and deletes the subscriptions of one mailbox."""

    def __init__(
        self,
        access: GraphAccess,
        token_source: TokenSource,
        transport: httpx2.AsyncBaseTransport,
        limiter: MailboxLimiter,
    ) -> None:
        self._access = access
        self._client = GraphClient(access, token_source, transport, limiter, "subscriptions")

    async def create(
        self, *, notification_url: str, client_state: str, lifetime: timedelta, folder_id: str | None = None
    ) -> Subscription:
        """Subscribe to what comes into the mailbox, or into one folder. Graph calls `notification_url` at once with a
        validation token, and takes only an address that answers it.

        Raises CallRefused where it does not; AnswerLost where nobody knows: what was made then ends by itself.
        """
        user = "me" if self._access.user == "me" else f"users/{quote(self._access.user, safe='@')}"
        resource = f"{user}/mailFolders('{folder_id}')/messages" if folder_id else f"{user}/messages"
        document = {
            "changeType": "created",
            "notificationUrl": notification_url,
            "lifecycleNotificationUrl": notification_url,
            "resource": resource,
            "expirationDateTime": self._until(lifetime),
            "clientState": client_state,
        }
        answer = await self._client.send_json("POST", self._url(), document, "subscriptions")
        return _subscription(answer.document)

    async def renew(self, subscription_id: str, lifetime: timedelta) -> Subscription | None:
        """Let it last for `lifetime` from now; also the answer to `reauthorizationRequired`. None: there is none."""
        document = {"expirationDateTime": self._until(lifetime)}
        try:
            answer = await self._client.send_json(
                "PATCH", self._url(subscription_id), document, "subscriptions", repeatable=True
            )
        except ItemMissing:
            return None
        return _subscription(answer.document)

    async def delete(self, subscription_id: str) -> None:
        """End it; one that has ended already is as good."""
        try:
            await self._client.call(Request("DELETE", self._url(subscription_id), "DELETE subscriptions"))
        except ItemMissing:
            return

    def _url(self, subscription_id: str = "") -> str:
        below = f"/{quote(subscription_id, safe='')}" if subscription_id else ""
        return f"{self._access.base_url}/subscriptions{below}"

    def _until(self, lifetime: timedelta) -> str:
        # By the server's clock, and a little less than it allows.
        return literal(self._client.server_now + min(lifetime, LIFETIME_MAX - timedelta(minutes=5)))


def new_client_state() -> str:
    """Return a secret for one subscription: 43 characters, of the 128 that Graph keeps."""
    return secrets.token_urlsafe(32)


def validation_answer(query: Mapping[str, str]) -> str | None:
    """Return the text that a validation request is answered with (200, text/plain), None where it is none.

    `query` is the request's, decoded. Anybody may ask so, and gets back what he sent: as plain text, that is harmless.

    >>> validation_answer({"validationToken": "Validation: 1 & 2"})
    'Validation: 1 & 2'
    >>> validation_answer({})
    """
    token = query.get("validationToken")
    return token if token and len(token) <= VALIDATION_TOKEN_CHARS_MAX else None


def read_notifications(body: bytes, client_state_of: Callable[[str], str | None]) -> Sequence[Notification]:
    """Return the notifications in a post that are genuine, each subscription's once a kind.

    `client_state_of` gives the secret of a subscription, None for one that is not ours. What is malformed, unknown or
    carries another secret is left out: who forges learns nothing, as the route answers 202 in any case.

    >>> body = b'{"value":[{"subscriptionId":"s","clientState":"secret","changeType":"created"}]}'
    >>> read_notifications(body, {"s": "secret"}.get)
    [Notification(subscription_id='s', lifecycle=None)]
    >>> read_notifications(body, {"s": "another"}.get)
    []
    """
    try:
        rows = json.loads(body)["value"] if len(body) <= BODY_BYTES_MAX else ()
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    found: dict[Notification, None] = {}
    for row in rows[:NOTIFICATIONS_MAX] if isinstance(rows, list) else ():
        if (one := _genuine(row, client_state_of)) is not None:
            found[one] = None
    return list(found)


def _genuine(row: Any, client_state_of: Callable[[str], str | None]) -> Notification | None:
    if not isinstance(row, dict):
        return None
    subscription_id, told = row.get("subscriptionId"), row.get("clientState")
    if not isinstance(subscription_id, str) or not isinstance(told, str):
        return None
    secret = client_state_of(subscription_id)
    # Also where there is none: how long it takes shall not tell which subscriptions there are.
    matches = hmac.compare_digest((secret or _NOBODYS).encode(), told.encode("utf-8", "surrogatepass"))
    if secret is None or not matches:
        return None
    event = row.get("lifecycleEvent")
    if event is None:
        return Notification(subscription_id, None)
    try:
        return Notification(subscription_id, Lifecycle(event))
    except ValueError:
        return None


_NOBODYS: Final = secrets.token_urlsafe(32)


def _subscription(document: Mapping[str, Any]) -> Subscription:
    try:
        return Subscription(str(document["id"]), moment(document["expirationDateTime"]))
    except (KeyError, ValueError):
        raise TemporaryError("Graph: a subscription without id or end") from None
