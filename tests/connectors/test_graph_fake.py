"""The fake of Graph itself: held against Microsoft's published schema, and against Microsoft's own client."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from connectors.base import Edit, EditKind, ReadPlan
from connectors.graph_limiter import MailboxLimiter
from ingestd.demo.authserver import AuthServer
from ingestd.demo.graphserver import GraphServer
from tests.connectors.graphbox import GraphBox, box
from tests.connectors.mailbox import EVERYTHING, raw_mail, read_messages
from tests.servers.fixtures import USERS
from tests.servers.graph import graph

__all__ = ["box", "graph"]

IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}
MESSAGE = frozenset(
    [
        "attachments",
        "bccRecipients",
        "body",
        "bodyPreview",
        "categories",
        "ccRecipients",
        "changeKey",
        "conversationId",
        "conversationIndex",
        "createdDateTime",
        "extensions",
        "flag",
        "from",
        "hasAttachments",
        "id",
        "importance",
        "inferenceClassification",
        "internetMessageHeaders",
        "internetMessageId",
        "isDeliveryReceiptRequested",
        "isDraft",
        "isRead",
        "isReadReceiptRequested",
        "lastModifiedDateTime",
        "multiValueExtendedProperties",
        "parentFolderId",
        "receivedDateTime",
        "replyTo",
        "sender",
        "sentDateTime",
        "singleValueExtendedProperties",
        "subject",
        "toRecipients",
        "uniqueBody",
        "webLink",
    ]
)
"""The properties of `message` in the v1.0 metadata, as msgraph-sdk 1.65.0 has them."""
FOLDER = frozenset(
    [
        "childFolderCount",
        "childFolders",
        "displayName",
        "id",
        "isHidden",
        "messageRules",
        "messages",
        "multiValueExtendedProperties",
        "parentFolderId",
        "singleValueExtendedProperties",
        "totalItemCount",
        "unreadItemCount",
    ]
)
SUBSCRIPTION = frozenset(
    [
        "applicationId",
        "changeType",
        "clientState",
        "creatorId",
        "encryptionCertificate",
        "encryptionCertificateId",
        "expirationDateTime",
        "id",
        "includeResourceData",
        "latestSupportedTlsVersion",
        "lifecycleNotificationUrl",
        "notificationQueryOptions",
        "notificationUrl",
        "notificationUrlAppId",
        "resource",
    ]
)


class Client:
    """Plain HTTP, without the connector."""

    def __init__(self, box: GraphBox, http: httpx2.AsyncClient) -> None:
        self._box = box
        self._http = http

    async def __call__(self, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> Any:
        url = path if path.startswith("http") else f"{self._box.graph.url}/{path}"
        token = (await self._box.tokens()).value
        answer = await self._http.request(
            method, url, headers={"Authorization": f"Bearer {token}", **(headers or {})}, **options
        )
        if answer.status_code >= 400:
            raise RuntimeError(f"{answer.status_code} {answer.json()['error']['code']}")
        return answer.json() if answer.headers.get("content-type", "").startswith("application/json") else answer.text


@pytest.fixture
async def call(box: GraphBox) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(trust_env=False) as http:
        yield Client(box, http)


def named(document: Mapping[str, Any]) -> set[str]:
    return {name for name in document if not name.startswith("@odata.") and name != "@removed"}


async def test_what_it_shows_is_in_the_published_schema(box: GraphBox, call: Client) -> None:
    box.deliver("shown", extra=b"X-Custom: 1\r\nCc: <other@example.com>\r\n")
    (message,) = (await call("GET", "me/messages"))["value"]
    assert named(message) <= MESSAGE
    assert message["toRecipients"] == [{"emailAddress": {"name": "help@example.com", "address": "help@example.com"}}]
    assert message["body"] == {"contentType": "text", "content": "Hello\r\n"}
    (row,) = (await call("GET", "me/messages?$select=internetMessageHeaders"))["value"]
    assert {"name": "X-Custom", "value": "1"} in row["internetMessageHeaders"]
    for folder in (await call("GET", "me/mailFolders"))["value"]:
        assert named(folder) <= FOLDER
    changed = (await call("GET", "me/mailFolders/inbox/messages/delta"))["value"]
    assert named(changed[0]) <= MESSAGE
    user = await call("GET", f"users/{box.user}")
    assert user["mail"] == box.user


async def test_ids_change_with_a_move_unless_immutable_ones_are_asked_for(box: GraphBox, call: Client) -> None:
    box.deliver("mover")
    (plain,) = (await call("GET", "me/messages?$select=id"))["value"]
    (immutable,) = (await call("GET", "me/messages?$select=id", IMMUTABLE))["value"]
    moved = await call("POST", f"me/messages/{plain['id']}/move", json={"destinationId": "archive"})
    assert moved["id"] != plain["id"]
    with pytest.raises(RuntimeError, match="404 ErrorItemNotFound"):
        await call("GET", f"me/messages/{plain['id']}")
    assert (await call("GET", f"me/messages/{immutable['id']}", IMMUTABLE))["id"] == immutable["id"]


async def test_delta_pages_by_ten_and_tells_of_moves_as_removals(box: GraphBox, call: Client) -> None:
    items = [box.deliver(f"m{number}") for number in range(12)]
    first = await call("GET", "me/mailFolders/inbox/messages/delta()?$select=subject", IMMUTABLE)
    assert len(first["value"]) == 10
    second = await call("GET", first["@odata.nextLink"], IMMUTABLE)
    assert len(second["value"]) == 2
    box.mailbox.move(items[0], "archive")
    items[1].is_read = True
    box.mailbox.changed(items[1])
    for _ in range(2):  # a link can be asked for again
        third = await call("GET", second["@odata.deltaLink"], IMMUTABLE)
        assert [("@removed" in row) for row in third["value"]] == [True, False]
        assert third["value"][0]["@removed"] == {"reason": "deleted"}
    box.mailbox.expire_deltas()
    with pytest.raises(RuntimeError, match="410 SyncStateNotFound"):
        await call("GET", second["@odata.deltaLink"])


async def test_who_sorts_must_filter_by_the_same_property_first(box: GraphBox, call: Client) -> None:
    box.deliver("there")
    with pytest.raises(RuntimeError, match="400 InefficientFilter"):
        await call("GET", "me/messages?$filter=isRead eq false&$orderby=receivedDateTime desc")
    sorted_ = "me/messages?$filter=receivedDateTime ge 2020-01-01T00:00:00Z and isRead eq false"
    found = await call("GET", f"{sorted_}&$orderby=receivedDateTime desc&$count=true&$top=1")
    assert found["@odata.count"] == 1


async def test_more_than_four_calls_at_once_are_throttled(
    box: GraphBox, call: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box.graph, "latency_seconds", 0.1)
    results = await asyncio.gather(*(call("GET", "me/mailFolders/inbox") for _ in range(8)), return_exceptions=True)
    refused = [one for one in results if isinstance(one, RuntimeError)]
    assert len(refused) == 4
    assert "429 ApplicationThrottled" in str(refused[0])


async def test_json_drafts_take_no_header_but_x(box: GraphBox, call: Client) -> None:
    headers = [{"name": "In-Reply-To", "value": "<a@example.com>"}]
    with pytest.raises(RuntimeError, match="400 InvalidInternetMessageHeader"):
        await call("POST", "me/messages", json={"subject": "no", "internetMessageHeaders": headers})
    properties = [{"id": "String 0x1042", "value": "<a@example.com>"}]
    draft = await call("POST", "me/messages", json={"subject": "yes", "singleValueExtendedProperties": properties})
    assert draft["isDraft"] is True
    assert "In-Reply-To: <a@example.com>" in await call("GET", f"me/messages/{draft['id']}/$value")


async def test_answers_are_never_mixed_up_between_mailboxes_under_load(
    graph: GraphServer, auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve mailboxes over one transport, each reading, editing and looking into Sent at once."""
    monkeypatch.setattr(graph, "latency_seconds", 0.005)
    boxes = [GraphBox(user, graph, auth_server) for user in USERS[-12:]]
    for one in boxes:
        one.transport = boxes[0].transport
        one.limiter = MailboxLimiter()
        for number in range(15):
            graph.deliver(one.user, raw_mail(f"{one.user} {number}"))

    async def work(box: GraphBox) -> None:
        reader, sender = box.reader(ReadPlan(start_at=EVERYTHING.start_at, batch_messages_max=5)), box.sender()
        looking = asyncio.gather(*(sender.find_in_sent(f"<{number}@example.com>", "") for number in range(10)))
        messages, _ = await read_messages(reader, None)
        await looking
        assert sorted(message.content or b"" for message in messages) == sorted(box.server.mails(box.user))
        assert all(box.user.encode() in message.header for message in messages)
        done = await reader.edit([message.locator for message in messages], Edit(EditKind.KEYWORD, box.user[:6]))
        assert len(done) == 15
        assert set(box.server.flags(box.user)) == {box.user[:6]}

    await asyncio.gather(*(work(one) for one in boxes))
    assert max(graph.calls_at_once_max[one.user] for one in boxes) <= 4
    for one in boxes:
        for item in list(one.mailbox.items.values()):
            one.mailbox.remove(item)
    await boxes[0].close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own
async def test_microsofts_own_client_understands_it(box: GraphBox) -> None:
    pytest.importorskip("msgraph", reason="`make witness` installs Microsoft's client, and runs this")
    from tests.connectors.graph_witness import look_by_sdk

    for number in range(12):
        box.deliver(f"m{number}", extra=b"X-Custom: 1\r\n")
    await look_by_sdk(box.graph.url, (await box.tokens()).value)
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # its transport has no close that closes


async def test_subscriptions_end_by_themselves(box: GraphBox, call: Client) -> None:
    until = (datetime.now(UTC) + timedelta(days=8)).isoformat()
    fields = {"changeType": "created", "notificationUrl": "http://127.0.0.1:9/", "resource": "me/messages"}
    with pytest.raises(RuntimeError, match="400 InvalidRequest"):
        await call("POST", "subscriptions", json={**fields, "expirationDateTime": until})
    assert named(fields) <= SUBSCRIPTION
