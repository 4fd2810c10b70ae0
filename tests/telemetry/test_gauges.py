from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from ingestd.telemetry import gauges
from ingestd.telemetry.metrics import Metrics
from storage.figures import Figures

_FIGURES = Figures(
    accounts={"suspended": 22},
    mailboxes={"active": 1},
    mailboxes_oldest_seconds={"active": 2.0},
    mailboxes_in_trouble={"throttled": 3},
    mailboxes_unheld=4,
    read_age_seconds={"active": 5.0},
    folders_missing=14,
    access_warnings={"scope_missing": 21},
    outbox={"queued": 6},
    outbox_oldest_seconds={"queued": 7.0},
    edits={"due": 8},
    edits_oldest_seconds={"due": 15.0},
    backfills={"running": 9},
    backfills_oldest_seconds={"running": 16.0},
    backfill_remaining_messages=10,
    unaccounted_messages=23,
    quarantine_messages=11,
    quarantine_oldest_seconds=17.0,
    webhooks={"enabled": 18},
    webhook_lag_events=19,
    webhook_lag_seconds=20.0,
    erasures_waiting=12,
    erasures_oldest_seconds=13.0,
)


def test_every_figure_has_a_gauge_of_its_own() -> None:
    metrics = Metrics(version="0.1.0", python_version="3.11.7")
    gauges.show(metrics, _FIGURES)
    served = {
        sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        if family.type == "gauge" and family.name.startswith("ingestd_")
        for sample in family.samples
    }
    assert set(range(1, 24)) <= served
