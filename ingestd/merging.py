"""Merging two tickets of a mailbox: one becomes a part of the other, and only leads there from then on.

All messages of the source, and who has standing on it, come to the target, in one transaction. Mail that still names
the source, by an id, a token or its reply address, joins the target. The source keeps its number and its events, has
the status `merged`, and nothing can be done with it any more. Its mail is treated in the mailbox as the target's
status asks for; the target itself stays as it is.

It is for good: whose mail was whose could be told, but not whose the mail and the replies are that came later. So what
is likely to be a mistake is refused rather than guessed: a target that is merged itself (the refusal names where it
leads; who names it has not looked at the ticket that would get another's mail), one that is spam or deleted, one of
another mailbox.

What it means for privacy, where the two have different requesters: agents see one conversation, and both requesters
can write to it. Replies go to the target's requester, and to those whom an agent names; they quote and refer to nothing
but what he wrote or was written (`ingestd.outbound.parent`). Nothing is sent to the source's requester by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from config import Settings
from ingestd.desk import Desk
from ingestd.inbound.mirroring import Mirrored
from ingestd.ticketing import Mirroring, plan
from storage import accounts, events, mailboxes, merges, tickets
from storage.errors import Conflict, NotFound
from storage.requests import Claim, Done, once
from storage.tickets import Ticket, TicketStatus

_TARGETS = frozenset({TicketStatus.OPEN, TicketStatus.CLOSED})
"""What is merged into a ticket that is spam or deleted would be out of everybody's sight, and could not be got out."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What merging did."""

    changed: bool
    """False where it was merged into the same ticket already; then nothing was done."""
    messages: int
    """Moved to the target."""
    mirrored: Mirrored


async def merge(
    desk: Desk, settings: Settings, account_id: UUID, number: int, into: int, *, claim: Claim | None = None
) -> Done[Merged]:
    """Merge ticket `number` into ticket `into`, once under an idempotency key (`claim`).

    Raises NotFound, TicketMerged, Conflict, KeyReused.
    """
    mailbox_id = await desk.mailbox_of_ticket(account_id, number)  # raises NotFound, before its key is asked for
    key = await desk.keys.mailbox(account_id, mailbox_id)
    return await desk.content.transaction(
        account_id,
        once,
        claim,
        merge_tickets,
        number,
        into,
        messages_max=settings.tickets.merge_messages_max,
        mirroring=Mirroring(key, settings.mailbox_defaults, settings.inbound.mirror_messages_max),
    )


def merge_tickets(
    conn: Connection,
    account_id: UUID,
    number: int,
    into: int,
    *,
    messages_max: int,
    mirroring: Mirroring | None = None,
) -> Merged:
    """As `merge`; without `mirroring` the mailbox stays as it is."""
    mailbox_id = tickets.get_ticket(conn, account_id, number).mailbox_id
    held = mailboxes.hold_unfenced(conn, account_id, mailbox_id)
    # Asked under the lock: mail is taken in, replies are queued and tickets are merged under it, too.
    source, target = tickets.get_ticket(conn, account_id, number), tickets.get_ticket(conn, account_id, into)
    if source.merged_into_id is not None and source.merged_into_id == target.ticket_id:
        return Merged(changed=False, messages=0, mirrored=Mirrored())
    _check(conn, account_id, source, target, messages_max)
    done = Mirrored()
    if source.status != target.status:
        done = plan(conn, account_id, mirroring, held, source, TicketStatus(target.status))
    moved = merges.move(conn, account_id, source.ticket_id, target.ticket_id)
    tickets.touch_ticket(conn, account_id, target.ticket_id)
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    event = events.NewEvent("ticket.merged", mailbox_id, source.ticket_id, None, str(target.number))
    events.insert_events(conn, account_id, sequence, [event])
    return Merged(changed=True, messages=moved, mirrored=done)


def _check(conn: Connection, account_id: UUID, source: Ticket, target: Ticket, messages_max: int) -> None:
    if source.ticket_id == target.ticket_id:
        raise Conflict("a ticket cannot be merged into itself")
    if source.mailbox_id != target.mailbox_id:
        raise Conflict(f"tickets {source.number} and {target.number} are of different mailboxes")
    for one in (source, target):
        merges.refuse_merged(conn, account_id, one)
    if target.status not in _TARGETS:
        raise Conflict(f"ticket {target.number} is {target.status}: reopen it first")
    if merges.has_more_messages(conn, account_id, source.ticket_id, messages_max):
        raise Conflict(f"ticket {source.number} has more than {messages_max} messages: it cannot be merged")


def target_of(conn: Connection, account_id: UUID, number: int) -> tuple[Ticket, Ticket]:
    """Return a ticket that is merged, and the one that it was merged into. Raises NotFound."""
    ticket = tickets.get_ticket(conn, account_id, number)
    if ticket.merged_into_id is None:
        raise NotFound(f"ticket {number} is not merged")
    return ticket, tickets.get_ticket_by_id(conn, account_id, ticket.merged_into_id)
