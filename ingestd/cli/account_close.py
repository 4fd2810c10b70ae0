"""Closing an account for good."""

from __future__ import annotations

import asyncio
import contextlib
import time
from uuid import UUID

import click
import msgspec

from ingestd.build.outside import Outside, new_forgetters, new_metrics
from ingestd.build.store import Store
from ingestd.cli.common import Trouble, json_option, print_fields, print_json, shown, with_store
from ingestd.lock import StoreLock
from ingestd.privacy.closing import find_receipt
from ingestd.privacy.requests import request_close
from ingestd.records import AccountReceipt
from storage import closures, erasures, leases
from storage.errors import StoreLocked

_POLL_SECONDS = 0.2


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
    print_fields({name: _told(value) for name, value in msgspec.structs.asdict(receipt).items()}, indent="  ")
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
    return fields if receipt is None else {**fields, "deleted": _told(receipt.deleted), "left": _told(receipt.left)}


def _told(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in value.items()) or "nothing"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return value


async def _close(store: Store, account_id: UUID, wait_seconds: float) -> AccountReceipt:
    """Wait for the daemon to do it; where none runs, do it here."""
    until = time.monotonic() + wait_seconds
    while time.monotonic() < until:
        erasure = await store.content.read(account_id, erasures.get_erasure, account_id)
        if erasure.step == "done":
            written = await find_receipt(store.keystore, account_id)
            if written is None:
                raise Trouble("the account is closed, but its receipt is not in the ledger: run `ingestd verify`")
            return written
        lease_seconds = store.settings.inbound.lease_seconds
        if not await store.content.read(None, leases.others_alive, None, lease_seconds):
            with contextlib.suppress(StoreLocked):  # one is just starting: it will do it
                await _close_here(store, account_id)
                continue
        await asyncio.sleep(_POLL_SECONDS)
    raise Trouble(f"not finished within {wait_seconds:g} seconds; the daemon goes on with it")


async def _close_here(store: Store, account_id: UUID) -> None:
    path = store.content.sqlite_path
    with StoreLock(path) if path else contextlib.nullcontext():
        outside = Outside(store.settings)
        try:
            forgetters = new_forgetters(store, outside, new_metrics())
            waiting = await store.content.read(None, erasures.list_erasures)
            mine = [one for one in waiting if one.account_id == account_id]
            for erasure in sorted(mine, key=lambda one: one.is_of_account):
                await (forgetters.closer if erasure.is_of_account else forgetters.eraser).run(erasure)
        finally:
            await outside.close()
