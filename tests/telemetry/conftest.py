"""Logging is global to a process: every test gets it back as it was."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from ingestd.telemetry import logs
from tests.conftest import log_plainly


class Lines(io.StringIO):
    """A stream of log lines."""

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def only(self) -> dict[str, Any]:
        events = self.events()
        assert len(events) == 1, events
        return events[0]


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, show = list(root.handlers), root.level, warnings.showwarning
    yield
    logging.captureWarnings(False)
    root.handlers[:], warnings.showwarning = handlers, show
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False
    logging.getLogger("uvicorn.access").propagate = True
    log_plainly()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines() -> Lines:
    """Logging as in production."""
    stream = Lines()
    logs.configure("json", "debug", stream)
    return stream


@pytest.fixture
def strict_lines() -> Lines:
    """Logging as in tests and development."""
    stream = Lines()
    logs.configure("json", "debug", stream, strict=True)
    return stream
