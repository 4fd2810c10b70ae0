"""What a process looks at every few seconds: whether its databases answer, and the figures they hold."""

from __future__ import annotations

import asyncio
import time

import structlog

from ingestd.telemetry import gauges
from ingestd.telemetry.health import Health
from ingestd.telemetry.metrics import Metrics
from storage.database import Database, ping
from storage.errors import StorageUnavailable
from storage.figures import read_figures

log = structlog.get_logger()

_SECONDS = 5.0
_SHARE = 0.02
"""Of the time, at most, that reading the figures takes: in each process, and of all mailboxes there are."""


async def keep_looking(content: Database, keystore: Database, health: Health, metrics: Metrics) -> None:
    """Look until cancelled; a database that is away shows in the health, and is waited for."""
    read_again_at = time.monotonic()
    while True:
        await _ping(health, "database", content)
        await _ping(health, "keystore", keystore)
        began_at = time.monotonic()
        if began_at >= read_again_at:
            try:
                gauges.show(metrics, await content.read(None, read_figures))
            except StorageUnavailable as error:
                log.warning("storage.unavailable", exc_info=error)
            else:
                read_again_at = began_at + (time.monotonic() - began_at) / _SHARE
        await asyncio.sleep(_SECONDS)


async def _ping(health: Health, name: str, database: Database) -> None:
    try:
        await database.read(None, ping)
        health.set(name, good=True)
    except StorageUnavailable:
        health.set(name, good=False, word="unavailable")
