"""Mailboxes: link, list, show, disconnect."""

from __future__ import annotations

import asyncio
import contextlib
import time
from uuid import UUID

import click
import msgspec

from ingestd.cli.common import (
    Trouble,
    account_option,
    choose_account,
    json_option,
    print_fields,
    print_json,
    print_rows,
    shown,
    with_store,
)
from ingestd.daemon import Outside, Store, new_eraser, new_linking, new_metrics
from ingestd.desk import MailboxView
from ingestd.linking.link import LinkRequest
from ingestd.lock import StoreLock
from ingestd.privacy.requests import request_disconnect
from ingestd.records import Receipt
from storage import erasures, flows, keystore, leases
from storage.errors import NotFound, StoreLocked

_POLL_SECONDS = 0.2


@click.group()
def mailbox() -> None:
    """Mailboxes: link, list, show, disconnect."""


@mailbox.command()
@click.argument("provider", required=False)
@account_option
@click.option("--again", "mailbox_id", type=click.UUID, help="Link this mailbox again, after its grant was lost.")
@click.option(
    "--from",
    "start",
    default=None,
    help="What to read first: now, everything, or a number of days.  [default: as configured]",
)
@click.option("--name", default="", help="The name that replies come from.")
@click.option("--address", "addresses", multiple=True, help="An alias of the mailbox; may be given several times.")
@click.option("--wait", "wait_seconds", default=600.0, show_default=True, help="How long to wait, in seconds.")
@json_option
@with_store
async def link(
    store: Store,
    provider: str | None,
    account: UUID | None,
    mailbox_id: UUID | None,
    start: str | None,
    name: str,
    addresses: tuple[str, ...],
    wait_seconds: float,
    as_json: bool,
) -> None:
    """Link a mailbox: print the address that its owner opens in a browser, and wait until it is linked.

    PROVIDER is a name under `providers` of the configuration; it may be left out where there is only one.
    """
    provider = _choose_provider(store, provider)
    account_id = await choose_account(store, account)
    start_from, start_days = _start(store, start)
    request = LinkRequest(
        provider=provider,
        mailbox_id=mailbox_id,
        start_from=start_from,
        start_days=start_days,
        name=name,
        addresses=addresses,
    )
    outside = Outside(store.settings)
    try:
        started = await new_linking(store, outside).start(account_id, request)
    finally:
        await outside.close()
    if not await store.content.read(None, leases.others_alive, None, store.settings.inbound.lease_seconds):
        click.echo("note: no daemon runs on this store; start `ingestd run`, without it nobody can link", err=True)
    click.echo(f"Open this address in a browser, as the mailbox's owner:\n\n  {started.address}\n", err=as_json)
    await _wait_for_link(store, account_id, started.flow_id, wait_seconds)
    if as_json:
        print_json({"mailbox": started.mailbox_id})
    else:
        click.echo(f"linked: {started.mailbox_id}")


def _choose_provider(store: Store, name: str | None) -> str:
    known = sorted(store.settings.providers)
    if not known:
        raise Trouble("the configuration names no provider yet: add one under `providers`")
    if name is None and len(known) == 1:
        return known[0]
    if name is None:
        raise Trouble(f"say which provider: {', '.join(known)}")
    if name not in known:
        raise Trouble(f"the configuration has no provider {name!r}; it has: {', '.join(known)}")
    return name


def _start(store: Store, start: str | None) -> tuple[str, int]:
    if start is None:
        defaults = store.settings.mailbox_defaults
        return defaults.start_from, defaults.start_days
    if start in {"now", "everything"}:
        return start, 0
    if start.isascii() and start.isdigit() and 0 < int(start) <= 36_500:
        return "days", int(start)
    raise click.BadParameter("must be now, everything, or a number of days", param_hint="--from")


async def _wait_for_link(store: Store, account_id: UUID, flow_id: UUID, wait_seconds: float) -> None:
    until = time.monotonic() + wait_seconds
    while time.monotonic() < until:
        flow = await store.content.read(account_id, flows.get_flow, flow_id)
        if flow.status == "completed":
            return
        if flow.status == "failed":
            raise Trouble(f"the mailbox was not linked: {(flow.reason or 'unknown').replace('_', ' ')}")
        await asyncio.sleep(_POLL_SECONDS)
    raise Trouble(f"nobody completed the linking within {wait_seconds:g} seconds")


