"""Batches: many calls in one request, and their answers (Gmail API, "Batching requests"). Pure.

The library has batches too; its parser is that of `email`, line by line over megabytes of base64, and cost half of all
the time in which mail is read. The calls themselves are the library's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

BOUNDARY = "ingestd_batch_part"
"""In none of our requests: what they hold is JSON of ids and labels, and ids."""
_CONTENT_ID = re.compile(rb"(?im)^content-id:[ \t]*<response-ingestd\+([^>\r\n]+)>")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_FIELD = re.compile(rb"(?m)^([!-9;-~]+):[ \t]*(.*?)\r?$")
_BOUNDARY_OF = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """The answer to one call."""

    key: str
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def document(self) -> dict[str, Any]:
        """Return a success as an object, an empty one where there is no body. Raises ValueError."""
        if not self.body.strip():
            return {}
        found = json.loads(self.body)
        if not isinstance(found, dict):
            raise ValueError("no object")  # noqa: TRY004  (a broken answer, whatever it is)
        return found


def encode_batch(requests: Mapping[str, Any]) -> bytes:
    """Return the body of a batch of the library's requests, by key; a key is made of letters, digits, "-" and "_"."""
    lines = []
    for key, request in requests.items():
        parts = urlsplit(request.uri)
        lines += [
            f"--{BOUNDARY}",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: <ingestd+{key}>",
            "",
            f"{request.method} {parts.path}{'?' if parts.query else ''}{parts.query} HTTP/1.1",
            "Accept: application/json",
        ]
        if request.body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(request.body.encode())}"]
        lines += ["", request.body or ""]
    return "\r\n".join([*lines, f"--{BOUNDARY}--", ""]).encode()


def decode_batch(content_type: str, content: bytes) -> Iterator[Part]:
    """Yield the answers of a batch, in any order. Raises ValueError where it is no such answer."""
    found = _BOUNDARY_OF.search(content_type)
    if found is None:
        raise ValueError("no boundary")
    delimiter = b"--" + found.group(1).encode()
    at = content.find(delimiter)
    while at >= 0:
        start = at + len(delimiter)
        if content.startswith(b"--", start):
            return
        at = content.find(b"\r\n" + delimiter, start)
        end = at if at >= 0 else len(content)
        at = at + 2 if at >= 0 else -1
        yield _part(content, start, end)
    raise ValueError("a batch without an end")


def _part(content: bytes, start: int, end: int) -> Part:
    inner = content.find(b"\r\n\r\n", start, end)
    body = content.find(b"\r\n\r\n", inner + 4, end)
    body = end if body < 0 else body
    key = _CONTENT_ID.search(content[start:inner])
    status = _STATUS.match(content[inner + 4 : body])
    if inner < 0 or key is None or status is None:
        raise ValueError("a part that is none")
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in _FIELD.findall(content[inner + 4 : body])
    }
    return Part(key.group(1).decode("ascii"), int(status.group(1)), headers, content[body + 4 : end])
