"""The command line. Each command builds what it needs from `ingestd.build`, and holds no logic of its own.

Exit status: 0 done · 1 it did not work out (the text says why) · 2 wrong usage ·
75 the store is away, try again later · 78 the configuration is wrong.
"""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Final

import click

DEFAULT_CONFIG: Final = "/etc/ingestd/ingestd.yaml"

COMMANDS: Final = {
    "init": "setup:init",
    "check-config": "setup:check_config",
    "migrate": "setup:migrate",
    "run": "operate:run",
    "account": "accounts:account",
    "retention": "retention:retention",
    "token": "tokens:token",
    "mailbox": "mailboxes:mailbox",
    "ticket": "tickets:ticket",
    "reply": "replies:reply",
    "event": "events:event",
    "quarantine": "quarantine:quarantine",
    "webhook": "webhooks:webhook",
    "inspect": "inspect:inspect",
    "verify": "verify:verify",
    "audit": "audit:audit",
    "explain": "explain:explain",
    "person": "persons:person",
    "receipt": "receipts:receipt",
    "export": "export:export",
    "keys": "keys:keys",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "demo": "operate:demo",
    "completion": "completion:completion",
}
"""Each command, and where it is: the module below this one, and its name there. Help shows them in this order."""


class Commands(click.Group):
    """Imports a command's module when it is asked for: all of them together take most of a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"no such command {cmd_name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        module, name = COMMANDS[cmd_name].split(":")
        found = getattr(importlib.import_module(f"ingestd.cli.{module}"), name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="ingestd")
@click.option(
    "-c",
    "--config",
    envvar="INGESTD_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file (or INGESTD_CONFIG).",
)
@click.pass_context
def main(context: click.Context, config: Path) -> None:
    """The mail channel of a helpdesk: mailboxes in, tickets out, replies back, and nothing left after a disconnect."""
    context.obj = config
