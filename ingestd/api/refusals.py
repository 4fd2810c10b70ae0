"""What the errors of the daemon's own functions are to a client."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from connectors.base import TemporaryError
from ingestd.access import TooManyFailures, TooManyRequests
from ingestd.api.problems import Problem
from ingestd.events.feed import FeedFull
from ingestd.events.urls import UrlRefused
from ingestd.inbound.parser import ParserUnavailable
from ingestd.linking.errors import LinkingError
from ingestd.linking.link import LinkRefused
from ingestd.linking.standing import link_words
from ingestd.mail.compose import ComposeError
from ingestd.options import OptionRefused
from ingestd.outbound.refused import ReplyRefused
from ingestd.outbound.statuses import IllegalStepError
from ingestd.privacy.residency import Misplaced
from ingestd.ticketing import ChangedMeanwhile
from storage.errors import Conflict, EventsGone, KeyDestroyed, KeyReused, LimitReached, NotFound, StorageUnavailable

_ERRORS_MAX: Final = 20
_AWAY: Final = {"Retry-After": "5"}


def _retry(seconds: float) -> Mapping[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def _too_many_failures(error: TooManyFailures) -> Problem:
    return Problem("too_many_failures", headers=_retry(error.retry_seconds))


def _too_many_requests(error: TooManyRequests) -> Problem:
    return Problem("too_many_requests", headers=_retry(error.retry_seconds))


def _link_refused(error: LinkRefused) -> Problem:
    if error.reason == "provider_unavailable":
        return Problem("unavailable", headers={"Retry-After": "60"})
    return Problem("conflict", link_words(error.reason))


def _invalid(error: RequestValidationError) -> Problem:
    """Say where each mistake is and what is wanted; what was sent is not repeated."""
    found = [
        {"where": "/".join(str(part) for part in one["loc"]), "message": one["msg"]}
        for one in error.errors()[:_ERRORS_MAX]
    ]
    return Problem("invalid", errors=found)


_REFUSALS: Final[Mapping[type[Exception], Callable[..., Problem]]] = {
    Problem: lambda error: error,
    RequestValidationError: _invalid,
    TooManyFailures: _too_many_failures,
    TooManyRequests: _too_many_requests,
    LinkRefused: _link_refused,
    ChangedMeanwhile: lambda _: Problem("changed_meanwhile"),
    NotFound: lambda _: Problem("not_found"),
    # Its mailbox is being forgotten: to everybody it is gone.
    KeyDestroyed: lambda _: Problem("not_found"),
    Conflict: lambda error: Problem("conflict", str(error)),
    KeyReused: lambda _: Problem("idempotency_key_reused"),
    LimitReached: lambda error: Problem("limit_reached", str(error)),
    Misplaced: lambda error: Problem("conflict", str(error)),
    OptionRefused: lambda error: Problem("invalid", str(error)),
    IllegalStepError: lambda error: Problem("illegal_step", str(error)),
    UrlRefused: lambda error: Problem("url_refused", str(error)),
    EventsGone: lambda error: Problem("events_gone", oldest=error.oldest),
    FeedFull: lambda _: Problem("unavailable", "as many read events as may: try again later", headers=_AWAY),
    ReplyRefused: lambda error: Problem("reply_refused", str(error), reason=error.code),
    ComposeError: lambda error: Problem("reply_refused", str(error)),
    LinkingError: lambda _: Problem("unavailable", headers={"Retry-After": "60"}),
    ParserUnavailable: lambda _: Problem("unavailable", headers=_AWAY),
    TemporaryError: lambda _: Problem("unavailable", headers=_AWAY),
    StorageUnavailable: lambda _: Problem("unavailable", headers=_AWAY),
}


def add_refusals(app: FastAPI) -> None:
    """Answer those errors with problems; every other one is a defect."""
    for kind, to_problem in _REFUSALS.items():
        app.add_exception_handler(kind, _handler(to_problem))


def _handler(to_problem: Callable[..., Problem]) -> Callable[[Request, Exception], Response]:
    def handle(_request: Request, error: Exception) -> Response:
        return to_problem(error).response()

    return handle
