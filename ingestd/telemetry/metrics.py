"""Figures for Prometheus: base units, the prefix `ingestd_`, and labels from closed sets of words.

No label holds an account, a mailbox, a host or an address: they would be personal data,
and each value is a time series for ever.

Gauges that are read from the database tell of the whole store, so every process that
shares it says the same: take their maximum, not their sum.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
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

from connectors.base import Trouble
from ingestd.telemetry.fields import is_word
from storage.outbox import ReplyStatus

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PEOPLES: Final = frozenset({ReplyStatus.CANCELLED})
"""Only people's commands lead to it, which have no metrics."""
_PUSHED: Final = ("gmail", "graph")
"""The ways that tell of news by themselves, mail servers apart."""
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
        self.label_names: dict[str, tuple[str, ...]] = {}
        """Of each metric that has labels, without the suffix of its samples."""
        self._seen: dict[str, set[str]] = {}
        self._accounts = self._gauge("accounts", "Accounts, by status.", "status")
        self._mailboxes = self._gauge("mailboxes", "Mailboxes, by state.", "state")
        self._mailboxes_oldest = self._gauge(
            "mailboxes_oldest_seconds", "The longest time that a mailbox has been in this state.", "state"
        )
        self._in_trouble = self._gauge("mailboxes_in_trouble", "Mailboxes that have a trouble, by trouble.", "trouble")
        self._unheld = self._gauge("mailboxes_unheld", "Mailboxes that want work and that no living process holds.")
        self._read_age = self._gauge(
            "read_age_seconds", "The longest time since a mailbox in this state was last read through.", "state"
        )
        self._folders_missing = self._gauge("folders_missing", "Watched folders that are not there.")
        self._access_warnings = self._gauge(
            "access_warnings", "Mailboxes whose access will end, or cannot be given, by risk.", "risk"
        )
        self._outbox = self._gauge("outbox", "Replies in the outbox, by status.", "status")
        self._outbox_oldest = self._gauge(
            "outbox_oldest_seconds",
            "Age of the oldest reply in the outbox, by status; none that waits for a mailbox which is paused or waits "
            "for its owner.",
            "status",
        )
        self._edits = self._gauge("edits", "Edits that mailboxes still wait for, by status.", "status")
        self._edits_oldest = self._gauge(
            "edits_oldest_seconds", "Age of the oldest edit of a mailbox that is worked on, by status.", "status"
        )
        self._backfills = self._gauge("backfills", "Backfills, by status.", "status")
        self._backfills_oldest = self._gauge(
            "backfills_oldest_seconds",
            "The longest time that an unfinished backfill has run, or stood still.",
            "status",
        )
        self._backfill_remaining = self._gauge(
            "backfill_remaining_messages", "Messages that unfinished backfills have still to look at."
        )
        self._unaccounted = self._gauge(
            "unaccounted_messages", "Messages on a server that the last audit of their mailbox did not account for."
        )
        self._quarantine = self._gauge("quarantine_messages", "Messages that lie in quarantine.")
        self._quarantine_oldest = self._gauge(
            "quarantine_oldest_seconds", "How long the oldest message has been in quarantine."
        )
        self._parser_queue = self._gauge(
            "parser_queue_messages", "Messages of this process that wait for a parser, new mail and backfills.", "mail"
        )
        self._erasures_waiting = self._gauge("erasures_waiting", "Erasures that have not ended.")
        self._erasures_oldest = self._gauge("erasures_oldest_seconds", "Time since the oldest of them was requested.")
        self._disk_free = self._gauge(
            "disk_free_bytes", "What this process may still write to the disk, by what lies on it.", "holds"
        )
        self._checks: Callable[[], Mapping[str, bool]] = dict
        self._health = self._gauge("health", "1 where a check of /readyz is good, else 0, by check.", "check")
        self._messages = self._counter("messages", "Messages that became part of a ticket, by kind.", "kind")
        self._quarantined = self._counter("quarantined", "Messages that were quarantined, by reason.", "reason")
        self._muted = self._counter("muted", "Messages that were muted: beyond a limit, or spam.", "limit")
        self._tickets = self._counter("tickets", "Tickets that were opened.")
        self._replies = self._counter(
            "replies",
            "Changes of a reply's status that a daemon made, by the new status; queued: given back.",
            "status",
        )
        self._failures = self._counter("failures", "Failures to work on a mailbox, by trouble.", "trouble")
        self._budgets_spent = self._counter(
            "budgets_spent", "Times that a mailbox's replies had to wait as it had sent enough, by budget.", "budget"
        )
        self._refreshes = self._counter("token_refreshes", "Refreshes of access tokens, by outcome.", "outcome")
        self._server_alerts = self._counter(
            "server_alerts", "Alerts that mail servers sent for a person to read; what they say is not kept."
        )
        self._parser_restarts = self._counter("parser_restarts", "Parser processes that were replaced.")
        self._erasures = self._counter("erasures", "Erasures that ended, by outcome.", "outcome")
        # From the first moment on, or the first failure would be a new series, in which no increase is seen.
        self._begin(self._replies, "replies", [one for one in ReplyStatus if one not in _PEOPLES])
        self._begin(self._failures, "failures", Trouble)
        self._begin(self._budgets_spent, "budgets_spent", ("budget_minute", "budget_day", "budget_recipients"))
        self._begin(self._erasures, "erasures", ("done", "failed"))
        self._begin(self._muted, "muted", ("sender", "ticket", "spam"))
        self._add_pushes()
        self._add_webhooks()
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

    def _add_pushes(self) -> None:
        self._pushes = self._counter("pushes", "Times that a provider told of news in a mailbox, by way.", "way")
        self._push_failures = self._counter(
            "push_failures", "Times that a provider could not be made, or asked, to tell of news, by way.", "way"
        )
        self._begin(self._pushes, "pushes", _PUSHED)
        self._begin(self._push_failures, "push_failures", _PUSHED)

    def _add_webhooks(self) -> None:
        self._webhooks = self._gauge("webhooks", "Webhooks, by status.", "status")
        self._webhook_lag_events = self._gauge(
            "webhook_lag_events", "The most events that an enabled webhook was not told yet."
        )
        self._webhook_lag = self._gauge(
            "webhook_lag_seconds", "The longest time that an enabled webhook has been waiting for an event."
        )
        self._deliveries_in_flight = self._gauge(
            "deliveries_in_flight", "Deliveries to webhooks that this process has under way."
        )
        self._deliveries = self._counter("deliveries", "Attempts to deliver to a webhook, by outcome.", "outcome")
        self._webhooks_disabled = self._counter(
            "webhooks_disabled", "Webhooks that were switched off as their receiver does not take events.", "reason"
        )
        self._begin(self._deliveries, "deliveries", ("delivered", "failed", "given_up"))
        self._begin(self._webhooks_disabled, "webhooks_disabled", ("gone", "failing", "given_up"))

    def set_accounts(self, counts: Mapping[str, int]) -> None:
        """Replace the numbers of accounts by status; a status that is missing has none."""
        self._replace(self._accounts, "accounts", counts)

    def set_mailboxes(self, counts: Mapping[str, int]) -> None:
        """Replace the numbers of mailboxes by state; a state that is missing has none."""
        self._replace(self._mailboxes, "mailboxes", counts)

    def set_mailboxes_oldest(self, seconds: Mapping[str, float]) -> None:
        """Replace the longest time that a mailbox has been in a state, by state; 0 where none is in it."""
        self._replace(self._mailboxes_oldest, "mailboxes_oldest", seconds)

    def set_mailboxes_in_trouble(self, counts: Mapping[str, int]) -> None:
        """Replace the numbers of mailboxes by trouble; one that has none is not counted."""
        self._replace(self._in_trouble, "mailboxes_in_trouble", counts)

    def set_mailboxes_unheld(self, count: int) -> None:
        """Replace the number of mailboxes that want work and that no living process holds."""
        self._unheld.set(count)

    def set_read_age(self, seconds: Mapping[str, float]) -> None:
        """Replace the longest time since a mailbox was read through, by state; 0 where none is in it."""
        self._replace(self._read_age, "read_age", seconds)

    def set_folders_missing(self, count: int) -> None:
        """Replace the number of watched folders that are not there, of mailboxes that want work."""
        self._folders_missing.set(count)

    def set_access_warnings(self, counts: Mapping[str, int]) -> None:
        """Replace the numbers of mailboxes by the risk of their access; one that has two counts for both."""
        self._replace(self._access_warnings, "access_warnings", counts)

    def set_outbox(self, counts: Mapping[str, int]) -> None:
        """Replace the numbers of replies by status; a status that is missing has none."""
        self._replace(self._outbox, "outbox", counts)

    def set_outbox_oldest(self, seconds: Mapping[str, float]) -> None:
        """Replace the ages of the oldest replies, since they were accepted, by status; 0 where there is none."""
        self._replace(self._outbox_oldest, "outbox_oldest", seconds)

    def set_edits(self, counts: Mapping[str, int]) -> None:
        """Replace the numbers of edits by status; one that is done is not counted."""
        self._replace(self._edits, "edits", counts)

    def set_edits_oldest(self, seconds: Mapping[str, float]) -> None:
        """Replace the ages of the oldest edits, since their messages were taken, by status; 0 where there is none."""
        self._replace(self._edits_oldest, "edits_oldest", seconds)

    def set_backfills(self, counts: Mapping[str, int], *, remaining_messages: int) -> None:
        """Replace the numbers of backfills by status, and of the messages that the unfinished have before them."""
        self._replace(self._backfills, "backfills", counts)
        self._backfill_remaining.set(remaining_messages)

    def set_backfills_oldest(self, seconds: Mapping[str, float]) -> None:
        """Replace how long the oldest unfinished backfills have been at it, by status; 0 where there is none."""
        self._replace(self._backfills_oldest, "backfills_oldest", seconds)

    def set_unaccounted(self, messages: int) -> None:
        """Replace the number of messages that the last audits of all mailboxes did not account for."""
        self._unaccounted.set(messages)

    def set_quarantine(self, messages: int, *, oldest_seconds: float) -> None:
        """Replace the number of messages in quarantine, and how long the oldest has been there (0: none)."""
        self._quarantine.set(messages)
        self._quarantine_oldest.set(oldest_seconds)

    def watch_parser_queue(self, *, new: Callable[[], int], old: Callable[[], int]) -> None:
        """Ask these at each rendering how many messages wait for a parser: new mail, and that of backfills."""
        self._parser_queue.labels("new").set_function(new)
        self._parser_queue.labels("old").set_function(old)

    def set_erasures(self, waiting: int, *, oldest_seconds: float) -> None:
        """Replace the number of erasures that have not ended, and how long ago the oldest was requested (0: none)."""
        self._erasures_waiting.set(waiting)
        self._erasures_oldest.set(oldest_seconds)

    def set_webhooks(self, counts: Mapping[str, int], *, lag_events: int, lag_seconds: float) -> None:
        """Replace the numbers of webhooks by status, and what the slowest enabled one was not told yet."""
        self._replace(self._webhooks, "webhooks", counts)
        self._webhook_lag_events.set(lag_events)
        self._webhook_lag.set(lag_seconds)

    def watch_deliveries(self, in_flight: Callable[[], int]) -> None:
        """Ask this at each rendering how many deliveries are under way."""
        self._deliveries_in_flight.set_function(in_flight)

    def watch_health(self, checks: Callable[[], Mapping[str, bool]]) -> None:
        """Ask this at each rendering which checks are good: what is stale is seen even where nobody sets it."""
        self._checks = checks

    def message_taken(self, kind: str, *, lag_seconds: float | None = None) -> None:
        """Count a committed message. Leave `lag_seconds` out for a backfill: it says nothing of how fast we are."""
        self._messages.labels(self._label("messages", kind)).inc()
        if lag_seconds is not None:
            # Clocks differ: a message can seem to arrive after its commit.
            self._lag.observe(max(0.0, lag_seconds))

    def message_quarantined(self, reason: str) -> None:
        self._quarantined.labels(self._label("quarantined", reason)).inc()

    def message_muted(self, limit: str) -> None:
        self._muted.labels(self._label("muted", limit)).inc()

    def tickets_opened(self, count: int = 1) -> None:
        self._tickets.inc(count)

    def batch_committed(self, seconds: float) -> None:
        self._commit.observe(seconds)

    def reply_changed(self, status: str) -> None:
        self._replies.labels(self._label("replies", status)).inc()

    def mailbox_failed(self, trouble: str) -> None:
        self._failures.labels(self._label("failures", trouble)).inc()

    def budget_spent(self, budget: str) -> None:
        self._budgets_spent.labels(self._label("budgets_spent", budget)).inc()

    def token_refreshed(self, outcome: str) -> None:
        self._refreshes.labels(self._label("token_refreshes", outcome)).inc()

    def server_alerted(self, count: int) -> None:
        self._server_alerts.inc(count)

    def push_told(self, way: str) -> None:
        self._pushes.labels(self._label("pushes", way)).inc()

    def push_failed(self, way: str) -> None:
        self._push_failures.labels(self._label("push_failures", way)).inc()

    def parser_replaced(self) -> None:
        self._parser_restarts.inc()

    def delivery_ended(self, outcome: str) -> None:
        self._deliveries.labels(self._label("deliveries", outcome)).inc()

    def webhook_disabled(self, reason: str) -> None:
        self._webhooks_disabled.labels(self._label("webhooks_disabled", reason)).inc()

    def erasure_ended(self, outcome: str) -> None:
        self._erasures.labels(self._label("erasures", outcome)).inc()

    def watch_disks(self, folders: Mapping[str, Path]) -> None:
        """Ask at each rendering how much is free where these lie, by what they hold; NaN for one that is not there."""
        for what, folder in folders.items():
            self._disk_free.labels(self._label("disk_free", what)).set_function(partial(_free_bytes, folder))

    def render(self) -> bytes:
        """Return the figures in Prometheus' text format (CONTENT_TYPE)."""
        self._replace(self._health, "health", self._checks())
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self.label_names[f"ingestd_{name}"] = labels
        return Gauge(f"ingestd_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self.label_names[f"ingestd_{name}"] = labels
        return Counter(f"ingestd_{name}", text, labels, registry=self.registry)

    def _begin(self, counter: Counter, name: str, words: Iterable[str]) -> None:
        for word in words:
            counter.labels(self._label(name, word))

    def _replace(self, gauge: Gauge, name: str, values: Mapping[str, float]) -> None:
        # Known words go to 0 instead of vanishing, so that an alert on them does not lose its series.
        totals = dict.fromkeys(self._seen.get(name, ()), 0.0)
        for word, value in values.items():
            label = self._label(name, word)
            totals[label] = totals.get(label, 0.0) + value
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


def _free_bytes(folder: Path) -> float:
    try:
        found = os.statvfs(folder)
    except OSError:  # one figure less, but not all figures
        return math.nan
    return float(found.f_bavail * found.f_frsize)
