"""The methods of the demo's Gmail API, on mailboxes in memory. No sockets.

What it answers is what Google documents (developers.google.com/gmail/api/reference/rest/v1); what it knows of `q` is
`after:`, `before:`, `rfc822msgid:` and `in:sent`, and it refuses all else rather than to find too much.
"""

from __future__ import annotations

import base64
import binascii
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any, Final

from ingestd.demo.gmailbox import GmailBox, Happened, NoSuchLabel, NoSuchMessage, StaleHistory, Stored, header_of
from ingestd.demo.gmailfaults import Faults
from ingestd.demo.gmailwire import Answer, BadRequest, Request

FULL_SCOPES: Final = frozenset({"https://mail.google.com/", "mail"})
"""With one of these everything may be done; `mail` is what the demo's authorization server grants."""
MODIFY_SCOPE: Final = "https://www.googleapis.com/auth/gmail.modify"
SEND_BYTES_MAX: Final = 36_700_160
WATCH_SECONDS: Final = 7 * 24 * 3600
_PAGE_MAX: Final = 500
_BCC: Final = re.compile(rb"(?im)^bcc:.*?\r\n(?![ \t])", re.DOTALL)
_MESSAGE_ID: Final = re.compile(rb"(?im)^message-id:.*?\r\n(?![ \t])", re.DOTALL)
_FIELD: Final = re.compile(rb"(?m)^([!-9;-~]+):[ \t]*(.*?)\r?\n(?![ \t])", re.DOTALL)

Delivered = Callable[[str, Sequence[str], bytes], None]
"""Told of a mail that was sent: who sent it, to whom, and its bytes as they leave."""


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, reason: str, message: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.message = message


