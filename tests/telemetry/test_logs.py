"""Nothing personal gets into a log, whoever writes it."""

from __future__ import annotations

import asyncio
import enum
import io
import json
import logging
import re
import sys
import warnings
from pathlib import Path
from uuid import UUID

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import connectors
import ingestd
import storage
from connectors.base import PermanentError, RateLimited, TemporaryError, Trouble
from ingestd.telemetry import hooks, logs, vocabulary
from ingestd.telemetry.fields import FIELDS, permitted
from storage.errors import StorageUnavailable
from tests.telemetry.conftest import Lines

MAILBOX = UUID("0197f3a0-0000-7000-8000-000000000001")
SECRETS = [
    "anna@example.com",
    "Anna Smith",
    "Re: your invoice",
    "ya29.a0AfH6SMBx-Kq",
    "Bearer abcdef",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.x",
    "https://example.com/?code=4",
    "müller",
    "sent\nforged",
    "sent\n",
    "x" * 49,
    "<id@example.com>",
    "",
]


def test_every_event_has_a_constant_and_a_meaning() -> None:
    constants = {value for name, value in vars(vocabulary).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(vocabulary.EVENTS)
    for name, meaning in vocabulary.EVENTS.items():
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+", name)
        assert meaning.endswith(".")
        assert "\n" not in meaning


def test_every_event_is_logged_somewhere() -> None:
    """An operator who waits for a line that nobody writes waits for ever."""
    packages = (ingestd, connectors, storage)
    folders = [Path(str(package.__file__)).parent for package in packages]
    sources = [path for folder in folders for path in folder.rglob("*.py") if path.name != "vocabulary.py"]
    written = "\n".join(path.read_text("utf-8") for path in sources)
    names = {value: name for name, value in vars(vocabulary).items() if name.isupper() and isinstance(value, str)}
    unused = [event for event, name in names.items() if f'"{event}"' not in written and f".{name}" not in written]
    assert unused == []


def test_a_line_is_one_json_object(strict_lines: Lines) -> None:
    class State(enum.StrEnum):
        ACTIVE = "active"

    structlog.get_logger().info(
        vocabulary.MAILBOX_BATCH_COMMITTED,
        mailbox_id=MAILBOX,
        messages=50,
        duration_seconds=0.123456789,
        state=State.ACTIVE,
        more=True,
        enhanced_code="5.1.1",
        reason=None,
    )
    line = strict_lines.only()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line.pop("timestamp"))
    assert line == {
        "event": "mailbox.batch_committed",
        "level": "info",
        "mailbox_id": str(MAILBOX),
        "messages": 50,
        "duration_seconds": 0.123457,
        "state": "active",
        "more": True,
        "enhanced_code": "5.1.1",
        "reason": None,
    }


def test_strict_raises_without_repeating_the_value(strict_lines: Lines) -> None:
    log = structlog.get_logger()
    for event, fields in [
        ("mail of anna@example.com", {}),
        (vocabulary.REPLY_SETTLED, {"subject": "anna@example.com"}),
        (vocabulary.REPLY_SETTLED, {"reason": "anna@example.com"}),
        (vocabulary.REPLY_SETTLED, {"error_text": "anna@example.com"}),
    ]:
        with pytest.raises(logs.ForbiddenLog) as caught:
            log.info(event, **fields)
        assert "anna" not in str(caught.value)
    assert strict_lines.getvalue() == ""


def test_production_drops_what_is_not_allowed(lines: Lines) -> None:
    log = structlog.get_logger()
    log.info("anna@example.com wrote", mailbox_id=7, subject="Anna", reason="Re: Anna")
    log.info("%s wrote", "anna@example.com")
    structlog.contextvars.bind_contextvars(address="anna@example.com", mailbox_id=MAILBOX)
    log.info(vocabulary.REPLY_SETTLED, status="sent")
    first, second, third = lines.events()
    assert (first["event"], first["mailbox_id"], first["dropped_keys"]) == ("log.dropped", 7, 2)
    assert second["event"] == "log.dropped"
    assert (third["status"], third["mailbox_id"], third["dropped_keys"]) == ("sent", str(MAILBOX), 1)
    assert "nna" not in lines.getvalue()


