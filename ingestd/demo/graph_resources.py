"""The resources of Microsoft Graph that the fake shows, as the published schema names their properties."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ingestd.demo import graph_mime as mime
from ingestd.demo.graph_store import Folder, Item, Mailbox, encode

PROPERTY_SIZE: Final = "Integer 0x0E08"
"""PidTagMessageSize."""


def moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_FIELDS: Mapping[str, Callable[[Item], Any]] = {
    "createdDateTime": lambda item: moment(item.created),
    "lastModifiedDateTime": lambda item: moment(item.modified),
    "changeKey": lambda item: item.change_key,
    "categories": lambda item: list(item.categories),
    "receivedDateTime": lambda item: moment(item.received),
    "sentDateTime": lambda item: moment(mime.sent_at(item.headers) or item.received),
    "hasAttachments": lambda item: mime.has_attachments(item.content),
    "internetMessageId": lambda item: item.message_id,
    "subject": lambda item: mime.decoded(mime.first(item.headers, "Subject")),
    "bodyPreview": lambda item: mime.body_of(item.content)["content"][:255],
    "importance": lambda _: "normal",
    "parentFolderId": lambda item: item.folder,
    "conversationId": lambda item: encode(
        re.sub(r"(?i)^(?:re|fwd?):\s*", "", mime.first(item.headers, "Subject")), "AAQkAD"
    ),
    "isDeliveryReceiptRequested": lambda _: False,
    "isReadReceiptRequested": lambda _: False,
    "isRead": lambda item: item.is_read,
    "isDraft": lambda item: item.is_draft,
    "webLink": lambda item: f"https://outlook.office365.com/owa/?ItemID={item.number}",
    "inferenceClassification": lambda _: "focused",
    "body": lambda item: mime.body_of(item.content),
    "sender": lambda item: _first_of(mime.recipients([mime.first(item.headers, "From")])),
    "from": lambda item: _first_of(mime.recipients([mime.first(item.headers, "From")])),
    "toRecipients": lambda item: mime.recipients(_values(item, "To")),
    "ccRecipients": lambda item: mime.recipients(_values(item, "Cc")),
    "bccRecipients": lambda item: mime.recipients(_values(item, "Bcc")),
    "replyTo": lambda item: mime.recipients(_values(item, "Reply-To")),
    "flag": lambda _: {"flagStatus": "notFlagged"},
}
_ON_REQUEST: Mapping[str, Callable[[Item], Any]] = {
    "internetMessageHeaders": lambda item: [
        {"name": name, "value": value}
        for name, value in item.headers
        if not item.composed or name.lower().startswith("x-")
    ],
}


def resource(item: Item, *, select: Sequence[str] = (), expand: Sequence[str] = (), immutable: bool) -> dict[str, Any]:
    """Return a `message` resource; `expand` names extended properties. Raises KeyError for a name that is none."""
    known = {**_FIELDS, **_ON_REQUEST}
    names = [name for name in select if name != "id"] if select else list(_FIELDS)
    shown: dict[str, Any] = {"@odata.etag": f'W/"{item.change_key}"', "id": item.id(immutable=immutable)}
    shown |= {name: known[name](item) for name in names}
    if expand:
        properties = {**item.properties, PROPERTY_SIZE: str(len(item.content))}
        shown["singleValueExtendedProperties"] = [
            {"id": name, "value": properties[name]} for name in expand if name in properties
        ]
        if not shown["singleValueExtendedProperties"]:
            del shown["singleValueExtendedProperties"]
    return shown


def row_of(item: Item) -> dict[str, Any]:
    """Return what a filter sees of a message."""
    return {
        "receivedDateTime": item.received,
        "createdDateTime": item.created,
        "lastModifiedDateTime": item.modified,
        "internetMessageId": item.message_id,
        "isRead": item.is_read,
        "isDraft": item.is_draft,
        "properties": item.properties,
        "item": item,
    }


def folder_resource(mailbox: Mailbox, folder: Folder) -> dict[str, Any]:
    """Return a `mailFolder` resource."""
    items = mailbox.in_folder(folder.id)
    return {
        "id": folder.id,
        "displayName": folder.name,
        "parentFolderId": folder.parent or encode("root", "AQMkAD"),
        "childFolderCount": len(mailbox.children(folder.id)),
        "unreadItemCount": sum(not item.is_read for item in items),
        "totalItemCount": len(items),
        "isHidden": False,
    }


def _values(item: Item, name: str) -> list[str]:
    return [value for one, value in item.headers if one.lower() == name.lower()]


def _first_of(found: Sequence[Any]) -> Any:
    return found[0] if found else None
