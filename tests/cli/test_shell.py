"""The command line as a shell meets it: quick to start, completed by Tab, each command with its help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ingestd.cli import COMMANDS, main, reference

INGESTD = Path(sys.executable).parent / "ingestd"


def complete(*words: str) -> set[str]:
    """Return what bash offers when Tab is pressed behind `words`."""
    env = {
        "PATH": os.environ["PATH"],
        "_INGESTD_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("ingestd", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run([INGESTD], env=env, capture_output=True, text=True, timeout=30, check=True)
    return {line.split(",", 1)[1] for line in done.stdout.splitlines()}


def test_tab_completes_commands_options_and_choices() -> None:
    assert complete("mail") == {"mailbox"}
    assert {"link", "list", "show", "disconnect"} <= complete("mailbox", "")
    assert complete("ticket", "list", "--sta") == {"--status"}
    assert complete("ticket", "list", "--status", "") == {"open", "closed", "spam", "deleted", "merged"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"_INGESTD_COMPLETE={shell}_complete" in done.output
    assert "ingestd" in done.output


def test_a_command_loads_no_more_than_it_needs() -> None:
    """A Tab press must not wait for the database's library."""
    script = (
        "import sys; from ingestd.cli import main; main(['--version'], standalone_mode=False); "
        "print(*sorted({'sqlalchemy', 'fastapi', 'pydantic'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[1:] == [""]


def _commands(group: click.Group, context: click.Context) -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {below}", one) for below, one in _commands(command, context)]
    return found


def test_every_command_says_what_it_does() -> None:
    commands = dict(_commands(main, click.Context(main)))
    assert set(COMMANDS) <= set(commands)
    for name, command in commands.items():
        assert command.get_short_help_str(200).endswith("."), name
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, f"{name} {option.name}"


def test_programs_can_read_every_command_but_these() -> None:
    """The daemon and the demo tell a story, the others print a file's content as it is."""
    without = {
        name
        for name, command in _commands(main, click.Context(main))
        if not isinstance(command, click.Group) and "as_json" not in {one.name for one in command.params}
    }
    assert without == {"run", "demo", "completion", "receipt key", "ticket attachment"}


def test_an_unknown_command_is_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["mailbx"])
    assert done.exit_code == 2
    assert "mailbox" in done.output


def test_the_page_of_commands_is_as_the_commands_are() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run: python -m ingestd.cli.reference"
