"""The command behind `make bench`."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import click

from bench.figures import FIGURES
from bench.harness import UnknownFigures, choose, results_path, run_all, table
from bench.workshop import MESSAGES, Workshop
from ingestd.telemetry import logs

_RESULTS = Path(__file__).parent / "results"


@click.command()
@click.option("--only", default="", help="Names of figures, separated by commas.  [default: all]")
@click.option("--list", "list_", is_flag=True, help="List the figures.")
@click.option(
    "--messages",
    default=MESSAGES,
    show_default=True,
    type=click.IntRange(1000),
    help="Messages of the large database; with fewer it is a trial, and no results are written.",
)
@click.option("--results", default=_RESULTS, type=click.Path(file_okay=False, path_type=Path), help="Where they go.")
def main(only: str, list_: bool, messages: int, results: Path) -> None:
    """Measure figures; append one JSON object for each to RESULTS/DATE.jsonl.

    Exit status: 0 measured · 1 a figure failed · 2 wrong usage. A figure whose server is not installed is skipped.
    """
    try:
        figures = choose(FIGURES, only)
    except UnknownFigures as error:
        raise click.UsageError(str(error)) from error
    if list_:
        for figure in figures:
            click.echo(f"{figure.name} ({figure.unit}, against {figure.yardstick})\n    {figure.about}")
        return
    logs.configure("console", "error")
    click.echo(f"{os.cpu_count()} cores, Python {platform.python_version()}", err=True)
    with Workshop(messages) as workshop:
        session = run_all(figures, workshop, results_path(results) if messages == MESSAGES else None)
    if session.results:
        click.echo(table(session.results))
    if session.failed:
        raise click.ClickException(f"failed: {', '.join(session.failed)}")


if __name__ == "__main__":
    main()
