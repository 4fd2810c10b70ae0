"""How a mailbox stands: what is wrong in words, since when, what to do about it; and pause and resume."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from uuid import UUID

import click

from ingestd.build.store import Store
from ingestd.cli.common import account_option, choose_account, json_option, print_json, with_store
from ingestd.desk import MailboxView
from ingestd.inbound.states import pause as pause_mailbox
from ingestd.inbound.states import resume as resume_mailbox
from ingestd.standing import spending_of, standing_of

_COLUMNS = 100


async def standing(store: Store, view: MailboxView) -> dict[str, object]:
    """Return what `mailbox show` tells of reading and sending."""
    stands = standing_of(store.settings, view)
    spent = await spending_of(store.content, store.settings, view.mailbox)
    return {**asdict(stands), "folders_missing": ", ".join(stands.folders_missing), **asdict(spent)}


TEXTS: Mapping[str, str] = {
    "meaning": "What is wrong",
    "cure": "What to do",
    "folders_meaning": "What is wrong with its folders",
    "folders_cure": "What to do about its folders",
    "send_meaning": "What is wrong with sending",
    "send_cure": "What to do about sending",
    "send_waits": "Why replies wait",
}
"""The fields of `standing` that are whole sentences, and what people read before them."""


def print_texts(row: Mapping[str, object]) -> None:
    """Print the sentences, each as a paragraph."""
    for name, title in TEXTS.items():
        if row[name]:
            click.echo()
            click.echo(textwrap.fill(f"{title}: {row[name]}", _COLUMNS, break_long_words=False, break_on_hyphens=False))


@click.command()
@click.argument("mailbox_id", type=click.UUID)
@account_option
@json_option
@with_store
async def pause(store: Store, mailbox_id: UUID, account: UUID | None, as_json: bool) -> None:
    """Stop reading a mailbox and sending from it, until it is resumed. Replies that are asked for wait."""
    account_id = await choose_account(store, account)
    changed = await store.content.transaction(account_id, pause_mailbox, mailbox_id)
    await _say(store, account_id, mailbox_id, "paused" if changed else "it was paused already", as_json)


@click.command()
@click.argument("mailbox_id", type=click.UUID)
@account_option
@json_option
@with_store
async def resume(store: Store, mailbox_id: UUID, account: UUID | None, as_json: bool) -> None:
    """Let a paused mailbox go on where it stopped: what came meanwhile is read, what waits is sent."""
    account_id = await choose_account(store, account)
    changed = await store.content.transaction(account_id, resume_mailbox, mailbox_id)
    await _say(store, account_id, mailbox_id, "resumed" if changed else "it was not paused", as_json)


async def _say(store: Store, account_id: UUID, mailbox_id: UUID, text: str, as_json: bool) -> None:
    state = (await store.desk.mailbox(account_id, mailbox_id)).mailbox.state.value
    if as_json:
        print_json({"mailbox": mailbox_id, "state": state})
    else:
        click.echo(f"{text}; its state is {state}")
