"""Running: run, demo."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import click

from config import Settings, load
from ingestd.cli.common import ConfigTrouble, Trouble, read_settings, running
from ingestd.daemon import Daemon, Role
from ingestd.garbage import keep_what_was_loaded
from ingestd.processes import Parent, Part, ToParent
from ingestd.telemetry import logs
from ingestd.telemetry.notify import Notifier

_STOP_SECONDS = 30.0
"""How long processes may take to stop beyond `shutdown_seconds`, before they are killed."""


@click.command()
@click.option(
    "--role",
    default=Role.ALL.value,
    show_default=True,
    type=click.Choice([one.value for one in Role]),
    help="What this process does: everything, the HTTP API alone, or the work on mailboxes without it.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Worker processes, and one for the API; they listen on the ports from api.listen_port on. More than 1 need "
    "PostgreSQL.  [default: the setting workers]",
)
@click.pass_obj
def run(config: Path, role: str, workers: int | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; a second one ends it at once.

    SIGHUP reads the configuration again: what a running daemon cannot take over, the log names.
    """
    settings = read_settings(config)
    count = workers or settings.workers
    if count == 1 or role == Role.API.value:
        running(Daemon(settings, lambda: load(config), Role(role)).run())
        return
    if settings.storage.database.startswith("sqlite"):
        raise ConfigTrouble("storage.database is SQLite, which is for one worker process; --workers needs PostgreSQL")
    roles = [Role.WORKER] * count if role == Role.WORKER.value else [Role.API, *[Role.WORKER] * count]
    parts = [Part(one.value, _part(settings, lambda: load(config), one, place)) for place, one in enumerate(roles)]
    logs.configure(settings.logging.format, settings.logging.level)
    keep_what_was_loaded()  # or each process would copy it when it looks for garbage
    stop_seconds = settings.shutdown_seconds + _STOP_SECONDS
    status = Parent(parts, Notifier.from_environment(), stop_seconds=stop_seconds).run()
    if status:
        raise click.exceptions.Exit(status)


def _part(settings: Settings, read: Callable[[], Settings], role: Role, place: int) -> Callable[[socket.socket], int]:
    """Return what one of several processes does; `place` is its own among them."""

    def moved(one: Settings) -> Settings:
        """Health and metrics are each one's own, so each listens on a port of its own; on 0 each finds a free one."""
        port = one.api.listen_port
        api = one.api.model_copy(update={"listen_port": port + place if port else 0})
        return one.model_copy(update={"api": api})

    async def tethered(line: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        daemon = Daemon(moved(settings), lambda: moved(read()), role, ToParent(line))

        def parent_is_gone() -> None:
            loop.remove_reader(line)
            daemon.stop()

        loop.add_reader(line, parent_is_gone)  # it never says anything, so it is the end
        await daemon.run()

    def run_part(line: socket.socket) -> int:
        try:
            running(tethered(line))
        except click.ClickException as error:
            error.show()
            return error.exit_code
        return 0

    return run_part


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
