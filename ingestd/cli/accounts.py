"""Accounts: the customers of the helpdesk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import click
from sqlalchemy import Connection

from config import NOWHERE, is_location
from ingestd import account_states
from ingestd.accounts import create_account, name_of
from ingestd.build.store import Store
from ingestd.cli.account_close import close, closing_fields
from ingestd.cli.common import json_option, print_done, print_fields, print_json, print_rows, with_store
from ingestd.privacy import residency
from ingestd.privacy.account_retention import AccountRetention, rules_of
from ingestd.privacy.expiry import MessageRetention
from storage import accounts, expiry, mailboxes
from storage.accounts import Account, AccountStatus

_DAYS_MAX = 36_500


def _label(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_location(value):
        raise click.BadParameter("must be a label of a-z, 0-9 and -: eu, us-east")
    return value


def _label_or_none(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    return value if value == NOWHERE else _label(context, parameter, value)


@click.group()
def account() -> None:
    """Accounts: the customers of the helpdesk."""


account.add_command(close)


@account.command()
@click.argument("name")
@click.option("--location", metavar="LABEL", callback=_label, help="Pin it to this location.")
@json_option
@with_store
async def create(store: Store, name: str, location: str | None, as_json: bool) -> None:
    """Make an account, with a key of its own."""
    residency.check_pin(store.settings.locations, location)
    created = await create_account(store.content, store.keys, name, location=location)
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
    row["mask_cards"] = one.mask_cards
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
    metavar="DAYS|default",
    help="Delete tickets so many days after they were solved and last touched; default: as the configuration says.",
)
@click.option(
    "--location",
    metavar="LABEL|none",
    callback=_label_or_none,
    help="Pin it to a location: its data are kept, and its webhooks lead, there alone.",
)
@click.option(
    "--mask-cards/--no-mask-cards",
    default=None,
    help="Mask card numbers in the texts and the subject of mail that comes in, before anything of it is stored.",
)
@json_option
@with_store
async def set_(
    store: Store,
    account_id: UUID,
    solved_days: str | None,
    location: str | None,
    mask_cards: bool | None,
    as_json: bool,
) -> None:
    """Say for how long an account's solved tickets are kept (`account show` tells how many are older), where its data
    are to be, and whether card numbers are masked."""
    if solved_days is None and location is None and mask_cards is None:
        raise click.UsageError("say what is to be set: --solved-days, --location, --mask-cards or --no-mask-cards")
    done: dict[str, object] = {"account": account_id}
    if solved_days is not None:
        done["solved_days"] = days = None if solved_days == "default" else _days(solved_days)
        await store.content.transaction(account_id, expiry.set_solved_days, days)
    if location is not None:
        done["location"] = pin = None if location == NOWHERE else location
        await store.content.transaction(account_id, residency.set_location, store.settings.locations, pin)
    if mask_cards is not None:
        done["mask_cards"] = mask_cards
        await store.content.transaction(account_id, accounts.set_mask_cards, mask_cards)
    print_done(done, as_json, words="set")


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
        "location": one.location,
        "created": one.created_at,
    }
