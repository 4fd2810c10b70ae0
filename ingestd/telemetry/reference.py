"""docs/telemetry.md, made of the vocabulary and of the metrics themselves: `python -m ingestd.telemetry.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import Metric

from ingestd.telemetry.fields import FIELDS
from ingestd.telemetry.metrics import Metrics
from ingestd.telemetry.vocabulary import EVENTS

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "telemetry.md"

_LEFT_TO_PROMETHEUS = "process_"
"""Figures that every Python service has, under the names that Prometheus' client gives them."""

_HEAD = """\
# Telemetry

Made by `python -m ingestd.telemetry.reference` from the code.

## Log events

One JSON object a line on standard error. `event` is one of these; a name never changes its meaning. The other keys
are ids, numbers, flags and fixed words from a closed list: never an address, a subject, a body, a name or a token.
"""

_METRICS_HEAD = """\
## Metrics

At `/metrics`, in Prometheus' text format, in base units. No label holds an account, a mailbox, a host or an address.
Gauges that are read from the database tell of the whole store: every process that shares it says the same, so take
their maximum, not their sum. Those of the process itself (`process_…`) are served too.
"""


def page() -> str:
    """Return the whole page."""
    metrics = Metrics(version="0", python_version="3")
    return "\n".join([_HEAD, *_events(), "", _METRICS_HEAD, *_metrics(metrics), ""])


def _events() -> Iterator[str]:
    yield from ("| event | says |", "|---|---|")
    for name, meaning in EVENTS.items():
        yield f"| `{name}` | {meaning} |"
    yield ""
    yield "Keys: " + ", ".join(f"`{name}`" for name in sorted(FIELDS)) + "."


def _metrics(metrics: Metrics) -> Iterator[str]:
    yield from ("| metric | labels | says |", "|---|---|---|")
    for family in sorted(metrics.registry.collect(), key=lambda one: one.name):
        if not family.name.startswith(_LEFT_TO_PROMETHEUS):
            names = " ".join(f"`{name}`" for name in metrics.label_names.get(family.name, ()))
            yield f"| `{family.name}{_suffix(family)}` | {names} | {family.documentation} |"


def _suffix(family: Metric) -> str:
    return {"counter": "_total", "info": "_info"}.get(family.type, "")


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
