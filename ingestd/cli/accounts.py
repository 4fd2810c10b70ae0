"""Accounts: the customers of the helpdesk."""

from __future__ import annotations

import click

from ingestd.build.store import Store
from ingestd.cli.common import json_option, print_done, print_rows, with_store
from ingestd.cli.setup import create_account
from ingestd.records import AccountRecord
from storage import accounts


@click.group()
def account() -> None:
    """Accounts: the customers of the helpdesk."""


@account.command()
@click.argument("name")
@json_option
@with_store
async def create(store: Store, name: str, as_json: bool) -> None:
    """Make an account, with a key of its own."""
    account_id = await create_account(store, name)
    print_done({"account": account_id}, as_json, words=str(account_id))


@account.command("list")
@json_option
@with_store
async def list_(store: Store, as_json: bool) -> None:
    """List the accounts."""
    rows = []
    for one in await store.content.read(None, accounts.list_accounts):
        key = await store.keys.account(one.account_id)
        record = key.open_record(AccountRecord.place(one.account_id), one.sealed, AccountRecord)
        rows.append({"account": one.account_id, "name": record.name, "status": one.status, "created": one.created_at})
    print_rows(rows, as_json, none="no accounts; `ingestd account create NAME` makes one")
