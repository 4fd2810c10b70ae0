"""The quarantine: list, show, replay, drop."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

import click

from ingestd.build.mailboxes import open_context
from ingestd.build.store import Store
from ingestd.cli.common import (
    Trouble,
    account_option,
    choose_account,
    json_option,
    print_done,
    print_fields,
    print_json,
    print_rows,
    with_store,
)
from ingestd.inbound.parser import ParserPool, ParserUnavailable
from ingestd.inbound.replay import Replayed, drop, replay
from storage import mailboxes
from storage.errors import Conflict
from storage.quarantine import Quarantined, QuarantineStatus

MIB = 1024 * 1024
_PAGE = 100
_LIST_MAX = 1000


@click.group()
def quarantine() -> None:
    """Messages that could not be understood: list, show, replay, drop."""


@quarantine.command("list")
@click.option("--mailbox", "mailbox_id", type=click.UUID, help="Only of this mailbox.")
@click.option("--all", "everything", is_flag=True, help="Also those that were taken or dropped since.")
@account_option
@json_option
@with_store
async def list_(store: Store, mailbox_id: UUID | None, everything: bool, account: UUID | None, as_json: bool) -> None:
    """List the messages in quarantine, oldest first."""
    account_id = await choose_account(store, account)
    statuses = tuple(QuarantineStatus) if everything else (QuarantineStatus.HELD,)
    found = await store.desk.quarantine(account_id, mailbox_id=mailbox_id, statuses=statuses, limit=_LIST_MAX + 1)
    print_rows([_row(one) for one in found[:_LIST_MAX]], as_json, none="the quarantine is empty")
    if len(found) > _LIST_MAX:
        click.echo(f"note: there are more than {_LIST_MAX}", err=True)


def _row(one: Quarantined) -> dict[str, object]:
    return {
        "quarantine": one.quarantine_id,
        "mailbox": one.mailbox_id,
        "status": one.status.value,
        "reason": one.reason,
        "received": one.received_at,
        "size_bytes": one.size_bytes,
        "replays": one.replays,
    }


@quarantine.command()
@click.argument("quarantine_id", type=click.UUID)
@click.option(
    "--raw",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write the raw message to this new file, which only you can read; - is standard output.",
)
@account_option
@json_option
@with_store
async def show(store: Store, quarantine_id: UUID, raw: Path | None, account: UUID | None, as_json: bool) -> None:
    """Show a message in quarantine: why it is there, and what was tried; never what it says."""
    account_id = await choose_account(store, account)
    view = await store.desk.quarantined(account_id, quarantine_id)
    if raw is not None:
        content = await store.desk.quarantined_raw(account_id, quarantine_id)
        if str(raw) == "-":
            sys.stdout.buffer.write(content)
            return
        _write_new(raw, content)
    row = {
        **_row(view.row),
        "quarantined": view.row.created_at,
        "replayed": view.row.replayed_at,
        "folder": view.record.folder,
        "only_header": view.record.truncated,
    }
    if as_json:
        print_json(row)
    else:
        print_fields(row)


def _write_new(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}") from error
    with open(descriptor, "wb") as file:
        file.write(content)


@quarantine.command("replay")
@click.argument("quarantine_id", type=click.UUID, required=False)
@click.option("--all", "everything", is_flag=True, help="All that are in quarantine.")
@click.option("--mailbox", "mailbox_id", type=click.UUID, help="With --all: only of this mailbox.")
@click.option("--seconds", type=click.FloatRange(0, 86_400, min_open=True), help="How long one message may take.")
@click.option("--memory-mib", type=click.IntRange(128, 1024 * 1024), help="How much memory one message may take.")
@account_option
@json_option
@with_store
async def replay_(
    store: Store,
    quarantine_id: UUID | None,
    everything: bool,
    mailbox_id: UUID | None,
    seconds: float | None,
    memory_mib: int | None,
    account: UUID | None,
    as_json: bool,
) -> None:
    """Parse messages in quarantine again; what is understood now becomes a ticket message.

    Each gets a parser process of its own. The limits are those of the configuration, unless given here.
    """
    if (quarantine_id is None) != everything:
        raise click.UsageError("name one message, or give --all")
    account_id = await choose_account(store, account)
    rows = []
    async for one in _chosen(store, account_id, quarantine_id, mailbox_id):
        row = {"quarantine": one.quarantine_id, **await _replay(store, one, seconds, memory_mib)}
        rows.append(row)
        if not as_json:
            click.echo(f"{row['quarantine']}: {_told(row)}")
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("the quarantine is empty")
    failed = sum(row["outcome"] == "rejected" for row in rows)
    if failed:
        raise Trouble(f"{failed} of {len(rows)} could not be understood again")


def _told(row: dict[str, object]) -> str:
    if row["outcome"] == "taken":
        return f"ticket #{row['ticket']}"
    if row["outcome"] == "rejected":
        return f"not understood again ({row['reason']})"
    return {"known": "the mailbox has it already", "gone": "not in quarantine any more"}[str(row["outcome"])]


async def _chosen(
    store: Store, account_id: UUID, quarantine_id: UUID | None, mailbox_id: UUID | None
) -> AsyncIterator[Quarantined]:
    if quarantine_id is not None:
        row = (await store.desk.quarantined(account_id, quarantine_id)).row
        if row.status is not QuarantineStatus.HELD:
            raise Trouble(f"message {quarantine_id} is not in quarantine any more: it was {row.status.value}")
        yield row
        return
    page: Sequence[Quarantined] = ()
    while page := await store.desk.quarantine(
        account_id, mailbox_id=mailbox_id, after=page[-1].quarantine_id if page else None, limit=_PAGE
    ):
        for row in page:
            yield row


async def _replay(store: Store, row: Quarantined, seconds: float | None, memory_mib: int | None) -> dict[str, object]:
    """Replay one message in a process that nothing else was parsed in."""
    mailbox = await store.content.read(row.account_id, mailboxes.get_mailbox, row.mailbox_id)
    try:
        context = await open_context(store, mailbox)
    except KeyError as error:
        raise Trouble(f"the configuration has no provider {mailbox.provider!r} any more") from error
    limits, inbound = store.settings.parser, store.settings.inbound
    pool = ParserPool(
        processes=1,
        seconds_max=seconds or limits.seconds_max,
        memory_bytes_max=memory_mib * MIB if memory_mib else limits.memory_bytes_max,
        # It was taken under the limit of its time.
        message_bytes_max=max(inbound.message_bytes_max, row.size_bytes),
    )
    try:
        async with pool:
            outcome = await replay(store.desk, context, pool, row, ticket_status=store.settings.backfill.ticket_status)
    except ParserUnavailable as error:
        raise Trouble("no parser process could be started") from error
    except Conflict:
        return {"outcome": "gone"}
    return await _outcome(store, row, outcome)


async def _outcome(store: Store, row: Quarantined, outcome: Replayed) -> dict[str, object]:
    if outcome.rejected is not None:
        return {"outcome": "rejected", "reason": outcome.rejected}
    if outcome.ticket_id is None:
        return {"outcome": "known"}
    ticket = await store.desk.ticket_by_id(row.account_id, outcome.ticket_id)
    return {"outcome": "taken", "ticket": ticket.number}


@quarantine.command("drop")
@click.argument("quarantine_id", type=click.UUID)
@click.option("--yes", is_flag=True, help="Do not ask.")
@account_option
@json_option
@with_store
async def drop_(store: Store, quarantine_id: UUID, yes: bool, account: UUID | None, as_json: bool) -> None:
    """Delete the bytes of a message in quarantine. It does not come back, although its mailbox may still have it."""
    account_id = await choose_account(store, account)
    view = await store.desk.quarantined(account_id, quarantine_id)
    if not yes:
        _ask(view.row)
    key = await store.keys.mailbox(account_id, view.row.mailbox_id)
    await drop(store.desk, key, view.row)
    print_done({"quarantine": quarantine_id, "dropped": True}, as_json, words=f"dropped: {quarantine_id}")


def _ask(row: Quarantined) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: say --yes to delete it")
    click.confirm(f"Delete these {row.size_bytes} bytes for ever?", abort=True)
