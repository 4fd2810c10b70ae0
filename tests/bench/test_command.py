"""`python -m bench`: what is there, and what a wrong name says."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from bench.__main__ import main
from bench.figures import FIGURES


def test_an_unknown_name_is_a_clear_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--only", "parse,flight", "--results", str(tmp_path)])
    assert result.exit_code == 2
    assert "no figure is called flight; there are: parse, " in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_the_list_tells_of_every_figure() -> None:
    result = CliRunner().invoke(main, ["--list"])
    assert result.exit_code == 0
    for figure in FIGURES:
        assert f"\n{figure.name} (" in f"\n{result.output}"
        assert figure.about.endswith(".")


def test_every_figure_is_explained() -> None:
    readme = (Path(__file__).parents[2] / "bench" / "README.md").read_text(encoding="utf-8")
    assert [figure.name for figure in FIGURES if f"`{figure.name}`" not in readme] == []
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)
