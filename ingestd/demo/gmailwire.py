"""HTTP/1.1 as the demo's Gmail speaks it: requests, answers, and the parts of a batch. No sockets.

Only what the client library sends: bodies with Content-Length, and `multipart/mixed` of `application/http`.
"""

from __future__ import annotations

import json
import re
from asyncio import StreamReader
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

BODY_BYTES_MAX: Final = 160 * 1024 * 1024
HEAD_BYTES_MAX: Final = 64 * 1024
_BOUNDARY: Final = re.compile(r'boundary="?([^";]+)"?')


class BadRequest(ValueError):
    """What was sent is no request."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def one(self, name: str) -> str | None:
        """Return a parameter's value."""
        values = self.query.get(name)
        return values[0] if values else None

    def json(self) -> dict[str, Any]:
        """Return the body as an object. Raises BadRequest."""
        if not self.body:
            return {}
        try:
            found = json.loads(self.body)
        except ValueError:
            raise BadRequest("no JSON") from None
        if not isinstance(found, dict):
            raise BadRequest("no object")
        return found

    @property
    def token(self) -> str:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else ""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        body = json.dumps(document).encode()
        return cls(status, body, {"Content-Type": "application/json; charset=UTF-8", **(headers or {})})

    @classmethod
    def error(cls, status: int, reason: str, message: str = "", *, retry_after: float | None = None) -> Answer:
        """Answer as Google's APIs do."""
        document = {
            "error": {
                "code": status,
                "message": message or reason,
                "errors": [{"message": message or reason, "domain": "global", "reason": reason}],
                "status": "ERROR",
            }
        }
        return cls.of(document, status, {"Retry-After": f"{retry_after:g}"} if retry_after is not None else None)

    def bytes(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


async def read_request(reader: StreamReader) -> Request | None:
    """Read a request; None where the client has hung up. Raises BadRequest, IncompleteReadError."""
    line = await reader.readline()
    if not line:
        return None
    head = line
    while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
        head += line
        if len(head) > HEAD_BYTES_MAX:
            raise BadRequest("headers too long")
    method, target, headers = _head(head)
    length = int(headers.get("content-length", "0"))
    if length > BODY_BYTES_MAX:
        raise BadRequest("body too large")
    body = await reader.readexactly(length) if length else b""
    return _request(method, target, headers, body)


def batch_parts(request: Request) -> list[tuple[str, Request]]:
    """Return the calls of a batch with their Content-IDs. Raises BadRequest."""
    found = _BOUNDARY.search(request.headers.get("content-type", ""))
    if found is None:
        raise BadRequest("no boundary")
    parts = []
    for part in request.body.split(b"--" + found.group(1).encode())[1:]:
        if part.startswith(b"--"):
            break
        outer, _, inner = part.replace(b"\r\n", b"\n").lstrip(b"\n").partition(b"\n\n")
        head, _, body = inner.partition(b"\n\n")
        identity = re.search(rb"(?im)^content-id:\s*<([^>]+)>", outer)
        if identity is None:
            raise BadRequest("a part without Content-ID")
        method, target, headers = _head(head)
        # What a part does not say itself is said by the request around it.
        headers.setdefault("authorization", request.headers.get("authorization", ""))
        parts.append((identity.group(1).decode(), _request(method, target, headers, body.strip(b"\n"))))
    return parts


def batch_answer(answers: Sequence[tuple[str, Answer]]) -> Answer:
    boundary = "batch_of_the_demo"
    body = bytearray()
    for identity, answer in answers:
        body += f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: <response-{identity}>\r\n\r\n".encode()
        body += answer.bytes() + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return Answer(200, bytes(body), {"Content-Type": f"multipart/mixed; boundary={boundary}"})


def _head(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").splitlines()
    words = first.split()
    if len(words) < 2:
        raise BadRequest("no request line")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return words[0], words[1], headers


def _request(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
    parts = urlsplit(target)
    return Request(method, unquote(parts.path), parse_qs(parts.query, keep_blank_values=True), headers, body)


def _phrase(status: int) -> str:
    return "Resume Incomplete" if status == 308 else HTTPStatus(status).phrase
