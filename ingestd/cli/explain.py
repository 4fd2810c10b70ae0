"""`explain`: where is my mail?"""

from __future__ import annotations

from typing import Final
from uuid import UUID

import click

from ingestd.build.looking import audit_tools, open_looking
from ingestd.build.store import Store
from ingestd.cli.common import Trouble, account_option, choose_account, json_option, print_json, shown, with_store
from ingestd.inbound.explain import Explained, Looks, Why, with_brackets
from ingestd.inbound.explain import explain as explaining
from storage import mailboxes
from storage.mailboxes import Mailbox, MailboxState

_MAILBOXES_MAX: Final = 100
"""So many are asked by one command."""
_WORDS: Final = {
    Why.TAKEN: "it is a message of a ticket, known by what it holds",
    Why.SENT: "it is a reply of ours",
    Why.QUARANTINED: "it is in quarantine: `ingestd quarantine list` says why",
    Why.DROPPED: "it was in quarantine, and its bytes were deleted",
    Why.FORGOTTEN: "its ticket was deleted here, and it does not come again",
    Why.NOT_FOLLOWED: "that folder is not followed: `ingestd mailbox set` changes that",
    Why.BEFORE_START: "it came before that folder was followed: `ingestd mailbox backfill` reads old mail",
    Why.WAITING: "it is to be read and was not yet; `ingestd audit` tells whether reading has passed it",
}

_FAILED: Final = {
    "not_configured": "its provider is not in the configuration any more",
    "paused": "the mailbox is paused: nothing is read from it",
    "suspended": "its account is suspended: nothing is read from it",
    "reauth_required": "its grant is gone: it must be linked again",
}


@click.command()
@click.argument("message_id")
@click.option("--mailbox", "mailbox_id", type=click.UUID, help="Look into this mailbox only.")
@click.option("--stored", is_flag=True, help="Look into the store only, and do not ask the provider.")
@account_option
@json_option
@with_store
async def explain(
    store: Store, message_id: str, mailbox_id: UUID | None, stored: bool, account: UUID | None, as_json: bool
) -> None:
    """Tell where a mail is, by its Message-ID: in which ticket and why, or why it is not here.

    Where it is neither in a ticket nor in quarantine, the provider is asked for it, in all folders and without marking
    anything.
    Exit status 0 if it was found in a ticket.
    """
    account_id = await choose_account(store, account)
    wanted = with_brackets(message_id)
    found: list[Explained] = []
    missing: list[Mailbox] = []
    asked = await _mailboxes(store, account_id, mailbox_id)
    for mailbox in asked:
        known = await explaining(store.desk, mailbox, wanted, among=len(asked))
        if known.is_here or stored:
            found.append(known)
        else:
            missing.append(mailbox)
    if missing:
        async with open_looking(store) as (builder, parser):
            looks = Looks(lambda: audit_tools(store, parser), builder.audited, at_once=1)
            found += [await looks.ask(mailbox, wanted) for mailbox in missing]
    if as_json:
        print_json([_document(one) for one in found])
    else:
        for one in found:
            _print(one)
    if not any(one.stored for one in found):
        raise Trouble("it is in no ticket")


async def _mailboxes(store: Store, account_id: UUID, mailbox_id: UUID | None) -> list[Mailbox]:
    if mailbox_id is not None:
        return [(await store.desk.mailbox(account_id, mailbox_id)).mailbox]
    found = await store.content.read(account_id, mailboxes.list_mailboxes)
    found = [one for one in found if one.state is not MailboxState.DISCONNECTING]
    if len(found) > _MAILBOXES_MAX:
        raise Trouble(f"there are {len(found)} mailboxes: say which one with --mailbox")
    return found


def _document(one: Explained) -> dict[str, object]:
    there = one.there
    return {
        "mailbox": one.mailbox_id,
        "stored": [
            {
                "message": found.row.message_id,
                "ticket": found.row.ticket_number,
                "ticket_status": found.row.ticket_status,
                "direction": found.row.direction,
                "kind": found.row.kind,
                "received": found.row.received_at,
                "taken": found.row.created_at,
                "folder": found.folder,
                "because": list(found.evidence),
                "muted": found.row.muted,
                "merged_from": found.row.merged_from_id,
            }
            for found in one.stored
        ],
        "quarantined": [
            {
                "quarantine": held.quarantine_id,
                "reason": held.reason,
                "received": held.received_at,
                "quarantined": held.created_at,
            }
            for held in one.held
        ],
        "there": None
        if there is None
        else [
            {"folder": found.place.folder, "received": found.place.received_at, "why": found.why.value}
            for found in there
        ],
        "error": _error(one),
    }


def _error(one: Explained) -> str | None:
    return one.detail or _FAILED.get(one.failed or "", one.failed)


def _print(one: Explained) -> None:
    click.echo(f"mailbox {one.mailbox_id}")
    for found in one.stored:
        row = found.row
        way = "sent" if row.direction == "out" else f"read from {shown(found.folder)}"
        click.echo(f"  ticket {row.ticket_number} ({row.ticket_status}): {row.kind}, {way}")
        click.echo(f"    received {shown(row.received_at)}, taken {shown(row.created_at)}")
        told = [*found.evidence, *(["muted"] if row.muted else []), *(["merged"] if row.merged_from_id else [])]
        click.echo(f"    because: {shown('; '.join(told))}")
    for held in one.held:
        click.echo(f"  in quarantine since {shown(held.created_at)}: {held.reason} (`ingestd quarantine show`)")
        click.echo(f"    {held.quarantine_id}, received {shown(held.received_at)}")
    for place in one.there or ():
        click.echo(f"  lies in {shown(place.place.folder)} since {shown(place.place.received_at)}: {_WORDS[place.why]}")
    if one.failed is not None:
        click.echo(f"  could not be asked: {_error(one)}")
    elif not one.is_here and not one.there:
        click.echo("  not stored here" + ("" if one.there is None else ", and in no folder of the mailbox"))
