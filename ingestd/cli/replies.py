"""Replies whose outcome nobody could find out: a person decides."""

from __future__ import annotations

from uuid import UUID

import click

from ingestd.build.store import Store
from ingestd.cli.common import account_option, choose_account, json_option, print_done, with_store
from ingestd.outbound.resolve import resolve_reply
from ingestd.outbound.statuses import ReplyEvent

_EVENTS = {
    "sent": ReplyEvent.PERSON_SENT,
    "resend": ReplyEvent.PERSON_RESEND,
    "failed": ReplyEvent.PERSON_FAILED,
    "cancel": ReplyEvent.CANCEL,
}


@click.group()
def reply() -> None:
    """Replies: decide on one, or cancel it."""


@reply.command()
@click.argument("message_id", type=click.UUID)
@click.argument("decision", type=click.Choice(sorted(_EVENTS)))
@account_option
@json_option
@with_store
async def resolve(store: Store, message_id: UUID, decision: str, account: UUID | None, as_json: bool) -> None:
    """Decide on a reply: it was `sent`, `resend` it, it `failed`, or `cancel` it while it is queued."""
    account_id = await choose_account(store, account)
    status = await store.content.transaction(account_id, resolve_reply, message_id, _EVENTS[decision])
    print_done({"message": message_id, "status": status}, as_json, words=f"{message_id}: {status.value}")
