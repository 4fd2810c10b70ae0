"""Accounts: the customers of the helpdesk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import click
from sqlalchemy import Connection

from ingestd import account_states
from ingestd.accounts import create_account, name_of
from ingestd.build.store import Store
from ingestd.cli.account_close import close, closing_fields
from ingestd.cli.common import json_option, print_done, print_fields, print_json, print_rows, with_store
from ingestd.privacy.account_retention import AccountRetention, rules_of
from ingestd.privacy.expiry import MessageRetention
from storage import accounts, expiry, mailboxes
from storage.accounts import Account, AccountStatus

_DAYS_MAX = 36_500


@click.group()
def account() -> None:
    """Accounts: the customers of the helpdesk."""


account.add_command(close)


@account.command()
@click.argument("name")
@json_option
@with_store
async def create(store: Store, name: str, as_json: bool) -> None:
    """Make an account, with a key of its own."""
    created = await create_account(store.content, store.keys, name)
    print_done({"account": created.account_id}, as_json, words=str(created.account_id))


@account.command("list")
@json_option
@with_store
async def list_(store: Store, as_json: bool) -> None:
    """List the accounts."""
    rows = [await _row(store, one) for one in await store.content.read(None, accounts.list_accounts)]
    print_rows(rows, as_json, none="no accounts; `ingestd account create NAME` makes one")


@account.command()
@click.argument("account_id", type=click.UUID)
@json_option
@with_store
async def show(store: Store, account_id: UUID, as_json: bool) -> None:
    """Show an account: its status, since when, and what that means."""
    one = await store.content.read(account_id, accounts.get_account)
    linked = await store.content.read(account_id, mailboxes.list_mailboxes)
    row = {**await _row(store, one), "meaning": account_states.MEANINGS[one.status], "mailboxes": len(linked)}
    row |= await _solved(store, one)
    if one.status is AccountStatus.SUSPENDED:
        row |= await _erasure(store, account_id)
    if one.status not in accounts.OPEN:
        row |= await closing_fields(store, account_id, as_json)
    print_json(row) if as_json else print_fields(row)


@account.command()
@click.argument("account_id", type=click.UUID)
@json_option
@with_store
async def suspend(store: Store, account_id: UUID, as_json: bool) -> None:
    """Stop reading and sending for an account whose paid term is over. Its data are kept, and its replies wait."""
    await _change(store, account_id, account_states.suspend, "suspended", "it was suspended already", as_json)


@account.command()
@click.argument("account_id", type=click.UUID)
@json_option
@with_store
async def resume(store: Store, account_id: UUID, as_json: bool) -> None:
    """Let a suspended account go on where it stopped: what came meanwhile is read, what waits is sent."""
    await _change(store, account_id, account_states.resume, "resumed", "it was not suspended", as_json)


@account.command()
@click.argument("account_id", type=click.UUID)
@json_option
@with_store
async def hold(store: Store, account_id: UUID, as_json: bool) -> None:
    """Keep an account from being erased, however long it is suspended, until it is released."""
    await _change(store, account_id, account_states.hold, "held", "it was held already", as_json)


@account.command()
@click.argument("account_id", type=click.UUID)
@json_option
@with_store
async def release(store: Store, account_id: UUID, as_json: bool) -> None:
    """Take the hold of an account back. Where its time is over, it is warned again before it is erased."""
    await _change(store, account_id, account_states.release, "released", "it was not held", as_json)


async def _change(
    store: Store,
    account_id: UUID,
    change: Callable[[Connection, UUID], bool],
    done: str,
    already: str,
    as_json: bool,
) -> None:
    """Make a change that returns whether there was anything to change, and say which it was."""
    changed = await store.content.transaction(account_id, change)
    print_done({"account": account_id, "changed": changed}, as_json, words=done if changed else already)


@account.command("set")
@click.argument("account_id", type=click.UUID)
@click.option(
    "--solved-days",
    required=True,
    metavar="DAYS|default",
    help="Delete tickets so many days after they were solved and last touched; default: as the configuration says.",
)
@json_option
@with_store
async def set_(store: Store, account_id: UUID, solved_days: str, as_json: bool) -> None:
    """Say for how long an account's solved tickets are kept; `account show` tells how many are older."""
    days = None if solved_days == "default" else _days(solved_days)
    await store.content.transaction(account_id, expiry.set_solved_days, days)
    print_done({"account": account_id, "solved_days": days}, as_json, words="set")


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _DAYS_MAX):
        raise click.BadParameter("must be default, or a number of days", param_hint="--solved-days")
    return int(text)


async def _solved(store: Store, one: Account) -> dict[str, object]:
    """Return how long solved tickets are kept, and how many are older and will be deleted."""
    engine = MessageRetention(store.content, store.blobs, lambda: store.settings.retention.solved_days)
    before = engine.kept_since(one, datetime.now(UTC))
    count = 0 if before is None else await store.content.read(one.account_id, expiry.count_expired, before)
    return {"solved_kept_since": before, "solved_over_age": count}


async def _erasure(store: Store, account_id: UUID) -> dict[str, object]:
    """Return whether and when a suspended account is erased, as the rules are now."""
    engine = AccountRetention(store.content, lambda: rules_of(store.settings))
    planned = await engine.plan_one(account_id, datetime.now(UTC))
    return {"erased_at": None if planned is None else planned.verdict.erase_at}


async def _row(store: Store, one: Account) -> dict[str, object]:
    return {
        "account": one.account_id,
        "name": await name_of(store.keys, one),
        "status": one.status.value,
        "since": one.since,
        "held": one.held_since,
        "created": one.created_at,
    }
