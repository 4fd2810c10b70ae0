"""Closing an account for good."""

from __future__ import annotations

from uuid import UUID

import click
import msgspec

from ingestd.build.outside import Forgetters
from ingestd.build.store import Store
from ingestd.cli.common import json_option, print_fields, print_json, shown, with_store
from ingestd.cli.forgetting import forgotten, told
from ingestd.privacy.closing import find_receipt
from ingestd.privacy.requests import request_close
from ingestd.records import AccountReceipt
from storage import closures, erasures


@click.command()
@click.argument("account_id", type=click.UUID)
@click.option("--yes", is_flag=True, help="Do not ask: all of it is deleted, and nobody can bring it back.")
@click.option("--wait", "wait_seconds", default=3600.0, show_default=True, help="How long to wait, in seconds.")
@json_option
@with_store
async def close(store: Store, account_id: UUID, yes: bool, wait_seconds: float, as_json: bool) -> None:
    """Forget an account for good: disconnect its mailboxes, destroy its key, delete its data, print the receipt."""
    if not yes:
        click.confirm(f"Delete all of account {account_id}, for good?", abort=True, err=True)
    # Whoever asks again gets the receipt again.
    await store.content.transaction(account_id, request_close, "operator")
    receipt = await _close(store, account_id, wait_seconds)
    if as_json:
        print_json(msgspec.to_builtins(receipt))
        return
    click.echo("The account is forgotten. Receipt:")
    print_fields({name: told(value) for name, value in msgspec.structs.asdict(receipt).items()}, indent="  ")
    click.echo(
        f"Since {shown(receipt.unreadable_at)} nothing of it is readable, in every backup of the database too: only a\n"
        "copy of the key store from before that time could open it."
    )


async def closing_fields(store: Store, account_id: UUID, as_json: bool) -> dict[str, object]:
    """Return what `account show` tells of the closing."""
    erasure, left = await store.content.read(account_id, closures.find_progress)
    receipt = await find_receipt(store.keystore, account_id)
    fields: dict[str, object] = {"closing": erasure.step, "requested": erasure.requested_at, "mailboxes_left": left}
    if as_json:
        return {**fields, "receipt": None if receipt is None else msgspec.to_builtins(receipt)}
    if receipt is None:
        return fields
    told_of = {"deleted": told(receipt.deleted), "left": told(receipt.left), "blob_versions": receipt.blob_versions}
    return {**fields, **told_of}


async def _close(store: Store, account_id: UUID, wait_seconds: float) -> AccountReceipt:
    async def forget(forgetters: Forgetters) -> None:
        waiting = await store.content.read(None, erasures.list_erasures)
        mine = [one for one in waiting if one.account_id == account_id]
        for erasure in sorted(mine, key=lambda one: one.is_of_account):
            await (forgetters.closer if erasure.is_of_account else forgetters.eraser).run(erasure)

    return await forgotten(
        store,
        account_id,
        account_id,
        wait_seconds,
        receipt=lambda: find_receipt(store.keystore, account_id),
        forget=forget,
    )
