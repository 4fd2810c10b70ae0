"""What becomes of a figure's runs: the median, the ratio, the spread, one JSON line. No time is measured here."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from bench.harness import Figure, Run, UnknownFigures, choose, run_all, spread, summarize, table
from bench.workshop import Unavailable, Workshop

RUNS = (Run(30.0, 10.0), Run(10.0, 10.0), Run(20.0, 5.0))


def figure(name: str = "mails", runs: Sequence[Run] = RUNS, error: Exception | None = None) -> Figure:
    async def measure(_workshop: Workshop) -> AsyncIterator[Run]:
        """Mails a second.

        And more about it.
        """
        for run in runs:
            yield run
        if error is not None:
            raise error

    return Figure(name, "mails/s", "another way", measure)


def test_value_and_yardstick_are_medians() -> None:
    result = summarize(figure(), RUNS, load=0.5)
    assert (result.value, result.yardstick, result.ratio, result.load) == (20.0, 10.0, 2.0, 0.5)


def test_the_median_of_an_even_number_lies_between() -> None:
    assert summarize(figure(), [Run(1.0, 2.0), Run(2.0, 2.0)], load=0.0).value == 1.5


def test_the_spread_is_that_of_the_ratios() -> None:
    """A machine that is busy for one run slows both down, and the ratio stays."""
    busy = [Run(100.0, 10.0), Run(10.0, 1.0), Run(50.0, 5.0)]
    assert summarize(figure(), busy, load=0.0).spread == 0.0
    assert summarize(figure(), RUNS, load=0.0).spread == pytest.approx((3.5 - 2.0) / 3.0)


def test_a_single_run_takes_its_spread_from_within() -> None:
    result = summarize(figure(), [Run(90.0, 30.0, within=[8.0, 9.0, 10.0, 11.0, 12.0])], load=0.0)
    assert (result.value, result.ratio, result.spread) == (90.0, 3.0, 0.2)
    assert spread([8.0, 9.0, 10.0, 11.0, 12.0]) == 0.2


@pytest.mark.parametrize(
    "runs", [(), (Run(1.0, 1.0),), (Run(0.0, 1.0), Run(1.0, 1.0)), (Run(1.0, float("nan")), Run(1.0, 1.0))]
)
def test_runs_that_tell_nothing_are_refused(runs: Sequence[Run]) -> None:
    with pytest.raises(ValueError, match="mails"):
        summarize(figure(), runs, load=0.0)


def test_each_figure_is_one_line_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    path = tmp_path / "results" / "day.jsonl"
    for _ in range(2):
        with Workshop() as workshop:
            session = run_all([figure("one"), figure("two")], workshop, path)
        assert (session.skipped, session.failed) == ({}, [])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["name"] for line in lines] == ["one", "two", "one", "two"]
    assert lines[0] == {
        "name": "one",
        "value": 20.0,
        "unit": "mails/s",
        "yardstick": 10.0,
        "ratio": 2.0,
        "spread": 0.5,
        "load": 1.5,
    }


def test_a_figure_that_fails_leaves_no_line_and_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "day.jsonl"
    with Workshop() as workshop:
        session = run_all([figure("bad", error=RuntimeError("broken")), figure("good")], workshop, path)
    assert (session.failed, [one.name for one in session.results]) == (["bad"], ["good"])
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["good"]
    assert "RuntimeError: broken" in capsys.readouterr().err


def test_a_figure_without_its_server_is_skipped_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with Workshop() as workshop:
        session = run_all([figure(runs=(), error=Unavailable("Dovecot is not installed"))], workshop, None)
    assert (session.skipped, session.failed) == ({"mails": "Dovecot is not installed"}, [])
    assert "Dovecot is not installed" in capsys.readouterr().err


def test_names_choose_figures() -> None:
    known = [figure("one"), figure("two"), figure("three")]
    names: Callable[[str], list[str]] = lambda only: [one.name for one in choose(known, only)]  # noqa: E731
    assert names("") == ["one", "two", "three"]
    assert names("three, one,three") == ["three", "one"]
    with pytest.raises(UnknownFigures, match="no figure is called four, five; there are: one, two, three"):
        choose(known, "one,four,five")


def test_a_figure_tells_what_it_measures() -> None:
    assert figure().about == "Mails a second."


def test_people_get_a_table() -> None:
    lines = table([summarize(figure(), RUNS, load=0.5)]).splitlines()
    assert lines[0].split() == ["figure", "ratio", "spread", "value", "yardstick", "unit", "load"]
    assert lines[1].split() == ["mails", "2.00", "50%", "20.0", "10.0", "mails/s", "0.5"]


def test_what_the_workshop_made_is_gone_afterwards() -> None:
    with Workshop() as workshop:
        folder = workshop.folder()
        assert folder.is_dir()
    assert not folder.exists()
