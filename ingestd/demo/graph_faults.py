"""What the fake of Microsoft Graph does wrong on demand: throttling, outages, lost answers."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response


@dataclass
class Fault:
    """One thing that goes wrong for the next `times` calls whose "METHOD path" matches.

    `handled`: the call is done all the same. `drop`: the connection is cut instead of an answer.
    """

    status: int = 503
    code: str = "serviceNotAvailable"
    retry_after: str | None = None
    handled: bool = False
    drop: bool = False
    times: int = 1
    match: str = ""
    seconds: float = 0.0
    """How long nothing is said before that."""

    @property
    def response(self) -> Response:
        headers = {"Retry-After": self.retry_after} if self.retry_after is not None else {}
        if self.status < 300:
            return Response(status_code=self.status, headers=headers)
        return error(self.status, self.code, headers)


def throttled(retry_after: str | None = "1", *, match: str = "", times: int = 1) -> Fault:
    return Fault(429, "ApplicationThrottled", retry_after, match=match, times=times)


def lost_answer(match: str, *, times: int = 1) -> Fault:
    """The call is done, and nobody hears of it."""
    return Fault(drop=True, handled=True, match=match, times=times)


def dropped(match: str, *, times: int = 1) -> Fault:
    """The connection is cut before anything is done."""
    return Fault(drop=True, match=match, times=times)


def gateway_timeout(match: str, *, handled: bool, times: int = 1) -> Fault:
    return Fault(504, "UnknownError", handled=handled, match=match, times=times)


def error(status: int, code: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an answer as Graph's errors are."""
    body: dict[str, Any] = {"error": {"code": code, "message": f"Text of {code}.", "innerError": {"date": "now"}}}
    return JSONResponse(body, status, headers=headers)


class Faults:
    """Those that are waiting, by mailbox. May be filled from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[Fault]] = defaultdict(list)

    def add(self, address: str, fault: Fault) -> None:
        with self._lock:
            self._waiting[address].append(fault)

    def clear(self, address: str) -> None:
        with self._lock:
            self._waiting.pop(address, None)

    def take(self, address: str, call: str) -> Fault | None:
        with self._lock:
            for fault in self._waiting[address]:
                if re.search(fault.match, call):
                    fault.times -= 1
                    if fault.times == 0:
                        self._waiting[address].remove(fault)
                    return fault
        return None