class GmailApi:
    """Carries out calls on a mailbox. `box_of` gives the mailbox of an address, None where it lies elsewhere."""

    def __init__(
        self, faults: Faults, box_of: Callable[[str], GmailBox | None], watched: Callable[[GmailBox, Request], None]
    ) -> None:
        self.faults = faults
        self.delivered: Delivered = lambda _sender, _recipients, _raw: None
        self._box_of = box_of
        self._watched = watched
        self._random = random.Random(7)
        self._methods: Mapping[str, Callable[[GmailBox, Request, str], object]] = {
            "getProfile": self._profile,
            "history.list": self._history,
            "labels.create": self._create_label,
            "labels.list": self._labels,
            "messages.batchDelete": self._batch_delete,
            "messages.batchModify": self._batch_modify,
            "messages.delete": self._delete,
            "messages.get": self._get,
            "messages.import": self._import,
            "messages.insert": self._insert,
            "messages.list": self._list,
            "messages.modify": self._modify,
            "messages.send": self._send,
            "messages.trash": self._trash,
            "messages.untrash": self._untrash,
            "stop": self._stop,
            "watch": self._watch,
        }

    def run(self, method: str, box: GmailBox, scopes: Sequence[str], request: Request, identity: str) -> Answer:
        """Carry out a call; `identity` is the message that its path names, "" for none."""
        try:
            self._check_scope(method, scopes)
            found = self._methods[method](box, request, identity)
        except NoSuchMessage:
            return Answer.error(404, "notFound", "Requested entity was not found.")
        except StaleHistory:
            return Answer.error(404, "notFound", "Requested entity was not found.")
        except NoSuchLabel:
            return Answer.error(400, "invalidArgument", "Invalid label")
        except (BadRequest, binascii.Error, ValueError):
            return Answer.error(400, "invalidArgument", "Invalid argument")
        except Refused as error:
            return Answer.error(error.status, error.reason, error.message)
        return Answer(204) if found is None else Answer.of(found)

    def _check_scope(self, method: str, scopes: Sequence[str]) -> None:
        if FULL_SCOPES & set(scopes):
            return
        if MODIFY_SCOPE not in scopes or method in ("messages.delete", "messages.batchDelete"):
            raise Refused(403, "insufficientPermissions", "Insufficient Permission")

    # -- reading ---------------------------------------------------------------------------------

    def _profile(self, box: GmailBox, request: Request, _: str) -> object:
        with box.lock:
            return {
                "emailAddress": box.address,
                "messagesTotal": len(box.messages),
                "threadsTotal": len({one.thread_id for one in box.messages.values()}),
                "historyId": str(box.history_id),
            }

    def _list(self, box: GmailBox, request: Request, _: str) -> object:
        wanted = _query(request.one("q") or "")
        labels = [*request.query.get("labelIds", ()), *wanted.pop("labels", ())]
        hidden = request.one("includeSpamTrash") == "true"
        found = box.find(labels=labels, with_hidden=hidden, **wanted)
        some, token = _page(found, request, default=100)
        document: dict[str, Any] = {"resultSizeEstimate": len(found)}
        if some:
            document["messages"] = [{"id": one.id, "threadId": one.thread_id} for one in some]
        return document | token

    def _get(self, box: GmailBox, request: Request, identity: str) -> object:
        stored, form = box.get(identity), request.one("format") or "full"
        document = self._minimal(stored)
        if form == "raw":
            document["raw"] = base64.urlsafe_b64encode(stored.raw).decode()
        elif form == "metadata":
            wanted = {name.lower() for name in request.query.get("metadataHeaders", ())}
            document["payload"] = {"mimeType": "text/plain", "headers": _headers(stored.raw, wanted)}
        elif form != "minimal":
            raise Refused(501, "notImplemented", f"format {form}")
        return document

    def _minimal(self, stored: Stored) -> dict[str, Any]:
        return {
            "id": stored.id,
            "threadId": stored.thread_id,
            "labelIds": sorted(stored.labels),
            "snippet": "",
            "sizeEstimate": len(stored.raw),
            "historyId": str(stored.history_id),
            "internalDate": str(stored.internal_ms),
        }

    def _history(self, box: GmailBox, request: Request, _: str) -> object:
        start = request.one("startHistoryId")
        if start is None or not start.isdigit():
            raise BadRequest("startHistoryId")
        with box.lock:
            kinds = request.query.get("historyTypes", ())
            records = box.since(int(start), kinds, request.one("labelId"))
            now = box.history_id
        if self.faults.history_twice:
            records = [one for one in records for _ in range(2)]
        if self.faults.history_shuffled:
            self._random.shuffle(records)
        some, token = _page(records, request, default=100)
        document: dict[str, Any] = {"historyId": str(now)}
        if some:
            document["history"] = [_record(one) for one in some]
        return document | token

    def _labels(self, box: GmailBox, request: Request, _: str) -> object:
        with box.lock:
            return {
                "labels": [
                    {"id": identity, "name": name, "type": "user" if identity.startswith("Label_") else "system"}
                    for identity, name in box.labels.items()
                ]
            }

    # -- changing --------------------------------------------------------------------------------

    def _create_label(self, box: GmailBox, request: Request, _: str) -> object:
        name = str(request.json().get("name", ""))
        with box.lock:
            if not name or name.upper() in box.labels:
                raise Refused(400, "invalidArgument", "Invalid label name")
            if name in box.labels.values():
                raise Refused(409, "aborted", "Label name exists or conflicts")
            return {"id": box.label(name), "name": name, "type": "user"}

    def _modify(self, box: GmailBox, request: Request, identity: str) -> object:
        wanted = request.json()
        return self._minimal(box.modify(identity, wanted.get("addLabelIds", ()), wanted.get("removeLabelIds", ())))

    def _batch_modify(self, box: GmailBox, request: Request, _: str) -> object:
        wanted = request.json()
        ids = wanted.get("ids", ())
        if len(ids) > 1000:
            raise BadRequest("ids")
        with box.lock:
            for identity in ids:
                if identity in box.messages:  # "no guarantees that messages … existed at all"
                    box.modify(identity, wanted.get("addLabelIds", ()), wanted.get("removeLabelIds", ()))
        return None

    def _trash(self, box: GmailBox, request: Request, identity: str) -> object:
        return self._minimal(box.trash(identity))

    def _untrash(self, box: GmailBox, request: Request, identity: str) -> object:
        return self._minimal(box.modify(identity, (), ("TRASH",)))

    def _delete(self, box: GmailBox, request: Request, identity: str) -> object:
        box.delete(identity)
        return None

    def _batch_delete(self, box: GmailBox, request: Request, _: str) -> object:
        with box.lock:
            for identity in request.json().get("ids", ()):
                if identity in box.messages:
                    box.delete(identity)
        return None

    # -- putting there ---------------------------------------------------------------------------

    def _insert(self, box: GmailBox, request: Request, _: str) -> object:
        return self._put(box, request, ())

    def _import(self, box: GmailBox, request: Request, _: str) -> object:
        return self._put(box, request, ("INBOX", "UNREAD"))

    def _put(self, box: GmailBox, request: Request, default: Sequence[str]) -> object:
        wanted = request.json()
        raw = _raw(wanted)
        dated = None
        if request.one("internalDateSource") == "dateHeader":
            date = next((one["value"] for one in _headers(raw, {"date"})), None)
            dated = int(parsedate_to_datetime(date).timestamp() * 1000) if date else None
        labels = wanted.get("labelIds", default)
        stored = box.add(raw, labels, internal_ms=dated, thread_id=wanted.get("threadId"))
        return {"id": stored.id, "threadId": stored.thread_id, "labelIds": sorted(stored.labels)}

    def _send(self, box: GmailBox, request: Request, _: str) -> object:
        wanted = request.json()
        raw = _raw(wanted)
        if len(raw) > SEND_BYTES_MAX:
            raise Refused(413, "uploadTooLarge", "Request Too Large")
        fields = [one["value"] for one in _headers(raw, {"to", "cc", "bcc"})]
        recipients = list(dict.fromkeys(address for _, address in getaddresses(fields) if "@" in address))
        if not recipients:
            raise Refused(400, "invalidArgument", "Recipient address required")
        if self.faults.rewrites_message_ids:
            given = f"Message-ID: <CAO{time.monotonic_ns():x}{self._random.getrandbits(40):x}@mail.gmail.com>\r\n"
            raw = _MESSAGE_ID.sub(b"", raw[: raw.find(b"\r\n\r\n") + 2]) + raw[raw.find(b"\r\n\r\n") + 2 :]
            raw = given.encode() + raw
        to_itself = box.address in recipients
        labels = ("SENT", "INBOX", "UNREAD") if to_itself else ("SENT",)
        stored = box.add(raw, labels, thread_id=wanted.get("threadId"))
        header_end = raw.find(b"\r\n\r\n") + 2
        leaves = _BCC.sub(b"", raw[:header_end]) + raw[header_end:]
        for recipient in recipients:
            other = self._box_of(recipient)
            if other is not None and other is not box:
                other.add(leaves)
        self.delivered(box.address, recipients, leaves)
        return {"id": stored.id, "threadId": stored.thread_id, "labelIds": sorted(stored.labels)}

    # -- push ------------------------------------------------------------------------------------

    def _watch(self, box: GmailBox, request: Request, _: str) -> object:
        self._watched(box, request)
        expires = int((time.time() + WATCH_SECONDS) * 1000)
        return {"historyId": str(box.history_id), "expiration": str(expires)}

    def _stop(self, box: GmailBox, request: Request, _: str) -> object:
        self._watched(box, request)
        return None


