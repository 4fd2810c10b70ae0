"""person: the erasure of a person's data within an account."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final
from uuid import UUID

import click
import msgspec

from ingestd.build.outside import Forgetters
from ingestd.build.store import Store
from ingestd.cli.common import Trouble, json_option, print_fields, print_json, progress, with_store
from ingestd.cli.forgetting import here_unless_daemon, told
from ingestd.privacy.person_receipts import PersonProgress, find_person_progress
from ingestd.privacy.person_requests import ADDRESS_CHARS_MAX, AddressWrong, request_person
from storage import persons
from storage.errors import Conflict

_POLL_SECONDS = 0.2
_NOT_SEARCHED: Final = (
    "Attachments that are files are not searched, nor what is encrypted. Mail that came since the request stays."
)


@click.group()
def person() -> None:
    """Persons whose data are erased within an account: erase, show."""


@person.command()
@click.argument("account_id", type=click.UUID)
@click.argument("address")
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted and rewritten.")
@click.option("--yes", is_flag=True, help="Do not ask: what is deleted, nobody can bring back.")
@click.option("--wait", "wait_seconds", default=86_400.0, show_default=True, help="How long to wait, in seconds.")
@json_option
@with_store
async def erase(
    store: Store, account_id: UUID, address: str, dry_run: bool, yes: bool, wait_seconds: float, as_json: bool
) -> None:
    """Delete a person's messages and the tickets that they requested, and replace them in the mail of others.

    ADDRESS is the person's; - reads it from standard input, so that it stands in no list of processes.
    """
    if address == "-":
        address = sys.stdin.readline(ADDRESS_CHARS_MAX + 2)
    if not (dry_run or yes):
        click.confirm(f"Erase this person from account {account_id}, for good?", abort=True, err=True)
    try:
        erasure_id, _ = await request_person(store.content, store.keys, account_id, address, dry_run=dry_run)
    except (AddressWrong, Conflict) as error:
        raise Trouble(str(error)) from error
    _print(await _finished(store, account_id, erasure_id, wait_seconds), as_json)


@person.command()
@click.argument("account_id", type=click.UUID)
@click.argument("erasure_id", type=click.UUID)
@json_option
@with_store
async def show(store: Store, account_id: UUID, erasure_id: UUID, as_json: bool) -> None:
    """Show how far a person's erasure has come; `receipt show` has its receipt, signed."""
    _print(await find_person_progress(store.content, store.keystore, account_id, erasure_id), as_json)


def _print(found: PersonProgress, as_json: bool) -> None:
    one = found.erasure
    fields: dict[str, object] = {
        "erasure": one.erasure_id,
        "dry_run": one.dry_run,
        "step": one.step,
        "requested": one.requested_at,
        "checked": one.checked,
        "total": one.total,
    }
    if as_json:
        receipt = None if found.receipt is None else msgspec.to_builtins(found.receipt)
        print_json({**fields, "counts": one.done, "receipt": receipt})
        return
    print_fields({**fields, "counts": told(one.done)})
    click.echo(_NOT_SEARCHED)


async def _finished(store: Store, account_id: UUID, erasure_id: UUID, wait_seconds: float) -> PersonProgress:
    async def run(forgetters: Forgetters) -> None:
        erasure = await store.content.read(account_id, persons.get_erasure, erasure_id)
        await forgetters.persons.run(erasure)

    until, shown = time.monotonic() + wait_seconds, 0
    with progress("erasing", None) as bar:
        while time.monotonic() < until:
            found = await find_person_progress(store.content, store.keystore, account_id, erasure_id)
            if found.erasure.step == "done":
                return found
            bar.length = max(found.erasure.total, found.erasure.checked, 1)
            bar.update(found.erasure.checked - shown)
            shown = found.erasure.checked
            if not await here_unless_daemon(store, run):
                await asyncio.sleep(_POLL_SECONDS)
    raise Trouble(f"not finished within {wait_seconds:g} seconds; the daemon goes on with it")
