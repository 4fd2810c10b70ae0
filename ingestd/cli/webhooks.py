"""Webhooks, for operators: what is delivered, and what is not. They are made by the API."""

from __future__ import annotations

from uuid import UUID

import click

from ingestd.build.store import Store
from ingestd.build.webhooks import open_webhook_desk
from ingestd.cli.common import (
    Trouble,
    account_option,
    choose_account,
    json_option,
    print_done,
    print_fields,
    print_json,
    print_rows,
    with_store,
)
from ingestd.events.desk import Change, WebhookView

webhook_argument = click.argument("webhook_id", type=click.UUID)


@click.group()
def webhook() -> None:
    """Webhooks: list, show, test, enable, disable."""


@webhook.command("list")
@account_option
@json_option
@with_store
async def list_(store: Store, account: UUID | None, as_json: bool) -> None:
    """List the webhooks of an account."""
    account_id = await choose_account(store, account)
    async with open_webhook_desk(store) as desk:
        found = await desk.list(account_id, limit=store.settings.webhooks.webhooks_max)
    rows = [
        {
            "webhook_id": one.webhook.webhook_id,
            "status": one.webhook.status,
            "reason": one.webhook.reason,
            "withheld": _withheld(one),
            "failing_since": one.webhook.failing_since,
            "behind": one.lag.events,
            "url": one.record.url,
        }
        for one in found
    ]
    print_rows(rows, as_json, none="no webhooks; the API makes them")


@webhook.command()
@webhook_argument
@account_option
@json_option
@with_store
async def show(store: Store, webhook_id: UUID, account: UUID | None, as_json: bool) -> None:
    """Show a webhook."""
    account_id = await choose_account(store, account)
    async with open_webhook_desk(store) as desk:
        fields = _fields(await desk.show(account_id, webhook_id))
    if as_json:
        print_json(fields)
    else:
        print_fields(fields)


@webhook.command()
@webhook_argument
@account_option
@json_option
@with_store
async def test(store: Store, webhook_id: UUID, account: UUID | None, as_json: bool) -> None:
    """Post one webhook.test, now, and say how that went; exit status 1 where it was not taken."""
    account_id = await choose_account(store, account)
    async with open_webhook_desk(store) as desk:
        answer = await desk.test(account_id, webhook_id)
    if not answer.delivered and not as_json:
        raise Trouble(f"{webhook_id}: not taken ({answer.reason}, status {answer.code or 'none'})")
    fields = {
        "delivered": answer.delivered,
        "code": answer.code,
        "reason": answer.reason,
        "duration_seconds": round(answer.duration_seconds, 3),
    }
    print_done(fields, as_json, words=f"{webhook_id}: taken ({answer.code}) in {answer.duration_seconds:.3f} s")
    if not answer.delivered:
        raise SystemExit(1)


@webhook.command()
@webhook_argument
@account_option
@json_option
@with_store
async def enable(store: Store, webhook_id: UUID, account: UUID | None, as_json: bool) -> None:
    """Deliver to it again, from where it stopped."""
    await _switch(store, webhook_id, account, as_json, enabled=True)


@webhook.command()
@webhook_argument
@account_option
@json_option
@with_store
async def disable(store: Store, webhook_id: UUID, account: UUID | None, as_json: bool) -> None:
    """Deliver nothing to it; what happens meanwhile waits in the log."""
    await _switch(store, webhook_id, account, as_json, enabled=False)


async def _switch(store: Store, webhook_id: UUID, account: UUID | None, as_json: bool, *, enabled: bool) -> None:
    account_id = await choose_account(store, account)
    async with open_webhook_desk(store) as desk:
        await desk.change(account_id, webhook_id, Change(enabled=enabled))
    status = "enabled" if enabled else "disabled"
    print_done({"webhook_id": webhook_id, "status": status}, as_json, words=f"{webhook_id}: {status}")


def _withheld(view: WebhookView) -> str | None:
    return "location_differs" if view.withheld else None


def _fields(view: WebhookView) -> dict[str, object]:
    row = view.webhook
    return {
        "webhook_id": row.webhook_id,
        "url": view.record.url,
        "description": view.record.description,
        "status": row.status,
        "reason": row.reason,
        "withheld": _withheld(view),
        "since": row.status_since,
        "failing_since": row.failing_since,
        "types": row.types,
        "content": row.content,
        "cursor": row.cursor_sequence,
        "behind": view.lag.events,
        "behind_since": view.lag.since,
        "created": row.created_at,
    }
