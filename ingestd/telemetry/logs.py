"""Logs: one event a line, on standard error, without personal data.

    configure(format="json", level="info")
    log = structlog.get_logger()
    log.info(vocabulary.MAILBOX_CLAIMED, mailbox_id=mailbox_id, fence=7)

Every line passes one guard: its event must be in `vocabulary.EVENTS`, its keys and
values must be allowed by `fields.FIELDS`, its exception is reduced by `errors.describe`.
With `strict` (tests, development) the guard raises; without it, what is not allowed is
dropped and counted in `dropped_keys`, as a log line must never stop the mail.

What libraries log (through `logging`) is reduced to logger, level and place.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from ingestd.telemetry import vocabulary
from ingestd.telemetry.errors import describe
from ingestd.telemetry.fields import permitted

Format = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]

_LEVELS: Final = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
# Set by structlog's own processors before the guard.
_OURS: Final = frozenset({"event", "level", "timestamp"})


class ForbiddenLog(Exception):
    """Something was logged that is not in the vocabulary. The text names the event or key, never the value."""


class Guard:
    """The processor that lets through what is allowed, and nothing else."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict

    def __call__(self, logger: Any, method: str, event_dict: EventDict) -> EventDict:
        error = _take_error(event_dict)
        kept: dict[str, Any] = {key: event_dict[key] for key in ("timestamp", "level") if key in event_dict}
        kept["event"] = self._event(event_dict.get("event"))
        dropped = 0
        for key, value in event_dict.items():
            if key in _OURS:
                continue
            allowed, written = permitted(key, value)
            if allowed:
                kept[key] = written
                continue
            if self._strict:
                raise ForbiddenLog(f"the key {key!r} of {kept['event']} is not allowed, or its value has another form")
            dropped += 1
        if dropped:
            kept["dropped_keys"] = dropped
        if error is not None:
            # After the filter: these keys can be set here only.
            kept.update(describe(error))
        return kept

    def _event(self, event: object) -> str:
        if isinstance(event, str) and event in vocabulary.EVENTS:
            return event
        if self._strict:
            raise ForbiddenLog("the event is not in ingestd.telemetry.vocabulary")
        return vocabulary.LOG_DROPPED


def _take_error(event_dict: MutableMapping[str, Any]) -> BaseException | None:
    """Remove `exc_info` and `stack_info`, and return the exception that they mean."""
    event_dict.pop("stack_info", None)
    info = event_dict.pop("exc_info", None)
    if isinstance(info, BaseException):
        return info
    if isinstance(info, tuple):
        return info[1] if len(info) == 3 and isinstance(info[1], BaseException) else None
    return sys.exc_info()[1] if info else None


class LineWriter:
    """Writes lines to a stream. Holds the stream (structlog's own loggers hold it weakly) and never raises."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        try:
            with self._lock:
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            # A full disk or a closed pipe behind stderr: mail goes on without logs.
            return

    debug = info = warning = warn = error = critical = exception = fatal = log = failure = msg


class LibraryHandler(logging.Handler):
    """Takes what libraries log and passes on logger, level, place and the exception's type: never the text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._log = structlog.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        known = {"logger": record.name, "logged_at": f"{record.module}:{record.lineno}"}
        fields: dict[str, Any] = {key: value for key, value in known.items() if permitted(key, value)[0]}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            fields["exc_info"] = error
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write(vocabulary.LIBRARY_MESSAGE, **fields)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        """Stay silent: the default prints the record's text and arguments to stderr."""


def configure(
    format: Format = "json",  # noqa: A002  # as the settings call it
    level: Level = "info",
    stream: TextIO | None = None,
    *,
    strict: bool = False,
) -> None:
    """Set logging up for the process; a second call replaces the first.

    `stream` is standard error by default. `strict` raises ForbiddenLog where
    production drops.
    """
    out = sys.stderr if stream is None else stream
    writer = LineWriter(out)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            Guard(strict=strict),
            _renderer(format, out),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    _route_libraries()


def _renderer(format_: Format, stream: TextIO) -> Processor:
    if format_ == "console":
        return structlog.dev.ConsoleRenderer(colors=stream.isatty())
    return structlog.processors.JSONRenderer(serializer=_dump)


def _dump(value: Any, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _route_libraries() -> None:
    """Make the root logger's only handler ours, and let no library keep a handler of its own."""
    root = logging.getLogger()
    root.handlers[:] = [LibraryHandler()]
    root.setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # uvicorn's access log has the query string, and with it the OAuth callback's code and state.
    access = logging.getLogger("uvicorn.access")
    access.propagate = False
    # Without this, logging's handler of last resort would print it.
    access.disabled = True
    logging.captureWarnings(True)
