"""A client of the event stream, as the HTML standard describes one (§9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.api.desk import ApiDesk


@dataclass
class Sent:
    """One event of a stream."""

    id: int
    event: str
    data: dict[str, Any]


class Stream:
    """Reads a stream as the standard says, and remembers its last id."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.last = 0
        self._lines = response.aiter_lines()

    async def __aiter__(self) -> AsyncIterator[Sent]:
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                self.last = int(fields["id"])
                sent, fields = Sent(self.last, fields["event"], json.loads(fields["data"])), {}
                yield sent

    async def take(self, count: int) -> list[Sent]:
        found = []
        async with asyncio.timeout(20):
            async for one in self:
                found.append(one)
                if len(found) == count:
                    break
        return found

    async def ends(self) -> bool:
        """Whether it ends by itself, as a whole answer does."""
        async with asyncio.timeout(20):
            async for _ in self:
                pass
        return True


@asynccontextmanager
async def streaming(desk: ApiDesk, query: str = "", **more: Any) -> AsyncIterator[Stream]:
    path = f"/v1/accounts/{desk.account_id}/events/stream{query}"
    headers = {"Authorization": f"Bearer {more.pop('token', desk.token)}", **more.pop("headers", {})}
    async with desk.client.stream("GET", path, headers=headers, timeout=30, **more) as response:
        assert response.status_code == 200, await response.aread()
        yield Stream(response)
