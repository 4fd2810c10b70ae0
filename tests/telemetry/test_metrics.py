from __future__ import annotations

import math
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from connectors.base import Trouble
from ingestd.mail.types import Kind
from ingestd.telemetry.metrics import LABEL_VALUES_MAX, Metrics
from storage.mailboxes import MailboxState
from storage.outbox import ReplyStatus


def build() -> Metrics:
    return Metrics(version="0.1.0", python_version="3.11.7")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_what_happens_is_counted() -> None:
    metrics = build()
    metrics.message_taken(Kind.CUSTOMER, lag_seconds=1.5)
    metrics.message_taken(Kind.BOUNCE, lag_seconds=-3)
    metrics.message_taken(Kind.CUSTOMER)
    metrics.message_quarantined("parser_killed")
    metrics.tickets_opened(3)
    metrics.batch_committed(0.02)
    metrics.reply_changed(ReplyStatus.SENT)
    metrics.mailbox_failed(Trouble.THROTTLED)
    metrics.token_refreshed("refused")
    metrics.parser_replaced()
    metrics.server_alerted(2)
    metrics.erasure_ended("done")
    assert value(metrics, "ingestd_messages_total", kind="customer") == 2
    assert value(metrics, "ingestd_messages_total", kind="bounce") == 1
    assert value(metrics, "ingestd_message_lag_seconds_count") == 2
    assert value(metrics, "ingestd_message_lag_seconds_sum") == 1.5
    assert value(metrics, "ingestd_quarantined_total", reason="parser_killed") == 1
    assert value(metrics, "ingestd_tickets_total") == 3
    assert value(metrics, "ingestd_batch_commit_seconds_count") == 1
    assert value(metrics, "ingestd_replies_total", status="sent") == 1
    assert value(metrics, "ingestd_failures_total", trouble="throttled") == 1
    assert value(metrics, "ingestd_token_refreshes_total", outcome="refused") == 1
    assert value(metrics, "ingestd_parser_restarts_total") == 1
    assert value(metrics, "ingestd_server_alerts_total") == 2
    assert value(metrics, "ingestd_erasures_total", outcome="done") == 1
    assert value(metrics, "ingestd_build_info", version="0.1.0", python_version="3.11.7") == 1


def test_gauges_are_replaced_and_empty_states_go_to_zero() -> None:
    metrics = build()
    metrics.set_mailboxes({MailboxState.ACTIVE: 5, MailboxState.FAILING: 1})
    metrics.set_mailboxes({MailboxState.ACTIVE: 6})
    metrics.set_outbox({ReplyStatus.QUEUED: 2})
    assert value(metrics, "ingestd_mailboxes", state="active") == 6
    assert value(metrics, "ingestd_mailboxes", state="failing") == 0
    assert value(metrics, "ingestd_outbox", status="queued") == 2


def test_labels_are_words_and_few() -> None:
    metrics = build()
    metrics.message_quarantined("anna@example.com")
    metrics.set_mailboxes({"Anna Smith": 2, "active": 1})
    for number in range(2 * LABEL_VALUES_MAX):
        metrics.mailbox_failed(f"w{number}")
    text = metrics.render().decode()
    assert "nna" not in text
    assert value(metrics, "ingestd_quarantined_total", reason="other") == 1
    assert value(metrics, "ingestd_mailboxes", state="other") == 2
    assert value(metrics, "ingestd_failures_total", trouble="other") == LABEL_VALUES_MAX + len(Trouble)
    assert text.count("ingestd_failures_total{") == LABEL_VALUES_MAX + 1


def test_the_rendering_is_prometheus_text_in_base_units() -> None:
    metrics = build()
    metrics.message_taken("customer", lag_seconds=1)
    names = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert "ingestd_messages" in names
    assert all(re.match(r"(ingestd|process)_[a-z_]+$", name) for name in names)
    assert not [name for name in names if re.search(r"(milli|micro|minutes|hours|_ms|kilo|mega)", name)]


