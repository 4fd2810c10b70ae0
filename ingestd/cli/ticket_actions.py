"""What agents do with tickets: close, reopen, read, spam, delete, merge. The mailbox is told as configured."""

from __future__ import annotations

from uuid import UUID

import click

from ingestd.build.store import Store
from ingestd.cli.common import account_option, choose_account, json_option, print_done, with_store
from ingestd.inbound.mirroring import Mirrored
from ingestd.merging import merge as merge_
from ingestd.ticketing import mirroring_of, read_ticket, set_status
from storage.tickets import TicketStatus


@click.command()
@click.argument("number", type=click.IntRange(1))
@account_option
@json_option
@with_store
async def close(store: Store, number: int, account: UUID | None, as_json: bool) -> None:
    """Close a ticket: it is solved. A later mail of its customer opens it again."""
    await _set_status(store, account, number, TicketStatus.CLOSED, as_json)


@click.command()
@click.argument("number", type=click.IntRange(1))
@account_option
@json_option
@with_store
async def reopen(store: Store, number: int, account: UUID | None, as_json: bool) -> None:
    """Open a ticket again that is closed, spam or deleted. What was mirrored in the mailbox is undone."""
    await _set_status(store, account, number, TicketStatus.OPEN, as_json)


@click.command()
@click.argument("number", type=click.IntRange(1))
@account_option
@json_option
@with_store
async def spam(store: Store, number: int, account: UUID | None, as_json: bool) -> None:
    """Call a ticket spam. A later mail to it is kept there, and nothing comes of it."""
    await _set_status(store, account, number, TicketStatus.SPAM, as_json)


@click.command()
@click.argument("number", type=click.IntRange(1))
@account_option
@json_option
@with_store
async def delete(store: Store, number: int, account: UUID | None, as_json: bool) -> None:
    """Put a ticket into the helpdesk's trash; `reopen` gets it back. A later mail of its customer opens a new one."""
    await _set_status(store, account, number, TicketStatus.DELETED, as_json)


@click.command()
@click.argument("number", type=click.IntRange(1))
@account_option
@json_option
@with_store
async def read(store: Store, number: int, account: UUID | None, as_json: bool) -> None:
    """Tell the mailbox that an agent has read a ticket; the ticket itself does not change."""
    account_id = await choose_account(store, account)
    _, mirroring = await mirroring_of(store.desk, store.settings, account_id, number)
    done = await store.content.transaction(account_id, read_ticket, number, mirroring)
    print_done({"ticket": number, **_fields(done)}, as_json, words=f"#{number}: read{_words(done)}")


@click.command()
@click.argument("number", type=click.IntRange(1))
@click.argument("into", type=click.IntRange(1))
@account_option
@json_option
@with_store
async def merge(store: Store, number: int, into: int, account: UUID | None, as_json: bool) -> None:
    """Merge ticket NUMBER into ticket INTO of the same mailbox. It cannot be undone.

    All messages of NUMBER come to INTO, and what is still written to NUMBER does, too; NUMBER only leads there from
    then on. Where the two are different people's, both can write to INTO; replies go to the requester of INTO alone.
    """
    account_id = await choose_account(store, account)
    done = (await merge_(store.desk, store.settings, account_id, number, into)).value
    assert done is not None  # there is no idempotency key
    fields = {"ticket": number, "merged_into": into, "changed": done.changed, "messages_moved": done.messages}
    words = f"#{number}: merged into #{into}" + (_words(done.mirrored) if done.changed else " (it was so already)")
    print_done({**fields, **_fields(done.mirrored)}, as_json, words=words)


ACTIONS = (close, reopen, read, spam, delete, merge)


async def _set_status(store: Store, account: UUID | None, number: int, status: TicketStatus, as_json: bool) -> None:
    account_id = await choose_account(store, account)
    _, mirroring = await mirroring_of(store.desk, store.settings, account_id, number)
    done = await store.content.transaction(account_id, set_status, number, status, mirroring)
    fields = {"ticket": number, "status": status, "changed": done.changed, **_fields(done.mirrored)}
    words = f"#{number}: {status}" + (_words(done.mirrored) if done.changed else " (it was so already)")
    print_done(fields, as_json, words=words)


def _fields(done: Mirrored) -> dict[str, object]:
    return {"edits_planned": done.planned, "messages_lost": done.lost}


def _words(done: Mirrored) -> str:
    """Say what the mailbox is told."""
    told = f"; edits in the mailbox: {done.planned}" if done.planned else ""
    if done.lost:
        told += f"; {done.lost} of its mails lie where nobody knows: somebody moved or deleted them in the mailbox"
    return told
