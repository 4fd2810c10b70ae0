"""One request to the fake of Microsoft Graph, and how it is turned down."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams

_SIZE = re.compile(r"odata\.maxpagesize\s*=\s*(\d+)", re.IGNORECASE)
_EXPANDED = re.compile(r"id eq '([^']+)'", re.IGNORECASE)


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass
class Call:
    """One request on a mailbox."""

    method: str
    path: str
    """Below the mailbox, decoded: "messages/{id}/move"."""
    query: QueryParams
    headers: Mapping[str, str]
    body: bytes
    base: str
    """The mailbox's address, for links: http://127.0.0.1:4000/v1.0/me."""

    @property
    def prefer(self) -> str:
        return self.headers.get("prefer", "").lower()

    @property
    def page_size(self) -> int | None:
        found = _SIZE.search(self.prefer)
        return int(found.group(1)) if found else None

    @property
    def immutable(self) -> bool:
        return 'idtype="immutableid"' in self.prefer

    @property
    def document(self) -> dict[str, Any]:
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            raise Refused(400, "BadRequest") from None
        if not isinstance(found, dict):
            raise Refused(400, "BadRequest")
        return found

    def parameter(self, name: str) -> Any:
        """Return a parameter of an action, however it is spelt: Microsoft's own client says `DestinationId`."""
        return next((value for key, value in self.document.items() if key.lower() == name.lower()), None)

    @property
    def select(self) -> list[str]:
        return [name.strip() for name in self.query.get("$select", "").split(",") if name.strip()]

    @property
    def expand(self) -> list[str]:
        return _EXPANDED.findall(self.query.get("$expand", ""))
