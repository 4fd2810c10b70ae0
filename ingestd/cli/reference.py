"""docs/commands.md, made of the commands' own help: `python -m ingestd.cli.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ingestd.cli import main

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "commands.md"

_HEAD = """\
# Commands

Made by `python -m ingestd.cli.reference` from the help of the commands; `ingestd COMMAND --help` says the same.

Every command takes `-c FILE` (or the environment's `INGESTD_CONFIG`) before its name. With `--json` a command prints
JSON for programs on standard output, and nothing else there. What is to be done in a mailbox is left as an intent in
the store; a daemon that runs on it does the work.

| exit status | means |
|---|---|
| 0 | done |
| 1 | it did not work out: the text on standard error says why, and what to do |
| 2 | wrong usage |
| 75 | the store cannot be reached now: try again later |
| 78 | the configuration is wrong: file, line and setting are named |

Completion with the Tab key: `ingestd completion bash > /etc/bash_completion.d/ingestd`; also for zsh and fish.
"""


def page() -> str:
    """Return the whole page."""
    context = click.Context(main, info_name="ingestd")
    return "\n".join([_HEAD, *_commands(main, context)]) + "\n"


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        below = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, below)
        else:
            yield _section(command, below)


def _section(command: click.Command, context: click.Context) -> str:
    usage = " ".join(command.collect_usage_pieces(context))
    text = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    lines = [f"## {context.command_path}", "", f"`{context.command_path} {usage}`", "", text, ""]
    options = [one for one in command.params if isinstance(one, click.Option) and one.name != "help"]
    records = [record for one in options if (record := one.get_help_record(context)) is not None]
    if records:
        lines += ["| option | |", "|---|---|", *(f"| `{name}` | {_cell(text)} |" for name, text in records), ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
