"""How a mailbox stands: what is wrong in words, since when, what to do about it; and pause and resume."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import click

from ingestd.build.store import Store
from ingestd.cli.common import account_option, choose_account, json_option, print_json, with_store
from ingestd.desk import MailboxView
from ingestd.inbound.states import pause as pause_mailbox
from ingestd.inbound.states import resume as resume_mailbox
from ingestd.linking.foresight import foreseen
from ingestd.standing import spending_of, standing_of, ways_at

_COLUMNS = 100


async def standing(store: Store, view: MailboxView) -> dict[str, object]:
    """Return what `mailbox show` tells of reading and sending."""
    mailbox = view.mailbox
    where = (store.content, store.settings, mailbox.account_id, [mailbox.mailbox_id])
    (ways,) = await ways_at(*where)
    stands = standing_of(store.settings, view, ways)
    spent = await spending_of(store.content, store.settings, mailbox)
    (risks,) = await foreseen(*where)
    return {
        **asdict(stands),
        "folders_missing": ", ".join(stands.folders_missing),
        **asdict(spent),
        "access_warnings": [asdict(one) for one in risks],
    }


def access_line(row: Mapping[str, object]) -> str | None:
    """Return the warnings of the access in one line: each with the day on which it ends."""
    return "; ".join(f"{one['risk']}{_day(one['ends_at'])}" for one in _warnings(row)) or None


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
            click.echo(_paragraph(f"{title}: {row[name]}"))
    for one in _warnings(row):
        click.echo()
        click.echo(_paragraph(f"What will end the access: {one['meaning']}"))
        click.echo()
        click.echo(_paragraph(f"What to do before: {one['cure']}"))


def _paragraph(text: str) -> str:
    return textwrap.fill(text, _COLUMNS, break_long_words=False, break_on_hyphens=False)


def _warnings(row: Mapping[str, object]) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", row["access_warnings"])


def _day(ends_at: datetime | None) -> str:
    return "" if ends_at is None else f" ({ends_at:%Y-%m-%d})"


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
