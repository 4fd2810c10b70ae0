"""Running and checking: run, verify, demo."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from ingestd.cli.common import Trouble, json_option, print_json, read_settings, running, with_store
from ingestd.daemon import Daemon, Store
from ingestd.verify.check import verify as verify_store


@click.command()
@click.pass_obj
def run(config: Path) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    running(Daemon(read_settings(config)).run())


@click.command()
@json_option
@with_store
async def verify(store: Store, as_json: bool) -> None:
    """Check every promise over the store.

    Nothing lost, nothing twice, nothing left, nothing shared: exit status 0 if all of it holds.
    """
    report = await verify_store(store.content, store.keystore, store.blobs, store.keys)
    if as_json:
        print_json(
            {
                "checked": report.checked,
                "violations": [
                    {
                        "invariant": one.invariant,
                        "account": one.account_id,
                        "subject": one.subject_id,
                        "text": one.text,
                    }
                    for one in report.violations
                ],
            }
        )
    else:
        for name, count in report.checked.items():
            broken = [one for one in report.violations if one.invariant == name]
            click.echo(f"{'FAIL' if broken else 'ok':5}{name.replace('_', ' ')} ({count} checked)")
            for one in broken:
                click.echo(f"       {one.subject_id}: {one.text}")
    if not report.clean:
        raise Trouble(f"{len(report.violations)} violations")


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running to play with, until Ctrl-C.")
def demo(keep: bool) -> None:
    """Tell the whole story on a local provider.

    Link, read, ticket, reply, Sent copy, disconnect: each step with its evidence, exit status 0 if all of it held.
    """
    try:
        from ingestd.demo.story import tell  # noqa: PLC0415  (its servers are an extra)
    except ImportError as error:
        raise Trouble("the demo's mail servers are not installed: pip install 'ingestd[demo]'") from error
    try:
        held = asyncio.run(tell(keep=keep))
    except asyncio.CancelledError:
        raise click.Abort from None  # SIGTERM; all is taken down
    if not held:
        raise Trouble("the demo did not hold what it promises")
