"""export: what an account has, as files."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from uuid import UUID

import click

from ingestd.build.store import Store
from ingestd.cli.common import (
    Trouble,
    account_option,
    choose_account,
    json_option,
    print_fields,
    print_json,
    with_store,
)
from ingestd.listing import last_ticket_number
from ingestd.privacy.export import ExportError, Walk, open_export


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@account_option
@json_option
@with_store
async def export(store: Store, folder: Path, account: UUID | None, as_json: bool) -> None:
    """Write an account's tickets and messages to the folder DIR: JSON lines, and mbox with all attachments.

    The daemon may be running. What was interrupted goes on where it stopped, with the same command. It is not sealed:
    whoever gets the folder can read it. docs/export.md says what is in the files.
    """
    account_id = await choose_account(store, account)
    last = await last_ticket_number(store.content, account_id)
    try:
        with contextlib.ExitStack() as stack:
            made = open_export(Walk(store.desk, account_id), folder, stack)
            hidden = not sys.stderr.isatty()
            bar = stack.enter_context(
                click.progressbar(length=last, label="exporting tickets", file=sys.stderr, hidden=hidden)
            )
            manifest = await made.run(lambda number: bar.update(max(0, number - bar.pos)))
    except ExportError as error:
        raise Trouble(str(error)) from error
    except OSError as error:
        raise Trouble(f"{folder} cannot be written: {error.strerror or 'input/output error'}") from error
    fields = {
        "exported": folder,
        "tickets": manifest.tickets,
        "messages": manifest.messages,
        "quarantined": manifest.quarantined,
        "damaged": manifest.damaged,
        "size_bytes": sum(manifest.size_bytes.values()),
    }
    print_json(fields) if as_json else print_fields(fields)
    if manifest.damaged:
        raise Trouble(
            f"the export is made, but {manifest.damaged} messages have lost their bytes in the store itself: "
            "`ingestd verify` names them"
        )
