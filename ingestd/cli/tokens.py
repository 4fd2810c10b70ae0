"""Tokens: what opens the HTTP API."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import click

from ingestd.access import Scope, is_label, make_token
from ingestd.build.store import Store
from ingestd.cli.common import account_option, choose_account, json_option, print_done, print_rows, with_store
from ingestd.cli.replies import parse_time
from storage import tokens

operator_option = click.option("--operator", is_flag=True, help="The operator's, for all accounts.")


@click.group()
def token() -> None:
    """Tokens of the HTTP API: create, list, revoke."""


@token.command()
@click.argument("label")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([one.value for one in Scope]),
    help="What it may do; may be given several times.  [default: read, reply]",
)
@click.option("--expires-at", callback=parse_time, help="From then on it opens nothing: 2027-03-01T09:00:00+01:00.")
@operator_option
@account_option
@json_option
@with_store
async def create(
    store: Store,
    label: str,
    scopes: tuple[str, ...],
    expires_at: datetime | None,
    operator: bool,
    account: UUID | None,
    as_json: bool,
) -> None:
    """Make a token, and print it: this once.

    LABEL says what uses it, in one word: helpdesk, reports. No person's name.
    """
    if not is_label(label):
        raise click.BadParameter("use up to 40 small letters, digits, dots, dashes", param_hint="LABEL")
    account_id = None if operator else await choose_account(store, account)
    made = await make_token(
        store.content,
        account_id,
        label=label,
        scopes=[Scope(one) for one in scopes] or [Scope.READ, Scope.REPLY],
        expires_at=expires_at,
        tokens_max=store.settings.api.tokens_max,
    )
    print_done({"token_id": made.token_id, "token": made.text}, as_json, words=made.text)


@token.command("list")
@operator_option
@account_option
@json_option
@with_store
async def list_(store: Store, operator: bool, account: UUID | None, as_json: bool) -> None:
    """List the tokens of an account, or the operator's; revoked ones too."""
    account_id = None if operator else await choose_account(store, account)
    found = await store.content.read(None, tokens.list_tokens, account_id, limit=store.settings.api.tokens_max * 10)
    rows = [
        {
            "token_id": one.token_id,
            "label": one.label,
            "scopes": one.scopes,
            "created": one.created_at,
            "expires": one.expires_at,
            "used": one.used_at,
            "revoked": one.revoked_at,
        }
        for one in found
    ]
    print_rows(rows, as_json, none="no tokens; `ingestd token create LABEL` makes one")


@token.command()
@click.argument("token_id", type=click.UUID)
@operator_option
@account_option
@json_option
@with_store
async def revoke(store: Store, token_id: UUID, operator: bool, account: UUID | None, as_json: bool) -> None:
    """Revoke a token: from now on it opens nothing."""
    account_id = None if operator else await choose_account(store, account)
    changed = await store.content.transaction(None, tokens.revoke_token, account_id, token_id)
    words = f"{token_id}: revoked" + ("" if changed else " (it was so already)")
    print_done({"token_id": token_id, "changed": changed}, as_json, words=words)
