from __future__ import annotations

import re

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
    assert value(metrics, "ingestd_failures_total", trouble="other") == LABEL_VALUES_MAX
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
