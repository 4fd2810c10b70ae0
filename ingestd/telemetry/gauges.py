"""From what the database counted to the gauges that show it."""

from __future__ import annotations

from ingestd.telemetry.metrics import Metrics
from storage.figures import Figures


def show(metrics: Metrics, figures: Figures) -> None:
    metrics.set_accounts(figures.accounts)
    metrics.set_mailboxes(figures.mailboxes)
    metrics.set_mailboxes_oldest(figures.mailboxes_oldest_seconds)
    metrics.set_mailboxes_in_trouble(figures.mailboxes_in_trouble)
    metrics.set_mailboxes_unheld(figures.mailboxes_unheld)
    metrics.set_read_age(figures.read_age_seconds)
    metrics.set_folders_missing(figures.folders_missing)
    metrics.set_access_warnings(figures.access_warnings)
    metrics.set_outbox(figures.outbox)
    metrics.set_outbox_oldest(figures.outbox_oldest_seconds)
    metrics.set_edits(figures.edits)
    metrics.set_edits_oldest(figures.edits_oldest_seconds)
    metrics.set_backfills(figures.backfills, remaining_messages=figures.backfill_remaining_messages)
    metrics.set_backfills_oldest(figures.backfills_oldest_seconds)
    metrics.set_unaccounted(figures.unaccounted_messages)
    metrics.set_quarantine(figures.quarantine_messages, oldest_seconds=figures.quarantine_oldest_seconds)
    metrics.set_webhooks(
        figures.webhooks, lag_events=figures.webhook_lag_events, lag_seconds=figures.webhook_lag_seconds
    )
    metrics.set_erasures(figures.erasures_waiting, oldest_seconds=figures.erasures_oldest_seconds)
