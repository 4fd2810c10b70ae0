"""Retention: what becomes of accounts that are suspended for long."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from ingestd.accounts import name_of
from ingestd.build.store import Store
from ingestd.cli.common import json_option, print_rows, with_store
from ingestd.privacy.account_retention import AccountRetention, Planned, rules_of
from storage import accounts


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--at", type=click.DateTime(), help="With --dry-run: what would be done then (UTC).")
@json_option
@with_store
async def retention(store: Store, dry_run: bool, at: datetime | None, as_json: bool) -> None:
    """Warn and erase suspended accounts as `retention` of the configuration says, as the daemon does by itself."""
    if at is not None and not dry_run:
        raise click.UsageError("--at needs --dry-run: nobody is erased before the time")
    moment = datetime.now(UTC) if at is None else at.replace(tzinfo=UTC)
    engine = AccountRetention(store.content, lambda: rules_of(store.settings))
    planned = await (engine.plan if dry_run else engine.run)(moment)
    print_rows([await _row(store, one) for one in planned], as_json, none="no account is suspended")


async def _row(store: Store, one: Planned) -> dict[str, object]:
    account = await store.content.read(one.account.account_id, accounts.get_account)
    return {
        "account": one.account.account_id,
        "name": await name_of(store.keys, account),
        "suspended": one.account.since,
        "tickets": one.account.tickets,
        "held": one.account.held_since,
        "warned": min(one.account.warned, default=None),
        "erased_at": one.verdict.erase_at,
        "now": one.word if one.verdict.warn is None else f"warn: {one.verdict.warn} days",
    }
