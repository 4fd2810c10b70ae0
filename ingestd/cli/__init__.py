"""The command line. Each command builds what it needs from `ingestd.daemon`, and holds no logic of its own.

Exit status: 0 done · 1 it did not work out (the text says why) · 2 wrong usage ·
75 the store is away, try again later · 78 the configuration is wrong.
"""

from __future__ import annotations

from pathlib import Path

import click

from ingestd.cli import accounts, mailboxes, operate, replies, setup, tickets
from ingestd.cli.common import DEFAULT_CONFIG


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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


for command in (
    setup.init,
    setup.check_config,
    setup.migrate,
    operate.run,
    operate.verify,
    operate.demo,
    accounts.account,
    mailboxes.mailbox,
    tickets.ticket,
    replies.reply,
):
    main.add_command(command)
