"""The parser's processes, with the limits of the configuration."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from config import Settings
from ingestd.inbound.parser import ParserPool

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
