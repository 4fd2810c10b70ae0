"""Running: run, demo."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from config import load
from ingestd.cli.common import Trouble, read_settings, running
from ingestd.daemon import Daemon, Role


@click.command()
@click.option(
    "--role",
    default=Role.ALL.value,
    show_default=True,
    type=click.Choice([one.value for one in Role]),
    help="What this process does: everything, the HTTP API alone, or the work on mailboxes without it.",
)
@click.pass_obj
def run(config: Path, role: str) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; a second one ends it at once.

    SIGHUP reads the configuration again: what a running daemon cannot take over, the log names.
    """
    running(Daemon(read_settings(config), lambda: load(config), Role(role)).run())


@click.command()
@click.option(
    "--provider",
    default="imap",
    show_default=True,
    type=click.Choice(["imap", "gmail", "graph"]),
    help="What leads to the mailboxes: IMAP and SMTP, the Gmail API, or Microsoft Graph.",
)
@click.option("--keep", is_flag=True, help="Leave everything running to play with, until Ctrl-C.")
def demo(provider: str, keep: bool) -> None:
    """Tell the whole story on a local provider.

    Link, read, ticket, reply, Sent copy, disconnect: each step with its evidence, exit status 0 if all of it held.
    """
    try:
        from ingestd.demo.story import tell  # noqa: PLC0415  (its servers are an extra)
    except ImportError as error:
        raise Trouble("the demo's mail servers are not installed: pip install 'ingestd[demo]'") from error
    try:
        held = asyncio.run(tell(provider=provider, keep=keep))
    except asyncio.CancelledError:
        raise click.Abort from None  # SIGTERM; all is taken down
    if not held:
        raise Trouble("the demo did not hold what it promises")
