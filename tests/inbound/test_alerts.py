"""What a mail server wants a person to read."""

from __future__ import annotations

from uuid import UUID

from structlog.testing import capture_logs

from ingestd.inbound.alerts import note_alerts
from ingestd.telemetry.metrics import Metrics
from ingestd.telemetry.vocabulary import EVENTS


def test_that_there_were_alerts_is_counted_and_logged() -> None:
    metrics = Metrics(version="0", python_version="3")
    with capture_logs() as logged:
        note_alerts(metrics, UUID(int=7), 2)
    assert metrics.registry.get_sample_value("ingestd_server_alerts_total") == 2
    (line,) = logged
    assert line["event"] in EVENTS
    assert (line["mailbox_id"], line["count"], line["log_level"]) == (str(UUID(int=7)), 2, "warning")
