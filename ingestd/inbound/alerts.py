"""What a mail server wants a person to read: that there was such a thing, not what it says."""

from __future__ import annotations

from uuid import UUID

import structlog

from ingestd.telemetry.metrics import Metrics

log = structlog.get_logger()


def note_alerts(metrics: Metrics, mailbox_id: UUID, count: int) -> None:
    """Count the [ALERT]s of an answer and say so in the log: their texts may be personal, and the provider's web
    mail shows them to the owner."""
    metrics.server_alerted(count)
    log.warning("mailbox.alerted", mailbox_id=str(mailbox_id), count=count)
