"""The log of events: list, follow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import click
import msgspec

from ingestd.build.store import Store
from ingestd.cli.common import Trouble, account_option, choose_account, json_option, print_rows, shown, with_store
from ingestd.events.feed import EventFeed, Page, Told
from ingestd.wakes import Bell, watch
from storage.errors import Conflict, EventsGone

_FOLLOW_SECONDS = 3600.0


@click.group()
def event() -> None:
    """Events: what happened in an account, as the helpdesk reads it."""


@event.command("list")
@account_option
@click.option("--after", type=click.IntRange(0), help="Only those behind this sequence.  [default: from the oldest on]")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At most so many.")
@click.option("--follow", is_flag=True, help="Go on as they happen, until Ctrl-C; JSON is one object a line then.")
@json_option
@with_store
async def list_(store: Store, account: UUID | None, after: int | None, limit: int, follow: bool, as_json: bool) -> None:
    """List events in the order of their sequence."""
    account_id = await choose_account(store, account)
    bell = Bell()
    feed = EventFeed(store.content, bell, lambda: store.settings.events)
    try:
        page = await feed.read(account_id, after, limit)
    except EventsGone as gone:
        raise Trouble(f"events up to {gone.oldest} were deleted: --after {gone.oldest}") from gone
    except Conflict as error:
        raise Trouble(str(error)) from error
    if not follow:
        print_rows([_row(told) for told in page.events], as_json, none="no events")
        return
    seconds = store.settings.storage.data_version_poll_seconds
    watching = asyncio.create_task(watch(store.content, bell, poll_seconds=seconds))
    try:
        await _follow(feed, account_id, page, as_json)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await feed.close()


async def _follow(feed: EventFeed, account_id: UUID, page: Page, as_json: bool) -> None:
    _print(page.events, as_json)
    with feed.follow(account_id, page) as reader:
        while True:
            _print(await reader.next(_FOLLOW_SECONDS), as_json)


def _print(events: Sequence[Told], as_json: bool) -> None:
    for told in events:
        click.echo(told.json.decode() if as_json else "  ".join(map(shown, _row(told).values())))


def _row(told: Told) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(told.json)
    return {
        "sequence": found["sequence"],
        "at": found["at"],
        "type": found["type"],
        "ticket": found["ticket_number"],
        "detail": found["detail"],
        "mailbox_id": found["mailbox_id"],
        "message_id": found["message_id"],
    }
