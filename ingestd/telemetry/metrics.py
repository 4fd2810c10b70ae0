"""Figures for Prometheus: base units, the prefix `ingestd_`, and labels from closed sets of words.

No label holds an account, a mailbox, a host or an address: they would be personal data,
and each value is a time series for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from ingestd.telemetry.fields import is_word

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
LABEL_VALUES_MAX: Final = 50
"""Different values of one metric's label; whatever comes after them is counted as `other`."""
OTHER: Final = "other"

_COMMIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# From a push that works (under a second) to a mailbox that was unreachable for days.
_LAG_BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400, 604800)


class Metrics:
    """All figures of a process. Built once, by the composition root; has its own registry."""

    def __init__(self, *, version: str, python_version: str) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._seen: dict[str, set[str]] = {}
        self._mailboxes = self._gauge("mailboxes", "Mailboxes that this process works on, by state.", "state")
        self._outbox = self._gauge("outbox", "Replies in the outbox, by status.", "status")
        self._messages = self._counter("messages", "Messages that became part of a ticket, by kind.", "kind")
        self._quarantined = self._counter("quarantined", "Messages that were quarantined, by reason.", "reason")
        self._tickets = self._counter("tickets", "Tickets that were opened.")
        self._replies = self._counter("replies", "Changes of a reply's status, by the new status.", "status")
        self._failures = self._counter("failures", "Failures to work on a mailbox, by trouble.", "trouble")
        self._refreshes = self._counter("token_refreshes", "Refreshes of access tokens, by outcome.", "outcome")
        self._parser_restarts = self._counter("parser_restarts", "Parser processes that were replaced.")
        self._erasures = self._counter("erasures", "Erasures that ended, by outcome.", "outcome")
        self._commit = Histogram(
            "ingestd_batch_commit_seconds",
            "Time to commit a batch of messages.",
            buckets=_COMMIT_BUCKETS,
            registry=self.registry,
        )
        self._lag = Histogram(
            "ingestd_message_lag_seconds",
            "Time from a message's arrival at its server to its commit.",
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        )
        Info("ingestd_build", "Version of the daemon.", registry=self.registry).info(
            {"version": version, "python_version": python_version}
        )
        ProcessCollector(registry=self.registry)

    def set_mailboxes(self, counts: Mapping[str, int]) -> None:
        """Replace the numbers of mailboxes by state; a state that is missing has none."""
        self._replace(self._mailboxes, "mailboxes", counts)

    def set_outbox(self, counts: Mapping[str, int]) -> None:
        """Replace the numbers of replies by status; a status that is missing has none."""
        self._replace(self._outbox, "outbox", counts)

    def message_taken(self, kind: str, *, lag_seconds: float | None = None) -> None:
        """Count a committed message. Leave `lag_seconds` out for a backfill: it says nothing of how fast we are."""
        self._messages.labels(self._label("messages", kind)).inc()
        if lag_seconds is not None:
            # Clocks differ: a message can seem to arrive after its commit.
            self._lag.observe(max(0.0, lag_seconds))

    def message_quarantined(self, reason: str) -> None:
        self._quarantined.labels(self._label("quarantined", reason)).inc()

    def tickets_opened(self, count: int = 1) -> None:
        self._tickets.inc(count)

    def batch_committed(self, seconds: float) -> None:
        self._commit.observe(seconds)

    def reply_changed(self, status: str) -> None:
        self._replies.labels(self._label("replies", status)).inc()

    def mailbox_failed(self, trouble: str) -> None:
        self._failures.labels(self._label("failures", trouble)).inc()

    def token_refreshed(self, outcome: str) -> None:
        self._refreshes.labels(self._label("token_refreshes", outcome)).inc()

    def parser_replaced(self) -> None:
        self._parser_restarts.inc()

    def erasure_ended(self, outcome: str) -> None:
        self._erasures.labels(self._label("erasures", outcome)).inc()

    def render(self) -> bytes:
        """Return the figures in Prometheus' text format (CONTENT_TYPE)."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str, label: str) -> Gauge:
        return Gauge(f"ingestd_{name}", text, [label], registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"ingestd_{name}", text, labels, registry=self.registry)

    def _replace(self, gauge: Gauge, name: str, counts: Mapping[str, int]) -> None:
        # Known words go to 0 instead of vanishing, so that an alert on them does not lose its series.
        totals = dict.fromkeys(self._seen.get(name, ()), 0)
        for word, count in counts.items():
            label = self._label(name, word)
            totals[label] = totals.get(label, 0) + count
        for label, total in totals.items():
            gauge.labels(label).set(total)

    def _label(self, name: str, value: str) -> str:
        """Return the word as a label; OTHER where it is none, or one too many."""
        word = str(value)
        seen = self._seen.setdefault(name, set())
        if word in seen:
            return word
        if not is_word(word) or len(seen) >= LABEL_VALUES_MAX:
            word = OTHER
        seen.add(word)
        return word
