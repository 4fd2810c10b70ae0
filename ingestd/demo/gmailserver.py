"""A Gmail API on loopback, for the demo and the tests: REST, batches, resumable uploads, Pub/Sub pull.

It stands where Google cannot be asked: it answers as Google documents, and can be made to fail as Google does
(`faults`). Bearer tokens open one mailbox each; what a token stands for is told by `check`, e.g. `AuthServer.check`.
Mailboxes live in memory. It runs in the caller's event loop (`async with server.running() as root`) or in a thread
of its own (`start()`, `stop()`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import re
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from ingestd.demo.gmailapi import GmailApi
from ingestd.demo.gmailbox import GmailBox
from ingestd.demo.gmailfaults import UNITS, Fault, Faults, Loss, Quota
from ingestd.demo.gmailpush import PubSub, ServiceAccount
from ingestd.demo.gmailwire import Answer, BadRequest, Request, batch_answer, batch_parts, read_request
from ingestd.demo.hosting import Hosted
from ingestd.demo.xoauth2 import CheckToken

PARTS_MAX: Final = 100
_ROUTES: Final[tuple[tuple[str, str, str], ...]] = (
    ("GET", r"profile", "getProfile"),
    ("GET", r"history", "history.list"),
    ("POST", r"labels", "labels.create"),
    ("GET", r"labels", "labels.list"),
    ("POST", r"messages/batchDelete", "messages.batchDelete"),
    ("POST", r"messages/batchModify", "messages.batchModify"),
    ("POST", r"messages/import", "messages.import"),
    ("POST", r"messages/send", "messages.send"),
    ("POST", r"messages", "messages.insert"),
    ("GET", r"messages", "messages.list"),
    ("GET", r"messages/(?P<id>[^/]+)", "messages.get"),
    ("DELETE", r"messages/(?P<id>[^/]+)", "messages.delete"),
    ("POST", r"messages/(?P<id>[^/]+)/modify", "messages.modify"),
    ("POST", r"messages/(?P<id>[^/]+)/trash", "messages.trash"),
    ("POST", r"messages/(?P<id>[^/]+)/untrash", "messages.untrash"),
    ("POST", r"stop", "stop"),
    ("POST", r"watch", "watch"),
)
_PATTERNS: Final = tuple((verb, re.compile(path), method) for verb, path, method in _ROUTES)
_USER: Final = re.compile(r"(?:/resumable)?(/upload)?/gmail/v1/users/([^/]+)/(.+)")
_SUBSCRIPTION: Final = re.compile(r"/v1/(projects/[^/]+/subscriptions/[^/:]+):(pull|acknowledge|modifyAckDeadline)")
_RANGE: Final = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


class _Hang(Exception):
    """No answer; the connection stays open."""


class _Drop(Exception):
    """The connection ends without an answer."""


class _Upload:
    def __init__(self, request: Request, method: str) -> None:
        self.request = request
        self.method = method
        self.content = bytearray()


class GmailServer(Hosted):
    """The server. Users are named by their address in every method, which may be called from any thread."""

    thread_name = "demo-gmail"

    def __init__(
        self,
        check: CheckToken,
        *,
        units_per_minute: int | None = None,
        latency_seconds: float = 0.0,
        ssl_context: ssl.SSLContext | None = None,
        subscriptions: Sequence[str] = (),
        pubsub_token: str = "pubsub-token",
        port: int = 0,
    ) -> None:
        self.faults = Faults()
        self.pubsub = PubSub(subscriptions)
        self.calls: Counter[str] = Counter()
        """Calls by method name, those in batches too; "batch" counts the batches."""
        self.latency_seconds = latency_seconds
        self.units_per_minute = units_per_minute
        self.port = port
        self.root = ""
        """E.g. http://127.0.0.1:40123/."""
        self.api = GmailApi(self.faults, self._known_box, self._watched)
        self._check = check
        self._ssl_context = ssl_context
        self._pubsub_token = pubsub_token
        self._boxes: dict[str, GmailBox] = {}
        self._quotas: dict[str, Quota] = {}
        self.watches: dict[str, frozenset[str]] = {}
        """By mailbox: the labels of which changes are published; none: of all."""
        self._uploads: dict[str, _Upload] = {}
        self._upload_numbers = itertools.count(1)
        self._writers: dict[asyncio.StreamWriter, str] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    # What tests and the demo call.

    @functools.cached_property
    def service_account(self) -> ServiceAccount:
        """Who may pull; made at first use, as its key takes a moment."""
        return ServiceAccount(self._pubsub_token)

    def box(self, address: str) -> GmailBox:
        """Return a mailbox, which is made where there is none."""
        with self._lock:
            if address not in self._boxes:
                self._boxes[address] = GmailBox(address, self._changed)
            return self._boxes[address]

    def quota(self, address: str) -> Quota:
        with self._lock:
            if address not in self._quotas:
                self._quotas[address] = Quota(self.units_per_minute)
            return self._quotas[address]

    def connections(self, address: str) -> int:
        return sum(one == address for one in list(self._writers.values()))

    def kick(self, address: str) -> None:
        """End the connections of a user."""
        if self._loop is not None:
            for writer, of in list(self._writers.items()):
                if of == address:
                    self._loop.call_soon_threadsafe(writer.transport.abort)

    # How it runs.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve in this event loop; yields the root URL."""
        self._loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await self._serve(reader, writer)
            finally:
                tasks.discard(task)

        listener = await asyncio.start_server(
            connected, "127.0.0.1", self.port, ssl=self._ssl_context, limit=1024 * 1024
        )
        self.port = listener.sockets[0].getsockname()[1]
        self.root = f"{'https' if self._ssl_context else 'http'}://127.0.0.1:{self.port}/"
        try:
            yield self.root
        finally:
            listener.close()
            waiting = list(tasks)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await listener.wait_closed()
            self._loop = None

    # A connection.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = ""
        try:
            while (request := await read_request(reader)) is not None:
                if self.latency_seconds:
                    await asyncio.sleep(self.latency_seconds)
                writer.write((await self._answer(request, writer, reader.at_eof)).bytes())
                await writer.drain()
        except _Drop:
            pass
        except _Hang:
            with contextlib.suppress(ConnectionError):
                await reader.read()  # until the client gives up
        except (ConnectionError, BadRequest, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away, or speaks something else
        finally:
            self._writers.pop(writer, None)
            writer.transport.abort()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter, is_gone: Callable[[], bool]) -> Answer:
        if found := _SUBSCRIPTION.fullmatch(request.path):
            if request.token != self._pubsub_token:
                return Answer.error(401, "authError", "Invalid Credentials")
            return await self.pubsub.run(found.group(1), found.group(2), request, is_gone)
        if request.path == "/token":
            return self.service_account.answer(request, f"{self.root}token")
        if info := self._check(request.token):
            self._writers[writer] = info.address
        if request.path in ("/batch", "/batch/gmail/v1"):
            self.calls["batch"] += 1
            return self._with_fault("batch", lambda: self._batch(request))
        if request.path.startswith("/uploads/"):
            return self._upload_chunk(request)
        return self._call(request)

    def _batch(self, request: Request) -> Answer:
        parts = batch_parts(request)
        if len(parts) > PARTS_MAX:
            return Answer.error(400, "invalidArgument", "The batch request contains too many calls")
        return batch_answer([(identity, self._call(part)) for identity, part in parts])

    # A call.

    def _call(self, request: Request) -> Answer:
        found = _USER.fullmatch(request.path)
        method, identity = _route(request.method, found.group(3)) if found else ("", "")
        if found is None or not method:
            return Answer.error(404, "notFound", "no such method")
        self.calls[method] += 1
        info = self._check(request.token)
        if info is None:
            return Answer.error(401, "authError", "Invalid Credentials")
        if found.group(2) not in ("me", info.address):
            return Answer.error(403, "forbidden", "Delegation denied")
        box = self.box(info.address)
        if not self.quota(info.address).spend(UNITS[method]):
            wait = self.faults.wait
            return Answer.error(wait.status, wait.reason, wait.message, retry_after=wait.retry_after)
        if found.group(1) and request.one("uploadType") == "resumable":
            return self._with_fault(f"{method}.begin", lambda: self._begin_upload(request, method))
        return self._with_fault(method, lambda: self.api.run(method, box, info.scopes, request, identity))

    def _with_fault(self, method: str, work: Callable[[], Answer]) -> Answer:
        fault = self.faults.take(method)
        if isinstance(fault, Fault):
            return Answer.error(fault.status, fault.reason, fault.message, retry_after=fault.retry_after)
        if fault is Loss.BEFORE:
            raise _Drop
        answer = work()
        if fault is Loss.AFTER:
            raise _Drop
        if fault is Loss.HANG:
            raise _Hang
        return answer

    # Uploads.

    def _begin_upload(self, request: Request, method: str) -> Answer:
        name = str(next(self._upload_numbers))
        self._uploads[name] = _Upload(request, method)
        return Answer(200, b"", {"Location": f"{self.root}uploads/{name}"})

    def _upload_chunk(self, request: Request) -> Answer:
        name = request.path.removeprefix("/uploads/")
        upload, place = self._uploads.get(name), _RANGE.fullmatch(request.headers.get("content-range", ""))
        info = self._check(request.token)
        if upload is None or place is None:
            return Answer.error(404, "notFound", "no such upload")
        if info is None:
            return Answer.error(401, "authError", "Invalid Credentials")
        if place.group(1) is not None:
            if int(place.group(1)) != len(upload.content):
                return Answer.error(400, "invalidArgument", "not where the upload stands")
            upload.content += request.body
        if len(upload.content) < int(place.group(3)):
            told = {"Range": f"bytes=0-{len(upload.content) - 1}"} if upload.content else {}
            return Answer(308, b"", told)
        del self._uploads[name]
        whole = _Uploaded(upload.request, bytes(upload.content))
        box = self.box(info.address)
        return self._with_fault(upload.method, lambda: self.api.run(upload.method, box, info.scopes, whole, ""))

    # Push.

    def _known_box(self, address: str) -> GmailBox | None:
        return self._boxes.get(address)

    def _watched(self, box: GmailBox, request: Request) -> None:
        if request.path.endswith("/stop"):
            self.watches.pop(box.address, None)
        else:
            self.watches[box.address] = frozenset(request.json().get("labelIds", ()))
            self.pubsub.publish(box.address, box.history_id)

    def _changed(self, box: GmailBox, labels: frozenset[str]) -> None:
        watched = self.watches.get(box.address)
        if watched is not None and (not watched or watched & labels):
            self.pubsub.publish(box.address, box.history_id)


class _Uploaded(Request):
    """An upload's first request, with the bytes that came after it as `raw`."""

    __slots__ = ("_content",)

    def __init__(self, first: Request, content: bytes) -> None:
        super().__init__(first.method, first.path, first.query, first.headers, first.body)
        object.__setattr__(self, "_content", content)

    def json(self) -> dict[str, Any]:
        return {**super().json(), "raw": self._content}  # type: ignore[attr-defined]


def _route(verb: str, path: str) -> tuple[str, str]:
    for known, pattern, method in _PATTERNS:
        if known == verb and (found := pattern.fullmatch(path)):
            return method, found.groupdict().get("id", "")
    return "", ""
