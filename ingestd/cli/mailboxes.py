"""Mailboxes: link, list, show, disconnect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final
from uuid import UUID

import click
import msgspec

from ingestd.build.outside import Forgetters, Outside, new_linking
from ingestd.build.store import Store
from ingestd.cli.backfill import backfill, backfill_fields, backfill_line
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
from ingestd.cli.forgetting import forgotten, told
from ingestd.cli.mailbox_options import mirror_line, reply_options, set_
from ingestd.cli.mailbox_state import TEXTS, access_line, pause, print_texts, resume, standing
from ingestd.desk import MailboxView
from ingestd.linking.errors import CallbackRejected
from ingestd.linking.foresight import Foreseen, foreseen
from ingestd.linking.link import Linking, LinkRefused, LinkRequest
from ingestd.linking.standing import link_words
from ingestd.options import effective, mirrored
from ingestd.privacy.requests import disconnect_mailbox
from ingestd.records import Receipt
from ingestd.standing import counts_of, pushed_of
from storage import edits, erasures, flows, keystore, leases
from storage.edits import EditCount

_POLL_SECONDS = 0.2
_PASTES_MAX = 5


@click.group()
def mailbox() -> None:
    """Mailboxes: link, list, show, set, backfill, pause, resume, disconnect."""


mailbox.add_command(set_)
mailbox.add_command(backfill)
mailbox.add_command(pause)
mailbox.add_command(resume)


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
@click.option("--shared", default="", metavar="ADDRESS", help="Link this shared mailbox, as a user who may open it.")
@click.option(
    "--mailbox",
    "address",
    default="",
    metavar="ADDRESS",
    help="Link this mailbox by application permissions, without a browser.",
)
@click.option("--device", "way", flag_value="device", help="Type a code in on another machine, where the provider can.")
@click.option("--paste", "way", flag_value="paste", help="Paste the address that the browser was sent to.")
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
    shared: str,
    address: str,
    way: str | None,
    wait_seconds: float,
    as_json: bool,
) -> None:
    """Link a mailbox: print the address that its owner opens in a browser, and wait until it is linked.

    PROVIDER is a name under `providers` of the configuration; it may be left out where there is only one.

    With --device or --paste nothing needs to reach this machine, and no daemon needs to run; with --mailbox nobody is
    asked at all: an administrator has allowed it.
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
        shared=shared,
        mailbox=address,
    )
    outside = Outside(store.settings)
    try:
        linking = new_linking(store, outside)
        linked = await _WAYS[way](store, linking, account_id, request, _Asking(wait_seconds, as_json))
    except LinkRefused as refused:
        raise Trouble(f"the mailbox was not linked: {link_words(refused.reason)}") from refused
    finally:
        await outside.close()
    if as_json:
        print_json({"mailbox": linked})
    else:
        click.echo(f"linked: {linked}")


@dataclass(frozen=True, slots=True)
class _Asking:
    """How the owner is spoken to."""

    wait_seconds: float
    as_json: bool

    def say(self, text: str) -> None:
        # Standard output is the program's alone where it is read by one.
        click.echo(text, err=self.as_json)


async def _by_browser(store: Store, linking: Linking, account_id: UUID, request: LinkRequest, owner: _Asking) -> UUID:
    started = await linking.start(account_id, request)
    if not started.address:  # nobody was to be asked
        return started.mailbox_id
    if not await store.content.read(None, leases.others_alive, None, store.settings.inbound.lease_seconds):
        click.echo("note: no daemon runs on this store; start `ingestd run`, without it nobody can link", err=True)
    if _comes_elsewhere(store, request.provider):
        click.echo("note: oauth.redirect_uri leads the browser elsewhere than to the daemon; try --paste", err=True)
    owner.say(f"Open this address in a browser, as the mailbox's owner:\n\n  {started.address}\n")
    await _wait_for_link(store, account_id, started.flow_id, owner.wait_seconds)
    return started.mailbox_id


def _comes_elsewhere(store: Store, provider: str) -> bool:
    redirect_uri = store.settings.provider(provider).oauth.redirect_uri
    return redirect_uri is not None and not redirect_uri.startswith(store.settings.api.public_url)


async def _by_device(_: Store, linking: Linking, account_id: UUID, request: LinkRequest, owner: _Asking) -> UUID:
    started = await linking.start_device(account_id, request)
    code = started.code
    owner.say(f"On any machine, as the mailbox's owner, open\n\n  {code.address}\n\nand type in  {code.user_code}\n")
    try:
        async with asyncio.timeout(owner.wait_seconds):
            return await linking.finish_device(started)
    except TimeoutError:
        raise Trouble(f"nobody typed the code in within {owner.wait_seconds:g} seconds") from None


async def _by_paste(_: Store, linking: Linking, account_id: UUID, request: LinkRequest, owner: _Asking) -> UUID:
    started = await linking.start_pasting(account_id, request)
    owner.say(
        f"Open this address in any browser, as the mailbox's owner:\n\n  {started.address}\n\n"
        f"In the end the browser is sent to {started.redirect_uri}… — a page that may not open.\n"
        "Copy the whole address out of the browser and paste it here."
    )
    for _try in range(_PASTES_MAX):
        # It blocks the loop, in which nothing else goes on.
        text = click.prompt("Address", err=owner.as_json)
        try:
            return await linking.finish_pasting(started, text)
        except CallbackRejected as rejected:
            click.echo(str(rejected), err=True)
    raise Trouble("that was not it either; begin again")


