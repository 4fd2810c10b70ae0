"""Replies: list, show, cancel, retry, resolve."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import click

from ingestd.build.store import Store
from ingestd.cli.common import (
    account_option,
    choose_account,
    clean,
    json_option,
    print_done,
    print_fields,
    print_json,
    print_rows,
    shown,
    with_store,
)
from ingestd.desk import RecipientView, ReplyView
from ingestd.outbound.resolve import DECISIONS, decide
from ingestd.outbound.statuses import ReplyEvent
from ingestd.outbound.telling import Waits, doubt, waits_for
from storage.outbox import Attempt, ReplyStatus
from storage.replies import ListedReply

_UNFINISHED = (ReplyStatus.QUEUED, ReplyStatus.SENDING, ReplyStatus.DEFERRED, ReplyStatus.UNKNOWN)
_NOT_TOLD = "not told"
_WAITS = {
    Waits.PERSON: "person",
    Waits.TIME: "its time",
    Waits.EARLIER_REPLY: "an earlier reply",
    Waits.ACCOUNT: "its account, which is suspended",
}

author_option = click.option("--author", default="", help="Who decided that, as the helpdesk names its agent.")


@click.group()
def reply() -> None:
    """Replies: list, show, cancel, retry, or decide on one whose outcome nobody could find out."""


@reply.command("list")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([one.value for one in ReplyStatus]),
    help="Only those with this status; may be given several times.  [default: those that have not come to an end]",
)
@click.option("--for-person", is_flag=True, help="Only those that wait for a person: `reply resolve` decides.")
@click.option("--mailbox", "mailbox_id", type=click.UUID, help="Only those of this mailbox.")
@click.option("--after", type=click.UUID, help="Only those that come after this one in the list.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At most so many.")
@account_option
@json_option
@with_store
async def list_(
    store: Store,
    statuses: tuple[str, ...],
    for_person: bool,
    mailbox_id: UUID | None,
    after: UUID | None,
    limit: int,
    account: UUID | None,
    as_json: bool,
) -> None:
    """List replies, oldest first."""
    account_id = await choose_account(store, account)
    found = await store.desk.replies(
        account_id,
        statuses=tuple(map(ReplyStatus, statuses)) or _UNFINISHED,
        mailbox_id=mailbox_id,
        waiting_for_person=for_person,
        after=after,
        limit=limit + 1,
    )
    print_rows([_row(one) for one in found[:limit]], as_json, none="no replies")
    if len(found) > limit:
        last = found[limit - 1].reply.message_id
        click.echo(f"note: there are more than {limit}; --after {last} shows the next ones", err=True)


def _row(one: ListedReply) -> dict[str, object]:
    reply = one.reply
    return {
        "message": reply.message_id,
        "ticket": one.ticket_number,
        "status": reply.status.value,
        "since": reply.status_since,
        "reason": reply.reason,
        "attempts": reply.attempts,
        "due": reply.due_at,
        "waits_for": _WAITS.get(waits) if (waits := waits_for(one)) else None,
    }


@reply.command()
@click.argument("message_id", type=click.UUID)
@account_option
@json_option
@with_store
async def show(store: Store, message_id: UUID, account: UUID | None, as_json: bool) -> None:
    """Show where a reply stands: for each recipient, after each attempt, and who decided what."""
    account_id = await choose_account(store, account)
    listed, view = await store.desk.reply(account_id, message_id)
    reply, record = view.reply, view.record
    row = {
        **_row(listed),
        "mailbox": reply.mailbox_id,
        "send_at": reply.send_at,
        "sent_at": reply.sent_at,
        "sent_copy": reply.sent_copy.value,
        "sent_copy_attempts": reply.sent_copy_attempts,
        "sender": record.sender,
        "message_id": record.message_id,
        "filed_message_id": record.filed_message_id or None,
    }
    in_doubt = _doubt(view)
    if as_json:
        print_json(
            {
                **row,
                "doubt": in_doubt,
                "recipients": [recipient(one) for one in view.recipients],
                "attempts": [_attempt(one) for one in view.attempts],
                "decisions": [{"at": one.at, "what": one.what, "by": one.by} for one in record.decisions],
            }
        )
        return
    print_fields(row)
    if in_doubt:
        click.echo(f"\n{in_doubt}")
    for one in view.recipients:
        click.echo(f"\nto {recipient_words(one)}" if one is view.recipients[0] else f"to {recipient_words(one)}")
    if view.attempts:
        click.echo()
        print_rows([_attempt(one) for one in view.attempts], as_json=False, none="")
    for decision in record.decisions:
        click.echo(f"\n{shown(decision.at)} {decision.what}, decided by {clean(decision.by) or _NOT_TOLD}")


def recipient(one: RecipientView) -> dict[str, object]:
    """Return a recipient for programs; without a status where none was kept."""
    row = one.row
    return {
        "address": one.address,
        "status": row.status.value if row is not None else None,
        "since": row.status_since if row is not None else None,
        "code": row.code if row is not None else None,
        "enhanced_code": row.enhanced_code if row is not None else None,
    }


def recipient_words(one: RecipientView) -> str:
    if one.row is None:
        return clean(one.address) + (f": refused ({one.refused})" if one.refused is not None else "")
    said = " ".join(str(part) for part in (one.row.code, one.row.enhanced_code) if part)
    return f"{clean(one.address)}: {one.row.status.value}" + (f" ({said})" if said else "")


def _attempt(one: Attempt) -> dict[str, object]:
    return {
        "attempt": one.number,
        "started": one.started_at,
        "ended": one.ended_at,
        "worker": one.worker_id,
        "outcome": one.outcome,
        "stage": one.stage,
        "code": one.code,
        "enhanced_code": one.enhanced_code,
    }


def _doubt(view: ReplyView) -> str | None:
    """Say why nobody knows whether it was sent, what is looked for, and what is to be done."""
    found, due_at = doubt(view), view.reply.due_at
    if found is None:
        return None
    if due_at is not None:
        return f"{found.why}\n{found.sought}; next at {shown(due_at)}."
    return f"{found.why}\n{found.sought}, and was not there. Look for yourself, and decide: `ingestd reply resolve`."


@reply.command()
@click.argument("message_id", type=click.UUID)
@click.argument("decision", type=click.Choice(list(DECISIONS)))
@author_option
@account_option
@json_option
@with_store
async def resolve(
    store: Store, message_id: UUID, decision: str, author: str, account: UUID | None, as_json: bool
) -> None:
    """Decide on a reply of which nobody knows whether it was sent: it was `sent`, `resend` it, or it `failed`."""
    await _decide(store, message_id, DECISIONS[decision], author, account, as_json)


@reply.command()
@click.argument("message_id", type=click.UUID)
@author_option
@account_option
@json_option
@with_store
async def cancel(store: Store, message_id: UUID, author: str, account: UUID | None, as_json: bool) -> None:
    """Cancel a reply that still waits to be sent: it never will be."""
    await _decide(store, message_id, ReplyEvent.CANCEL, author, account, as_json)


@reply.command()
@click.argument("message_id", type=click.UUID)
@author_option
@account_option
@json_option
@with_store
async def retry(store: Store, message_id: UUID, author: str, account: UUID | None, as_json: bool) -> None:
    """Try a reply again, and now: one that failed, or one that waits, for another attempt or for its time."""
    await _decide(store, message_id, ReplyEvent.PERSON_RETRY, author, account, as_json)


async def _decide(
    store: Store, message_id: UUID, event: ReplyEvent, author: str, account: UUID | None, as_json: bool
) -> None:
    account_id = await choose_account(store, account)
    decided = await decide(store.desk, account_id, message_id, event, author=author)
    words = f"{message_id}: {decided.status.value}" + ("" if decided.changed else " (it was so already)")
    fields = {"message": message_id, "status": decided.status, "changed": decided.changed}
    print_done(fields, as_json, words=words)


def parse_time(_context: click.Context, _option: click.Parameter, value: str | None) -> datetime | None:
    """Read a time with its zone, as ISO 8601 writes it."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.utcoffset() is None:
        raise click.BadParameter("write date, time and zone: 2026-03-01T09:00:00+01:00, or Z for UTC")
    return found