@pytest.mark.parametrize("secret", SECRETS)
def test_no_key_takes_personal_text(secret: str) -> None:
    for key in FIELDS:
        assert permitted(key, secret) == (False, None), key
        assert permitted(key, [secret]) == (False, None), key
        assert permitted(key, secret.encode()) == (False, None), key


@given(st.sampled_from(sorted(FIELDS)), st.one_of(st.text(), st.from_regex(r".{0,20}@.{0,20}"), st.floats()))
def test_what_passes_has_no_space_and_no_address(key: str, value: str | float) -> None:
    allowed, written = permitted(key, value)
    if allowed and isinstance(written, str):
        assert len(written) <= 110
        assert written.isascii()
        assert not set(written) & set("@ \t\r\n%?=&\"'\\")
    assert json.dumps(written, allow_nan=False)


def test_our_errors_are_written_with_their_text(strict_lines: Lines) -> None:
    log = structlog.get_logger()
    log.warning(vocabulary.MAILBOX_READ_FAILED, exc_info=RateLimited("imap.example.com:993 FETCH NO", retry_after=5))
    log.error(vocabulary.STORAGE_UNAVAILABLE, exc_info=StorageUnavailable("content: locked"))
    limited, storage = strict_lines.events()
    assert limited["error"] == "RateLimited"
    assert limited["trouble"] == "throttled"
    assert limited["error_text"] == "imap.example.com:993 FETCH NO"
    assert storage["error_text"] == "content: locked"


@pytest.mark.parametrize(
    "text",
    ["anna@example.com refused", "token " + "a1B2" * 10, "eyJhbGciOiJub25lIn0abcdefgh", "für Anna", "a\nb", "x?y"],
)
def test_a_broken_promise_of_our_errors_costs_the_text(strict_lines: Lines, text: str) -> None:
    structlog.get_logger().error(
        vocabulary.MAILBOX_READ_FAILED, exc_info=PermanentError(text, trouble=Trouble.ADMIN_BLOCKED)
    )
    line = strict_lines.only()
    assert line["error"] == "PermanentError"
    assert line["trouble"] == "admin_blocked"
    assert "error_text" not in line


def test_other_exceptions_are_type_and_place(strict_lines: Lines) -> None:
    try:
        try:
            # Raised inside a package of ours, with the value in its message.
            UUID("anna@example.com")
        except ValueError as error:
            raise TemporaryError("imap.example.com:993 LOGIN") from error
    except TemporaryError:
        structlog.get_logger().exception(vocabulary.MAILBOX_READ_FAILED)
    try:
        logs.Guard(strict=True)(None, "info", {"event": "anna@example.com"})
    except logs.ForbiddenLog as error:
        structlog.get_logger().error(vocabulary.TASK_FAILED, exc_info=error)
    try:
        json.loads("anna@example.com")
    except ValueError:
        structlog.get_logger().error(vocabulary.TASK_FAILED, exc_info=True)
    chained, ours, library = strict_lines.events()
    assert chained["error_causes"] == ["ValueError"]
    assert ours["error"] == "ForbiddenLog"
    assert all(re.fullmatch(r"ingestd/telemetry/logs\.py:\d+", place) for place in ours["error_at"])
    assert len(ours["error_at"]) == 2
    assert library["error"] == "JSONDecodeError"
    assert re.fullmatch(r"json\.decoder:\d+", library["error_at"][0])
    assert "anna" not in strict_lines.getvalue()


