"""The connection that a request came on, for those who stay on it: streams, and polls that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from starlette.types import Receive

T = TypeVar("T")

STATE = "line"
"""Its name in the state of a request."""


@dataclass(slots=True)
class Line:
    """What the server and the limits around a request let it do."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """The server stops: end at once."""
    cut: Callable[[], None] = lambda: None
    """Cut the connection, whatever is still to be sent."""
    lift: Callable[[], None] = lambda: None
    """Let this request take as long as it does."""
    leave: Callable[[], None] = lambda: None
    """Give the request's place among those that are served at the same time to another,"""
    enter: Callable[[], None] = lambda: None
    """and take it back."""

    @contextmanager
    def stay(self) -> Iterator[None]:
        """Hold the connection without holding a place among the requests that are served."""
        self.leave()
        try:
            yield
        finally:
            self.enter()

    async def while_wanted(self, receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what `work` returns; None where the client went away or the server stops before."""
        task = asyncio.create_task(work)
        others = [asyncio.create_task(gone(receive)), asyncio.create_task(self.stopping.wait())]
        try:
            await asyncio.wait([task, *others], return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for one in (task, *others):
                one.cancel()
            await asyncio.gather(task, *others, return_exceptions=True)


async def gone(receive: Receive) -> None:
    """Wait until the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def line_of(request: Request) -> Line:
    line: Line = getattr(request.state, STATE, None) or Line()
    return line
