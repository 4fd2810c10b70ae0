"""`explain`: where is my mail?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import click

from connectors.base import ConnectorError
from ingestd.build.looking import audit_tools, open_looking
from ingestd.build.mailboxes import Mailboxes, open_context
from ingestd.build.store import Store
from ingestd.cli.common import Trouble, account_option, choose_account, json_option, print_json, shown, with_store
from ingestd.inbound.audit import AuditTools
from ingestd.inbound.explain import Stored, There, Why, stored_of, there_of
from ingestd.options import effective
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

    Where nothing is stored under the id, the provider is asked for it, in all folders and without marking anything.
    Exit status 0 if it was found in a ticket.
    """
    account_id = await choose_account(store, account)
    wanted = f"<{message_id.strip().strip('<>')}>"
    asked = await _mailboxes(store, account_id, mailbox_id)
    documents: list[dict[str, object]] = []
    missing: list[Mailbox] = []
    for one in asked:
        try:
            found = await stored_of(store.content, await open_context(store, one), wanted)
        except KeyError:
            documents.append(_failed(one, "its provider is not in the configuration any more"))
            continue
        if found or stored:
            documents.append(_document(one, found, None))
        else:
            missing.append(one)
    if missing:
        async with open_looking(store) as (builder, parser):
            tools = audit_tools(store, parser)
            documents += [await _ask(store, tools, builder, one, wanted) for one in missing]
    if as_json:
        print_json(documents)
    else:
        for document in documents:
            _print(document)
    if not any(document.get("stored") for document in documents):
        raise Trouble("it is in no ticket")


async def _mailboxes(store: Store, account_id: UUID, mailbox_id: UUID | None) -> list[Mailbox]:
    if mailbox_id is not None:
        return [(await store.desk.mailbox(account_id, mailbox_id)).mailbox]
    found = await store.content.read(account_id, mailboxes.list_mailboxes)
    found = [one for one in found if one.state is not MailboxState.DISCONNECTING]
    if len(found) > _MAILBOXES_MAX:
        raise Trouble(f"there are {len(found)} mailboxes: say which one with --mailbox")
    return found


async def _ask(store: Store, tools: AuditTools, builder: Mailboxes, one: Mailbox, message_id: str) -> dict[str, object]:
    context, readers = await builder.audited(one.account_id, one.mailbox_id)
    _, entries = effective(context.record, store.settings.mailbox_defaults)
    try:
        there = await there_of(tools, context, readers, tuple(dict.fromkeys(entries)), message_id)
    except ConnectorError as error:
        return _failed(one, str(error))
    finally:
        await readers.close()
    return _document(one, [], there)


def _failed(one: Mailbox, why: str) -> dict[str, object]:
    return {"mailbox": one.mailbox_id, "stored": [], "there": None, "error": why}


def _document(one: Mailbox, stored: Sequence[Stored], there: Sequence[There] | None) -> dict[str, object]:
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
            for found in stored
        ],
        "there": None
        if there is None
        else [
            {"folder": found.place.folder, "received": found.place.received_at, "why": found.why.value}
            for found in there
        ],
        "error": None,
    }


def _print(document: dict[str, object]) -> None:
    click.echo(f"mailbox {document['mailbox']}")
    stored, there = document["stored"], document["there"]
    assert isinstance(stored, list)
    for one in stored:
        way = "sent" if one["direction"] == "out" else f"read from {shown(one['folder'])}"
        click.echo(f"  ticket {one['ticket']} ({one['ticket_status']}): {one['kind']}, {way}")
        click.echo(f"    received {shown(one['received'])}, taken {shown(one['taken'])}")
        told = [*one["because"], *(["muted"] if one["muted"] else []), *(["merged"] if one["merged_from"] else [])]
        click.echo(f"    because: {shown('; '.join(told))}")
    if document["error"] is not None:
        click.echo(f"  could not be asked: {document['error']}")
    elif not stored:
        assert there is None or isinstance(there, list)
        for one in there or ():
            click.echo(f"  lies in {shown(one['folder'])} since {shown(one['received'])}: {_WORDS[Why(one['why'])]}")
        if not there:
            click.echo("  not stored here" + ("" if there is None else ", and in no folder of the mailbox"))
