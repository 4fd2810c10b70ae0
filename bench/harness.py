"""Figures: what one is, how its runs become one line, and where the lines go.

A figure is measured together with its yardstick, in the same run on the same machine; what counts
is their ratio, as the value alone says more about the machine than about the code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import statistics
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.workshop import Unavailable, Workshop

RUNS = 5
"""Of a short figure: its value is their median."""


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement of a figure and of its yardstick, taken one right after the other."""

    value: float
    yardstick: float
    """In the figure's unit."""
    within: Sequence[float] = ()
    """For a figure of over a minute, which runs once: samples of its parts, to take the spread from."""


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    unit: str
    yardstick: str
    """What the value is compared with, in a few words."""
    measure: Callable[[Workshop], AsyncIterator[Run]]
    """Yields runs until there are enough. Its docstring says what exactly is measured."""

    @property
    def about(self) -> str:
        """The first sentence of what is measured."""
        return " ".join((self.measure.__doc__ or "").partition("\n\n")[0].split())


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the results."""

    name: str
    value: float
    unit: str
    yardstick: float
    ratio: float
    """value / yardstick."""
    spread: float
    """Interquartile range over median: of the runs' ratios, or of the parts of the only run."""
    load: float
    """The machine's load average over a minute when the figure began."""


class UnknownFigures(ValueError):
    """A name was asked for that no figure has."""


def choose(figures: Sequence[Figure], names: str) -> list[Figure]:
    """Return the figures that are named, separated by commas; all where `names` is empty. Raises UnknownFigures."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    by_name = {figure.name: figure for figure in figures}
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise UnknownFigures(f"no figure is called {', '.join(unknown)}; there are: {', '.join(by_name)}")
    return [by_name[name] for name in dict.fromkeys(wanted)] or list(figures)


def summarize(figure: Figure, runs: Sequence[Run], load: float) -> Result:
    """Make one line of a figure's runs. Raises ValueError where they tell nothing."""
    if not runs:
        raise ValueError(f"{figure.name} has no runs")
    if not all(math.isfinite(one) and one > 0 for run in runs for one in (run.value, run.yardstick)):
        raise ValueError(f"{figure.name} measured something that is no positive number")
    samples = [run.value / run.yardstick for run in runs] if len(runs) > 1 else runs[0].within
    if len(samples) < 2:
        raise ValueError(f"{figure.name} has nothing to take a spread from: several runs, or parts of one")
    value = statistics.median(run.value for run in runs)
    yardstick = statistics.median(run.yardstick for run in runs)
    return Result(figure.name, value, figure.unit, yardstick, value / yardstick, spread(samples), load)


def spread(samples: Sequence[float]) -> float:
    """Return the interquartile range over the median.

    >>> spread([9.0, 10.0, 10.0, 10.0, 11.0])
    0.0
    >>> spread([8.0, 9.0, 10.0, 11.0, 12.0])
    0.2
    """
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / middle


@dataclass(slots=True)
class Session:
    """What came of the figures of one call."""

    results: list[Result]
    skipped: dict[str, str]
    """Names, with what is missing on this machine."""
    failed: list[str]


def run_all(figures: Sequence[Figure], workshop: Workshop, results_file: Path | None) -> Session:
    """Measure figures one after the other; append each one's line as soon as it is known.

    A figure that fails is told on stderr, with its traceback, and does not keep the others from being measured.
    """
    session = Session([], {}, [])
    for number, figure in enumerate(figures, 1):
        prefix = f"[{number}/{len(figures)}] {figure.name}"
        load = os.getloadavg()[0]
        try:
            result = summarize(figure, asyncio.run(_collect(figure, workshop, prefix)), load)
        except Unavailable as missing:
            session.skipped[figure.name] = str(missing)
            _say(f"{prefix}: skipped, {missing}")
        except Exception:  # noqa: BLE001  (whatever it is, it is this figure's)
            session.failed.append(figure.name)
            _say(f"{prefix}: failed\n{traceback.format_exc()}")
        else:
            session.results.append(result)
            _say(f"{prefix}: {_number(result.value)} {result.unit}, ratio {_number(result.ratio)}")
            if results_file is not None:
                append(results_file, result)
    return session


async def _collect(figure: Figure, workshop: Workshop, prefix: str) -> list[Run]:
    runs: list[Run] = []
    workshop.on_progress(lambda text: _show(f"{prefix}: {text}"))
    workshop.say("preparing")
    async with contextlib.aclosing(figure.measure(workshop)) as measured:  # type: ignore[type-var]
        async for run in measured:
            runs.append(run)
            workshop.say(f"run {len(runs)}")
    return runs


def append(path: Path, result: Result) -> None:
    """Append one JSON object, on a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def results_path(folder: Path) -> Path:
    return folder / f"{datetime.now(UTC).date().isoformat()}.jsonl"


def table(results: Sequence[Result]) -> str:
    """Return the results for people, the ratio first."""
    rows = [("figure", "ratio", "spread", "value", "yardstick", "unit", "load")]
    rows += [
        (
            one.name,
            _number(one.ratio),
            f"{one.spread:.0%}",
            _number(one.value),
            _number(one.yardstick),
            one.unit,
            f"{one.load:.1f}",
        )
        for one in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _number(value: float) -> str:
    """Return three significant digits, without an exponent.

    >>> _number(1234.5), _number(12.345), _number(0.012345)
    ('1,234', '12.3', '0.0123')
    """
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def _show(text: str) -> None:
    """Show how far it is, in one line that the next one replaces; only where somebody looks."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _say(text: str) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{clear}{text}", file=sys.stderr, flush=True)  # noqa: T201
