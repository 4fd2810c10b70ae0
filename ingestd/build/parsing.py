"""The parser's processes, with the limits of the configuration."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from config import Settings
from ingestd.inbound.parser import ParserPool
from ingestd.privacy.rewriter import rewriter_command

log = structlog.get_logger()


def new_parser(settings: Settings, *, processes: int, replaced: Callable[[], None] = lambda: None) -> ParserPool:
    """Return a pool, not started yet; `replaced` is called for each process that is replaced."""

    def told() -> None:
        log.info("parser.replaced")
        replaced()

    return ParserPool(
        processes=processes,
        seconds_max=settings.parser.seconds_max,
        memory_bytes_max=settings.parser.memory_bytes_max,
        message_bytes_max=settings.inbound.message_bytes_max,
        messages_max=settings.parser.messages_max,
        replaced=told,
    )


_ASKED_BYTES_MAX = 64 * 1024 * 1024
"""What goes to a rewriting process beside the message: what was read of it before."""


def new_rewriter(settings: Settings) -> ParserPool:
    """Return a process that rewrites messages, not started yet. It reads each twice, and may take twice as long."""
    return ParserPool(
        command=rewriter_command(),
        seconds_max=2 * settings.parser.seconds_max,
        memory_bytes_max=2 * settings.parser.memory_bytes_max,
        message_bytes_max=settings.inbound.message_bytes_max + _ASKED_BYTES_MAX,
        messages_max=settings.parser.messages_max,
    )