@mailbox.command("list")
@account_option
@json_option
@with_store
async def list_(store: Store, account: UUID | None, as_json: bool) -> None:
    """List the mailboxes."""
    account_id = await choose_account(store, account)
    rows = [_summary(one) for one in await store.desk.mailboxes(account_id)]
    print_rows(rows, as_json, none="no mailboxes; `ingestd mailbox link` links one")


@mailbox.command()
@click.argument("mailbox_id", type=click.UUID)
@account_option
@json_option
@with_store
async def show(store: Store, mailbox_id: UUID, account: UUID | None, as_json: bool) -> None:
    """Show a mailbox: its state, what is wrong and since when, and what its provider does with sent mail."""
    account_id = await choose_account(store, account)
    view = await store.desk.mailbox(account_id, mailbox_id)
    one = view.mailbox
    row = {
        **_summary(view),
        "aliases": ", ".join(view.record.addresses) if view.record else None,
        "trouble": one.trouble,
        "reason": one.reason,
        "start": one.start_from,
        "created": one.created_at,
        "sent_copies_found": one.sent_found,
        "sent_copies_filed": one.sent_appended,
    }
    if as_json:
        print_json(row)
    else:
        print_fields(row)


def _summary(view: MailboxView) -> dict[str, object]:
    one = view.mailbox
    return {
        "mailbox": one.mailbox_id,
        "address": view.record.address if view.record else None,
        "provider": one.provider,
        "state": one.state.value,
        "since": one.state_since,
        "last_read": one.read_at,
    }


@mailbox.command()
@click.argument("mailbox_id", type=click.UUID)
@account_option
@click.option("--wait", "wait_seconds", default=600.0, show_default=True, help="How long to wait, in seconds.")
@json_option
@with_store
async def disconnect(store: Store, mailbox_id: UUID, account: UUID | None, wait_seconds: float, as_json: bool) -> None:
    """Forget a mailbox: destroy its key, revoke its grant, delete its data, and print the receipt."""
    account_id = await choose_account(store, account)
    try:
        await store.content.transaction(account_id, request_disconnect, mailbox_id)
    except NotFound:
        # Forgotten before: whoever asks again gets the receipt again. Raises NotFound where there never was one.
        await store.content.read(account_id, erasures.get_erasure, mailbox_id)
    receipt = await _erase(store, account_id, mailbox_id, wait_seconds)
    if as_json:
        print_json(msgspec.to_builtins(receipt))
        return
    click.echo("The mailbox is forgotten. Receipt:")
    print_fields({name: _told(value) for name, value in msgspec.structs.asdict(receipt).items()}, indent="  ")
    click.echo(
        f"Since {shown(receipt.unreadable_at)} its content is unreadable, in every backup of the database too: only a\n"
        "copy of the key store from before that time could open it."
    )


def _told(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in value.items()) or "nothing"
    return value


async def _erase(store: Store, account_id: UUID, mailbox_id: UUID, wait_seconds: float) -> Receipt:
    """Wait for the daemon to do it; where none runs, do it here."""
    until = time.monotonic() + wait_seconds
    while time.monotonic() < until:
        erasure = await store.content.read(account_id, erasures.get_erasure, mailbox_id)
        if erasure.step == "done":
            written = await store.keystore.read(account_id, keystore.find_receipt, mailbox_id)
            if written is None:
                raise Trouble("the erasure is done, but its receipt is not in the ledger: run `ingestd verify`")
            return msgspec.json.decode(written.detail, type=Receipt)
        lease_seconds = store.settings.inbound.lease_seconds
        if not await store.content.read(None, leases.others_alive, None, lease_seconds):
            with contextlib.suppress(StoreLocked):  # one is just starting: it will do it
                return await _erase_here(store, erasure)
        await asyncio.sleep(_POLL_SECONDS)
    raise Trouble(f"not finished within {wait_seconds:g} seconds; the daemon goes on with it")


async def _erase_here(store: Store, erasure: erasures.Erasure) -> Receipt:
    path = store.content.sqlite_path
    with StoreLock(path) if path else contextlib.nullcontext():
        outside = Outside(store.settings)
        try:
            eraser, _ = new_eraser(store, outside, new_metrics())
            return await eraser.run(erasure)
        finally:
            await outside.close()
