"""Tickets: list, show, reply, and what agents do with them (`ticket_actions`)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import click
import msgspec

from ingestd.build.store import Store
from ingestd.cli.common import (
    Trouble,
    account_option,
    choose_account,
    clean,
    json_option,
    print_json,
    print_rows,
    shown,
    with_store,
)
from ingestd.cli.replies import parse_time, recipient, recipient_words
from ingestd.cli.reply_words import attached, inline_image, words
from ingestd.cli.ticket_actions import ACTIONS
from ingestd.desk import MessageView
from ingestd.mail.body import BodyFormat
from ingestd.mail.types import Address
from ingestd.mirror import where_lost
from ingestd.outbound.reply import ReplyDraft, create_reply
from ingestd.outbound.telling import why
from ingestd.relations import Relation
from storage.tickets import AT_WORK, TicketStatus

_RELATIONS = {
    Relation.SUSPECTED: "may belong to #{number}: the evidence was too weak to join it",
    Relation.FOLLOWS: "follows up #{number}, which had been closed for long",
    Relation.FOLLOWED_BY: "followed up by #{number}",
    Relation.TWIN: "the same mail is in #{number}, of another mailbox",
    Relation.MERGED_INTO: "merged into #{number}, which has its messages and gets what is still written to it",
    Relation.MERGED_FROM: "#{number} was merged into it",
}


@click.group()
def ticket() -> None:
    """Tickets: list, show, reply, close, reopen, read, spam, delete, merge."""


for _action in ACTIONS:
    ticket.add_command(_action)


@ticket.command("list")
@account_option
@click.option(
    "--status",
    type=click.Choice([one.value for one in TicketStatus]),
    help="Only those with this status.  [default: all but spam, deleted and merged]",
)
@click.option("--mailbox", "mailbox_id", type=click.UUID, help="Only those of this mailbox.")
@click.option("--after", "after_number", default=0, help="Only those with a higher number.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At most so many.")
@json_option
@with_store
async def list_(
    store: Store,
    account: UUID | None,
    status: str | None,
    mailbox_id: UUID | None,
    after_number: int,
    limit: int,
    as_json: bool,
) -> None:
    """List tickets in the order of their numbers."""
    account_id = await choose_account(store, account)
    found = await store.desk.tickets(
        account_id,
        statuses=(TicketStatus(status),) if status else AT_WORK,
        mailbox_id=mailbox_id,
        after_number=after_number,
        limit=limit,
    )
    rows = [
        {
            "number": one.ticket.number,
            "status": one.ticket.status,
            "requester": one.record.requester.addr,
            "changed": one.ticket.updated_at,
            "subject": one.record.subject,
        }
        for one in found
    ]
    print_rows(rows, as_json, none="no tickets")


@ticket.command()
@click.argument("number", type=click.IntRange(1))
@account_option
@click.option("--full", is_flag=True, help="Show the whole text, quoted history included.")
@json_option
@with_store
async def show(store: Store, number: int, account: UUID | None, full: bool, as_json: bool) -> None:
    """Show a ticket with its messages, and where each reply stands."""
    account_id = await choose_account(store, account)
    view = await store.desk.ticket(account_id, number)
    requester = view.record.requester
    row = {
        "number": view.ticket.number,
        "status": view.ticket.status,
        "subject": view.record.subject,
        "requester": requester.addr,
        "requester_name": requester.name,
        "offered_requester": view.record.offered_requester.addr if view.record.offered_requester else None,
        "mailbox": view.ticket.mailbox_id,
        "merged_into": view.merged_into,
        "suspected": view.ticket.suspected_ticket_id,
        "related": [
            {"relation": one.relation, "number": one.ticket.number, "mailbox": one.ticket.mailbox_id}
            for one in view.related
        ],
        "created": view.ticket.created_at,
        "changed": view.ticket.updated_at,
    }
    if as_json:
        print_json({**row, "messages": [_message(one) for one in view.messages]})
        return
    click.echo(f"#{number} {clean(view.record.subject)}")
    click.echo(f"{view.ticket.status} · {_who(requester)}")
    for related in view.related:
        click.echo(_RELATIONS[related.relation].format(number=related.ticket.number))
    if view.record.offered_requester:
        click.echo(f"forwarded by an agent; it seems to be from {_who(view.record.offered_requester)}")
    for one in view.messages:
        _print_message(one, full)


def _message(one: MessageView) -> dict[str, object]:
    mail = one.record.mail
    reply = one.reply
    return {
        "message": one.row.message_id,
        "direction": one.row.direction,
        "kind": one.row.kind,
        "muted": one.row.muted,
        "altered": one.row.altered,
        "received": one.row.received_at,
        "from": mail.from_[0].addr if mail.from_ else None,
        "to": [address.addr for address in mail.to],
        "cc": [address.addr for address in mail.cc],
        "bcc": list(reply.record.bcc) if reply is not None else [],
        "subject": mail.subject,
        "message_id": mail.message_id,
        "text": mail.text,
        "new_text": mail.new_text,
        "html": mail.html,
        "evidence": one.record.evidence,
        "kind_evidence": mail.evidence,
        "defects": mail.defects,
        "truncated": one.record.truncated,
        "attachments": [
            {"position": part.row.position, **msgspec.to_builtins(part.attachment)} for part in one.attachments
        ],
        "folder": one.record.folder if one.row.direction == "in" else None,
        "in_mailbox": where_lost(one.record),
        "edits": [
            {"cause": edit.cause, "edit": edit.kind, "status": edit.status, "reason": edit.reason} for edit in one.edits
        ],
        "reply": None
        if reply is None
        else {
            "status": reply.reply.status.value,
            "reason": reply.reply.reason,
            "sent_at": reply.reply.sent_at,
            "sent_copy": reply.reply.sent_copy.value,
            "refused": reply.record.refused,
            "recipients": [recipient(one) for one in reply.recipients],
            "attempts": [
                {"number": a.number, "started": a.started_at, "outcome": a.outcome, "stage": a.stage, "code": a.code}
                for a in reply.attempts
            ],
        },
    }


def _print_message(one: MessageView, full: bool) -> None:
    mail = one.record.mail
    sender = mail.from_[0] if mail.from_ else Address("")
    mark = "→" if one.row.direction == "out" else "←"
    kind = "" if one.row.kind in {"customer", "reply"} else f" [{one.row.kind.replace('_', ' ')}]"
    click.echo(f"\n{mark} {shown(one.row.received_at)} {_who(sender)}{kind}")
    if one.reply is not None:
        reply = one.reply.reply
        reason = f" ({told})" if (told := why(one.reply)) else ""
        click.echo(f"  {reply.status.value}{reason}, Sent copy: {reply.sent_copy.value}, message {reply.message_id}")
        for address in one.reply.recipients:
            click.echo(f"  to {recipient_words(address)}")
        for hidden in one.reply.record.bcc:
            click.echo(f"  bcc: {clean(hidden)}")
    _print_place(one)
    if one.record.truncated:
        click.echo("  (larger than the limit, or withheld by the server: only its header was taken)")
    if one.row.altered:
        click.echo("  (not stored as it was: card numbers are masked, or a person was erased)")
    for line in (mail.text if full else mail.new_text).splitlines():
        click.echo(f"  {clean(line)}".rstrip())
    if not full and mail.new_text.split() != mail.text.split():
        click.echo("  (quoted text or a signature is hidden: --full shows it)")
    for part in one.attachments:
        known = part.attachment
        click.echo(f"  [{part.row.position}] {clean(known.name)} ({known.content_type}, {known.size_bytes} bytes)")


def _print_place(one: MessageView) -> None:
    """Say what became of a message in its mailbox, and why nobody was told of it."""
    if one.row.muted:
        click.echo("  (beyond a limit, or spam: kept, but not announced)")
    if lost := where_lost(one.record):
        click.echo(f"  ({lost})")
    for edit in one.edits:
        reason = f" ({edit.reason.replace('_', ' ')})" if edit.reason else ""
        click.echo(f"  in the mailbox, {edit.cause}: {edit.kind.replace('_', ' ')}: {edit.status}{reason}")


def _who(address: Address) -> str:
    return f"{clean(address.name)} <{clean(address.addr)}>" if address.name else f"<{clean(address.addr)}>"


@ticket.command()
@click.argument("number", type=click.IntRange(1))
@click.option("--text", help="What to say, as plain text; - reads it from standard input.")
@click.option("--markdown", help="The same, as Markdown.")
@click.option("--html", help="The same, as HTML.")
@click.option(
    "--attach",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file to attach; may be given several times.",
)
@click.option(
    "--inline",
    "images",
    multiple=True,
    metavar="FILE[:NAME]",
    help="An image that Markdown shows as ![alt](cid:NAME), HTML as cid:NAME; without NAME, by the name of the file.",
)
@click.option("--cc", multiple=True, help="Somebody else to send it to; may be given several times.")
@click.option("--bcc", multiple=True, help="Somebody to send it to whom no other sees; may be given several times.")
@click.option("--quote", is_flag=True, help="Quote what the customer wrote last.")
@click.option("--no-signature", is_flag=True, help="Leave the mailbox's signature out.")
@click.option("--author", default="", help="Who wrote it, as the helpdesk names its agent.")
@click.option("--send-at", callback=parse_time, help="Not before this time, such as 2026-03-01T09:00:00+01:00.")
@click.option(
    "--undo", "undo_seconds", type=click.FloatRange(0), help="Seconds in which it can be cancelled before it is sent."
)
@click.option("--idempotency-key", help="The same key with the same request is the same reply.")
@account_option
@json_option
@with_store
async def reply(
    store: Store,
    *,
    number: int,
    text: str | None,
    markdown: str | None,
    html: str | None,
    files: tuple[Path, ...],
    images: tuple[str, ...],
    cc: tuple[str, ...],
    bcc: tuple[str, ...],
    quote: bool,
    no_signature: bool,
    author: str,
    send_at: datetime | None,
    undo_seconds: float | None,
    idempotency_key: str | None,
    account: UUID | None,
    as_json: bool,
) -> None:
    """Queue a reply to the ticket's requester; the daemon sends it."""
    limit = store.settings.outbound.reply_bytes_max
    form, said = words({BodyFormat.TEXT: text, BodyFormat.MARKDOWN: markdown, BodyFormat.HTML: html}, limit)
    account_id = await choose_account(store, account)
    draft = ReplyDraft(
        text=said,
        format=form,
        attachments=[attached(path, limit) for path in files],
        images=[inline_image(one, limit) for one in images],
        cc=[Address(one) for one in cc],
        bcc=[Address(one) for one in bcc],
        quote=quote,
        signature=not no_signature,
        author=author,
        send_at=send_at,
        undo_seconds=undo_seconds,
    )
    created = await create_reply(
        store.desk, store.settings.outbound, account_id, number, draft, idempotency_key=idempotency_key
    )
    if as_json:
        print_json({"message": created.message_id, "repeated": created.repeated})
    else:
        click.echo(f"queued: {created.message_id}" + (" (it was there already)" if created.repeated else ""))


@ticket.command()
@click.argument("number", type=click.IntRange(1))
@click.argument("message_id", type=click.UUID)
@click.argument("position", type=click.IntRange(0))
@click.option("--output", type=click.File("wb"), default="-", help="Where to write it.  [default: standard output]")
@account_option
@with_store
async def attachment(
    store: Store, number: int, message_id: UUID, position: int, output: BinaryIO, account: UUID | None
) -> None:
    """Write an attachment of a ticket's message to a file."""
    account_id = await choose_account(store, account)
    view = await store.desk.ticket(account_id, number)
    if message_id not in {one.row.message_id for one in view.messages}:
        raise Trouble(f"ticket {number} has no message {message_id}")
    _, content = await store.desk.attachment(account_id, message_id, position)
    output.write(content)