def test_two_processes_figures_are_apart() -> None:
    first, second = build(), build()
    first.tickets_opened()
    assert value(second, "ingestd_tickets_total") == 0


def test_what_has_not_failed_yet_is_served_as_zero() -> None:
    metrics = build()
    for status in set(ReplyStatus) - {ReplyStatus.CANCELLED}:
        assert value(metrics, "ingestd_replies_total", status=status) == 0
    # No daemon cancels a reply: a series of it would say nothing, for ever.
    assert value(metrics, "ingestd_replies_total", status="cancelled") is None
    assert value(metrics, "ingestd_failures_total", trouble="grant_revoked") == 0
    assert value(metrics, "ingestd_erasures_total", outcome="failed") == 0


def test_ages_and_queues_are_replaced() -> None:
    metrics = build()
    metrics.set_mailboxes_oldest({"failing": 1800.5})
    metrics.set_mailboxes_oldest({"active": 3.0})
    metrics.set_mailboxes_in_trouble({"throttled": 2})
    metrics.set_mailboxes_unheld(4)
    metrics.set_read_age({"active": 61.5})
    metrics.set_outbox_oldest({"unknown": 90.0})
    metrics.set_folders_missing(2)
    metrics.set_edits({"due": 7})
    metrics.set_edits_oldest({"due": 7.5})
    metrics.set_backfills({"running": 1}, remaining_messages=1000)
    metrics.set_backfills_oldest({"failed": 30.0})
    metrics.set_quarantine(3, oldest_seconds=45.5)
    metrics.set_erasures(1, oldest_seconds=12.5)
    assert value(metrics, "ingestd_mailboxes_oldest_seconds", state="failing") == 0
    assert value(metrics, "ingestd_mailboxes_oldest_seconds", state="active") == 3
    assert value(metrics, "ingestd_mailboxes_in_trouble", trouble="throttled") == 2
    assert value(metrics, "ingestd_mailboxes_unheld") == 4
    assert value(metrics, "ingestd_read_age_seconds", state="active") == 61.5
    assert value(metrics, "ingestd_outbox_oldest_seconds", status="unknown") == 90
    assert value(metrics, "ingestd_folders_missing") == 2
    assert value(metrics, "ingestd_edits", status="due") == 7
    assert value(metrics, "ingestd_edits_oldest_seconds", status="due") == 7.5
    assert value(metrics, "ingestd_backfills", status="running") == 1
    assert value(metrics, "ingestd_backfill_remaining_messages") == 1000
    assert value(metrics, "ingestd_backfills_oldest_seconds", status="failed") == 30
    assert value(metrics, "ingestd_quarantine_messages") == 3
    assert value(metrics, "ingestd_quarantine_oldest_seconds") == 45.5
    assert value(metrics, "ingestd_erasures_waiting") == 1
    assert value(metrics, "ingestd_erasures_oldest_seconds") == 12.5


def test_what_is_watched_is_asked_at_each_rendering() -> None:
    metrics, waiting, good = build(), [1], {"database": True}
    metrics.watch_parser_queue(new=lambda: len(waiting), old=lambda: 0)
    metrics.watch_health(lambda: good)
    metrics.render()
    assert value(metrics, "ingestd_health", check="database") == 1
    waiting += [2, 3]
    good["database"] = False
    metrics.render()
    assert value(metrics, "ingestd_parser_queue_messages", mail="new") == 3
    assert value(metrics, "ingestd_parser_queue_messages", mail="old") == 0
    assert value(metrics, "ingestd_health", check="database") == 0


def test_free_disk_is_looked_up_and_a_missing_folder_costs_no_other_figure(tmp_path: Path) -> None:
    metrics = build()
    metrics.watch_disks({"content": tmp_path, "blobs": tmp_path / "gone"})
    assert b"ingestd_tickets_total" in metrics.render()
    free = value(metrics, "ingestd_disk_free_bytes", holds="content")
    assert free is not None
    assert free > 0
    gone = value(metrics, "ingestd_disk_free_bytes", holds="blobs")
    assert gone is not None
    assert math.isnan(gone)
