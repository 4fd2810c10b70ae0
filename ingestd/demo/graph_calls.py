"""What the fake of Microsoft Graph answers to each call on a mailbox (graph/api/resources/message and below it)."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from ingestd.demo import graph_mime as mime
from ingestd.demo.graph_call import Call, Refused
from ingestd.demo.graph_faults import error
from ingestd.demo.graph_odata import BadQuery, select_rows
from ingestd.demo.graph_resources import folder_resource, resource, row_of
from ingestd.demo.graph_store import FolderExists, Item, Mailbox, NotFound

REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one call's body; more is 413."""
UPLOAD_BYTES_MAX: Final = 150 * 1024 * 1024
ATTACHMENT_BYTES_MAX: Final = 3 * 1024 * 1024
_PAGE: Final = 10
_PAGE_MAX: Final = 1000


@dataclass
class UploadSession:
    mailbox: Mailbox
    item: Item
    attachment: Mapping[str, Any]
    size: int
    data: bytearray = field(default_factory=bytearray)


Handler = Callable[["MailboxCalls", Mailbox, Call, Mapping[str, str]], Response]


class MailboxCalls:
    """The answers. `send` delivers what leaves a mailbox."""

    def __init__(self, send: Callable[[Mailbox, bytes], None]) -> None:
        self._send = send
        self.uploads: dict[str, UploadSession] = {}
        self.empty_pages = 0
        """So many pages without anything begin each round of delta."""
        self.replays = 0
        """So many of the last changes come again with each round of delta."""
        self.partial_updates = False
        """Whether delta tells of a change only what has changed."""
        self.page_max = _PAGE_MAX
        """More than this no page of delta holds, whatever is asked for."""
        self.deletion_moves_to = "recoverableitemsdeletions"
        self.rewrites_message_ids = False
        """Whether a message that leaves gets a Message-ID of the server's own."""

    def answer(self, mailbox: Mailbox, call: Call) -> Response:
        if len(call.body) > REQUEST_BYTES_MAX:
            return error(413, "RequestEntityTooLarge")
        for method, pattern, handler in _ROUTES:
            if method == call.method and (found := pattern.fullmatch(call.path)):
                try:
                    with mailbox.lock:
                        return handler(self, mailbox, call, found.groupdict())
                except NotFound:
                    return error(404, "ErrorItemNotFound")
                except FolderExists:
                    return error(409, "ErrorFolderExists")
                except BadQuery as problem:
                    return error(400, problem.code)
                except Refused as problem:
                    return error(problem.status, problem.code)
                except KeyError:
                    return error(400, "RequestBroker--ParseUri")
        return error(400, "BadRequest")

    # -- the user and folders ------------------------------------------------------------------------

    def user(self, mailbox: Mailbox, call: Call, _: Mapping[str, str]) -> Response:
        name = mailbox.address
        return JSONResponse({"id": mailbox.address, "displayName": name, "mail": name, "userPrincipalName": name})

    def folders(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        parent = mailbox.folder(names["folder"]).id if "folder" in names else None
        rows = [folder_resource(mailbox, one) for one in mailbox.children(parent)]
        return self._page(call, f"/{call.path}", rows)

    def folder(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        return JSONResponse(folder_resource(mailbox, mailbox.folder(names["folder"])))

    def create_folder(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        parent = mailbox.folder(names["folder"]).id if "folder" in names else None
        name = call.document.get("displayName")
        if not name:
            raise Refused(400, "ErrorInvalidRequest")
        return JSONResponse(folder_resource(mailbox, mailbox.create_folder(str(name), parent)), 201)

    def delete_folder(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        mailbox.delete_folder(names["folder"])
        return Response(status_code=204)

    # -- reading messages ----------------------------------------------------------------------------

    def messages(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        folder = mailbox.folder(names["folder"]).id if "folder" in names else None
        found = select_rows(
            [row_of(item) for item in mailbox.in_folder(folder)],
            filter_=call.query.get("$filter"),
            orderby=call.query.get("$orderby"),
        )
        return self._page(
            call,
            f"/{call.path}",
            found,
            lambda row: resource(row["item"], select=call.select, expand=call.expand, immutable=call.immutable),
        )

    def _page(
        self, call: Call, path: str, rows: Sequence[Any], show: Callable[[Any], Any] = lambda row: row
    ) -> Response:
        top = min(int(call.query.get("$top") or call.page_size or _PAGE), _PAGE_MAX)
        skip = int(call.query.get("$skip") or 0)
        document: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata"}
        if call.query.get("$count") == "true":
            document["@odata.count"] = len(rows)
        document["value"] = [show(row) for row in rows[skip : skip + top]]
        if skip + top < len(rows):
            asked = {**call.query, "$top": str(top), "$skip": str(skip + top)}
            query = "&".join(f"{quote(name)}={quote(value)}" for name, value in asked.items())
            document["@odata.nextLink"] = f"{call.base}{quote(path)}?{query}"
        return JSONResponse(document)

    def delta(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        folder = mailbox.folder(names["folder"])
        token = call.query.get("$deltatoken") or call.query.get("$skiptoken")
        if token is None:
            state: dict[str, Any] = {
                "since": 0,
                "at": 0,
                "upto": None,
                "select": call.select,
                "kinds": call.query.get("changeType"),
                "generation": mailbox.generation,
            }
        else:
            state = _opened(token)
        if state.get("generation") != mailbox.generation:
            raise Refused(410, "SyncStateNotFound")
        if state["upto"] is None:
            state |= {"upto": mailbox.sequence, "at": max(0, state["since"] - self.replays), "empty": self.empty_pages}
        value: list[Any] = []
        if state["empty"] > 0:
            state, more = {**state, "empty": state["empty"] - 1}, True
        else:
            size = min(call.page_size or _PAGE, _PAGE_MAX, self.page_max)
            changes = mailbox.changes(folder.id, state["at"], state["upto"], size)
            more = len(changes) == size
            state = {**state, "at": changes[-1].sequence if changes else state["at"]}
            value = [self._changed(mailbox, one, call, state) for one in changes]
            value = [one for one in value if one is not None]
        base = f"{call.base}/mailFolders/{quote(folder.id)}/messages/delta"
        document: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata", "value": value}
        if more:
            document["@odata.nextLink"] = f"{base}?$skiptoken={_closed(state)}"
        else:
            done = {**state, "since": state["upto"], "upto": None}
            document["@odata.deltaLink"] = f"{base}?$deltatoken={_closed(done)}"
        return JSONResponse(document)

    def _changed(self, mailbox: Mailbox, change: Any, call: Call, state: Mapping[str, Any]) -> Any:
        if state["kinds"] == "created" and state["since"] and (change.gone or change.entered <= state["since"]):
            return None
        if change.gone:
            if state["since"] == 0:
                return None
            gone = Item(change.number, b"", "x" * 12, mailbox.now, mailbox.now, mailbox.now)
            return {"id": gone.id(immutable=call.immutable), "@removed": {"reason": "deleted"}}
        item = mailbox.items[change.number]
        if self.partial_updates and change.entered <= state["since"]:
            identity = item.id(immutable=call.immutable)
            return {"@odata.type": "#microsoft.graph.message", "id": identity, "isRead": item.is_read}
        shown = resource(item, select=state["select"], immutable=call.immutable)
        return {"@odata.type": "#microsoft.graph.message", **shown}

    def message(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        item = self._item(mailbox, names)
        return JSONResponse(resource(item, select=call.select, expand=call.expand, immutable=call.immutable))

    def value(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        return Response(self._item(mailbox, names).content, media_type="text/plain")

    def _item(self, mailbox: Mailbox, names: Mapping[str, str]) -> Item:
        item = mailbox.item(names["message"])
        if names.get("folder") and mailbox.folder(names["folder"]).id != item.folder:
            raise NotFound
        return item

    # -- changing messages ---------------------------------------------------------------------------

    def patch(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        item = self._item(mailbox, names)
        if (tag := call.headers.get("if-match")) and tag not in ("*", f'W/"{item.change_key}"'):
            raise Refused(412, "ErrorIrresolvableConflict")
        changes = call.document
        if "isRead" in changes:
            item.is_read = bool(changes["isRead"])
        if "categories" in changes:
            item.categories = tuple(map(str, changes["categories"]))
        if "internetMessageId" in changes:
            if not item.is_draft:
                raise Refused(400, "ErrorInvalidPropertySet")
            item.content = mime.with_header(item.content, "Message-ID", str(changes["internetMessageId"]))
        for one in changes.get("singleValueExtendedProperties") or ():
            item.properties[one["id"]] = one["value"]
        mailbox.changed(item)
        return JSONResponse(resource(item, immutable=call.immutable))

    def move(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        item = mailbox.move(self._item(mailbox, names), str(call.parameter("destinationId")))
        return JSONResponse(resource(item, immutable=call.immutable), 201)

    def delete(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        """Move into the dumpster, where no folder that is shown has it, or only into Deleted Items: accounts differ."""
        item = self._item(mailbox, names)
        if item.folder == mailbox.folder(self.deletion_moves_to).id:
            mailbox.remove(item)
        else:
            mailbox.move(item, self.deletion_moves_to)
        return Response(status_code=204)

    def delete_for_good(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        mailbox.remove(self._item(mailbox, names))
        return Response(status_code=204)

    # -- sending -------------------------------------------------------------------------------------

    def create(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        content = self._posted(mailbox, call, None)
        item = mailbox.put(content, names.get("folder") or "drafts", is_read=True, is_draft=True)
        if not _is_mime(call):
            for one in call.document.get("singleValueExtendedProperties") or ():
                item.properties[one["id"]] = one["value"]
        return JSONResponse(resource(item, immutable=call.immutable), 201)

    def _posted(self, mailbox: Mailbox, call: Call, field_: str | None) -> bytes:
        if _is_mime(call):
            try:
                return base64.b64decode(call.body, validate=True)
            except binascii.Error:
                raise Refused(400, "ErrorMimeContentInvalidBase64String") from None
        draft = call.parameter(field_) if field_ else call.document
        try:
            return mime.mime_of(draft or {}, mailbox.address, f"<{secrets.token_hex(12)}@outlook.example.com>")
        except (ValueError, KeyError, TypeError):
            raise Refused(400, "InvalidInternetMessageHeader") from None

    def send(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        item = self._item(mailbox, names)
        if not item.is_draft:
            raise Refused(403, "ErrorInvalidRequest")
        if not mime.addresses(item.headers, "To", "Cc", "Bcc"):
            raise Refused(400, "ErrorInvalidRecipients")
        if self.rewrites_message_ids:
            item.content = mime.with_header(
                item.content, "Message-ID", f"<{secrets.token_hex(12)}@outlook.example.com>"
            )
        item.is_draft = False
        mailbox.move(item, "sentitems")
        item.received = mailbox.now
        self._send(mailbox, item.content)
        return Response(status_code=202)

    def send_mail(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        content = self._posted(mailbox, call, "message")
        if not mime.addresses(mime.headers_of(content), "To", "Cc", "Bcc"):
            raise Refused(400, "ErrorInvalidRecipients")
        if _is_mime(call) or call.parameter("saveToSentItems") is not False:
            mailbox.put(content, "sentitems", is_read=True).composed = True
        self._send(mailbox, content)
        return Response(status_code=202)

    def attach(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        item, attachment = self._item(mailbox, names), call.document
        data = base64.b64decode(attachment.get("contentBytes") or "")
        if len(data) > ATTACHMENT_BYTES_MAX:
            raise Refused(413, "RequestEntityTooLarge")
        item.content = mime.with_attachment(item.content, attachment, data)
        mailbox.changed(item)
        shown = {key: value for key, value in attachment.items() if key != "contentBytes"}
        return JSONResponse({"id": secrets.token_hex(8), "size": len(data), **shown}, 201)

    def upload_session(self, mailbox: Mailbox, call: Call, names: Mapping[str, str]) -> Response:
        item, attachment = self._item(mailbox, names), call.parameter("attachmentItem") or {}
        size = int(attachment.get("size") or 0)
        if attachment.get("attachmentType") != "file" or not ATTACHMENT_BYTES_MAX <= size <= UPLOAD_BYTES_MAX:
            raise Refused(400, "ErrorInvalidRequest")
        token = secrets.token_hex(8)
        self.uploads[token] = UploadSession(mailbox, item, attachment, size)
        origin = call.base.partition("/v1.0")[0]
        return JSONResponse(
            {
                "uploadUrl": f"{origin}/upload/{token}?authtoken=eyJ0",
                "expirationDateTime": "2099-01-01T00:00:00Z",
                "nextExpectedRanges": ["0-"],
            },
            201,
        )

    def upload(self, token: str, content_range: str, body: bytes) -> Response:
        """Take a piece of an attachment. Who sends a bearer token here is refused by the real one."""
        session = self.uploads.get(token)
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", content_range)
        if session is None or found is None:
            return error(404, "ErrorItemNotFound")
        start, end, size = map(int, found.groups())
        if start != len(session.data) or end - start + 1 != len(body) or size != session.size:
            return error(416, "ErrorInvalidRange")
        if len(body) > REQUEST_BYTES_MAX:
            return error(413, "RequestEntityTooLarge")
        session.data += body
        if len(session.data) < size:
            ranges = {"expirationDateTime": "2099-01-01T00:00:00Z", "nextExpectedRanges": [f"{len(session.data)}-"]}
            return JSONResponse(ranges)
        del self.uploads[token]
        session.item.content = mime.with_attachment(session.item.content, session.attachment, bytes(session.data))
        session.mailbox.changed(session.item)
        return Response(status_code=201, headers={"Location": "https://outlook.example.com/attachment"})


def _is_mime(call: Call) -> bool:
    return call.headers.get("content-type", "").startswith("text/plain")


def _closed(state: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")


def _opened(token: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError:
        found = None
    if not isinstance(found, dict) or "upto" not in found:
        raise Refused(400, "ErrorInvalidUrlQuery")
    return found


_FOLDER, _MESSAGE = r"(?:mailFolders/(?P<folder>[^/]+)/)?", r"messages/(?P<message>[^/]+)"
_ROUTES: Sequence[tuple[str, re.Pattern[str], Handler]] = [
    (method, re.compile(pattern), handler)
    for method, pattern, handler in (
        ("GET", r"", MailboxCalls.user),
        ("GET", r"mailFolders", MailboxCalls.folders),
        ("POST", r"mailFolders", MailboxCalls.create_folder),
        ("GET", r"mailFolders/(?P<folder>[^/]+)/childFolders", MailboxCalls.folders),
        ("POST", r"mailFolders/(?P<folder>[^/]+)/childFolders", MailboxCalls.create_folder),
        ("GET", r"mailFolders/(?P<folder>[^/]+)", MailboxCalls.folder),
        ("DELETE", r"mailFolders/(?P<folder>[^/]+)", MailboxCalls.delete_folder),
        ("GET", r"mailFolders/(?P<folder>[^/]+)/messages/(?:microsoft\.graph\.)?delta(?:\(\))?", MailboxCalls.delta),
        ("GET", r"mailFolders/(?P<folder>[^/]+)/messages", MailboxCalls.messages),
        ("POST", r"mailFolders/(?P<folder>[^/]+)/messages", MailboxCalls.create),
        ("GET", r"messages", MailboxCalls.messages),
        ("POST", r"messages", MailboxCalls.create),
        ("POST", r"sendMail", MailboxCalls.send_mail),
        ("GET", _FOLDER + _MESSAGE, MailboxCalls.message),
        ("PATCH", _FOLDER + _MESSAGE, MailboxCalls.patch),
        ("DELETE", _FOLDER + _MESSAGE, MailboxCalls.delete),
        ("GET", _FOLDER + _MESSAGE + r"/\$value", MailboxCalls.value),
        ("POST", _FOLDER + _MESSAGE + r"/(?:microsoft\.graph\.)?move", MailboxCalls.move),
        ("POST", _FOLDER + _MESSAGE + r"/(?:microsoft\.graph\.)?send", MailboxCalls.send),
        ("POST", _FOLDER + _MESSAGE + r"/(?:microsoft\.graph\.)?permanentDelete", MailboxCalls.delete_for_good),
        ("POST", _FOLDER + _MESSAGE + r"/attachments", MailboxCalls.attach),
        (
            "POST",
            _FOLDER + _MESSAGE + r"/attachments/(?:microsoft\.graph\.)?createUploadSession",
            MailboxCalls.upload_session,
        ),
    )
]