_WAYS: Final[Mapping[str | None, Callable[..., Awaitable[UUID]]]] = {
    None: _by_browser,
    "device": _by_device,
    "paste": _by_paste,
}


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
            reason = flow.reason or "unknown"
            raise Trouble(f"the mailbox was not linked: {link_words(reason)}")
        await asyncio.sleep(_POLL_SECONDS)
    raise Trouble(f"nobody completed the linking within {wait_seconds:g} seconds")


@mailbox.command("list")
@account_option
@json_option
@with_store
async def list_(store: Store, account: UUID | None, as_json: bool) -> None:
    """List the mailboxes."""
    account_id = await choose_account(store, account)
    views = await store.desk.mailboxes(account_id)
    risks = await foreseen(store.content, store.settings, account_id, [one.mailbox.mailbox_id for one in views])
    rows = [_summary(view, risked) for view, risked in zip(views, risks, strict=True)]
    print_rows(rows, as_json, none="no mailboxes; `ingestd mailbox link` links one")


@mailbox.command()
@click.argument("mailbox_id", type=click.UUID)
@account_option
@json_option
@with_store
async def show(store: Store, mailbox_id: UUID, account: UUID | None, as_json: bool) -> None:
    """Show a mailbox: its state, what is wrong and since when, what to do, what its provider does with sent mail."""
    account_id = await choose_account(store, account)
    view = await store.desk.mailbox(account_id, mailbox_id)
    one = view.mailbox
    counted = await counts_of(store.content, one)
    pushed = await pushed_of(store.content, one)
    history = await store.desk.backfill(account_id, mailbox_id)
    after_import, folders = effective(view.record, store.settings.mailbox_defaults) if view.record else (None, ())
    mirror = mirrored(view.record, store.settings.mailbox_defaults) if view.record else None
    waiting = await store.content.read(account_id, edits.count_by_kind, mailbox_id) if view.record else []
    row = {
        **_summary(view),
        **await standing(store, view),
        "aliases": ", ".join(view.record.addresses) if view.record else None,
        "start": one.start_from,
        "created": one.created_at,
        "backfill": None if history is None else backfill_fields(history) if as_json else backfill_line(history),
        "sent_copies_found": one.sent_found,
        "sent_copies_filed": one.sent_appended,
        "sent_ids_rewritten": one.sent_rewritten,
        "folders": ", ".join(folders),
        "after_import": after_import,
        "mirror": mirror if as_json or mirror is None else mirror_line(mirror),
        **(reply_options(view.record, as_json) if view.record else {}),
        "edits_due": counted.edits_due,
        "edits_failed": counted.edits_failed,
        "edits": [asdict(one) for one in waiting] if as_json else "; ".join(map(_edit_line, waiting)) or None,
        "quarantined": counted.quarantined,
        "push_until": pushed.active_until if pushed else None,
        "push_failures": pushed.failures if pushed else None,
        "push_next_try": pushed.next_try if pushed else None,
    }
    if as_json:
        print_json(row)
    else:
        told = {**row, "access_warnings": access_line(row)}
        print_fields({name: value for name, value in told.items() if name not in TEXTS})
        print_texts(row)


def _edit_line(one: EditCount) -> str:
    why = f", {one.reason}" if one.reason else ""
    return f"{one.cause}: {one.kind} of {one.messages} ({one.status}{why})".replace("_", " ")


def _summary(view: MailboxView, risks: Sequence[Foreseen] = ()) -> dict[str, object]:
    """Return a line of the list; `risks` show where nothing is wrong yet."""
    one = view.mailbox
    foreseen_ = risks[0].risk.value if risks else None
    return {
        "mailbox": one.mailbox_id,
        "address": view.record.address if view.record else None,
        "provider": one.provider,
        "state": one.state.value,
        "trouble": one.trouble or one.send_trouble or ("folders_missing" if one.folders_missing else foreseen_),
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
    # Whoever asks again gets the receipt again.
    await store.content.transaction(account_id, disconnect_mailbox, mailbox_id)
    receipt = await _erase(store, account_id, mailbox_id, wait_seconds)
    if as_json:
        print_json(msgspec.to_builtins(receipt))
        return
    click.echo("The mailbox is forgotten. Receipt:")
    print_fields({name: told(value) for name, value in msgspec.structs.asdict(receipt).items()}, indent="  ")
    click.echo(
        f"Since {shown(receipt.unreadable_at)} its content is unreadable, in every backup of the database too: only a\n"
        "copy of the key store from before that time could open it."
    )
    if receipt.revocation == "nothing_to_revoke" and receipt.removal_page:
        click.echo(
            "There was no grant to revoke: this application's own permissions opened the mailbox, and open it until\n"
            "an administrator takes it out of the application's scope in Exchange, or the permissions away: "
            f"{receipt.removal_page}"
        )
    elif receipt.revocation != "revoked" and (page := _removal_page(store, receipt.provider)):
        click.echo(f"The mailbox's owner can take this application's access away: {page}")


def _removal_page(store: Store, provider: str) -> str | None:
    known = provider in store.settings.providers
    return store.settings.provider(provider).removal_page if known else None


async def _erase(store: Store, account_id: UUID, mailbox_id: UUID, wait_seconds: float) -> Receipt:
    async def receipt() -> Receipt | None:
        written = await store.keystore.read(account_id, keystore.find_receipt, mailbox_id)
        return None if written is None else msgspec.json.decode(written.detail, type=Receipt)

    async def forget(forgetters: Forgetters) -> None:
        await forgetters.eraser.run(await store.content.read(account_id, erasures.get_erasure, mailbox_id))

    return await forgotten(store, account_id, mailbox_id, wait_seconds, receipt=receipt, forget=forget)
