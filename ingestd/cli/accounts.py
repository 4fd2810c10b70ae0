"""Accounts: the customers of the helpdesk."""

from __future__ import annotations

import click

from ingestd.accounts import create_account, open_account
from ingestd.build.store import Store
from ingestd.cli.common import json_option, print_done, print_rows, with_store
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
    created = await create_account(store.content, store.keys, name)
    print_done({"account": created.account_id}, as_json, words=str(created.account_id))


@account.command("list")
@json_option
@with_store
async def list_(store: Store, as_json: bool) -> None:
    """List the accounts."""
    rows = []
    for one in await store.content.read(None, accounts.list_accounts):
        record = await open_account(store.keys, one)
        rows.append({"account": one.account_id, "name": record.name, "status": one.status, "created": one.created_at})
    print_rows(rows, as_json, none="no accounts; `ingestd account create NAME` makes one")