def test_groups_and_circles_end(strict_lines: Lines) -> None:
    first, second = ValueError("anna@example.com"), KeyError("anna@example.com")
    first.__cause__, second.__cause__ = second, first
    group = ExceptionGroup("anna@example.com", [ValueError("anna"), OSError("anna")])
    structlog.get_logger().error(vocabulary.TASK_FAILED, exc_info=first)
    structlog.get_logger().error(vocabulary.TASK_FAILED, exc_info=group)
    circle, grouped = strict_lines.events()
    assert len(circle["error_causes"]) == 5
    assert grouped["error_causes"] == ["ValueError", "OSError"]
    assert "anna" not in strict_lines.getvalue()


def test_libraries_lose_their_text(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("sqlalchemy.engine.Engine", "imapclient", "aiosmtplib", "uvicorn.error", "httpx2"):
        logger = logging.getLogger(name)
        logger.info("anna@example.com")
        logger.warning("login of %s failed", "anna@example.com", extra={"address": "anna@example.com"})
    logging.getLogger("anna@example.com").error("x")
    logging.getLogger("uvicorn.access").error("GET /oauth/callback?code=anna")
    broken = logging.LogRecord("broken", logging.ERROR, __file__, 1, "%d", ("anna@example.com",), None)
    logs.LibraryHandler().handle(broken)
    events = lines.events()
    assert [event.get("logger") for event in events] == [
        "sqlalchemy.engine.Engine",
        "imapclient",
        "aiosmtplib",
        "uvicorn.error",
        "httpx2",
        None,
        "broken",
    ]
    assert {event["event"] for event in events} == {"library.message"}
    assert all(event["logged_at"].startswith("test_logs:") for event in events)
    assert "anna" not in lines.getvalue()
    # logging prints to stderr by itself where a logger has no handler at all.
    assert capsys.readouterr() == ("", "")
    assert logging.getLogger("uvicorn.access").disabled


def test_a_librarys_own_handlers_are_removed() -> None:
    aside, stream = io.StringIO(), Lines()
    logger = logging.getLogger("aside")
    logger.addHandler(logging.StreamHandler(aside))
    logger.propagate = False
    logs.configure("json", "info", stream)
    logger.error("anna@example.com")
    assert aside.getvalue() == ""
    assert stream.only()["logger"] == "aside"


async def test_asyncios_complaints_are_type_and_place(lines: Lines) -> None:
    def callback() -> None:
        raise ValueError("anna@example.com")

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    line = lines.only()
    assert (line["logger"], line["level"], line["error"]) == ("asyncio", "error", "ValueError")
    assert "anna" not in lines.getvalue()


def test_warnings_lose_their_text(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("anna@example.com", stacklevel=1)
    assert lines.only()["logger"] == "py.warnings"
    assert "anna" not in lines.getvalue()


def test_uncaught_exceptions_lose_their_text(lines: Lines) -> None:
    hooks.uncaught(KeyboardInterrupt, KeyboardInterrupt(), None)
    hooks.uncaught(ValueError, ValueError("anna@example.com"), None)
    line = lines.only()
    assert (line["event"], line["level"], line["error"]) == ("daemon.failed", "critical", "ValueError")
    assert "anna" not in lines.getvalue()


def test_levels_and_console() -> None:
    stream = Lines()
    logs.configure("console", "warning", stream, strict=True)
    structlog.get_logger().info(vocabulary.DAEMON_STARTED, pid=1)
    structlog.get_logger().warning(vocabulary.LEASE_LOST, worker_id=MAILBOX)
    text = stream.getvalue()
    assert "daemon.started" not in text
    assert "lease.lost" in text
    assert str(MAILBOX) in text
    assert "\x1b" not in text


def test_a_closed_stream_stops_nothing(lines: Lines) -> None:
    lines.close()
    structlog.get_logger().info(vocabulary.DAEMON_STOPPED)
    logging.getLogger("x").error("y")
    assert sys.exc_info() == (None, None, None)
    assert lines.closed
