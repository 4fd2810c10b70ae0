"""How a mailbox stands: what is wrong in words, since when, what to do about it; and pause and resume."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from uuid import UUID

import click

from connectors import base
from ingestd.build.store import Store
from ingestd.cli.common import account_option, choose_account, json_option, print_json, with_store
from ingestd.cures import Words, explain, explain_missing, explain_unconfigured
from ingestd.desk import MailboxView
from ingestd.inbound.states import pause as pause_mailbox
from ingestd.inbound.states import resume as resume_mailbox
from ingestd.outbound.budgets import BUDGET_REASONS, WORDS, Spent
from storage import outbox, sending
from storage.mailboxes import Mailbox

_COLUMNS = 100


async def standing(store: Store, view: MailboxView) -> dict[str, object]:
    """Return what `mailbox show` tells of reading and sending."""
    mailbox = view.mailbox
    read, send = _words(store, mailbox, mailbox.trouble), _words(store, mailbox, mailbox.send_trouble, sending=True)
    return {
        "trouble": mailbox.trouble,
        "reason": mailbox.reason,
        "next_try": mailbox.retry_at,
        "meaning": read.meaning if read else None,
        "cure": read.cure if read else None,
        **_missing(view),
        "replies_waiting": await store.content.read(mailbox.account_id, outbox.count_unsent, mailbox.mailbox_id),
        "send_trouble": mailbox.send_trouble,
        "send_reason": mailbox.send_reason,
        "send_since": mailbox.send_since,
        "send_next_try": mailbox.send_retry_at,
        "send_meaning": send.meaning if send else None,
        "send_cure": send.cure if send else None,
        **await _spending(store, mailbox),
    }


async def _spending(store: Store, mailbox: Mailbox) -> dict[str, object]:
    """Return how much was sent of what may be sent, and what waits because that was enough."""
    where = (mailbox.account_id, mailbox.mailbox_id)
    used = await store.content.read(where[0], sending.usage, where[1])
    waits = await store.content.read(where[0], sending.waiting, where[1], BUDGET_REASONS)
    limits = None
    if mailbox.provider in store.settings.providers:
        limits = store.settings.provider(mailbox.provider).limits
    return {
        "sent_day": used.messages_day,
        "sent_day_max": limits.messages_per_day_max if limits else None,
        "recipients_day": used.recipients_day,
        "recipients_day_max": limits.recipients_per_day_max if limits else None,
        "send_waits_for": waits.reason if waits else None,
        "send_waits_until": waits.until if waits else None,
        "send_waits": WORDS[Spent(waits.reason)] if waits else None,
    }


def _missing(view: MailboxView) -> dict[str, object]:
    """Return what is told of watched folders that are not there."""
    mailbox, missing = view.mailbox, view.folders.missing if view.folders else ()
    words = explain_missing(missing, mailbox.provider, mailbox.mailbox_id) if missing else None
    return {
        "folders_missing": ", ".join(missing),
        "folders_missing_since": mailbox.folders_missing_since,
        "folders_meaning": words.meaning if words else None,
        "folders_cure": words.cure if words else None,
    }


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


def _words(store: Store, mailbox: Mailbox, trouble: str | None, *, sending: bool = False) -> Words | None:
    if mailbox.provider not in store.settings.providers:
        return None if sending else explain_unconfigured(mailbox.provider)
    if trouble is None:
        return None
    provider = store.settings.provider(mailbox.provider)
    return explain(base.Trouble(trouble), provider, mailbox.mailbox_id, sending=sending)


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