def _query(q: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in q.split():
        name, _, value = word.partition(":")
        if name in ("after", "before") and value.isdigit():
            found[name] = int(value)
        elif name == "rfc822msgid" and value:
            found["message_id"] = value
        elif word == "in:sent":
            found.setdefault("labels", []).append("SENT")
        else:
            raise BadRequest(f"q: {name}")
    return found


def _page(found: Sequence[Any], request: Request, *, default: int) -> tuple[Sequence[Any], dict[str, str]]:
    size = min(int(request.one("maxResults") or default), _PAGE_MAX)
    start = int(request.one("pageToken") or 0)
    token = {"nextPageToken": str(start + size)} if start + size < len(found) else {}
    return found[start : start + size], token


def _record(one: Happened) -> dict[str, Any]:
    message: dict[str, Any] = {"id": one.message_id, "threadId": one.thread_id, "labelIds": sorted(one.labels)}
    entry: dict[str, Any] = {"message": message}
    if one.changed:
        entry["labelIds"] = list(one.changed)
    name = {"messageAdded": "messagesAdded", "messageDeleted": "messagesDeleted"}.get(
        one.kind, {"labelAdded": "labelsAdded", "labelRemoved": "labelsRemoved"}.get(one.kind, "")
    )
    short = {"id": one.message_id, "threadId": one.thread_id}
    return {"id": str(one.id), "messages": [short], name: [entry]}


def _raw(wanted: Mapping[str, Any]) -> bytes:
    if isinstance(raw := wanted.get("raw"), bytes):
        return raw
    if not isinstance(raw, str):
        raise BadRequest("raw")
    return base64.urlsafe_b64decode(raw.encode() + b"=" * (-len(raw) % 4))


def _headers(raw: bytes, wanted: set[str]) -> list[dict[str, str]]:
    """Return the fields of a header, unfolded; all of them where none is wanted by name."""
    found = []
    for match in _FIELD.finditer(header_of(raw)):
        name, value = match.group(1).decode("ascii"), re.sub(rb"\r?\n[ \t]+", b" ", match.group(2))
        if not wanted or name.lower() in wanted:
            found.append({"name": name, "value": value.decode("utf-8", "replace")})
    return found
